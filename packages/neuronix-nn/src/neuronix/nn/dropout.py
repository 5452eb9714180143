"""Dropout layers."""

from __future__ import annotations

from typing import ClassVar

from neuronix.nn import functional
from neuronix.nn.applied import Applied
from neuronix.nn.checks import check_probability

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Applied):
    """In training, hides part of the input; in evaluation, does nothing."""

    _arguments: ClassVar[tuple[str, ...]] = ("p", "training", "inplace")

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        check_probability(self, p)
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, sets each element to zero with probability ``p`` and divides the others by 1 − p.

    Args:
        p: The probability of zero.
        inplace: Whether to change the input itself.

    Raises:
        LayerArgumentError: If ``p`` isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.Dropout(0.5).eval()
        >>> layer(torch.ones(3)).tolist()
        [1.0, 1.0, 1.0]

    References:
        Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting.
    """

    _function = staticmethod(functional.dropout)


class Dropout1d(_Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L); see [`Dropout2d`][neuronix.nn.Dropout2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Dropout1d(1.0)(torch.ones(1, 2)).tolist()
        [[0.0, 0.0]]
    """

    _function = staticmethod(functional.dropout1d)


class Dropout2d(_Dropout):
    """Dropout of whole channels of images (N, C, H, W): neighbouring pixels tell much the same.

    See [`functional.dropout2d`][neuronix.nn.functional.dropout2d].

    Args:
        p: The probability of zero.
        inplace: Whether to change the input itself.

    Raises:
        LayerArgumentError: If ``p`` isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> channels = nn.Dropout2d()(torch.ones(4, 8, 3, 3)).flatten(2)
        >>> bool(((channels == 0).all(-1) | (channels == 2).all(-1)).all())
        True

    References:
        Tompson et al. 2015, Efficient object localization using convolutional networks.
    """

    _function = staticmethod(functional.dropout2d)


class Dropout3d(_Dropout):
    """Dropout of whole channels of volumes (N, C, D, H, W) or (C, D, H, W); see [`Dropout2d`][neuronix.nn.Dropout2d].

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.Dropout3d().eval()(torch.ones(1, 1, 1, 2)).tolist()
        [[[[1.0, 1.0]]]]
    """

    _function = staticmethod(functional.dropout3d)


class AlphaDropout(_Dropout):
    """Dropout for [`SELU`][neuronix.nn.SELU]: keeps mean 0 and variance 1.

    See [`functional.alpha_dropout`][neuronix.nn.functional.alpha_dropout].

    Args:
        p: The probability of being dropped.
        inplace: Without effect, as in torch.

    Raises:
        LayerArgumentError: If ``p`` isn't between 0 and 1.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> out = nn.AlphaDropout(0.2)(torch.randn(10_000))
        >>> bool(out.mean().abs() < 0.1), bool((out.std() - 1).abs() < 0.1)
        (True, True)

    References:
        Klambauer et al. 2017, Self-normalizing neural networks.
    """

    _function = staticmethod(functional.alpha_dropout)
    _arguments = ("p", "training")


class FeatureAlphaDropout(_Dropout):
    """[`AlphaDropout`][neuronix.nn.AlphaDropout] of whole channels of (N, C, …).

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> nn.FeatureAlphaDropout().eval()(torch.ones(1, 1, 2)).tolist()
        [[[1.0, 1.0]]]
    """

    _function = staticmethod(functional.feature_alpha_dropout)
    _arguments = ("p", "training")
