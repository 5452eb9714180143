"""Single steps of recurrent networks, for loops of one's own."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch

from neuronix.autograd import ops
from neuronix.nn import functional, init
from neuronix.nn.checks import check_sizes
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class RecurrentCell(Module):
    """What the three cells share."""

    weight_ih: Parameter  # (gates · hidden_size, input_size)
    weight_hh: Parameter  # (gates · hidden_size, hidden_size)
    bias_ih: Parameter | None  # (gates · hidden_size,)
    bias_hh: Parameter | None  # (gates · hidden_size,)

    _gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        check_sizes(self, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self._gates * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size), "bias_ih": (rows,)}
        for name, shape in (shapes | {"bias_hh": (rows,)}).items():
            there = bias or name.startswith("weight")
            self.register_parameter(name, Parameter(torch.empty(shape, device=device, dtype=dtype)) if there else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew, uniformly from ±1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _step(self, cell: Any, input: TensorLike, states: dict[str, TensorLike] | None, parts: int) -> list[Any]:
        """The parts of the next state, for an input with or without a batch axis."""
        kind = type(self).__name__
        if input.ndim not in (1, 2):
            raise LayerArgumentError(f"{kind}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        for name, state in (states or {}).items():
            if state.ndim not in (1, 2):
                raise LayerArgumentError(f"{kind}: Expected {name} to be 1D or 2D, got {state.ndim}D instead")
        x = input if input.ndim == 2 else ops.unsqueeze(input, 0)
        if states is None:
            zeros = torch.zeros(x.shape[0], self.hidden_size, dtype=self.weight_hh.dtype, device=self.weight_hh.device)
            hx: list[Any] = [zeros] * parts
        else:
            hx = [part if input.ndim == 2 else ops.unsqueeze(part, 0) for part in states.values()]
        found = cell(x, hx[0] if parts == 1 else hx, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        found = list(found) if parts > 1 else [found]
        return found if input.ndim == 2 else [part.squeeze(0) for part in found]

    def extra_repr(self) -> str:
        """The constructor's arguments that aren't the defaults."""
        said = "" if self.bias is True else f", bias={self.bias}"
        return f"{self.input_size}, {self.hidden_size}{said}"


class RNNCell(RecurrentCell):
    """One step of a simple recurrent network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Args:
        input_size: The number of features.
        hidden_size: The size of h.
        bias: Whether b_ih and b_hh are there.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        device: Where the parameters live.
        dtype: Their element type.

    It is called with the input (batch, input_size) or (input_size,) and the state, zeros if left out.

    Raises:
        LayerArgumentError: For another nonlinearity, or another number of axes.
        ShapeError: If sizes don't fit.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> cell = nn.RNNCell(3, 4)
        >>> h = torch.zeros(2, 4)
        >>> for x in torch.zeros(7, 2, 3):
        ...     h = cell(x, h)
        >>> h.shape
        torch.Size([2, 4])
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: TensorLike, hx: TensorLike | None = None) -> Any:
        """The next h."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise LayerArgumentError(f"RNNCell: Unknown nonlinearity: {self.nonlinearity!r}", hint="'tanh' or 'relu'")
        cell = functional.rnn_tanh_cell if self.nonlinearity == "tanh" else functional.rnn_relu_cell
        return self._step(cell, input, None if hx is None else {"hidden": hx}, 1)[0]

    def extra_repr(self) -> str:
        """The constructor's arguments that aren't the defaults."""
        said = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + said


class GRUCell(RecurrentCell):
    """One step of a [`GRU`][neuronix.nn.GRU].

    Args:
        input_size: The number of features.
        hidden_size: The size of h.
        bias: Whether b_ih and b_hh are there.
        device: Where the parameters live.
        dtype: Their element type.

    It is called with the input (batch, input_size) or (input_size,) and the state, zeros if left out.

    Raises:
        LayerArgumentError: For another number of axes.
        ShapeError: If sizes don't fit.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.GRUCell(3, 4)(torch.zeros(2, 3)).shape
        torch.Size([2, 4])
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: TensorLike, hx: TensorLike | None = None) -> Any:
        """The next h."""
        return self._step(functional.gru_cell, input, None if hx is None else {"hidden": hx}, 1)[0]


class LSTMCell(RecurrentCell):
    """One step of an [`LSTM`][neuronix.nn.LSTM].

    Args:
        input_size: The number of features.
        hidden_size: The size of h and c.
        bias: Whether b_ih and b_hh are there.
        device: Where the parameters live.
        dtype: Their element type.

    It is called with the input (batch, input_size) or (input_size,) and the pair (h, c), zeros if left out.

    Raises:
        LayerArgumentError: For another number of axes.
        ShapeError: If sizes don't fit.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> h, c = nn.LSTMCell(3, 4)(torch.zeros(2, 3))
        >>> h.shape, c.shape
        (torch.Size([2, 4]), torch.Size([2, 4]))
    """

    _gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, input: TensorLike, hx: tuple[TensorLike, TensorLike] | None = None) -> tuple[Any, Any]:
        """The next (h, c)."""
        states = None if hx is None else {f"hx[{place}]": part for place, part in enumerate(hx)}
        h, c = self._step(functional.lstm_cell, input, states, 2)
        return h, c
