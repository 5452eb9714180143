"""Neuronix differentiates by itself: no source uses torch's differentiation. tools/borrowing.py has the rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from borrowing import Checker, borrowings
from public_interface import public_names

import neuronix.autograd

ROOT = Path(__file__).resolve().parent.parent
HOOK = "neuronix-autograd/src/neuronix/autograd/disguise/function_hook.py"
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))

# What the checker would report and is in order, by (file, function), and why: calls on Neuronix's own tensors, which it
# can't tell from torch's, and a model's own torch.autograd.Function, here only a class with two of its functions in it.
OURS: dict[tuple[str, str], str] = {
    ("neuronix-nn/src/neuronix/nn/module.py", "Module.requires_grad_"): "sets it on a module's Parameters",
    (
        "neuronix-nn/src/neuronix/nn/conversion.py",
        "_Converter.transfer",
    ): "as the original has it",
    ("neuronix-nn/src/neuronix/nn/comparing.py", "_torch_pass"): "what compare() compares with is PyTorch",
    ("neuronix-nn/src/neuronix/nn/comparing.py", "_torch_leaf"): "what compare() compares with is PyTorch",
    ("neuronix-nn/src/neuronix/nn/comparing.py", "_alone"): "both sides of compare(), each its own tensors",
    ("neuronix-nn/src/neuronix/nn/comparing.py", "_our_pass"): "a CustomTensor",
    (HOOK, "_base_of_functions"): "whose `apply` is answered in its stead",
}


# The project


def test_there_are_sources_to_read() -> None:
    assert {path.relative_to(ROOT).parts[1] for path in SOURCES} == {
        f"neuronix-{package}" for package in ("autograd", "nn", "losses", "optim")
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT / "packages").as_posix())
def test_source_borrows_nothing(path: Path) -> None:
    file = path.relative_to(ROOT / "packages").as_posix()
    assert Checker(path.read_text(encoding="utf-8"), file, OURS).found == []


def test_every_exception_is_needed() -> None:
    used = set()
    for path in SOURCES:
        file = path.relative_to(ROOT / "packages").as_posix()
        used |= Checker(path.read_text(encoding="utf-8"), file, OURS).used_exceptions
    assert used == OURS.keys()


def generated_sources(module: ModuleType) -> Iterator[tuple[str, str]]:
    """The code that the engine generated for each public operation of a module."""
    for name in public_names(module):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            yield from generated_sources(thing)
        elif isinstance(source := getattr(getattr(thing, "primitive", None), "source", None), str):
            yield f"{module.__name__}.{name}", source


def test_generated_code_borrows_nothing() -> None:
    sources = dict(generated_sources(neuronix.autograd.ops))
    assert len(sources) > 20
    assert {name: found for name, source in sources.items() if (found := borrowings(source))} == {}


# The checker

BORROWED = [
    "import torch.autograd",
    "import torch.autograd.functional as F",
    "from torch import autograd",
    "from torch import autograd as a\na.grad(y, x)",
    "from torch.autograd import Function",
    "from torch.autograd.functional import jacobian as j",
    "import torch\ntorch.autograd.grad(y, x)",
    "import torch as t\nt.autograd.backward(y)",
    "import torch\nt = torch\nt.autograd.grad(y, x)",
    "import torch\nt, u = torch, 1\nt.autograd.grad(y, x)",
    "import torch\nif (t := torch).autograd:\n    pass",
    "import torch\nclass A:\n    def f(self):\n        self.t = torch\n        self.t.autograd.grad(y, x)",
    "import torch\ndef f(x, t=torch):\n    return t.autograd.grad(x, x)",
    "import torch\ndef f(x, *, t=torch):\n    return t.autograd.grad(x, x)",
    "import torch\ngetattr(torch, 'autograd')",
    "import torch\ngetattr(torch, 'auto' + 'grad').grad(y, x)",
    "import torch\ng = getattr(getattr(torch, 'func'), 'grad')",
    "import torch\ntorch.__dict__['autograd']",
    "import torch\nvars(torch)['autograd']",
    "import operator, torch\noperator.attrgetter('autograd.grad')(torch)",
    "from operator import attrgetter\nattrgetter('autograd')(t)",
    "import importlib\nimportlib.import_module('torch.autograd')",
    "from importlib import import_module as load\nload('torch' + '.autograd')",
    "__import__('torch.autograd')",
    "import sys\nsys.modules['torch.autograd'].grad(y, x)",
    "name = 'torch.autograd'",
    "from torch import *",
    "from torch.func import *",
    "import torch.func",
    "from torch import func",
    "from torch.func import grad, vmap",
    "import torch\ntorch.func.jacrev(f)",
    "import torch\nhelper(torch.func)",
    "from torch._functorch.eager_transforms import vjp",
    "import functorch",
    "from functorch import grad",
    "import torch\ntorch._C._functorch._grad_increment_nesting()",
    "import torch\nwith torch.enable_grad():\n    pass",
    "from torch import set_grad_enabled as s\ns(True)",
    "import torch\ntorch._C._set_grad_enabled(True)",
    "import torch\ntorch.Tensor.backward(x)",
    "from torch import Tensor\nTensor.requires_grad_(x)",
    "import torch\ntorch.zeros(3).requires_grad_()",
    "x.data.requires_grad_(True)",
    "x.requires_grad = True",
    "x.requires_grad, y = True, 1",
    "setattr(x, 'requires_grad', True)",
    "getattr(x, 'requires_grad_')()",
    "import torch\nclass T(torch.Tensor):\n    def f(self):\n        self.requires_grad_()",
    "import torch\ntorch.tensor(1.0, requires_grad=True)",
    "from torch import zeros as z\nz(3, requires_grad=flag)",
    "import torch\ntorch.ones(3, **{'requires_grad': True})",
    "import functools, torch\nfunctools.partial(torch.zeros, requires_grad=True)",
    "grad.new_zeros(3, requires_grad=True)",
    "import torch\ntorch.nn.Parameter(x)",
    "from torch.nn import Parameter\nParameter(x)",
    "loss.backward()",
    "import torch\ntorch.sum(x).backward()",
    "from operator import methodcaller\nmethodcaller('backward')(x)",
    "import torch.utils.checkpoint",
    "from torch.utils.checkpoint import checkpoint",
    "import torch\ntorch._make_dual(x, t, level=0)",
    "import torch\ntorch.library.register_autograd('a::b', f)",
    "from torch._decomp import decompositions_for_jvp",
    "from torch._decomp.decompositions import gelu_backward",
    "import torch._decomp as d\nd.decompositions.gelu_backward(g, x)",
    "from torch._decomp import decomposition_table as t\nt[aten.gelu_backward.default](g, x)",
    "from torch._decomp import get_decompositions\nget_decompositions([aten.tanh_backward])",
]
NOT_BORROWED = [
    "import torch\ntorch.func.vmap(f)",
    "from torch.func import vmap",
    "import torch\ntorch.vmap(f)",
    "import torch\ntorch.ops.aten.gelu_backward(g, x)",
    "import torch\naten = torch.ops.aten\naten.convolution_backward.default(g, x, w)",
    "from torch._decomp import decomposition_table\ndecomposition_table[overload]",
    "import torch\ntorch.zeros(3, requires_grad=False)",
    "import torch\nwith torch.no_grad():\n    pass",
    "from neuronix.autograd import grad, tensor\ngrad(tensor(1.0, requires_grad=True), x)",
    "from neuronix import autograd\nautograd.grad(y, x)",
    "from neuronix.autograd import CustomTensor\nimport torch\nCustomTensor(torch.zeros(3), requires_grad=True)",
    "class T:\n    def f(self):\n        self.requires_grad = True\n        self.backward()",
    "class T:\n    def f(self):\n        self.requires_grad_()",
    "def f():\n    '''As torch.autograd.grad: see `loss.backward()`.'''",
    "raise ValueError('torch.autograd.grad would return None here')",
    "import torch\nuses = x.requires_grad and torch.is_grad_enabled()",
    "import torch\nx = torch.nn.functional.conv2d(x, w)",
]


@pytest.mark.parametrize("source", BORROWED)
def test_checker_finds(source: str) -> None:
    assert borrowings(source)


@pytest.mark.parametrize("source", NOT_BORROWED)
def test_checker_lets_pass(source: str) -> None:
    assert borrowings(source) == []


def test_checker_names_the_place() -> None:
    assert borrowings("import torch\n\ntorch.autograd.grad(y, x)") == ["<source>:3: torch.autograd.grad"]


def test_checker_takes_stated_exceptions_only() -> None:
    source = "class A:\n    def f(self):\n        loss.backward()\n    def g(self):\n        loss.backward()"
    checker = Checker(source, "a.py", {("a.py", "A.f"): "for this test"})
    assert checker.found == ["a.py:5: loss.backward(): whose tensor is this?"]
    assert checker.used_exceptions == {("a.py", "A.f")}
