"""Runs the Python blocks of every Markdown page that pytest is asked for, and fixes what makes a test run repeatable.

Blocks of one page share their names and run from top to bottom, in an empty folder. A block with lines `#> …` must
print exactly these lines (`...` stands for anything); a block of `>>>` examples is a doctest. What isn't to be run
isn't Python: its fence says `text`.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import os
import re
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from sybil import Document, Example, Region
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.evaluators.python import PythonEvaluator
from sybil.example import SybilFailure
from sybil.parsers.abstract.doctest import DocTestStringParser
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

# The same programs on each run, however slow the machine is.  Without shrinking: a program that fails is short as it
# is, and shrinking takes minutes.
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
# New programs each time; `print_blob` says how to draw a failing one again.
settings.register_profile(
    "nightly", settings.get_profile("ci"), max_examples=10_000, derandomize=False, print_blob=True
)
settings.load_profile("nightly" if os.environ.get("NEURONIX_NIGHTLY") == "1" else "ci")

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr

DOCTEST_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXPECTED_LINE = re.compile(r"^\s*#> ?(.*)$", re.MULTILINE)

python_fences = RawFencedCodeBlockLexer(re.compile(r"[ \t{.]*python\b[^\n]*\n"))
doctest_parser = DocTestStringParser(DocTestEvaluator(DOCTEST_FLAGS))
run_python = PythonEvaluator()


def evaluate_block(example: Example) -> str | None:
    """Run a block; where it states what it prints, compare."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        run_python(example)
    expected = "".join(line.rstrip() + "\n" for line in EXPECTED_LINE.findall(example.parsed))
    got = "".join(line.rstrip() + "\n" for line in printed.getvalue().splitlines())
    if not expected or doctest.OutputChecker().check_output(expected, got, DOCTEST_FLAGS):
        return None
    return f"the block says that it prints\n{expected}but it printed\n{got}"


def parse_blocks(document: Document) -> Iterable[Region]:
    """Find the Python blocks of a page."""
    for region in python_fences(document):
        source = region.lexemes["source"]
        if source.lstrip().startswith(">>>"):
            for part in doctest_parser(source, document.path):
                part.adjust(region, source)
                yield part
        else:
            region.parsed, region.evaluator = source, evaluate_block
            yield region


class Block(pytest.Item):
    """One block of a page."""

    def __init__(self, *, example: Example, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.example = example

    def runtest(self) -> None:
        self.example.evaluate()

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.example.line - 1, f"{self.path.name}, line {self.example.line}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str | TerminalRepr:
        if isinstance(excinfo.value, SybilFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


class Page(pytest.File):
    """A Markdown page: its blocks are a program of their own, in an empty folder of their own."""

    def collect(self) -> Iterable[Block]:
        self.document = Document.parse(str(self.path), parse_blocks)
        self.document.namespace["__name__"] = "__main__"
        for example in self.document.examples():
            yield Block.from_parent(self, name=f"line:{example.line}", example=example)

    def setup(self) -> None:
        self.folder = contextlib.ExitStack()
        self.folder.enter_context(contextlib.chdir(self.folder.enter_context(tempfile.TemporaryDirectory())))

    def teardown(self) -> None:
        self.document.namespace.clear()
        self.folder.close()


def pytest_collection_finish() -> None:
    """What the imports left is nobody's garbage: without it a test's `gc.collect()` takes no second, but some ms."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """With NEURONIX_RULES_ONLY=1 run tests, doctests and pages by the rules alone, without the fused kernels."""
    if "NEURONIX_RULES_ONLY" not in os.environ or item.get_closest_marker("kernels"):
        return (yield)
    from neuronix.autograd import rules_only

    with rules_only():
        return (yield)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Page | None:
    """Collect Markdown pages."""
    return Page.from_parent(parent, path=file_path) if file_path.suffix == ".md" else None
