"""`compare`: one batch through torch and through Neuronix, layer by layer.

Both sides run from the same random seed; hooks note what each module returned, and the gradient that came back to it.
If gradients differ, each module is run once more alone, from torch's inputs and torch's gradient of its result: the
first that differs there is where it begins, whatever has spread from it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor
from neuronix.autograd.disguise import disguise, reveal, torch_code
from neuronix.nn.adoption import adopt
from neuronix.nn.errors import ModuleTypeError
from neuronix.nn.module import Module

__all__ = ["Comparison", "LayerDifference", "compare"]

_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def compare(
    torch_module: torch.nn.Module,
    *inputs: Any,
    loss: Callable[[Any], Any] | None = None,
    ours: Module | None = None,
    tolerance: float | None = None,
    seed: int = 0,
    **kwargs: Any,
) -> Comparison:
    """Run one batch through torch and through Neuronix, and find the first layer whose output or gradient differs.

    Args:
        torch_module: The model; it stays as it is, its running statistics included.
        *inputs: What its ``forward`` takes.
        loss: Makes one number of what ``forward`` returns, with torch's functions.  By default the result's ``loss`` if
            it has one, the result if it is one number, else the mean square of its tensors.
        ours: The Neuronix module to compare with, whose submodules have the same names; by default
            `adopt(torch_module)`.
        tolerance: The difference that is allowed, relative to a tensor's largest entry; by default 1e-9 in float64,
            1e-4 in float32.
        seed: The random seed of both sides, for dropout.  The caller's random numbers go on undisturbed.
        **kwargs: What ``forward`` takes by name.

    Returns:
        A [`Comparison`][neuronix.nn.Comparison]; its ``repr`` is a table.

    Raises:
        ModuleTypeError: If ``torch_module`` isn't a ``torch.nn.Module``, or ``loss`` isn't torch's.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
        >>> report = nn.compare(model, torch.randn(5, 4))
        >>> report.agrees, report.first
        (True, None)
    """
    if not isinstance(torch_module, torch.nn.Module):
        raise ModuleTypeError(f"compare: a torch.nn.Module is expected, got {type(torch_module).__name__}")
    # torch's own modes, open outside, are closed: its side is to be differentiated
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        theirs = _Run(copy.deepcopy(torch_module))
        torch.manual_seed(seed)
        _torch_pass(theirs, _copied(inputs), _copied(kwargs), loss)
        neuronix = _Run(adopt(torch_module) if ours is None else ours)
        torch.manual_seed(seed)
        _our_pass(neuronix, _copied(inputs), _copied(kwargs), loss)
        if tolerance is None:
            dtypes = [tensor.dtype for call in theirs.calls for tensor in call.outputs]
            tolerance = max((_TOLERANCES.get(dtype, 1e-4) for dtype in dtypes), default=1e-9)
        report = Comparison(_differences(theirs, neuronix), theirs.loss, neuronix.loss, tolerance)
        report.find_first(theirs, neuronix)
    return report


@dataclass
class _Call:
    """One call of one module: what it returned, and the gradients that came back to that."""

    name: str
    kind: str
    args: Any
    kwargs: Any
    random_state: Tensor
    outputs: list[Tensor] = field(default_factory=list)
    grads: list[Tensor | None] = field(default_factory=list)


class _Run:
    """One side: the module, hooked, and its calls in the order in which they ended."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.calls: list[_Call] = []
        self.loss = float("nan")
        self._open: list[_Call] = []
        self._handles = []
        for name, part in module.named_modules():
            before = part.register_forward_pre_hook(self._begins(name), with_kwargs=True)
            self._handles += [before, part.register_forward_hook(self._ended)]

    def _begins(self, name: str) -> Callable[..., None]:
        def begins(module: Any, args: Any, kwargs: Any) -> None:
            kind = module._get_name()
            self._open.append(_Call(name, kind, _copied(args), _copied(kwargs), torch.get_rng_state()))

        return begins

    def _ended(self, module: Any, args: Any, result: Any) -> None:
        call = self._open.pop()
        self.calls.append(call)
        for tensor in _differentiable(result):
            call.outputs.append(_values(tensor))
            call.grads.append(None)
            if tensor.requires_grad:
                tensor.register_hook(_keeper(call.grads, len(call.grads) - 1))

    def finish(self, loss: Any) -> None:
        """Note the loss and take the hooks away."""
        self.loss = float(loss)
        for handle in self._handles:
            handle.remove()

    def parameter_grads(self, prefix: str = "") -> dict[str, Tensor]:
        """The gradients of the parameters below a module, those of its submodules included."""
        grads = {}
        for name, parameter in self.module.get_submodule(prefix).named_parameters():
            if parameter.grad is not None:
                grads[name] = parameter.grad
        return grads


def _keeper(grads: list[Tensor | None], position: int) -> Callable[[Any], None]:
    def keep(grad: Any) -> None:
        grads[position] = _values(grad)

    return keep


def _torch_pass(run: _Run, args: Any, kwargs: Any, loss: Callable[[Any], Any] | None) -> None:
    value = (loss or _default_loss)(run.module(*args, **kwargs))
    if not isinstance(value, Tensor):
        raise ModuleTypeError(
            f"compare: loss returned {type(value).__name__} for torch's result", hint="write it with torch's functions"
        )
    if value.requires_grad:
        value.backward()  # type: ignore[no-untyped-call]
    run.finish(value.detach())


def _our_pass(run: _Run, args: Any, kwargs: Any, loss: Callable[[Any], Any] | None) -> None:
    result = run.module(*args, **kwargs)
    with torch_code():
        value = reveal((loss or _default_loss)(disguise(result)))
    if value.requires_grad:
        value.backward()
    run.finish(value.detach())


def _default_loss(result: Any) -> Any:
    if getattr(result, "loss", None) is not None:
        return result.loss
    tensors = _differentiable(result)
    if len(tensors) == 1 and tensors[0].numel() == 1:
        return tensors[0].sum()
    return sum(tensor.abs().square().mean() for tensor in tensors)


# What is reported


@dataclass
class LayerDifference:
    """What one call of one layer gave on both sides.

    Attributes:
        name: The layer's name in the model; empty for the model itself.
        kind: Its class.
        output: The largest difference between the results.
        output_size: The largest entry of torch's result.
        gradient: The largest difference between the gradients with respect to the result; ``None`` without gradient.
        gradient_size: The largest entry of torch's.
        parameters: For each of the layer's own parameters the largest difference between the gradients, and the largest
            entry of torch's.
    """

    name: str
    kind: str
    output: float
    output_size: float
    gradient: float | None
    gradient_size: float
    parameters: dict[str, tuple[float, float]]

    def __str__(self) -> str:
        return f"{self.name!r} ({self.kind})" if self.name else f"the model ({self.kind})"


@dataclass(repr=False)
class Comparison:
    """What [`compare`][neuronix.nn.compare] found.

    Attributes:
        layers: A [`LayerDifference`][neuronix.nn.LayerDifference] for each call, in the order in which they ended.
        torch_loss: torch's loss.
        loss: Neuronix's.
        tolerance: The relative difference that was allowed.
        first: The first layer that differs; ``None`` if all agree.
        what: ``"output"`` or ``"gradient"``, where the first difference is.
        details: The first difference in words.
    """

    layers: list[LayerDifference]
    torch_loss: float
    loss: float
    tolerance: float
    first: LayerDifference | None = None
    what: str | None = None
    details: str = ""

    @property
    def agrees(self) -> bool:
        """Whether nothing differs by more than the tolerance."""
        return self.first is None

    def find_first(self, theirs: _Run, ours: _Run) -> None:
        """Find the first difference: of results as they came, then of gradients, each layer alone."""
        for layer in self.layers:
            if self._differs(layer.output, layer.output_size, 0.0):
                self.first, self.what = layer, "output"
                self.details = f"its result is off by {layer.output:.2g}, of {layer.output_size:.2g}"
                return
        largest = max((layer.gradient_size for layer in self.layers), default=0.0)
        wrong = [layer for layer in reversed(self.layers) if self._gradient_differs(layer, largest)]
        if not wrong:
            return
        self.first, self.what = wrong[0], "gradient"
        self.details = "its gradients differ"
        for layer, call in zip(self.layers, theirs.calls, strict=True):
            for name, difference, size in _alone(theirs, ours, call):
                if self._differs(difference, size, largest):
                    self.first = layer
                    self.details = f"the gradient of its {name} is off by {difference:.2g}, of {size:.2g}"
                    return

    def _gradient_differs(self, layer: LayerDifference, largest: float) -> bool:
        pairs = [*layer.parameters.values(), (layer.gradient or 0.0, layer.gradient_size)]
        return any(self._differs(difference, size, largest) for difference, size in pairs)

    def _differs(self, difference: float, size: float, largest: float) -> bool:
        # A gradient that is zero but for rounding, as that of a bias before a batch norm, is measured by the others.
        return not difference <= self.tolerance * max(size, 1e-3 * largest)  # NaN differs

    def __repr__(self) -> str:
        if self.first is None:
            head = f"agrees within {self.tolerance:g}: loss {self.loss:.7g}"
        else:
            head = f"first difference: the {self.what} of {self.first}: {self.details}"
        rows = [("layer", "output", "difference", "gradient", "difference", "parameters' gradients")]
        for layer in self.layers:
            worst = max((difference for difference, _ in layer.parameters.values()), default=None)
            mark = "  <--" if layer is self.first else ""
            rows.append(
                (
                    f"{layer.name or '(model)'}: {layer.kind}",
                    f"{layer.output_size:.2g}",
                    f"{layer.output:.1g}",
                    f"{layer.gradient_size:.2g}" if layer.gradient is not None else "",
                    f"{layer.gradient:.1g}" if layer.gradient is not None else "",
                    ("" if worst is None else f"{worst:.1g}") + mark,
                )
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([head, *lines])


def _differences(theirs: _Run, ours: _Run) -> list[LayerDifference]:
    """A line for each call; both sides must have made the same ones."""
    names = [[call.name for call in run.calls] for run in (theirs, ours)]
    if names[0] != names[1]:
        at = next((i for i, (a, b) in enumerate(zip(*names, strict=False)) if a != b), min(map(len, names)))
        called = [side[at] if at < len(side) else "nothing" for side in names]
        raise ModuleTypeError(
            f"compare: the sides call different layers: number {at} is {called[0]!r} in torch and {called[1]!r} here"
        )
    found = []
    expected, got = theirs.parameter_grads(), ours.parameter_grads()
    for call, other in zip(theirs.calls, ours.calls, strict=True):
        output = [_difference(a, b) for a, b in zip(call.outputs, other.outputs, strict=True)]
        grads = [
            _difference(a, b) for a, b in zip(call.grads, other.grads, strict=True) if a is not None or b is not None
        ]
        own = theirs.module.get_submodule(call.name).named_parameters(recurse=False)
        full = {name: f"{call.name}.{name}" if call.name else name for name, _ in own}
        found.append(
            LayerDifference(
                call.name,
                call.kind,
                max((difference for difference, _ in output), default=0.0),
                max((size for _, size in output), default=0.0),
                max((difference for difference, _ in grads), default=None),
                max((size for _, size in grads), default=0.0),
                {
                    name: _difference(expected.get(path), got.get(path))
                    for name, path in full.items()
                    if path in expected or path in got
                },
            )
        )
    return found


def _difference(expected: Tensor | None, got: Tensor | None) -> tuple[float, float]:
    """The largest difference between two tensors, and the largest entry of the first; ``None`` counts as zeros."""
    if expected is None or got is None:
        there = expected if got is None else got
        size = _largest(there)
        return size, size if got is None else 0.0
    if expected.shape != got.shape:
        return float("inf"), _largest(expected)
    same = (expected == got) | (expected.isnan() & got.isnan())  # infinities too
    return _largest(torch.where(same, torch.zeros_like(expected), expected - got)), _largest(expected)


def _largest(tensor: Tensor | None) -> float:
    return float(tensor.abs().max()) if tensor is not None and tensor.numel() else 0.0


# One layer alone


def _alone(theirs: _Run, ours: _Run, call: _Call) -> list[tuple[str, float, float]]:
    """Differentiate one call again on both sides, from torch's inputs and torch's gradient of its result.

    Returns:
        For each input and parameter its name, the difference and the size.
    """
    if not any(grad is not None for grad in call.grads):
        return []
    results = []
    for run, leaf in ((theirs, _torch_leaf), (ours, _our_leaf)):
        part = run.module.get_submodule(call.name)
        part.zero_grad()
        leaves: list[Any] = []

        def given(tensor: Any, leaf: Any = leaf, leaves: list[Any] = leaves) -> Any:
            if not tensor.is_floating_point():
                return tensor
            leaves.append(leaf(tensor))
            return leaves[-1].clone()  # not a leaf, so that the layer may change it in place

        args, kwargs = _mapped(call.args, given), _mapped(call.kwargs, given)
        torch.set_rng_state(call.random_state)
        total: Any = 0
        for output, grad in zip(_differentiable(part(*args, **kwargs)), call.grads, strict=True):
            if grad is not None and output.requires_grad:
                total = total + (output * grad).sum()
        if not isinstance(total, int):
            total.backward()
        inputs = {f"input {position}": tensor.grad for position, tensor in enumerate(leaves)}
        results.append({**inputs, **run.parameter_grads(call.name)})
    expected, got = results
    pairs = [(name, *_difference(expected.get(name), got.get(name))) for name in {**expected, **got}]
    return [pair for pair in pairs if expected.get(pair[0]) is not None or got.get(pair[0]) is not None]


def _torch_leaf(tensor: Tensor) -> Any:
    return tensor.detach().clone().requires_grad_()


def _our_leaf(tensor: Tensor) -> Any:
    return CustomTensor(tensor.detach().clone(), requires_grad=True)


# Tensors in arguments and results


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    return torch.utils._pytree.tree_map(
        lambda leaf: function(leaf) if isinstance(leaf, (Tensor, CustomTensor)) else leaf, value
    )


def _copied(value: Any) -> Any:
    """Tensors copied, outside any graph; but a leaf that requires a gradient stays one."""
    return _mapped(value, _copied_tensor)


def _copied_tensor(tensor: Any) -> Tensor:
    return _values(tensor)


def _values(tensor: Any) -> Tensor:
    return (tensor.data if isinstance(tensor, CustomTensor) else tensor.detach()).clone()


def _differentiable(result: Any) -> list[Any]:
    leaves = torch.utils._pytree.tree_leaves(result)
    return [
        leaf
        for leaf in leaves
        if isinstance(leaf, (Tensor, CustomTensor)) and (leaf.is_floating_point() or leaf.is_complex())
    ]
