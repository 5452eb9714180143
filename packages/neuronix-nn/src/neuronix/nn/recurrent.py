"""Recurrent layers.  What a step computes stands in ``functional/recurrence/``; here are parameters and checks."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

import torch
from torch.nn.utils.rnn import PackedSequence

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ShapeError
from neuronix.nn import functional, init
from neuronix.nn.errors import LayerArgumentError, ModuleTypeError
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.tensor_like import TensorLike

__all__ = ["GRU", "LSTM", "RNN"]


class Recurrent(Module):
    """What `RNN`, `LSTM` and `GRU` share."""

    _gates: ClassVar[int]  # how many vectors of hidden_size W_ih · x holds
    _state_names: ClassVar[tuple[str, ...]] = ("hidden",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_arguments()
        self._names: list[list[str]] = []
        for layer in range(num_layers):
            features = input_size if layer == 0 else self._output_size * self._directions
            for suffix in ("", "_reverse")[: self._directions]:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (self._gates * hidden_size, features)}
                shapes["weight_hh"] = (self._gates * hidden_size, self._output_size)
                if bias:
                    shapes |= dict.fromkeys(("bias_ih", "bias_hh"), (self._gates * hidden_size,))
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                self._names.append([f"{name}_l{layer}{suffix}" for name in shapes])
                for name, shape in zip(self._names[-1], shapes.values(), strict=True):
                    self.register_parameter(name, Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _check_arguments(self) -> None:
        kind = type(self).__name__
        for name, wanted in (("bias", bool), ("batch_first", bool), ("input_size", int), ("hidden_size", int)):
            value = getattr(self, name)
            if not isinstance(value, wanted):
                raise ModuleTypeError(
                    f"{kind}: {name} should be of type {wanted.__name__}, got: {type(value).__name__} ({value!r})"
                )
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) <= 0:
                raise LayerArgumentError(f"{kind}: {name} must be greater than zero, got {getattr(self, name)}")
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, (int, float)) or not 0 <= self.dropout <= 1:
            raise LayerArgumentError(f"{kind}: dropout is a probability between 0 and 1, got {self.dropout!r}")
        if not 0 <= self.proj_size < self.hidden_size:
            raise LayerArgumentError(
                f"{kind}: proj_size has to be smaller than hidden_size ({self.hidden_size}), or 0 for no projection; "
                f"got {self.proj_size}"
            )
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                f"{kind}: dropout acts between layers, so dropout={self.dropout} does nothing with num_layers=1",
                stacklevel=4,
            )

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        """The size of h."""
        return self.proj_size or self.hidden_size

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        return (self._output_size,)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """For each layer and direction its parameters, in torch's order."""
        return [[getattr(self, name) for name in names] for names in self._names]

    def reset_parameters(self) -> None:
        """Draw the parameters anew, uniformly from ±1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: torch has this method for memory layouts of one GPU library."""

    def _network(self, *args: Any) -> tuple[Any, ...]:
        """The function of ``functional/recurrent.py`` that computes it."""
        raise NotImplementedError

    def _run(self, input: Any, state: tuple[Any, ...] | None) -> tuple[Any, list[Any]]:
        """The output, and the parts of the final state."""
        packing = input if isinstance(input, PackedSequence) else None
        x = input if packing is None else packing.data
        self._check_input(x, packing is not None)
        batched = packing is not None or x.ndim == 3
        batch_axis = 0 if self.batch_first else 1
        if not batched:
            x = ops.unsqueeze(x, batch_axis)
        batch = int(packing.batch_sizes[0]) if packing is not None else x.shape[batch_axis]
        if state is None:
            # Not recorded and not trained: what a network knows before it has seen anything.
            shapes = [(self.num_layers * self._directions, batch, size) for size in self._state_sizes]
            state = tuple(torch.zeros(shape, dtype=x.dtype, device=x.device) for shape in shapes)
        else:
            self._check_state(state, batch, batched)
            if not batched:
                state = tuple(ops.unsqueeze(part, 1) for part in state)
            elif packing is not None and packing.sorted_indices is not None:
                state = tuple(ops.index_select(part, 1, packing.sorted_indices) for part in state)
        options = (self.bias, self.num_layers, float(self.dropout), self.training, self.bidirectional)
        hx = state if len(self._state_sizes) > 1 else state[0]
        weights = [weight for weights in self.all_weights for weight in weights]
        if packing is not None:
            data, *final = self._network(x, packing.batch_sizes, hx, weights, *options)
            out: Any = PackedSequence(data, packing.batch_sizes, packing.sorted_indices, packing.unsorted_indices)
            if packing.unsorted_indices is not None:
                final = [ops.index_select(part, 1, packing.unsorted_indices) for part in final]
            return out, final
        out, *final = self._network(x, hx, weights, *options, self.batch_first)
        return (out, final) if batched else (out.squeeze(batch_axis), [part.squeeze(1) for part in final])

    def _check_input(self, x: Any, packed: bool) -> None:
        kind, weight = type(self).__name__, self.all_weights[0][0]
        if not isinstance(getattr(x, "ndim", None), int):
            raise ModuleTypeError(f"{kind}: the input must be a tensor or a PackedSequence, got {type(x).__name__}")
        if x.ndim not in ((2,) if packed else (2, 3)):
            raise LayerArgumentError(f"{kind}: Expected input to be 2D or 3D, got {x.ndim}D instead")
        if isinstance(x, (torch.Tensor, CustomTensor)) and x.dtype != weight.dtype:
            raise LayerArgumentError(
                f"{kind}: RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{kind}: input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _check_state(self, state: tuple[Any, ...], batch: int, batched: bool) -> None:
        kind = type(self).__name__
        if len(state) != len(self._state_sizes):
            raise ShapeError(f"{kind}: hx must be {len(self._state_sizes)} tensors, got {len(state)}")
        for name, part, size in zip(self._state_names, state, self._state_sizes, strict=True):
            layers = self.num_layers * self._directions
            expected = (layers, batch, size) if batched else (layers, size)
            if tuple(part.shape) != expected:
                raise ShapeError(f"{kind}: Expected {name} size {expected}, got {list(part.shape)}")

    def extra_repr(self) -> str:
        """The constructor's arguments that aren't the defaults."""
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        changed = {name: getattr(self, name) for name in (*defaults, "bidirectional")}
        said = [f"{name}={value}" for name, value in changed.items() if value != defaults.get(name, False)]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *said])


class RNN(Recurrent):
    """The simple recurrent network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh) at each step, in any number of layers.

    Args:
        input_size: The number of features at each step.
        hidden_size: The size of h.
        num_layers: How many are stacked, each on the outputs of the one below.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: Whether b_ih and b_hh are there.
        batch_first: Whether input and output are (batch, time, features) instead of (time, batch, features); the state
            isn't concerned.
        dropout: The probability with which outputs are dropped on their way from layer to layer, in training.
        bidirectional: Whether each layer also goes backwards; outputs of both directions stand side by side.
        device: Where the parameters live.
        dtype: Their element type.

    It is called with ``input`` and ``hx``: the input of one sequence (time, features), of a batch, or a
    ``PackedSequence``; the state (layers · directions, batch, hidden_size), zeros if left out.  It returns the outputs
    of the last layer (of size directions · hidden_size) and the final state.

    Raises:
        LayerArgumentError: For sizes that aren't positive, an unknown nonlinearity, or an input of another dtype than
            the parameters.
        ModuleTypeError: For arguments of another type.
        ShapeError: If the input or the state has another shape.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.RNN(3, 4, num_layers=2, bidirectional=True)
        >>> out, h = layer(torch.zeros(7, 5, 3))
        >>> out.shape, h.shape
        (torch.Size([7, 5, 8]), torch.Size([4, 5, 4]))

    References:
        Elman 1990, Finding structure in time.
    """

    _gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise LayerArgumentError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self.nonlinearity = nonlinearity

    def _network(self, *args: Any) -> tuple[Any, ...]:
        return (functional.rnn_tanh if self.nonlinearity == "tanh" else functional.rnn_relu)(*args)

    def forward(self, input: TensorLike | PackedSequence, hx: TensorLike | None = None) -> tuple[Any, Any]:
        """Apply the network to a sequence, a batch or a packed batch."""
        output, (h,) = self._run(input, None if hx is None else (hx,))
        return output, h


class GRU(Recurrent):
    """Gated recurrent units: gates decide how much of the state is replaced at each step.

    With W_ih x + b_ih = (x_r, x_z, x_n) and W_hh h + b_hh = (h_r, h_z, h_n),

        r = σ(x_r + h_r),   z = σ(x_z + h_z),   n = tanh(x_n + r · h_n),   h' = (1 − z) · n + z · h

    Args:
        input_size: The number of features at each step.
        hidden_size: The size of h.
        num_layers: How many are stacked, each on the outputs of the one below.
        bias: Whether b_ih and b_hh are there.
        batch_first: Whether input and output are (batch, time, features) instead of (time, batch, features).
        dropout: The probability with which outputs are dropped on their way from layer to layer, in training.
        bidirectional: Whether each layer also goes backwards; outputs of both directions stand side by side.
        device: Where the parameters live.
        dtype: Their element type.

    It is called, and raises, as [`RNN`][neuronix.nn.RNN].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> out, h = nn.GRU(3, 4, batch_first=True)(torch.zeros(5, 7, 3))
        >>> out.shape, h.shape
        (torch.Size([5, 7, 4]), torch.Size([1, 5, 4]))

    References:
        Cho et al. 2014, Learning phrase representations using RNN encoder–decoder, with the reset gate inside W_hh h.
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )

    def _network(self, *args: Any) -> tuple[Any, ...]:
        return functional.gru(*args)

    def forward(self, input: TensorLike | PackedSequence, hx: TensorLike | None = None) -> tuple[Any, Any]:
        """Apply the network to a sequence, a batch or a packed batch."""
        output, (h,) = self._run(input, None if hx is None else (hx,))
        return output, h


class LSTM(Recurrent):
    """Long short-term memory: a cell c that gates write to and read from, beside the state h.

    The four gates i, f, g, o are the quarters of W_ih x + b_ih + W_hh h + b_hh:

        c' = σ(f) · c + σ(i) · tanh(g)
        h' = σ(o) · tanh(c')          (times W_hr, with proj_size)

    Args:
        input_size: The number of features at each step.
        hidden_size: The size of c, and of h if it isn't projected.
        num_layers: How many are stacked, each on the outputs of the one below.
        bias: Whether b_ih and b_hh are there.
        batch_first: Whether input and output are (batch, time, features) instead of (time, batch, features).
        dropout: The probability with which outputs are dropped on their way from layer to layer, in training.
        bidirectional: Whether each layer also goes backwards; outputs of both directions stand side by side.
        proj_size: The size that h is projected to; 0 for no projection.
        device: Where the parameters live.
        dtype: Their element type.

    It is called with ``input`` as [`RNN`][neuronix.nn.RNN], and with ``hx``, a pair (h, c); it returns the outputs and
    the final pair.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.LSTM(3, 4, proj_size=2)
        >>> out, (h, c) = layer(torch.zeros(7, 5, 3))
        >>> out.shape, h.shape, c.shape
        (torch.Size([7, 5, 2]), torch.Size([1, 5, 2]), torch.Size([1, 5, 4]))
        >>> list(layer.state_dict())
        ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0', 'weight_hr_l0']

    References:
        Hochreiter & Schmidhuber 1997, Long short-term memory; Gers et al. 2000, Learning to forget (the gate f);
        Sak et al. 2014, Long short-term memory based recurrent neural network architectures (the projection).
    """

    _gates = 4
    _state_names = ("hidden[0]", "hidden[1]")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        return self._output_size, self.hidden_size

    def _network(self, *args: Any) -> tuple[Any, ...]:
        return functional.lstm(*args)

    def forward(
        self, input: TensorLike | PackedSequence, hx: tuple[TensorLike, TensorLike] | None = None
    ) -> tuple[Any, tuple[Any, Any]]:
        """Apply the network to a sequence, a batch or a packed batch."""
        output, (h, c) = self._run(input, None if hx is None else tuple(hx))
        return output, (h, c)
