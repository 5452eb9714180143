"""Packages know each other by their public names only, and a change of these names is a visible change of a file.

Public is what stands in a package's `__all__`, and, for a module named there, what stands in that module's.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from public_interface import PACKAGES, public_names

ROOT = Path(__file__).resolve().parent.parent
FILES = [
    pytest.param(package, path, id=path.relative_to(ROOT / "packages").as_posix())
    for package in PACKAGES
    for folder in ("src", "tests")
    for path in sorted((ROOT / "packages" / f"neuronix-{package}" / folder).rglob("*.py"))
]


def complaint(path: str, package: str) -> str | None:
    """Why a package may not use the dotted path of another one; None if it may, or if the path is its own."""
    root, _, rest = path.partition(".")
    owner, _, rest = rest.partition(".")
    if root != "neuronix" or owner in ("", package):
        return None
    if owner not in PACKAGES:
        return f"{path}: there is no package neuronix.{owner}"
    thing: object = importlib.import_module(f"neuronix.{owner}")
    for name in filter(None, rest.split(".")):
        if not isinstance(thing, ModuleType):
            return None  # a member of a public class or function
        if name not in public_names(thing):
            return f"{path}: {name!r} isn't in {thing.__name__}.__all__"
        thing = getattr(thing, name)
    return None


class Imports(ast.NodeVisitor):
    """Collects what a source uses of the namespace: imports, and attributes of imported modules."""

    def __init__(self, source: str) -> None:
        self.paths: list[str] = []
        self.aliases: dict[str, str] = {}
        tree = ast.parse(source)
        for imports_first in (True, False):  # a function may come before the import that it uses
            self.imports = imports_first
            self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        for name in node.names if self.imports else ():
            self.paths.append(name.name)
            first = name.name.partition(".")[0]
            self.aliases[name.asname or first] = name.name if name.asname else first

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if self.imports and node.module and not node.level:
            for name in node.names:
                path = node.module if name.name == "*" else f"{node.module}.{name.name}"
                self.paths.append(path)
                self.aliases[name.asname or name.name] = path

    def dotted(self, node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id)
        if isinstance(node, ast.Attribute) and (base := self.dotted(node.value)):
            return f"{base}.{node.attr}"
        return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if path := self.dotted(node):
            self.paths.append(path)
        else:
            self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("import_module", "__import__", "importorskip", "setattr") and node.args:
            if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                self.paths.append(node.args[0].value)
        self.generic_visit(node)


def complaints(source: str, package: str) -> list[str]:
    """All complaints about a source of a package."""
    paths = [path for path in Imports(source).paths if path.partition(".")[0] == "neuronix"]
    return sorted({message for path in paths if (message := complaint(path, package))})


@pytest.mark.parametrize("package, path", FILES)
def test_siblings_are_used_by_their_public_names(package: str, path: Path) -> None:
    assert complaints(path.read_text(encoding="utf-8"), package) == []


def test_interfaces_are_those_that_are_written_down() -> None:
    # In a process of its own, as when they were written: what else is imported plays no part.
    command = [sys.executable, str(ROOT / "tools" / "public_interface.py"), "--check"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_and_are_explained(package: str) -> None:
    def unexplained(module: ModuleType) -> list[str]:
        names = public_names(module)
        assert len(names) == len({*names})
        things = {f"{module.__name__}.{name}": getattr(module, name) for name in names}
        found = [path for path, thing in things.items() if callable(thing) and not inspect.getdoc(thing)]
        for thing in things.values():
            if isinstance(thing, ModuleType):
                found += [] if thing.__doc__ else [thing.__name__]
                found += unexplained(thing)
        return found

    assert unexplained(importlib.import_module(f"neuronix.{package}")) == []


# The check itself

PRIVATE = [
    "from neuronix.autograd import graph_of",
    "from neuronix.autograd.graph import AutogradGraph",
    "import neuronix.autograd.graph",
    "import neuronix.autograd.graph as g",
    "from neuronix.autograd.testing import _helper",
    "from neuronix.autograd.ops import _helper",
    "import neuronix.autograd as ag\nag.graph.AutogradGraph",
    "from neuronix import autograd\nautograd._private()",
    "import neuronix.autograd\nneuronix.autograd.graph",
    "from neuronix.autograd import errors\nerrors._private",
    "def f():\n    return autograd._private\nfrom neuronix import autograd",
    "def f():\n    from neuronix.autograd.node import Node",
    "import importlib\nimportlib.import_module('neuronix.autograd.graph')",
    "def test(monkeypatch):\n    monkeypatch.setattr('neuronix.autograd.graph.x', 1)",
    "from neuronix.wheels import x",
]
PUBLIC = [
    "from neuronix.autograd import AutogradGraph, CustomTensor",
    "from neuronix.autograd import *",
    "from neuronix.autograd import errors, ops, testing",
    "from neuronix.autograd.errors import ShapeError",
    "import neuronix.autograd as ag\nag.CustomTensor.backward",
    "from neuronix import autograd\nautograd.errors.ShapeError('x')",
    "import neuronix.autograd\nneuronix.autograd.grad(y, x)",
    "from neuronix.nn._private import own",
    "import neuronix.nn.module\nneuronix.nn.module.anything",
    "from torch.autograd import graph",
]


@pytest.mark.parametrize("source", PRIVATE)
def test_check_finds(source: str) -> None:
    assert complaints(source, "nn")


@pytest.mark.parametrize("source", PUBLIC)
def test_check_lets_pass(source: str) -> None:
    assert complaints(source, "nn") == []
