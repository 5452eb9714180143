"""The Python blocks of every page run as tests (conftest.py at the root): there are some, and none escapes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("packages/**/*.md")),
]
FENCE = re.compile(r"^[ \t>]*(?:`{3,}|~{3,})[ \t{.]*([\w+-]*)", re.MULTILINE)


def languages(path: Path) -> list[str]:
    """The language of each opening fence of a page; closing ones have none."""
    return [match.group(1) for match in FENCE.finditer(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_is_called_python(path: Path) -> None:
    # Another name for it would be coloured just the same, and never run.
    assert {"py", "py3", "python3", "Python", "pycon", "ipython"} & {*languages(path)} == set()


@pytest.mark.parametrize("package", ["autograd", "nn", "losses", "optim"])
def test_readme_of_package_shows_code(package: str) -> None:
    assert "python" in languages(ROOT / "packages" / f"neuronix-{package}" / "README.md")


def test_there_are_many_blocks() -> None:
    assert "python" in languages(ROOT / "README.md")
    assert sum(languages(path).count("python") for path in PAGES) >= 20


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_page_loads_nothing_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"!\[[^\]]*\]\(https?:|<(?:img|script|iframe|link)[^>]+https?:", text) == []
