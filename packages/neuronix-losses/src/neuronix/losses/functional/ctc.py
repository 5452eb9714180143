"""Connectionist temporal classification: the probability of a sequence of labels that isn't aligned with its input.

The labels are written with a blank between any two and at both ends; a path through them goes on by one or stays, and
may leave out a blank between different labels.  The loss is −log of the sum of all paths' probabilities.  That sum, and
which part of it goes through each label at each time, is what the forward–backward algorithm finds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuronix.autograd import CustomTensor, composite, primitive
from neuronix.autograd.errors import DtypeError, ShapeError
from neuronix.losses.functional import kernels
from neuronix.losses.functional.arguments import TensorLike, lift, reduction_number

__all__ = ["ctc_loss"]


@composite(names="nn.functional.ctc_loss")
def ctc_loss(
    log_probs: TensorLike,
    targets: TensorLike,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> CustomTensor:
    """−log p(targets | input), over all alignments of the targets with the input.

        l[n] = −log Σ_π Π_t p[t, n, π(t)]

    over all paths π that become the targets when repeated labels, and then blanks, are left out.

    Args:
        log_probs: Logarithms of probabilities, as of ``log_softmax``: (T, N, C), or (T, C) without a batch axis.
        targets: Labels other than the blank: (N, S), or all one after the other (sum of target_lengths,).
        input_lengths: How many of the T steps each input has: (N,), a tensor or numbers.
        target_lengths: How many labels each target has: (N,), a tensor or numbers.
        blank: The number of the blank.
        reduction: ``"none"``, ``"mean"`` (of the losses divided by the targets' lengths) or ``"sum"``.
        zero_infinity: Whether an input that is too short for its target counts as a loss of zero, with no gradient;
            else the loss is infinite.

    Returns:
        A scalar, or (N,) for ``"none"``.

    Raises:
        ShapeError: If the shapes don't fit.
        DtypeError: If lengths aren't integers.
        LossArgumentError: If the reduction is unknown.

    Example:
        >>> import math
        >>> import torch
        >>> from neuronix.losses import functional
        >>> log_probs = torch.full((2, 1, 3), -math.log(3))
        >>> loss = functional.ctc_loss(log_probs, torch.tensor([[1]]), (2,), (1,))  # the paths 11, 01 and 10
        >>> print(f"{loss.item():.4f} = log 9/3 = {math.log(3):.4f}")
        1.0986 = log 9/3 = 1.0986

    References:
        A. Graves et al. (2006), Connectionist temporal classification: labelling unsegmented sequence data with
        recurrent neural networks, https://www.cs.toronto.edu/~graves/icml_2006.pdf.

    Notes:
        As torch's, the gradient is the one for probabilities that sum to one (Graves' equation 16): that of
        l + Σ_t (Σ_c p[t, c] − 1), which is l for them.

    Differs from torch:
        Second derivatives are offered.
    """
    reduction_number("ctc_loss", reduction)
    log_probs = lift(log_probs)
    batched = log_probs.ndim == 3
    if not batched:
        if log_probs.ndim != 2:
            raise ShapeError(f"ctc_loss: log_probs must be (T, N, C) or (T, C), got shape {tuple(log_probs.shape)}")
        log_probs = log_probs.unsqueeze(1)
    lengths = _lengths("target_lengths", target_lengths)
    losses = ctc_(log_probs, *_prepared(targets, input_lengths, lengths), blank, zero_infinity)[0]
    if zero_infinity:
        losses = torch.where(torch.isinf(losses), 0.0, losses)
    if reduction == "mean":
        return (losses / lengths.clamp(min=1).to(losses.data)).mean()  # type: ignore[no-any-return]
    if reduction == "sum":
        return losses.sum()  # type: ignore[no-any-return]
    return losses if batched else losses.squeeze(0)  # type: ignore[no-any-return]


def _plain(value: Any) -> Tensor:
    return value.data if isinstance(value, CustomTensor) else torch.as_tensor(value)


def _lengths(name: str, value: Any) -> Tensor:
    """Lengths given as a tensor or as numbers, (N,)."""
    try:
        lengths = _plain(value).reshape(-1)
    except (TypeError, ValueError) as error:
        raise DtypeError(f"ctc_loss: {name} must be integers, got {value!r}") from error
    if lengths.numel() and (lengths.is_floating_point() or lengths.is_complex()):
        raise DtypeError(f"ctc_loss: {name} must be integral, not {lengths.dtype}", hint="convert them with .long()")
    return lengths.to(torch.int64)


def _prepared(targets: Any, input_lengths: Any, target_lengths: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Targets (N, S), and lengths (N,), as ATen's kernel takes them."""
    targets = _plain(targets)
    lengths = [_lengths("input_lengths", input_lengths), _lengths("target_lengths", target_lengths)]
    if targets.ndim == 1:  # one after the other: each begins where those before it end
        counts = lengths[1].tolist()
        if sum(counts) != targets.shape[0]:
            raise ShapeError(
                f"ctc_loss: targets of lengths {counts} have {sum(counts)} labels, but {targets.shape[0]} are given"
            )
        targets = torch.nn.utils.rnn.pad_sequence(list(targets.split(counts)), batch_first=True)
    return targets, lengths[0], lengths[1]


@primitive
def ctc_(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Any:
    """The losses (N,), and the logarithms of the probabilities of all beginnings of paths."""
    return kernels.ctc(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity)


@ctc_.vjp("log_probs")
def ctc_wrt_log_probs(
    grad: list[Tensor],
    out: Any,
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    zero_infinity: bool,
) -> Tensor:
    # ∂l/∂log p[t, c] is −(the part of all paths that is at label c at time t), and p[t, c] more (see Notes above)
    parts = _parts_of_paths(log_probs, targets, input_lengths, target_lengths, blank)
    found = grad[0].unsqueeze(-1) * (torch.exp(log_probs) - parts)
    no_path = torch.isinf(out[0]).unsqueeze(-1)
    found = torch.where(no_path, 0.0 if zero_infinity else torch.nan, found)
    times = torch.arange(log_probs.shape[0], device=targets.device).unsqueeze(-1)
    return torch.where((times < input_lengths).unsqueeze(-1), found, 0.0)


@ctc_.fused("log_probs")
def ctc_kernel_wrt_log_probs(
    grad: list[Tensor],
    out: Any,
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
    zero_infinity: bool,
) -> Tensor:
    return kernels.ctc_backward(
        grad[0], log_probs, targets, input_lengths, target_lengths, out[0], out[1], blank, zero_infinity
    )


def _parts_of_paths(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """The part of all paths' probability, (T, N, C), that is at each label at each time."""
    steps, count, classes = log_probs.shape
    never = torch.finfo(log_probs.dtype).min / 8  # log 0, with which one can compute
    # the path's labels: a blank, the first label, a blank, …, a blank: (N, 2S + 1)
    blanks = torch.full_like(targets, blank)
    labels = torch.cat([torch.stack([blanks, targets], -1).flatten(1), blanks.new_full((count, 1), blank)], 1)
    labels = labels.to(torch.int64).clamp(0, classes - 1)  # beyond a target's length there may be anything
    places = torch.arange(labels.shape[1], device=labels.device)
    emitted = log_probs.gather(2, labels.expand(steps, -1, -1)).clamp(min=never)

    new = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    may_skip = torch.nn.functional.pad(new, (2, 0))  # whether a path may come from two places before
    ends = (places == 2 * target_lengths.unsqueeze(-1)) | (places == 2 * target_lengths.unsqueeze(-1) - 1)

    def log_of(allowed: Tensor) -> Tensor:
        return torch.where(allowed, log_probs.new_zeros(()), log_probs.new_full((), never))

    def moved(x: Tensor, by: int) -> Tensor:
        """X with each place's value ``by`` places later (or earlier), and log 0 where nothing comes from."""
        padding = (by, 0) if by > 0 else (0, -by)
        inner = x[:, : x.shape[1] - by] if by > 0 else x[:, -by:]
        return (
            torch.nn.functional.pad(inner, padding, value=never) if inner.shape[1] else log_of(places < 0).expand_as(x)
        )

    # forward: the paths that arrive at a place, its own emission included
    arriving = [emitted[0] + log_of(places < 2)]
    for time in range(1, steps):
        before = arriving[-1]
        ways = [before, moved(before, 1), moved(before, 2) + log_of(may_skip)]
        arriving.append((torch.logsumexp(torch.stack(ways), 0) + emitted[time]).clamp(min=never))
    # backward: the paths that leave a place, its own emission left out
    leaving = [log_of(ends)]
    for time in range(steps - 1, 0, -1):
        behind = leaving[-1] + emitted[time]
        ways = [behind, moved(behind, -1), moved(behind + log_of(may_skip), -2)]
        later = torch.logsumexp(torch.stack(ways), 0).clamp(min=never)
        leaving.append(torch.where((time >= input_lengths).unsqueeze(-1), log_of(ends), later))
    through = torch.stack(arriving) + torch.stack(leaving[::-1])
    parts = torch.softmax(through, -1)  # each time's paths are all of them
    return torch.zeros_like(log_probs).scatter_add(2, labels.expand(steps, -1, -1), parts)


@composite(names="", aten="_ctc_loss.default _ctc_loss.Tensor")
def ctc_loss_of_aten(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Any:
    """The losses (N,), and the logarithms of the probabilities of all beginnings of paths."""
    return ctc_(log_probs, *_prepared(targets, input_lengths, target_lengths), blank, zero_infinity)
