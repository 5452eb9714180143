"""What the documentation shows is there, and what is there is shown."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pictures
import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "packages" / "neuronix-autograd" / "src" / "neuronix" / "autograd"


def test_picture_is_what_the_readme_draws() -> None:
    assert pictures.PICTURE.read_text(encoding="utf-8") == pictures.draw()


@pytest.mark.parametrize("package", ["autograd", "nn", "losses", "optim"])
def test_reference_shows_every_public_name(package: str) -> None:
    page = (ROOT / "docs" / "reference" / f"{package}.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: (\S+)", page, re.MULTILINE))
    module = importlib.import_module(f"neuronix.{package}")
    modules = [name for name in module.__all__ if isinstance(getattr(module, name), ModuleType)]
    names = [name for name in module.__all__ if name not in modules]
    # `neuronix.autograd.graph.AutogradGraph` shows `AutogradGraph`; `neuronix.autograd.ops.linalg` shows `ops`.
    last = {path.rpartition(".")[2] for path in shown}
    missing = [] if f"neuronix.{package}" in shown else [name for name in names if name not in last]
    missing += [
        name for name in modules if not any(f"{path}.".startswith(f"neuronix.{package}.{name}.") for path in shown)
    ]
    assert missing == []


@pytest.mark.parametrize("path", sorted(ENGINE.glob("ops/[!_]*.py")), ids=lambda path: path.stem)
def test_reference_shows_every_file_of_operations(path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "autograd.md").read_text(encoding="utf-8")
    assert f"\n::: neuronix.autograd.ops.{path.stem}\n" in page


PARTS = ["", "dispatch/", "transforms/", "watching/"]  # the other folders say in their own words what is in them


@pytest.mark.parametrize("name", [f"{part}{path.name}" for part in PARTS for path in ENGINE.glob(f"{part}[!_]*.py")])
def test_reading_order_has_every_file_of_the_engine(name: str) -> None:
    assert f"`{name}`" in (ENGINE / "README.md").read_text(encoding="utf-8")


def test_navigation_has_every_decision() -> None:
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    index = (ROOT / "docs" / "decisions" / "index.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((0\d+-[\w-]+\.md)\)", index) == records


def test_links_of_pages_outside_the_site_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("packages/**/*.md"))]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if not target.startswith(("http://", "https://")) and not (page.parent / target).exists()
    ]
    assert broken == []
