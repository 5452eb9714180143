"""What the programs of all peers share: the numbers that they start from, and the loop that obeys ``peers.py``.

Needs nothing but Python, because each peer's environment holds that peer alone.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import re
import resource
import sys
import time
import tokenize
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

Step = Callable[[], float]
"""Does a workload once, all of it, and returns a number by which results are compared."""
Questions = dict[str, Callable[[], object]]
"""For each of the questions in ``peers.py`` a small program, written as the library's users would write it."""

BATCH = 64
CHAIN_STEPS = 1000  # each a multiplication and an addition
SCALAR_STEPS = 100  # each a product, a sum, a relu and a sum: deep, but not too deep for a recursive engine
MLP_WIDTHS = (784, 256, 256, 10)
CNN_CHANNELS = (1, 16, 32)
PIXELS = 28
CLASSES = 10
DEPTH = 5000  # of the chain that asks whether an engine is recursive
LEARNING_RATE, BETA1, BETA2, EPSILON, DECAY = 1e-3, 0.9, 0.999, 1e-8, 1e-2  # AdamW's defaults in PyTorch
FACTOR = 0.999

SETTLING_STEPS = 3


def numbers(seed: int, *shape: int, scale: float = 1.0) -> list[float]:
    """The same normal random numbers in every environment."""
    draw = random.Random(seed).gauss
    return [draw(0.0, scale) for _ in range(math.prod(shape))]


def weights(seed: int, *shape: int) -> list[float]:
    """A layer's weights; all axes but the first are its inputs'."""
    return numbers(seed, *shape, scale=math.prod(shape[1:]) ** -0.5)


def labels() -> list[int]:
    """The batch's classes."""
    draw = random.Random(100)
    return [draw.randrange(CLASSES) for _ in range(BATCH)]


def resident() -> tuple[int, int]:
    """Bytes of memory that the process holds now, and at its highest since the last `forget_peak`."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux: the highest of the whole run
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return peak, peak
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status.read_text(), re.MULTILINE))
    return int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024


def forget_peak() -> None:
    """Start the highest anew, where the system lets us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def code_lines(path: Path) -> int:
    """Lines that hold code: not the empty ones, nor those of comments and docstrings alone."""
    lines: set[int] = set()
    starts_statement = True
    layout = (tokenize.NL, tokenize.COMMENT, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    with path.open("rb") as file:
        source = io.BytesIO(file.read())
    for token in tokenize.tokenize(source.readline):
        if token.type in layout:
            starts_statement = starts_statement or token.type in (tokenize.NEWLINE, tokenize.INDENT)
            continue
        is_docstring = token.type == tokenize.STRING and starts_statement
        starts_statement = False
        if not is_docstring and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines)


def lines_of(package: str, engine: tuple[str, ...]) -> dict[str, int]:
    """Lines of the engine's files, and of all the package's modules that have been imported, bindings left out.

    Args:
        package: The name of the package.
        engine: Patterns of the engine's files inside the package's folder.
    """
    files = {
        Path(getattr(module, "__file__", None) or "")
        for name, module in list(sys.modules.items())
        if name == package or name.startswith(f"{package}.")
    }
    # Of torch's modules some have invented names of files.
    sources = [file for file in files if file.suffix == ".py" and file.exists() and "autogen" not in file.parts]
    loaded = sum(code_lines(file) for file in sources)
    folder = Path(next(iter(sys.modules[package].__path__)))
    counted = {file for pattern in engine for file in folder.glob(pattern) if file.suffix == ".py"}
    if len(counted) < len(engine):
        raise FileNotFoundError(f"of the engine's files {engine}, only {sorted(counted)} exist")
    return {"engine": sum(code_lines(file) for file in counted), "loaded": loaded}


def serve(
    distribution: str,
    package: str,
    engine: tuple[str, ...],
    variants: dict[str, dict[str, Callable[[], Step]]],
    questions: Questions,
) -> None:
    """Set up one workload, then run it as often as standard input says; answer in lines of JSON.

    Or answer one question.

    Args:
        distribution: The peer's name on the package index.
        package: The package that it is imported as.
        engine: Patterns of the files, inside the package's folder, that make up the engine.
        variants: For each way of using the peer, what makes its workloads.
        questions: What answers the questions.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=[*variants, "question"])
    parser.add_argument("workload")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    if options.variant == "question":
        print(json.dumps({"answer": questions[options.workload]()}), file=answers)
        return
    base, _ = resident()
    step = variants[options.variant][options.workload]()
    values = [step() for _ in range(SETTLING_STEPS)]
    forget_peak()
    number = getattr(sys.modules[package], "__version__", None) or version(distribution)
    print(json.dumps({"version": number, "values": values}), file=answers)
    for line in sys.stdin:
        if line.strip() == "end":
            _, peak = resident()
            answer: dict[str, object] = {"memory": peak - base, "process": peak, **lines_of(package, engine)}
        else:
            times = []
            for _ in range(int(line)):
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            answer = {"seconds": times}
        print(json.dumps(answer), file=answers)
