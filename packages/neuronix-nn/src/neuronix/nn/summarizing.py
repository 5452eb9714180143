"""`summary`: a model's layers, output shapes and parameter counts as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, RemovableHandle, no_grad
from neuronix.nn.errors import LayerArgumentError, ModuleTypeError
from neuronix.nn.module import Module

__all__ = ["Summary", "SummaryRow", "summary"]


@dataclass(frozen=True)
class SummaryRow:
    """A module of the model.

    Attributes:
        name: Its dotted name, ``""`` for the model itself.
        kind: The name of its class.
        output_shape: That of its last output, nested as the output is; ``None`` if it wasn't called.
        calls: How often it was called.
        parameters: The number of entries of its own parameters, without those of submodules and those counted before.
        trainable: How many of them require grad.
        shared: Its own parameters that were counted before, by the name under which they were.
    """

    name: str
    kind: str
    output_shape: Any
    calls: int
    parameters: int
    trainable: int
    shared: tuple[str, ...] = ()

    @property
    def depth(self) -> int:
        """How many levels below the model it is."""
        return self.name.count(".") + 1 if self.name else 0


@dataclass(frozen=True)
class Summary:
    """What [`summary`][neuronix.nn.summary] returns; ``str()`` is the table.

    Attributes:
        rows: The modules, each once, in the order of registration.
        parameters: The number of entries of all parameters, shared ones once.
        trainable: How many of them require grad.
        buffers: The number of entries of all buffers.
        bytes: What parameters and buffers take.
    """

    rows: tuple[SummaryRow, ...]
    parameters: int
    trainable: int
    buffers: int
    bytes: int

    def __repr__(self) -> str:
        return (
            f"Summary({self.rows[0].kind}: {len(self.rows)} modules, {self.parameters:,} parameters, "
            f"{self.trainable:,} trainable)"
        )

    def __str__(self) -> str:
        lines = [("layer", "output shape", "parameters", ""), *map(_cells, self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        text = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {note}".rstrip() for a, b, c, note in lines]
        rule = "─" * max(map(len, text))
        return "\n".join([text[0], rule, *text[1:], rule, *self._totals()])

    def _totals(self) -> list[str]:
        lines = [f"parameters: {self.parameters:,}, of which trainable: {self.trainable:,}"]
        if self.buffers:
            lines.append(f"entries of buffers: {self.buffers:,}")
        return [*lines, f"memory of both: {_size(self.bytes)}"]


def _cells(row: SummaryRow) -> tuple[str, str, str, str]:
    last = row.name.rpartition(".")[2]
    label = "  " * row.depth + (f"{last}: {row.kind}" if last else row.kind)
    shape = "not called" if row.calls == 0 else _shown(row.output_shape)
    if row.calls > 1:
        shape += f"  ×{row.calls}"
    note = ""
    if row.shared:
        note = f"shared: {', '.join(row.shared)}"
    elif row.trainable < row.parameters:
        note = "frozen" if row.trainable == 0 else f"{row.trainable:,} trainable"
    count = f"{row.parameters:,}" if row.parameters else ""
    return label, "" if row.calls == -1 else shape, count, note


def _shown(shape: Any) -> str:
    if isinstance(shape, tuple) and not isinstance(shape, torch.Size):
        return f"({', '.join(map(_shown, shape))})"
    if isinstance(shape, dict):
        return "{" + ", ".join(f"{key}: {_shown(value)}" for key, value in shape.items()) + "}"
    return str(list(shape)) if isinstance(shape, torch.Size) else str(shape)


def _size(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:.3g} GB"


def summary(
    model: Module,
    input_size: Sequence[int] | Sequence[Sequence[int]] | None = None,
    input_data: Any = None,
    *,
    dtype: torch.dtype | None = None,
    verbose: bool = True,
) -> Summary:
    """Print a model's layers with the shapes of their outputs and the numbers of their parameters.

    The shapes are those of one run in evaluation mode, which leaves the model as it was: its modes, its buffers and
    torch's random numbers.  Without input there is no run, and there are no shapes.

    Args:
        model: The model.
        input_size: The shape of its input, with the batch, or a list of the shapes of several; the run is with zeros.
        input_data: The input itself, where it isn't one tensor of floating-point numbers: a tensor, a list or tuple of
            arguments, or a dictionary of keyword arguments.
        dtype: The type of the zeros; by default that of the first parameter.
        verbose: Whether to print.

    Returns:
        The rows and totals; a parameter that is shared is counted once, where it comes first.

    Raises:
        ModuleTypeError: If ``model`` isn't a module.
        LayerArgumentError: If both ``input_size`` and ``input_data`` are given, or a size isn't one.

    Example:
        >>> from neuronix import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        >>> found = nn.summary(model, (32, 1, 8, 8))
        layer         output shape   parameters
        ───────────────────────────────────────
        Sequential    [32, 10]
          0: Conv2d   [32, 8, 6, 6]          80
          1: ReLU     [32, 8, 6, 6]
          2: Flatten  [32, 288]
          3: Linear   [32, 10]            2,890
        ───────────────────────────────────────
        parameters: 2,970, of which trainable: 2,970
        memory of both: 11.9 kB
        >>> found
        Summary(Sequential: 5 modules, 2,970 parameters, 2,970 trainable)
    """
    if not isinstance(model, Module):
        raise ModuleTypeError(
            f"summary: a neuronix.nn.Module is expected, got {type(model).__name__}",
            hint="nn.adopt(model) makes one of a torch.nn.Module",
        )
    if input_size is not None and input_data is not None:
        raise LayerArgumentError("summary: give input_size or input_data, not both")
    args, kwargs = _arguments(model, input_size, input_data, dtype)
    outputs: dict[int, list[Any]] = {}
    if input_size is not None or input_data is not None:
        with _watched(model, outputs), _undone(model), no_grad():
            model.eval()(*args, **kwargs)
    found = _summarize(model, outputs, ran=input_size is not None or input_data is not None)
    if verbose:
        print(found)  # noqa: T201  (what it is for)
    return found


def _arguments(
    model: Module, input_size: Any, input_data: Any, dtype: torch.dtype | None
) -> tuple[Sequence[Any], dict[str, Any]]:
    if input_size is None:
        if isinstance(input_data, Mapping):
            return (), dict(input_data)
        return (input_data if isinstance(input_data, (list, tuple)) else (input_data,)), {}
    sizes = list(input_size)
    several = bool(sizes) and all(isinstance(size, Sequence) for size in sizes)
    for size in sizes if several else [sizes]:
        if not all(isinstance(number, int) and number >= 0 for number in size):
            raise LayerArgumentError(f"summary: {size!r} is no shape", hint="input_size=(batch, features), say")
    first = next(model.parameters(), None)
    like: dict[str, Any] = (
        {"dtype": dtype} if first is None else {"dtype": dtype or first.dtype, "device": first.device}
    )
    return [torch.zeros(*size, **like) for size in (sizes if several else [sizes])], {}


@contextmanager
def _watched(model: Module, outputs: dict[int, list[Any]]) -> Iterator[None]:
    """Note the shape of each module's outputs, by the module's identity."""

    def note(module: Module, _: Any, output: Any) -> None:
        outputs.setdefault(id(module), []).append(_shape(output))

    handles: list[RemovableHandle] = [module.register_forward_hook(note) for module in model.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _undone(model: Module) -> Iterator[None]:
    """Give modes, buffers and the random numbers back as they were."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, before in buffers:
            buffer.copy_(before)


def _shape(output: Any) -> Any:
    if isinstance(output, (CustomTensor, Tensor)):
        return output.shape
    if isinstance(output, (tuple, list)):
        return tuple(map(_shape, output))
    if isinstance(output, Mapping):
        return {key: _shape(value) for key, value in output.items()}
    return type(output).__name__


def _summarize(model: Module, outputs: dict[int, list[Any]], *, ran: bool) -> Summary:
    counted: dict[int, str] = {}
    rows = []
    for name, module in model.named_modules():
        own = dict(module.named_parameters(name, recurse=False))
        new = {path: value for path, value in own.items() if id(value) not in counted}
        shared = tuple(counted[id(value)] for path, value in own.items() if path not in new)
        counted |= {id(value): path for path, value in new.items()}
        shapes = outputs.get(id(module), [])
        rows.append(
            SummaryRow(
                name,
                module._get_name(),
                shapes[-1] if shapes else None,
                len(shapes) if ran else -1,
                sum(value.numel() for value in new.values()),
                sum(value.numel() for value in new.values() if value.requires_grad),
                shared,
            )
        )
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    return Summary(
        tuple(rows),
        sum(row.parameters for row in rows),
        sum(row.trainable for row in rows),
        sum(buffer.numel() for buffer in model.buffers()),
        sum(tensor.nbytes for tensor in tensors),
    )
