"""Four distributions share the namespace `neuronix`: each ships its own part of it, with types and licence."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import neuronix

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("autograd", "nn", "losses", "optim")
FOLDERS = {package: ROOT / "packages" / f"neuronix-{package}" for package in PACKAGES}


def test_there_are_no_other_packages() -> None:
    assert {path.parent for path in ROOT.glob("packages/*/pyproject.toml")} == {*FOLDERS.values()}


@pytest.mark.parametrize("package", PACKAGES)
def test_package_ships_its_part_of_the_namespace_only(package: str) -> None:
    namespace = FOLDERS[package] / "src" / "neuronix"
    # One `__init__.py` here, and Python no longer finds the other three packages.
    assert [path.name for path in namespace.iterdir() if path.name != "__pycache__"] == [package]
    assert [path.name for path in namespace.parent.iterdir() if path.name != "__pycache__"] == ["neuronix"]


@pytest.mark.parametrize("package", PACKAGES)
def test_package_says_that_it_is_typed(package: str) -> None:
    assert (FOLDERS[package] / "src" / "neuronix" / package / "py.typed").read_bytes() == b""


@pytest.mark.parametrize("package", PACKAGES)
def test_licence_is_that_of_the_project(package: str) -> None:
    assert (FOLDERS[package] / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_imported_from_its_folder(package: str) -> None:
    module = importlib.import_module(f"neuronix.{package}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == FOLDERS[package] / "src" / "neuronix" / package / "__init__.py"


def test_neuronix_is_a_namespace() -> None:
    # Another project's distribution `neuronix` has an `__init__.py`; installed beside these, it hides them.
    assert neuronix.__file__ is None
