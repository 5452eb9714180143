"""FasterNet's partial convolution."""

from __future__ import annotations

from neuronix.autograd import CustomTensor, ops
from neuronix.nn.checks import check_sizes
from neuronix.nn.conv import Conv2d
from neuronix.nn.errors import LayerArgumentError
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = ["PartialConv2d"]


class PartialConv2d(Module):
    """Convolve the first channels, pass the others on.

    Channels of a feature map resemble each other; convolving one in ``n_div`` of them costs 1 / n_div² of the
    arithmetic, and a pointwise layer after it mixes them all.

    Args:
        channels: The number of channels, of input and result.
        n_div: One in how many channels is convolved; the paper's r is 1 / n_div.
        kernel_size: The kernel's size, odd, so that the image keeps its size.
        bias: Whether the convolution has a bias.

    Input and result (N, channels, H, W) or (channels, H, W).

    Raises:
        LayerArgumentError: If no channel would be convolved, or the kernel's size is even.

    Example:
        >>> import torch
        >>> from neuronix import nn
        >>> layer = nn.PartialConv2d(8)
        >>> x = torch.randn(1, 8, 5, 5)
        >>> y = layer(x)
        >>> y.shape, torch.equal(y.data[:, 2:], x[:, 2:])
        (torch.Size([1, 8, 5, 5]), True)

    References:
        Chen et al. 2023, Run, don't walk: chasing higher FLOPS for faster neural networks, section 3.2.
    """

    conv: Conv2d  # over channels // n_div channels

    def __init__(self, channels: int, n_div: int = 4, kernel_size: int = 3, bias: bool = False) -> None:
        super().__init__()
        check_sizes(self, channels=channels, n_div=n_div, kernel_size=kernel_size)
        if n_div < 1 or channels < n_div:
            raise LayerArgumentError(
                f"PartialConv2d: n_div must lie between 1 and the number of channels ({channels}), got {n_div}"
            )
        if kernel_size % 2 == 0:
            raise LayerArgumentError(f"PartialConv2d: kernel_size must be odd, to keep the size, got {kernel_size}")
        self.channels = channels
        self.n_div = n_div
        self.convolved = channels // n_div
        self.conv = Conv2d(self.convolved, self.convolved, kernel_size, padding=kernel_size // 2, bias=bias)

    def forward(self, input: TensorLike) -> CustomTensor:
        """Apply the layer."""
        first = ops.narrow(input, -3, 0, self.convolved)
        others = ops.narrow(input, -3, self.convolved, self.channels - self.convolved)
        out: CustomTensor = ops.cat([self.conv(first), others], -3)
        return out

    def extra_repr(self) -> str:
        """The constructor's arguments."""
        return f"{self.channels}, n_div={self.n_div}"
