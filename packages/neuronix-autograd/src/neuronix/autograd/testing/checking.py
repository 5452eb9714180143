"""Checking derivative rules against finite differences, entry by entry.

The numbers are compared as Jacobians: one column from central differences for each element of the input, one row from a
backward pass for each element of the output.  Both cost what they cost; this is for small tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd.backward import grad
from neuronix.autograd.errors import GradcheckError, ShapeError
from neuronix.autograd.tensor import CustomTensor

__all__ = ["gradcheck", "gradgradcheck"]


def gradcheck(
    func: Callable[..., Any],
    inputs: CustomTensor | Sequence[Any],
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
) -> bool:
    """Check the gradients of ``func`` against central differences.

    For each element x of an input and each element f of an output, ``gradient`` is compared with::

        ∂f/∂x  ≈  (f(x + ε) − f(x − ε)) / 2ε

    A complex input is moved along both axes; its gradient is torch's: that of a real loss L is ∂L/∂Re z + i ∂L/∂Im z.

    Args:
        func: Takes the inputs, returns a tensor or a tuple of tensors.
        inputs: A tensor or several; those that require grad are checked, and must be float64 or complex128.
        eps: The step ε.
        atol: Absolute tolerance.
        rtol: Relative tolerance.
        raise_exception: Raise if a check fails; otherwise return ``False``.
        nondet_tol: By how much two backward passes may differ.
        check_undefined_grad: Check also that a missing gradient of one of several outputs counts as zeros.
        check_grad_dtypes: Check also that gradients have the dtypes of their inputs.
        check_batched_grad: Check also that ``torch.vmap`` over the backward pass gives the same rows.

    Returns:
        Whether all checks passed.

    Raises:
        GradcheckError: If a check fails, with the operation, input, entry, received and expected number; and, whatever
            ``raise_exception`` says, if there is nothing to check or an input has too few digits.

    Example:
        >>> import torch
        >>> from neuronix.autograd import gradcheck, tensor
        >>> x = tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
        >>> gradcheck(lambda x: x * x * 3, (x,))
        True

    Differs from torch:
        There is no ``fast_mode`` (see
        [`check_against_finite_differences`][neuronix.autograd.testing.check_against_finite_differences] for a check
        along one random direction) and no forward mode; a float32 input is an error, not a warning, because its
        differences have no correct digits.
    """
    arguments = [inputs] if isinstance(inputs, (CustomTensor, Tensor)) else list(inputs)
    wanted = _wanted(arguments, "gradcheck")
    check = _Check(func, arguments, wanted, eps=eps, atol=atol, rtol=rtol)
    if isinstance(func, _Gradients):
        check.name = f"gradgradcheck: the gradients of {func.name}"
    try:
        check.compare_jacobians()
        check.compare_passes(nondet_tol)
        if check_undefined_grad:
            check.compare_missing_gradients()
        if check_grad_dtypes:
            check.compare_dtypes()
        if check_batched_grad:
            check.compare_batched()
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: CustomTensor | Sequence[Any],
    grad_outputs: CustomTensor | Sequence[Any] | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
) -> bool:
    """Check the gradients of the gradients of ``func`` against central differences.

    The function that is checked takes the inputs and the gradients of the outputs, and returns the gradients of the
    inputs: a rule has to be differentiable in both.

    Args:
        func: Takes the inputs, returns a tensor or a tuple of tensors.
        inputs: A tensor or several; those that require grad are checked, and must be float64 or complex128.
        grad_outputs: The gradients of the outputs; by default random ones.
        eps: The step of the differences.
        atol: Absolute tolerance.
        rtol: Relative tolerance.
        gen_non_contig_grad_outputs: Make the random gradients of the outputs non-contiguous.
        raise_exception: Raise if a check fails; otherwise return ``False``.
        nondet_tol: By how much two backward passes may differ.
        check_undefined_grad: As for [`gradcheck`][neuronix.autograd.gradcheck].
        check_grad_dtypes: As for [`gradcheck`][neuronix.autograd.gradcheck].
        check_batched_grad: As for [`gradcheck`][neuronix.autograd.gradcheck].

    Returns:
        Whether all checks passed.

    Raises:
        GradcheckError: As for [`gradcheck`][neuronix.autograd.gradcheck].

    Example:
        >>> import torch
        >>> from neuronix.autograd import gradgradcheck, tensor
        >>> x = tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
        >>> gradgradcheck(lambda x: x * x * x, (x,))
        True
    """
    arguments = [inputs] if isinstance(inputs, (CustomTensor, Tensor)) else list(inputs)
    wanted = _wanted(arguments, "gradgradcheck")
    if grad_outputs is None:
        outputs = _outputs(func, arguments)
        seeds: list[Any] = [_random_like(output, not_contiguous=gen_non_contig_grad_outputs) for output in outputs]
    else:
        seeds = [grad_outputs] if isinstance(grad_outputs, (CustomTensor, Tensor)) else list(grad_outputs)
        seeds = [
            CustomTensor(seed.data.clone(), requires_grad=seed.is_floating_point() or seed.is_complex())
            for seed in seeds
        ]

    return gradcheck(
        _Gradients(func, arguments, wanted),
        [*arguments, *seeds],
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
        check_undefined_grad=check_undefined_grad,
        check_grad_dtypes=check_grad_dtypes,
        check_batched_grad=check_batched_grad,
    )


class _Gradients:
    """The gradients of a function as a function of its inputs and of the gradients of its outputs."""

    def __init__(self, func: Callable[..., Any], arguments: Sequence[Any], wanted: Sequence[int]) -> None:
        self.func = func
        self.wanted = wanted
        self.count = len(arguments)
        outputs = _outputs(func, arguments)
        self.name = _operation(func, outputs[0]) if outputs else _name(func)

    def __call__(self, *both: Any) -> tuple[CustomTensor, ...]:
        values, cotangents = list(both[: self.count]), list(both[self.count :])
        inputs = [values[i] for i in self.wanted]
        found = grad(_outputs(self.func, values), inputs, cotangents, create_graph=True, materialize_grads=True)
        return tuple(tensor for tensor in found if tensor is not None)


class _Check:
    """A function with its inputs, and the comparisons that `gradcheck` makes of it."""

    def __init__(
        self, func: Callable[..., Any], arguments: list[Any], wanted: list[int], *, eps: float, atol: float, rtol: float
    ) -> None:
        self.func = func
        self.name: str | None = None
        self.arguments = arguments
        self.wanted = wanted
        self.eps, self.atol, self.rtol = eps, atol, rtol
        self.leaves: list[CustomTensor] = [arguments[i] for i in wanted]
        self.outputs = _outputs(func, arguments)
        if not self.outputs:
            raise GradcheckError(
                "gradcheck: no output requires grad: there is nothing to check",
                hint="is the result detached, or computed under no_grad()?",
            )

    def compare_jacobians(self) -> None:
        """Compare the gradient of each element of each output with differences."""
        analytical = [list(self.rows(output)) for output in self.outputs]
        for place, leaf in enumerate(self.leaves):
            for entry in range(leaf.numel()):
                for direction in (1.0, 1j) if leaf.is_complex() else (1.0,):
                    columns = self.differences(leaf, entry, direction)
                    for number, (output, rows) in enumerate(zip(self.outputs, analytical, strict=True)):
                        self.compare_column(number, output, place, entry, direction, rows, columns[number])

    def compare_column(
        self,
        number: int,
        output: CustomTensor,
        place: int,
        entry: int,
        direction: complex,
        rows: list[tuple[complex, list[Tensor]]],
        column: Tensor,
    ) -> None:
        """Compare the derivatives of all elements of one output with respect to one entry of one input."""
        per_element = 2 if output.is_complex() else 1
        flat = column.reshape(-1)
        for position, (seed, gradients) in enumerate(rows):
            element = position // per_element
            # A real loss L = Re(conj(seed) · f) changes by Re(conj(gradient) · step).
            expected = (torch.conj(torch.tensor(seed, dtype=torch.complex128)) * flat[element]).real.item()
            gradient = gradients[place].reshape(-1)[entry].item()
            received = (complex(gradient).conjugate() * direction).real
            if abs(received - expected) <= self.atol + self.rtol * abs(expected) or (
                received != received and expected != expected
            ):
                continue
            leaf = self.leaves[place]
            raise GradcheckError(
                f"{self.title(output)}: the gradient of output {number}{_index(output, element)} with "
                f"respect to input {self.wanted[place]}{_index(leaf, entry)} is {received:.10g}, but finite "
                f"differences give {expected:.10g}"
                + (" (along the imaginary axis)" if direction == 1j else "")
                + (" (of the imaginary part)" if seed == 1j else ""),
                hint="compare the rule with the operation's formula; at a kink or jump move the input away from it",
            )

    def rows(self, output: CustomTensor) -> Iterable[tuple[complex, list[Tensor]]]:
        """For each element of ``output`` (twice if complex: real and imaginary part) the seed and the gradients."""
        for entry in range(output.numel()):
            for seed in (1.0, 1j) if output.is_complex() else (1.0,):
                one = torch.zeros_like(output.data, memory_format=torch.contiguous_format)
                one.view(-1)[entry].fill_(seed)
                yield seed, self.gradients([output], [one])

    def gradients(self, outputs: Sequence[CustomTensor], seeds: Sequence[Any]) -> list[Tensor]:
        """The gradients with respect to all checked inputs, with zeros for none; checked for shape."""
        try:
            found = grad(outputs, self.leaves, seeds, retain_graph=True, allow_unused=True)
        except ShapeError as error:  # a rule that returned the wrong shape
            raise GradcheckError(str(error)) from error
        checked = []
        for place, (leaf, gradient) in enumerate(zip(self.leaves, found, strict=True)):
            values = torch.zeros_like(leaf.data) if gradient is None else gradient.data
            if values.shape != leaf.shape:
                raise GradcheckError(
                    f"{self.title(outputs[0])}: the gradient with respect to input {self.wanted[place]} "
                    f"has shape {tuple(values.shape)}, but the input has shape {tuple(leaf.shape)}"
                )
            checked.append(values)
        return checked

    def differences(self, leaf: CustomTensor, entry: int, direction: complex) -> list[Tensor]:
        """(f(x + ε) − f(x − ε)) / 2ε for one entry of one input; a column for each output."""
        ahead, behind = self.moved(leaf, entry, direction * self.eps), self.moved(leaf, entry, -direction * self.eps)
        return [(a - b) / (2 * self.eps) for a, b in zip(ahead, behind, strict=True)]

    def moved(self, leaf: CustomTensor, entry: int, step: complex) -> list[Tensor]:
        """The outputs with one entry of one input moved by ``step``."""
        values = leaf.data.clone(memory_format=torch.contiguous_format)
        values.view(-1)[entry].add_(step if leaf.is_complex() else step.real)
        moved = CustomTensor(values, requires_grad=True)  # the function may ask it for gradients, as in gradgradcheck
        arguments = [moved if argument is leaf else argument for argument in self.arguments]
        return [output.data for output in _outputs(self.func, arguments)]

    def compare_passes(self, tolerance: float) -> None:
        """Two backward passes must give the same numbers."""
        seeds = [_random_like(output).data for output in self.outputs]
        first, second = (self.gradients(_outputs(self.func, self.arguments), seeds) for _ in range(2))
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            difference = (one - other).abs().max().item() if one.numel() else 0.0
            if difference > tolerance:
                raise GradcheckError(
                    f"{self.title(self.outputs[0])}: two backward passes give gradients with respect to "
                    f"input {self.wanted[place]} that differ by {difference:.3g}",
                    hint="if randomness or the order of sums explains that, give nondet_tol",
                )

    def compare_missing_gradients(self) -> None:
        """Without a gradient for some of several outputs the gradients are those for zeros there."""
        if len(self.outputs) < 2:
            return
        seeds = [_random_like(output).data for output in self.outputs]
        for number, output in enumerate(self.outputs):
            zeros = [seed if i == number else torch.zeros_like(seed) for i, seed in enumerate(seeds)]
            alone, padded = self.gradients([output], [seeds[number]]), self.gradients(self.outputs, zeros)
            self.compare_all(alone, padded, f"of output {number} alone", "with zeros for the other outputs")

    def compare_dtypes(self) -> None:
        """Gradients have the dtypes of their inputs."""
        seeds = [_random_like(output).data for output in self.outputs]
        for place, (leaf, gradient) in enumerate(zip(self.leaves, self.gradients(self.outputs, seeds), strict=True)):
            if gradient.dtype is not leaf.dtype:
                raise GradcheckError(
                    f"{self.title(self.outputs[0])}: the gradient with respect to input "
                    f"{self.wanted[place]} is {gradient.dtype}, but the input is {leaf.dtype}"
                )

    def compare_batched(self) -> None:
        """A backward pass over a batch of gradients, by ``torch.vmap``, gives those of one by one."""
        for output in self.outputs:
            batch = torch.stack([_random_like(output, seed=seed).data for seed in (11, 12)])
            batched = torch.vmap(lambda seed, output=output: tuple(self.gradients([output], [seed])))(batch)
            for row, seed in enumerate(batch):
                singly = self.gradients([output], [seed])
                self.compare_all([part[row] for part in batched], singly, "under torch.vmap", "one by one")

    def compare_all(self, received: Sequence[Tensor], expected: Sequence[Tensor], how: str, other: str) -> None:
        for place, (one, two) in enumerate(zip(received, expected, strict=True)):
            if not torch.allclose(one, two, rtol=self.rtol, atol=self.atol, equal_nan=True):
                raise GradcheckError(
                    f"{self.title(self.outputs[0])}: the gradient with respect to input "
                    f"{self.wanted[place]} {how} is {one}, {other} it is {two}"
                )

    def title(self, output: CustomTensor) -> str:
        """Which check has failed, and of what."""
        return self.name or f"gradcheck: {_operation(self.func, output)}"


def _operation(func: Callable[..., Any], output: CustomTensor) -> str:
    """What computed an output: the operation if there is one alone, else the function's name."""
    node = output.grad_fn
    if node is not None and all(parent is None or parent.is_leaf for parent in node.parents):
        return node.name
    return _name(func)


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", type(func).__name__))


def _wanted(arguments: Sequence[Any], name: str) -> list[int]:
    """The positions of the inputs to check."""
    wanted = []
    for position, argument in enumerate(arguments):
        if not isinstance(argument, CustomTensor) or not argument.requires_grad:
            continue
        if argument.dtype not in (torch.float64, torch.complex128):
            raise GradcheckError(
                f"{name}: input {position} is {argument.dtype}: differences of numbers with so few digits say nothing",
                hint="make it torch.float64 (or complex128)",
            )
        wanted.append(position)
    if not wanted:
        raise GradcheckError(
            f"{name}: at least one input must require grad", hint="tensor(..., dtype=torch.float64, requires_grad=True)"
        )
    return wanted


def _outputs(func: Callable[..., Any], arguments: Sequence[Any]) -> list[CustomTensor]:
    """The differentiable outputs."""
    result = func(*arguments)
    items = result if isinstance(result, (tuple, list)) else [result]
    return [item for item in items if isinstance(item, CustomTensor) and item.requires_grad]


def _random_like(output: CustomTensor, *, seed: int = 7, not_contiguous: bool = False) -> CustomTensor:
    """A random leaf shaped as ``output``."""
    shape = (*output.shape, 2) if not_contiguous else output.shape
    values = torch.randn(shape, dtype=output.dtype, generator=torch.Generator().manual_seed(seed))
    return CustomTensor(values[..., 0] if not_contiguous else values, requires_grad=True)


def _index(tensor: CustomTensor, entry: int) -> str:
    """Where an element stands, as in ``[0, 2]``."""
    if tensor.ndim == 0:
        return ""
    place = torch.unravel_index(torch.tensor(entry), tensor.shape)
    return f"[{', '.join(str(int(axis)) for axis in place)}]"
