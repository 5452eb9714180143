"""The quickstart, one epoch long: `examples/digits.py` learns, agrees with PyTorch, draws, and says the same again."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits.py"
LAST_LINES = re.compile(r"test accuracy: (\d+\.\d) %\nlargest difference from PyTorch: (\d\.\de[+-]\d\d)\n\Z")


RUNS = {"first": (), "second": (), "float32": ("--float32", "--output", "pictures")}


def last_lines(printed: str) -> tuple[float, float]:
    """Test accuracy, and the largest difference from PyTorch."""
    found = LAST_LINES.search(printed)
    assert found is not None, printed
    return float(found[1]), float(found[2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quickstart")


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, str]:
    """What each run prints; they run side by side, since most of their time goes into starting."""

    def run(name: str) -> str:
        command = [sys.executable, "-W", "error", str(EXAMPLE), "--epochs", "1", *RUNS[name]]
        (folder / name).mkdir()
        finished = subprocess.run(command, cwd=folder / name, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    with ThreadPoolExecutor() as pool:
        return dict(zip(RUNS, pool.map(run, RUNS), strict=True))


def test_it_learns_and_agrees_with_torch(printed: dict[str, str]) -> None:
    accuracy, difference = last_lines(printed["first"])
    assert accuracy > 80  # after one epoch of twelve
    assert difference <= 1e-9


def test_it_draws_the_losses_and_the_graph(folder: Path, printed: dict[str, str]) -> None:
    pictures = folder / "first" / "quickstart"
    assert sorted(path.name for path in pictures.iterdir()) == ["graph.svg", "loss.png"]
    assert (pictures / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = ElementTree.parse(pictures / "graph.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(picture.itertext())
    for operation in ("convolution", "batch_norm", "relu", "max_pool", "linear", "log_softmax"):
        assert operation in words
    for parameter in ("0.weight", "1.weight", "1.bias", "4.weight", "5.weight", "5.bias", "9.weight", "9.bias"):
        assert parameter in words
    assert "(16, 1, 3, 3) float64" in words
    assert len(re.findall(r"\bgrad \d", words)) >= 20  # parameters and results, each with the size of its gradient


def test_it_says_the_same_again(printed: dict[str, str]) -> None:
    assert printed["second"] == printed["first"]


def test_in_float32(folder: Path, printed: dict[str, str]) -> None:
    accuracy, difference = last_lines(printed["float32"])
    assert accuracy > 80
    assert difference <= 1e-3
    assert (folder / "float32" / "pictures" / "loss.png").exists()
