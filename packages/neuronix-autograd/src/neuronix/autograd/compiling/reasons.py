"""Why a step can't be traced, in words."""

from __future__ import annotations

import sys

import torch

from neuronix.autograd.errors import CompileError
from neuronix.autograd.watching.anomaly import Line

__all__ = ["reason"]


def reason(error: BaseException) -> tuple[str, str] | None:
    """Why a step can't be traced and what to do, if tracing is what failed."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    where = _where(error)
    for each in chain:
        if isinstance(each, CompileError):
            return None
        kind, text = type(each).__name__, str(each)
        if kind == "DataDependentOutputException" or "get value out of a tracing tensor" in text:
            what = "by .item(), float(), bool(), a comparison in an `if` or printing"
            return (
                f"compile: the step reads a number out of a tensor{where}, {what}; there are none while it is traced",
                "keep it a tensor (torch.where instead of `if`), or take it from the step's result, outside",
            )
        if kind == "DynamicOutputShapeException":
            return (
                f"compile: the step uses an operation whose result's shape depends on values{where}: {text}",
                "use one of a fixed shape, as torch.where(mask, x, 0) instead of x[mask]",
            )
        if kind in ("UnsupportedOperatorException", "UnsupportedFakeTensorException"):
            return (f"compile: an operation can't be traced{where}: {text}", "leave it outside the step")
    return None


def _where(error: BaseException) -> str:
    """The user's line in a traceback, in words."""
    folders = (*sys.modules["neuronix"].__path__, *torch.__path__)
    found = None
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if not code.co_filename.startswith(("<neuronix ", *folders)):
            found = Line(code.co_filename, at.tb_lineno, code.co_name)
        at = at.tb_next
    return "" if found is None else f" ({found})"
