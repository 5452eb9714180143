"""Neuronix beside other libraries that differentiate: time, memory, and how much code there is to read.

    nox -s peers                 # the table
    nox -s peers -- --write      # into docs/peers.md, with the plot
    nox -s peers -- --only jax   # one peer
    nox -s peers -- --questions  # what happens, not how fast

Each peer is installed from the package index into an environment of its own, ``.nox/peers/``, and each workload runs in
a process of its own.  PyTorch's process takes turns with the peer's: some steps of the one, some of the other, and
again.  Each turn gives a ratio of median times, and the median of the ratios is reported.  All processes share one
processor core, so that nobody's threads count.  What a peer computes is compared with what PyTorch computes: three
losses, or the value and the gradients.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pages

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "peer_programs"
ENVIRONMENTS = ROOT / ".nox" / "peers"
PAGE = ROOT / "docs" / "peers.md"
PLOT = pages.ASSETS / "peers.svg"

WORKLOADS = ("chain", "scalars", "mlp", "cnn")
# Seconds until a workload must have run for the first time, compilation included.
PATIENCE = {"chain": 60.0, "scalars": 120.0, "mlp": 300.0, "cnn": 300.0}
TURN = 0.15  # seconds of one side's turn
FEWEST_TURNS = 5
TOLERANCE = 2e-4  # of losses after some steps in float32
MEGABYTE = 2**20


class Peer(NamedTuple):
    """A library and a way of using it.

    Attributes:
        label: What the table calls it.
        program: The file in ``peer_programs/`` that does the workloads.
        variant: ``"eager"`` or ``"compiled"``.
        requirements: What its environment holds; nothing for those that are installed here.
        cannot: Why it can't do some of the workloads.
    """

    label: str
    program: str
    variant: str = "eager"
    requirements: tuple[str, ...] = ()
    cannot: dict[str, str] = {}  # noqa: RUF012  (a NamedTuple's default; nobody changes it)

    @property
    def environment(self) -> Path:
        """Where it is installed."""
        return ENVIRONMENTS / self.program.removeprefix("with_").removesuffix(".py")


TINYGRAD = ("tinygrad==0.14.0", "numpy==2.4.6", "ziglang==0.17.1")
JAX = ("jax==0.10.2",)
ONE_NUMBER = dict.fromkeys(("chain", "mlp", "cnn", "part"), "it computes with single numbers")
NO_MODEL = dict.fromkeys(("chain", "scalars"), "what is compiled here is a model's training step")
REFERENCE = Peer("PyTorch", "with_torch.py")
PEERS = (
    Peer("Neuronix", "with_neuronix.py"),
    Peer("Neuronix, compiled step", "with_neuronix.py", "compiled", (), NO_MODEL),
    Peer("PyTorch, torch.compile", "with_torch.py", "compiled", (), NO_MODEL),
    Peer("JAX", "with_jax.py", "eager", JAX),
    Peer("JAX, jit", "with_jax.py", "compiled", JAX),
    Peer("HIPS autograd", "with_hips_autograd.py", "eager", ("autograd==1.9.1", "numpy==2.4.6"), {
        "cnn": "it has no pooling, no normalisation, and only SciPy's convolution",
    }),
    Peer("MyGrad", "with_mygrad.py", "eager", ("mygrad==2.5.0", "numpy==2.4.6")),
    Peer("tinygrad", "with_tinygrad.py", "eager", TINYGRAD),
    Peer("tinygrad, TinyJit", "with_tinygrad.py", "compiled", TINYGRAD),
    Peer("micrograd", "with_micrograd.py", "eager", ("micrograd==0.1.0",), ONE_NUMBER),
)  # fmt: skip


class Question(NamedTuple):
    """Something to try with each peer, and the answer that mathematics gives."""

    heading: str
    right: object


QUESTIONS = {
    "second": Question("second derivative", 12.0),
    "in_place": Question("`y *= 5`", 15.0),
    "part": Question("`y[0] *= 5`", [15.0, 3.0]),
    "changed": Question("changed constant", 2.0),
    "deep": Question("5,000 deep", 1.0),
}


class PeerError(Exception):
    """Why a peer has no figure."""


class Figures(NamedTuple):
    """What was measured of one workload.

    Attributes:
        version: The library's.
        ratio: Its time in units of PyTorch's.
        seconds: Median time of a step.
        reference: PyTorch's median time, measured in turns with it.
        memory: Peak of the resident memory while it ran, above what the process held after importing the library.
        engine: Lines of code of its engine.
        loaded: Lines of code of all its modules that were imported.
    """

    version: str
    ratio: float
    seconds: float
    reference: float
    memory: float
    engine: int
    loaded: int


Result = Figures | str
"""Figures, or why there are none."""


# Environments


def install(peer: Peer) -> Path:
    """Make the peer's environment if it isn't there, and return its Python.

    Raises:
        PeerError: If it can't be installed.
    """
    if not peer.requirements:
        return Path(sys.executable)
    home = peer.environment
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    receipt = home / "requirements.txt"
    wanted = "\n".join([sys.version, *peer.requirements])
    if not receipt.exists() or receipt.read_text(encoding="utf-8") != wanted:
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
        if uv:
            make = [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)]
            fill = [uv, "pip", "install", "--quiet", "--python", str(python), *peer.requirements]
        else:
            make = [sys.executable, "-m", "venv", "--clear", str(home)]
            fill = [str(python), "-m", "pip", "install", "--quiet", *peer.requirements]
        for command in (make, fill):
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise PeerError(f"can't be installed: {last_line(done.stderr)}")
        receipt.write_text(wanted, encoding="utf-8")
    if "ziglang" in wanted and not shutil.which("clang"):
        lend_clang(home)
    return python


def lend_clang(home: Path) -> None:
    """Put a ``clang`` into an environment that has the Zig compiler, which is one."""
    zig = next(home.glob("lib/*/site-packages/ziglang/zig"), None)
    if zig is not None:
        script = home / "bin" / "clang"
        script.write_text(f'#!/bin/sh\nexec "{zig}" clang "$@"\n', encoding="utf-8")
        script.chmod(0o755)


def last_line(text: str) -> str:
    """The line of a traceback that holds the error; of another text the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+Error\b", line)]
    return (errors or lines or ["it says nothing"])[-1]


def one_core() -> None:
    """Let this process and those that it starts share one processor core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


# Processes


class Worker:
    """A process that holds one workload of one peer, and runs it when it is told to."""

    def __init__(self, peer: Peer, python: Path, workload: str) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUM_CPU_THREADS"), "1")
        path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  (see `close`)
        self.process = subprocess.Popen(
            [str(python), str(PROGRAMS / peer.program), peer.variant, workload],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1,
            env={**os.environ, **threads, "PATH": path, "JAX_PLATFORMS": "cpu", "DEV": "CPU",
                 "JAX_TRACEBACK_FILTERING": "off"},
        )  # fmt: skip
        self.patience = PATIENCE.get(workload, 60.0)
        self.hello: dict[str, Any] = {}  # its first answer: what it computes

    def answer(self) -> dict[str, Any]:
        """What it says next.

        Raises:
            PeerError: If it ends, or says nothing for too long.
        """
        start = time.monotonic()
        impatience = threading.Timer(self.patience, self.process.kill)
        impatience.start()
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        late = time.monotonic() - start >= self.patience
        impatience.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.process.wait()
        if late:
            raise PeerError(f"not ready within {self.patience:.0f} seconds")
        self.errors.seek(0)
        raise PeerError(last_line(self.errors.read()))

    def ask(self, what: object) -> dict[str, Any]:
        """Tell it something, and wait for its answer."""
        if self.process.stdin is not None:
            self.process.stdin.write(f"{what}\n")
        return self.answer()

    def times(self, steps: int) -> list[float]:
        """Seconds of each of some steps."""
        seconds: list[float] = self.ask(steps)["seconds"]
        return seconds

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


@contextmanager
def working(peer: Peer, python: Path, workload: str) -> Iterator[Worker]:
    """A worker for the block."""
    worker = Worker(peer, python, workload)
    try:
        worker.hello = worker.answer()
        yield worker
    finally:
        worker.close()


# Measuring


def compare(worker: Worker, reference: Worker, seconds: float) -> tuple[float, float, float]:
    """The median of the turns' ratios, the worker's median time and the reference's."""
    counts = [max(1, round(TURN / statistics.median(side.times(3)))) for side in (worker, reference)]
    turns: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(turns) < FEWEST_TURNS or time.perf_counter() < end:
        ours, theirs = (
            statistics.median(side.times(count)) for side, count in zip((worker, reference), counts, strict=True)
        )
        turns.append((ours, theirs))
    return (
        statistics.median(ours / theirs for ours, theirs in turns),
        statistics.median(ours for ours, _ in turns),
        statistics.median(theirs for _, theirs in turns),
    )


def measure(peer: Peer, workload: str, reference: Worker, seconds: float) -> Result:
    """One peer, one workload."""
    if workload in peer.cannot:
        return peer.cannot[workload]
    try:
        with working(peer, install(peer), workload) as worker:
            values, expected = worker.hello["values"], reference.hello["values"]
            for value, right in zip(values, expected, strict=True):
                if abs(value - right) > TOLERANCE * abs(right):
                    return f"its result {value:.7g} isn't PyTorch's, {right:.7g}"
            ratio, ours, theirs = compare(worker, reference, seconds)
            end = worker.ask("end")
    except PeerError as error:
        return str(error)
    return Figures(worker.hello["version"], ratio, ours, theirs, end["memory"] / MEGABYTE, end["engine"], end["loaded"])


def measure_all(peers: Sequence[Peer], workloads: Sequence[str], seconds: float) -> dict[str, dict[str, Result]]:
    """All peers, workload by workload; PyTorch's own figures stand first."""
    results: dict[str, dict[str, Result]] = {peer.label: {} for peer in (REFERENCE, *peers)}
    for workload in workloads:
        with working(REFERENCE, Path(sys.executable), workload) as reference:
            for peer in peers:
                result = results[peer.label][workload] = measure(peer, workload, reference, seconds)
                print(f"{workload:<8} {peer.label:<26} {shown(result)}", flush=True)
            times = reference.times(10)
            end = reference.ask("end")
            own = statistics.median(times)
            results[REFERENCE.label][workload] = Figures(
                reference.hello["version"], 1.0, own, own, end["memory"] / MEGABYTE, end["engine"], end["loaded"]
            )
    return results


def ask(peer: Peer, question: str) -> str:
    """One peer's answer to one question, as a cell of a table."""
    if question in peer.cannot:
        return ""
    try:
        with working(peer._replace(variant="question"), install(peer), question) as worker:
            answer = worker.hello["answer"]
    except PeerError as error:
        kind = re.match(r"[\w.]+Error\b", str(error))
        return f"`{kind[0].rpartition('.')[2]}`" if kind else str(error)
    return "yes" if answer == QUESTIONS[question].right else f"wrong: {answer}"


def ask_all(peers: Sequence[Peer]) -> str:
    """The table of all answers."""
    heads = ["", *(question.heading for question in QUESTIONS.values())]
    askable = [REFERENCE, *(peer for peer in peers if peer.variant == "eager")]
    return pages.table(heads, [[peer.label, *(ask(peer, question) for question in QUESTIONS)] for peer in askable])


def shown(result: Result) -> str:
    """A result for the terminal."""
    if isinstance(result, str):
        return f"no figure: {result}"
    times = f"{result.seconds * 1e3:.2f} ms, {result.reference * 1e3:.2f} ms"
    return f"{ratio_text(result.ratio):>7} of PyTorch's time ({times}), {result.memory:.0f} MB"


# The page


def ratio_text(ratio: float) -> str:
    """Three digits at most."""
    places = 0 if ratio >= 100 else 1 if ratio >= 10 else 2 if ratio >= 0.1 else 3
    return f"{ratio:.{places}f}"


def result_table(results: dict[str, dict[str, Result]]) -> str:
    """The Markdown table, and below it why some cells are empty."""
    heads = ["", "version", *WORKLOADS, "mlp MB", "cnn MB", "engine", "loaded"]
    rows, reasons = [], []
    for label, cells in results.items():
        found = [cell for cell in cells.values() if isinstance(cell, Figures)]
        some = found[-1] if found else None
        row = [label, some.version.partition("+")[0] if some else "none"]
        for workload in WORKLOADS:
            cell = cells[workload]
            row.append(ratio_text(cell.ratio) if isinstance(cell, Figures) else "")
            if isinstance(cell, str):
                reasons.append((label, workload, cell))
        for workload in ("mlp", "cnn"):
            cell = cells[workload]
            row.append(f"{cell.memory:.0f}" if isinstance(cell, Figures) else "")
        row.append(f"{some.engine:,}" if some and some.engine else "")
        row.append(f"{max(cell.loaded for cell in found):,}" if found else "")
        rows.append(row)
    notes: dict[tuple[str, str], list[str]] = {}
    for label, workload, reason in reasons:
        notes.setdefault((label, reason), []).append(workload)
    lines = [f"* {label}, {' and '.join(names)}: {reason}." for (label, reason), names in notes.items()]
    return pages.table(heads, rows) + ("\n\n" + "\n".join(lines) if lines else "")


def verdict(results: dict[str, dict[str, Result]]) -> str:
    """Who is fastest at what, and who else is faster than Neuronix: a sentence for each workload."""
    lines = []
    for workload in WORKLOADS:
        times = {label: cell.ratio for label, cells in results.items() if isinstance(cell := cells[workload], Figures)}
        own = min(ratio for label, ratio in times.items() if label.startswith("Neuronix"))
        faster = sorted((ratio, label) for label, ratio in times.items() if ratio < own)
        if faster:
            names = ", ".join(f"{label} ({ratio_text(ratio)})" for ratio, label in faster)
            lines.append(f"* *{workload}*: faster than Neuronix at its best ({ratio_text(own)}): {names}.")
        else:
            lines.append(f"* *{workload}*: Neuronix at its best ({ratio_text(own)}) is the fastest of those measured.")
    return "\n".join(lines)


def draw(results: dict[str, dict[str, Result]]) -> None:
    """A panel for each workload: a bar for each peer, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "neuronix", "font.size": 9, "axes.spines.top": False})
    figure, panels = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    for panel, workload in zip(panels.flat, WORKLOADS, strict=True):
        bars = sorted(
            (cell.ratio, label) for label, cells in results.items() if isinstance(cell := cells[workload], Figures)
        )[::-1]
        ratios, labels = [ratio for ratio, _ in bars], [label for _, label in bars]
        colours = ["#2563eb" if name.startswith("Neuronix") else "#9ca3af" for name in labels]
        drawn = panel.barh(labels, [ratio / 0.01 for ratio in ratios], left=0.01, color=colours)
        for bar, ratio in zip(drawn, ratios, strict=True):
            bar.set_width(ratio - 0.01)
            panel.annotate(ratio_text(ratio), (ratio, bar.get_y() + bar.get_height() / 2), (3, 0),
                           textcoords="offset points", va="center")  # fmt: skip
        panel.set_xscale("log")
        panel.set_xlim(min([0.1, *(ratio / 2 for ratio in ratios)]), max(ratios) * 3)
        panel.axvline(1.0, color="black", linewidth=0.8)
        panel.set_title(workload)
        panel.spines["right"].set_visible(False)
    figure.suptitle("Time of a step relative to PyTorch eager (the line); lower is better; logarithmic")
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write docs/peers.md and its plot")
    parser.add_argument("--only", default="", help="parts of peers' names, separated by commas")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help=f"some of {', '.join(WORKLOADS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure (default: 5)")
    parser.add_argument("--questions", action="store_true", help="ask the questions, and measure nothing")
    parser.add_argument("--check", action="store_true", help="do nothing: peers have no limits to keep")
    options = parser.parse_args()
    if options.check:
        print("Peers are compared, not checked: there is no limit. Run without --check to measure.")
        return
    parts = options.only.lower().split(",")
    peers = [peer for peer in PEERS if any(part in peer.label.lower() for part in parts)]
    workloads = [workload for workload in WORKLOADS if workload in options.workloads.split(",")]
    for program in dict.fromkeys(peer.program for peer in peers):
        peer = next(peer for peer in peers if peer.program == program)
        try:
            install(peer)
        except PeerError as error:
            print(f"{peer.label}: {error}")  # each of its rows will say so, too
    if options.questions:
        answers = ask_all(peers)
        print(answers)
        if options.write and len(peers) == len(PEERS):
            pages.write("questions", answers, PAGE)
        return
    one_core()
    results = measure_all(peers, workloads, options.seconds)
    if len(peers) < len(PEERS) or len(workloads) < len(WORKLOADS):
        if options.write:
            raise SystemExit("The page shows all peers and workloads: nothing was written.")
        return
    print(result_table(results))
    print(verdict(results))
    if options.write:
        draw(results)
        pages.write("table", f"{result_table(results)}\n\n{pages.machine()}", PAGE)
        pages.write("verdict", verdict(results), PAGE)
        pages.write("questions", ask_all(peers), PAGE)


if __name__ == "__main__":
    main()
