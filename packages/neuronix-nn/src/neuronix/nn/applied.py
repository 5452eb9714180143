"""Layers that are functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from neuronix.nn.functional.arguments import lift
from neuronix.nn.module import Module
from neuronix.nn.tensor_like import TensorLike

__all__ = ["Applied", "AppliedInPlace"]


class Applied(Module):
    """A layer that is a function of its input: attributes of the layer are the function's further arguments.

    A subclass names the function and, in its order, the attributes; its constructor sets them.
    """

    _function: ClassVar[Callable[..., Any]]
    _arguments: ClassVar[tuple[str, ...]] = ()
    inplace: bool
    _unshown: ClassVar[tuple[str, ...]] = ()  # those of them that the repr leaves out

    def forward(self, input: TensorLike) -> Any:
        """Apply the function."""
        return type(self)._function(lift(input), *(getattr(self, name) for name in self._arguments))

    def extra_repr(self) -> str:
        """The arguments; ``inplace`` if it is set."""
        shown = [name for name in self._arguments if name not in self._unshown and (name != "inplace" or self.inplace)]
        return ", ".join(f"{name}={getattr(self, name)}" for name in shown)


class AppliedInPlace(Applied):
    """A function of each element whose only argument is whether it changes the input itself."""

    _arguments = ("inplace",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace
