"""Where a number went wrong: the user's line behind each operation, and the first value that isn't finite.

Both watch operations as they are computed (`Watcher`), and neither costs anything outside its block.
"""

from __future__ import annotations

import linecache
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neuronix.autograd.errors import AnomalyError
from neuronix.autograd.node import Node
from neuronix.autograd.primitive import Primitive
from neuronix.autograd.tensor import CustomTensor
from neuronix.autograd.watching.hooks import as_tuple, by_argument
from neuronix.autograd.watching.watcher import Watcher

__all__ = ["Line", "detect_anomaly", "record_lines"]


class Line(NamedTuple):
    """A place in the user's program.

    Attributes:
        filename: The file.
        number: The line's number.
        function: The function that it stands in.
    """

    filename: str
    number: int
    function: str

    @property
    def text(self) -> str:
        """The line itself; empty if the file isn't there."""
        return linecache.getline(self.filename, self.number).strip()

    def __str__(self) -> str:
        text = f": {self.text}" if self.text else ""
        return f'"{self.filename}", line {self.number}, in {self.function}{text}'


def user_line() -> Line | None:
    """The innermost line on the stack that is the user's own: in no file of ours or torch's, nor generated."""
    folders = (*sys.modules["neuronix"].__path__, *torch.__path__)
    not_theirs = ("<neuronix ", *(f"{folder}{os.sep}" for folder in folders))
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(not_theirs):
            return Line(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return None


class record_lines(Watcher):
    """Note with each recorded operation the line of the user's program that called it, in ``node.notes["line"]``.

    Example:
        >>> from neuronix.autograd import record_lines, tensor
        >>> x = tensor(2.0, requires_grad=True)
        >>> with record_lines():
        ...     y = x * 3
        >>> y.grad_fn.notes["line"].number
        2
    """

    def recorded(self, node: Node, value: Any, arguments: Sequence[Any]) -> None:
        """Note the line."""
        line = user_line()
        if line is not None:
            node.note("line", line)


class detect_anomaly(record_lines):
    """Raise an error at the first value that isn't finite, in the forward or in the backward pass.

    The error names the operation, the shapes and ranges of its arguments, and the line of the user's program that
    called it, also where the value appeared in the backward pass.

    NaN is always refused.  An infinity is refused where it appears among finite arguments: one that the program puts
    there on purpose, as in a mask of ``-inf``, may go on.  Operations on constants are watched too.  Values under
    ``torch.vmap`` can't be looked at, and aren't.

    Args:
        check_nan: Whether NaN raises; ``False`` leaves the lines alone (as in `record_lines`) and infinities.
        check_inf: Whether infinities raise.

    Raises:
        AnomalyError: At the first value that isn't finite.

    Differs from torch:
        ``torch.autograd.detect_anomaly`` looks at gradients only, for NaN only, and prints the forward call as a
        warning beside the error.  Its mode holds in all threads; this one in its own.

    Example:
        >>> from neuronix.autograd import detect_anomaly, tensor
        >>> x = tensor([0.0, 4.0], requires_grad=True)
        >>> with detect_anomaly():
        ...     y = x.sqrt()
        ...     y.sum().backward()
        Traceback (most recent call last):
            ...
        neuronix.autograd.errors.AnomalyError: sqrt: its backward pass gives the first value that isn't finite: inf in \
1 of 2 entries of the gradient with respect to 'x'
          gradient: float32(2,) in [1, 1]
          x: float32(2,) in [0, 4]
          forward: "<doctest neuronix.autograd.watching.anomaly.detect_anomaly[2]>", line 2, in <module>: y = x.sqrt()
    """

    def __init__(self, check_nan: bool = True, *, check_inf: bool = True) -> None:
        super().__init__()
        self.check_nan = check_nan
        self.check_inf = check_inf

    def recorded(self, node: Node, value: Any, arguments: Sequence[Any]) -> None:
        """Note the line and the arguments, and look at the result."""
        super().recorded(node, value, arguments)
        node.note("arguments", _described(node.op, arguments))
        self.computed(node.op, value, arguments)

    def computed(self, op: Primitive, value: Any, arguments: Sequence[Any]) -> None:
        """Look at the result."""
        found = self._first_wrong(value, allow_inf=any(_has_inf(argument) for argument in arguments))
        if found is None:
            return
        held = any(_count(item, torch.isnan) for argument in arguments for item in _tensors(argument))
        already = "; there is NaN among its arguments already" if held else ""
        raise AnomalyError(
            "\n  ".join(
                [
                    f"{op.name}: gives the first value that isn't finite: {found} of its result{already}",
                    *_described(op, arguments),
                    f"forward: {user_line() or 'unknown'}",
                ]
            )
        )

    def differentiated(self, node: Node, grad: Any, handed_on: Sequence[tuple[Node, Any]]) -> None:
        """Look at the gradients that a node's rules gave."""
        for name, gradient in zip(_argument_names(node), by_argument(node, list(handed_on)), strict=True):
            found = None if gradient is None else self._first_wrong(gradient, allow_inf=False)
            if found is None:
                continue
            incoming = [f"gradient: {_range(item)}" for item in as_tuple(grad) if item is not None]
            notes = node.notes or {}
            line = notes.get("line", "unknown, because it ran outside detect_anomaly()")
            what = f"its backward pass gives the first value that isn't finite: {found} of the gradient with respect to"
            raise AnomalyError(
                "\n  ".join(
                    [f"{node.name}: {what} {name!r}", *incoming, *notes.get("arguments", ()), f"forward: {line}"]
                )
            )

    def arrived(self, leaf: CustomTensor, grad: Any) -> None:
        """Look at a leaf's gradient: a sum may overflow, and a hook may return anything."""
        found = self._first_wrong(grad, allow_inf=False)
        if found is not None:
            raise AnomalyError(
                f"backward: a leaf's gradient is the first value that isn't finite: {found}, after finite gradients "
                "have been added up and the leaf's hooks have run\n"
                f"  gradient: {_range(grad)}\n"
                f"  leaf: {_range(leaf)}"
            )

    def _first_wrong(self, value: Any, *, allow_inf: bool) -> str | None:
        """How many entries of the first tensor that has such aren't finite, in words."""
        for item in _tensors(value):
            for check, test, name in (
                (self.check_nan, torch.isnan, "NaN"),
                (self.check_inf and not allow_inf, torch.isinf, "inf"),
            ):
                count = _count(item, test) if check else 0
                if count:
                    return f"{name} in {count} of {item.numel()} entries"
        return None


def _argument_names(node: Node) -> list[str]:
    """For each of a node's parents the name of the argument."""
    names = []
    for name in node.op.differentiable:
        if node.op.takes_list(name):
            listed = len(node.parents) - len(node.op.differentiable) + 1
            names += [f"{name}[{position}]" for position in range(listed)]
        else:
            names.append(name)
    return names


def _tensors(value: Any) -> list[Tensor]:
    """The floating-point and complex tensors in a result or an argument, if their values can be looked at."""
    if isinstance(value, CustomTensor):
        value = value.data
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return []
    if value.device.type == "meta" or torch._C._functorch.is_functorch_wrapped_tensor(value):
        return []
    return [value.coalesce().values() if value.is_sparse else value]


def _count(value: Tensor, test: Any) -> int:
    return int(test(value).sum())


def _has_inf(argument: Any) -> bool:
    if isinstance(argument, float):
        return math.isinf(argument)
    return any(_count(item, torch.isinf) for item in _tensors(argument))


def _described(op: Primitive, arguments: Sequence[Any]) -> list[str]:
    """A line for each argument: its name, element type, shape and range."""
    return [f"{name}: {_range(value)}" for name, value in zip(op.parameters, arguments, strict=True)]


def _range(value: Any) -> str:
    if isinstance(value, CustomTensor):
        value = value.data
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_range(item) for item in value) + "]"
    if not isinstance(value, Tensor):
        return repr(value)
    name = f"{str(value.dtype).removeprefix('torch.')}{tuple(value.shape)}"
    found = _tensors(value)
    if not found or not found[0].numel():
        return name
    values = found[0].abs() if found[0].is_complex() else found[0]
    finite = values[torch.isfinite(values)]
    counts = {"NaN": _count(values, torch.isnan), "inf": _count(values, torch.isinf)}
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    if finite.numel():
        low, high = finite.min().item(), finite.max().item()
        parts.insert(0, f"{'absolute values ' if found[0].is_complex() else ''}in [{low:.4g}, {high:.4g}]")
    return f"{name} {', '.join(parts)}"
