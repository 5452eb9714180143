"""The programs in examples/ run, without warnings, and print what their first paragraph promises.

`digits.py` has a session of its own, `nox -s quickstart`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, folder: Path) -> str:
    """What an example prints; it exits with 1 if it misses what it promises."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def numbers(line: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", line)]


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {
        "custom_operation_and_loss.py",
        "digits.py",
        "regression.py",
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
