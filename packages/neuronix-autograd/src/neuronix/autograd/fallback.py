"""torch functions without a declaration of ours, taken apart into operations that have one.

(First cut: names what is missing.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neuronix.autograd.errors import UnsupportedError

__all__ = ["call"]


def call(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Answer ``func``."""
    raise UnsupportedError(f"{func!r} has no rule")
