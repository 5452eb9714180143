"""The programs in examples/ run, without warnings, and print what their first paragraph promises.

`digits.py` has tests of its own, in test_quickstart.py. Those that take minutes run in their short form.
"""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SHORT = ["character_gpt", "hessian", "resnet18"]
EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, folder: Path) -> str:
    """What an example prints; it exits with 1 if it misses what it promises."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    return finished.stdout


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The last lines that each prints in its short form; side by side, as most of their time goes into starting."""

    def last_lines(name: str) -> list[str]:
        folder = tmp_path_factory.mktemp(name)
        command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), "--short"]
        finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        assert "step/s" in finished.stderr  # the progress
        lines = finished.stdout.splitlines()
        (picture,) = [line.removeprefix("picture: ") for line in lines if line.startswith("picture: ")]
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
        return lines[-3:]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SHORT, pool.map(last_lines, SHORT), strict=True))


def numbers(line: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", line)]


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "character_gpt.py",
        "custom_operation_and_loss.py",
        "digits.py",
        "hessian.py",
        "regression.py",
        "resnet18.py",
    }


def test_regression(tmp_path: Path) -> None:
    lines = run("regression.py", tmp_path).splitlines()
    assert max(numbers(lines[-1])) < 1e-10
    found, true = (numbers(line) for line in lines[-3:-1])
    assert found == pytest.approx(true, abs=0.1)


def test_regression_needs_the_engine_alone() -> None:
    imported = re.findall(r"^(?:from|import) neuronix\.?(\w*)", (EXAMPLES / "regression.py").read_text(), re.MULTILINE)
    assert set(imported) == {"autograd"}


def test_custom_operation_and_loss(tmp_path: Path) -> None:
    *_, robust, squared, _true = run("custom_operation_and_loss.py", tmp_path).splitlines()
    assert numbers(robust)[0] == pytest.approx(2.0, abs=0.05)
    assert abs(numbers(squared)[0] - 2.0) > 0.5


def test_character_gpt(short: dict[str, list[str]]) -> None:
    tested, single, pair = numbers(short["character_gpt"][-1])
    assert pair < tested < single


def test_hessian(short: dict[str, list[str]]) -> None:
    losses, eigenvalues, difference = map(numbers, short["hessian"])
    assert losses[1] < losses[0] / 5
    assert eigenvalues[0] < eigenvalues[1] < eigenvalues[2] == 10.0
    assert difference[0] < 1e-8


def test_resnet18(short: dict[str, list[str]]) -> None:
    first, last = numbers(short["resnet18"][-2])
    assert last < first < 1.0


def test_examples_reproduce(short: dict[str, list[str]], tmp_path: Path) -> None:
    """The same seed gives the same lines, to the last digit."""
    command = [sys.executable, str(EXAMPLES / "hessian.py"), "--short", "--seed", "0"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert again.splitlines()[-3:] == short["hessian"]
