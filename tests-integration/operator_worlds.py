"""Beyond gradients: forward mode, torch.vmap, changes in place, bad input and memory, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from operator_columns import (
    LOOSER,
    SPELT,
    Column,
    call,
    check_close,
    differentiate,
    tracked,
    weights,
)
from torch import Tensor
from torch.testing._internal.opinfo.core import OpInfo, SampleInput
from torch.utils._pytree import tree_flatten, tree_map

from neuronix.autograd import AutogradGraph, CustomTensor, grad, jvp, saved_tensors_hooks
from neuronix.autograd.errors import NeuronixError


class Function:
    """An operator on a sample as a function of its leaves, which returns its results that are numbers."""

    def __init__(self, info: OpInfo, sample: SampleInput, *, symmetrized: bool = False) -> None:
        self.info, self.sample, self.symmetrized = info, sample, symmetrized
        tensors = tree_flatten((sample.input, sample.args, sample.kwargs))[0]
        self.values = [x.detach().clone() for x in tensors if isinstance(x, Tensor) and x.requires_grad]

    def __call__(self, *leaves: Any) -> tuple[Any, ...]:
        given = iter(leaves)
        return tuple(call(self.info, self.sample, lambda _: next(given), symmetrized=self.symmetrized)[0])


class Forward(Column):
    """Products of the Jacobian with a direction, against torch's forward mode, or its double backward pass."""

    name = "forward"
    heading = "forward mode"
    about = (
        "the Jacobian times a random direction, against PyTorch's forward mode or, where it has none, double backward"
    )
    most = 1

    def applies(self, info: OpInfo) -> bool:
        return True

    def reference(self, info: OpInfo, sample: SampleInput) -> Any:
        function = Function(info, sample, symmetrized=True)
        if not function.values:
            return None
        direction = tuple(weights(function.values, seed=1))
        for forward in (torch.func.jvp, torch.autograd.functional.jvp):
            try:
                outputs, products = forward(function, tuple(function.values), direction)
            except (RuntimeError, TypeError, IndexError):  # no formula of the first or second kind, or no result
                continue
            return (function, direction, outputs, products) if outputs else None
        return None

    def compare(self, info: OpInfo, sample: SampleInput, expected: Any) -> None:
        function, direction, *theirs = expected
        ours = jvp(function, tuple(function.values), direction)
        for what, received, wanted in zip(("output", "product"), ours, theirs, strict=True):
            for number, pair in enumerate(zip(received, wanted, strict=True)):
                check_close(*pair, f"{what} {number}", LOOSER.get(info.name, 1e-9), 1e-9)


class Vectorized(Column):
    """Gradients of two samples at once by torch.vmap, against torch's gradients of one after the other."""

    name = "vmap"
    heading = "vmap"
    about = "gradients of two inputs at once under `torch.vmap`, against one after the other"
    most = 1

    def applies(self, info: OpInfo) -> bool:
        return True

    def reference(self, info: OpInfo, sample: SampleInput) -> Any:
        function = Function(info, sample)
        rows = [[value * factor for value in function.values] for factor in (1.0, 0.9)]
        try:
            given = weights(function(*rows[0]), seed=1)
            leaves = [[x.clone().requires_grad_() for x in row] for row in rows]
            found = [differentiate(function(*row), row, torch.autograd.grad, given) for row in leaves]
            if all(gradient is None for gradient in found[0]):
                return None
            stacked = [torch.stack(same) for same in zip(*rows, strict=True)]

            def total(*leaves: Tensor) -> Any:
                return sum((x * w).sum().real for x, w in zip(function(*leaves), given, strict=True))

            torch.vmap(torch.func.grad(total, argnums=tuple(range(len(stacked)))))(*stacked)
        except (RuntimeError, NotImplementedError):  # torch itself can't
            return None
        return function, given, stacked, found

    def compare(self, info: OpInfo, sample: SampleInput, expected: Any) -> None:
        function, given, stacked, rows = expected

        def one(*values: Tensor) -> tuple[Tensor, ...]:
            leaves = [tracked(value) for value in values]
            found = differentiate(function(*leaves), leaves, grad, given)
            return tuple(torch.zeros_like(v) if g is None else g.data for v, g in zip(values, found, strict=True))

        together = torch.vmap(one)(*stacked)
        for number, batch in enumerate(together):
            for row, alone in zip(batch, rows, strict=True):
                check_close(row, alone[number], f"gradient {number}", LOOSER.get(info.name, 1e-9), 1e-9)


class InPlace(Column):
    """What was computed from, or into, a tensor that is changed in place before the backward pass.

    The gradient is that of the same program without changes in place, or there is an error; never another number.
    """

    name = "in_place"
    heading = "in place"
    about = (
        "a change in place of a result, an input or a constant before the backward pass: the gradient of the program "
        "as it ran, or an error, never another number"
    )
    most = 1

    def applies(self, info: OpInfo) -> bool:
        return True

    def reference(self, info: OpInfo, sample: SampleInput) -> Any:
        function = Function(info, sample)
        leaves = [value.clone().requires_grad_() for value in function.values]
        inputs = [leaf * 1 for leaf in leaves]
        try:
            outputs = list(function(*inputs))
            if any(x is y for x in outputs for y in inputs) or not any(x.requires_grad for x in outputs):
                return None
            given = weights(outputs, seed=1)
            unchanged, *doubled = (
                differentiate(program, leaves, torch.autograd.grad, given, retain_graph=True)
                for program in [outputs, *([*outputs[:n], x * 2, *outputs[n + 1 :]] for n, x in enumerate(outputs))]
            )
        except (RuntimeError, NotImplementedError):  # torch itself can't
            return None
        return unchanged, doubled, [self.changed(function, n, given, unchanged) for n in range(len(unchanged))]

    def changed(self, function: Function, number: int, given: list[Tensor], unchanged: list[Any]) -> list[Any]:
        """The gradients after an input was doubled: a result that is a view of it has doubled, too."""
        leaves = [value.clone().requires_grad_() for value in function.values]
        inputs = [leaf * 1 for leaf in leaves]
        outputs = list(function(*inputs))
        try:
            inputs[number].mul_(2)
            return differentiate(outputs, leaves, torch.autograd.grad, given)
        except RuntimeError:  # torch refuses, and so may we; a number must be the right one all the same
            shared = any(x.untyped_storage().data_ptr() == inputs[number].untyped_storage().data_ptr() for x in outputs)
            return [None if x is None else 2 * x for x in unchanged] if shared else unchanged

    def compare(self, info: OpInfo, sample: SampleInput, expected: Any) -> None:
        unchanged, doubled, changed = expected
        for n, wanted in enumerate(doubled):
            self.attempt(info, sample, f"output {n} changed", lambda _i, _c, outputs, n=n: outputs[n].mul_(2), wanted)
        for n, wanted in enumerate(changed):
            self.attempt(info, sample, f"input {n} changed", lambda inputs, _c, _o, n=n: inputs[n].mul_(2), wanted)
            self.attempt(
                info, sample, f"input {n} changed behind", lambda inputs, _c, _o, n=n: inputs[n].data.mul_(2), unchanged
            )
        self.attempt(info, sample, "constants changed", lambda _i, constants, _o: change_all(constants), unchanged)

    def attempt(self, info: OpInfo, sample: SampleInput, what: str, change: Callable[..., Any], wanted: Any) -> None:
        """Compute, change something, differentiate, and compare, unless there was an error."""
        inputs: list[Any] = []
        constants: list[Tensor] = []

        def computed(value: Tensor) -> Any:
            leaves.append(tracked(value))
            inputs.append(leaves[-1] * 1)
            return inputs[-1]

        def constant(value: Tensor) -> Tensor:
            constants.append(value)
            return value

        leaves: list[CustomTensor] = []
        with AutogradGraph():
            outputs, _ = call(info, sample, computed, constant)
            if not any(isinstance(x, CustomTensor) and x.requires_grad for x in outputs):
                return
            try:
                change(inputs, constants, outputs)
                found = differentiate(outputs, leaves, grad, weights(outputs, seed=1))
            except NeuronixError:
                return
        for number, pair in enumerate(zip(found, wanted, strict=True)):
            check_close(*pair, f"{what}: gradient {number}", 1e-8, 1e-8)


def change_all(tensors: list[Tensor]) -> None:
    """Give tensors other values."""
    for x in tensors:
        if x.dtype is torch.bool:
            x.logical_not_()
        elif x.dtype.is_floating_point or x.dtype.is_complex:
            x.mul_(2)
        else:
            x.zero_()  # an index that there is


class BadInput(Column):
    """Errors: of torch's class, and the graph as it was, even while somebody holds the error."""

    name = "bad_input"
    heading = "bad input"
    about = "errors of PyTorch's class, and a graph that is as it was"
    most = 10

    def applies(self, info: OpInfo) -> bool:
        return info.error_inputs_func is not None

    def samples(self, info: OpInfo) -> list[Any]:
        """Each bad input, of constants and of tensors that require grad."""
        bad_inputs = list(info.error_inputs_func(info, "cpu"))
        return [(bad.sample_input, grads) for bad in bad_inputs for grads in (False, True)]

    def reference(self, info: OpInfo, sample: tuple[SampleInput, bool]) -> Any:
        return self.error(info, *sample, lambda value, grads: value.requires_grad_(grads))

    def error(
        self, info: OpInfo, sample: SampleInput, grads: bool, leaf: Callable[[Tensor, bool], Any]
    ) -> Exception | None:
        """What is raised."""

        def own(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            copied = value.detach().clone() if value.layout is torch.strided else value
            return leaf(copied, grads and (copied.dtype.is_floating_point or copied.dtype.is_complex))

        given, args, kwargs = tree_map(own, (sample.input, sample.args, sample.kwargs))
        try:
            SPELT.get(info.name, info.op)(given, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  (whatever it is)
            return error
        return None

    def compare(self, info: OpInfo, sample: tuple[SampleInput, bool], expected: Exception) -> None:
        leaves: list[CustomTensor] = []

        def leaf(value: Tensor, grads: bool) -> CustomTensor:
            leaves.append(CustomTensor(value, requires_grad=grads))
            return leaves[-1]

        with AutogradGraph() as graph:
            kept = tracked(torch.ones(2)) * 2
            nodes = graph.num_nodes()
            error = self.error(info, *sample, leaf)
            if not isinstance(error, type(expected)):
                raise AssertionError(f"{type(error).__name__} instead of {type(expected).__name__}: {expected}")
            if graph.num_nodes() != nodes:
                raise AssertionError(f"{graph.num_nodes() - nodes} nodes more in the graph after the error")
            if any(x.grad is not None for x in leaves):
                raise AssertionError("a gradient after the error")
            kept.sum().backward()  # the graph still works


class Memory(Column):
    """Bytes of what is saved for the backward pass, against those that torch saves."""

    name = "memory"
    heading = "memory"
    about = "the bytes that are kept for the backward pass, arguments and results among them: no more than in PyTorch"

    def applies(self, info: OpInfo) -> bool:
        return True

    def kept(
        self, info: OpInfo, sample: SampleInput, leaf: Callable[[Tensor], Any], hooks: Callable[..., Any]
    ) -> int | None:
        """How many bytes hold the saved tensors; ``None`` if nothing is differentiable."""
        saved: list[Tensor] = []

        def pack(value: Tensor) -> Tensor:
            saved.append(value)
            return value

        torch.manual_seed(0)
        with hooks(pack, lambda value: value):
            outputs, _ = call(info, sample, leaf)
        if not any(x.requires_grad for x in outputs):
            return None
        memories = [value.untyped_storage() for value in saved if value.layout is torch.strided]
        return sum({memory.data_ptr(): memory.nbytes() for memory in memories}.values())

    def reference(self, info: OpInfo, sample: SampleInput) -> int | None:
        try:
            return self.kept(info, sample, Tensor.requires_grad_, torch.autograd.graph.saved_tensors_hooks)
        except RuntimeError:
            return None

    def compare(self, info: OpInfo, sample: SampleInput, expected: int) -> None:
        with AutogradGraph():
            received = self.kept(info, sample, tracked, saved_tensors_hooks)
        if received is None or received > expected:
            raise AssertionError(f"{received} bytes are kept; in PyTorch {expected}")
