"""A softmax of very many classes, of which few are frequent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from neuronix.autograd import CustomTensor, ops
from neuronix.autograd.errors import ShapeError
from neuronix.losses.errors import LossArgumentError
from neuronix.losses.functional.arguments import TensorLike, lift
from neuronix.nn import Linear, Module, ModuleList, Sequential

__all__ = ["AdaptiveLogSoftmaxWithLoss"]


class ASMoutput(NamedTuple):
    """Log-probabilities of the targets, and the loss, their mean negated."""

    output: CustomTensor
    loss: CustomTensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """A log-softmax over classes in the order of their frequency, in clusters: rare ones are told apart by less effort.

    The head has a logit for each frequent class and for each cluster of rarer ones; cluster i maps the input to
    in_features / div_value^(i + 1) numbers first.  A rare class c of cluster i has log p(c) = log p(i) + log p(c | i).

    Args:
        in_features: The size of the input's last axis.
        n_classes: The number of classes, the most frequent first.
        cutoffs: Where clusters begin: increasing numbers between 1 and ``n_classes`` − 1.
        div_value: By how much each cluster's inner size is smaller than the one's before.
        head_bias: Whether the head has a bias.
        device: Where the parameters live.
        dtype: Their element type.

    Input (N, in_features) or (in_features,), target (N,) or (); returns (N,) or () log-probabilities of the targets
    (``output``), and minus their mean (``loss``).

    Raises:
        LossArgumentError: If the cutoffs aren't of that kind.

    Example:
        >>> import torch
        >>> from neuronix.losses import AdaptiveLogSoftmaxWithLoss
        >>> layer = AdaptiveLogSoftmaxWithLoss(8, 100, cutoffs=[10, 40])
        >>> output, loss = layer(torch.randn(3, 8), torch.tensor([2, 30, 99]))
        >>> output.shape, loss.shape
        (torch.Size([3]), torch.Size([]))

    References:
        Grave et al. 2017, Efficient softmax approximation for GPUs.
    """

    head: Linear
    tail: ModuleList

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        begins = list(cutoffs)
        if not begins or begins != sorted(set(begins)) or any(int(c) != c for c in begins):
            raise LossArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs should be a sequence of unique integers in increasing order, got "
                f"{begins}"
            )
        if begins[0] <= 0 or begins[-1] > n_classes - 1:
            raise LossArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: each cutoff should be between 1 and n_classes - 1 = {n_classes - 1}, got "
                f"{begins}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*begins, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, device=device, dtype=dtype)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            inner = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(
                    Linear(in_features, inner, bias=False, device=device, dtype=dtype),
                    Linear(inner, size, bias=False, device=device, dtype=dtype),
                )
            )

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def forward(self, input_: TensorLike, target_: TensorLike) -> ASMoutput:
        """Compute the targets' log-probabilities, and the loss.

        Raises:
            ShapeError: If the shapes don't fit.
            LossArgumentError: If a class index is out of range.
        """
        x, y = lift(input_), lift(target_)
        if y.ndim > 1 or x.ndim != y.ndim + 1 or x.shape[:-1] != y.shape:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss: expected input (N, {self.in_features}) and target (N,), or both without "
                f"N, got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        if y.ndim == 0:
            one = self.forward(x.unsqueeze(0), y.unsqueeze(0))
            return ASMoutput(one.output.squeeze(0), one.loss)
        target = y.data
        if target.numel() and not (int(target.min()) >= 0 and int(target.max()) < self.n_classes):
            raise LossArgumentError(
                f"AdaptiveLogSoftmaxWithLoss: target values should be in [0, {self.n_classes - 1}], but values in "
                f"range [{int(target.min())}, {int(target.max())}] were found"
            )
        in_head = target.clone()  # the target's place in the head: its own, or its cluster's
        output: CustomTensor = x.new_zeros(target.shape[0])
        for i, (low, high) in enumerate(zip(self.cutoffs, self.cutoffs[1:], strict=False)):
            (rows,) = ((low <= target) & (target < high)).nonzero(as_tuple=True)
            if not rows.numel():
                continue
            in_head[rows] = self.shortlist_size + i
            within = ops.log_softmax(self.tail[i](ops.index_select(x, 0, rows)), 1)
            chosen = within.gather(1, (target[rows] - low).unsqueeze(1)).squeeze(1)
            output = output.index_add(0, rows, chosen)
        output = output + ops.log_softmax(self.head(x), 1).gather(1, in_head.unsqueeze(1)).squeeze(1)
        return ASMoutput(output, (-output).mean())

    def log_prob(self, input: TensorLike) -> CustomTensor:
        """The log-probabilities of all classes, (N, n_classes), of input (N, in_features)."""
        x = lift(input)
        head = ops.log_softmax(self.head(x), 1)
        clusters = [
            head[:, self.shortlist_size + i].unsqueeze(1) + ops.log_softmax(cluster(x), 1)
            for i, cluster in enumerate(self.tail)
        ]
        out: CustomTensor = ops.cat([head[:, : self.shortlist_size], *clusters], 1)
        return out

    def predict(self, input: TensorLike) -> CustomTensor:
        """The class of the greatest log-probability, (N,), of input (N, in_features)."""
        found: CustomTensor = self.log_prob(input).argmax(1)
        return found
