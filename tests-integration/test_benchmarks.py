"""The benchmarks' machinery works: tiny runs, whose figures don't matter."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from benchmark_modules import benchmark

pages, scale, timing, training, workloads = map(benchmark, ("pages", "scale", "timing", "training", "workloads"))


def options(path: Path, check: bool) -> argparse.Namespace:
    return argparse.Namespace(json=path, write=False, check=check)


def test_a_comparison_alternates_and_counts_only_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    order: list[str] = []

    def program(name: str, seconds: float) -> timing.Program:
        def run() -> None:
            nonlocal clock
            clock += seconds
            order.append(name)

        def prepare() -> None:
            nonlocal clock
            clock += 5.0

        return timing.Program(run, prepare)

    monkeypatch.setattr("time.perf_counter", lambda: clock)
    result = timing.compare(program("ours", 1.0), program("theirs", 4.0), seconds=0.0)
    assert result == timing.Comparison(1.0, 4.0, 0.25, timing.MINIMUM)
    assert order[6:12] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]


def test_a_missed_limit_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = timing.Program(lambda: None)
    measured = [
        (timing.Row("mlp", "step", 1.15, program, program), timing.Comparison(1.0, 1.0, 1.0, 10)),
        (timing.Row("cnn", "step", 1.05, program, program), timing.Comparison(1.2, 1.0, 1.2, 10)),
    ]
    with pytest.raises(SystemExit, match=r"limit missed: cnn \(step\): 1.20 > 1.05"):
        timing.report("training", ["workload", "part"], measured, options(tmp_path / "a.json", check=True))
    timing.report("training", ["workload", "part"], measured[:1], options(tmp_path / "b.json", check=True))
    assert '"ratio": 1.2' in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "| mlp      | step |" in capsys.readouterr().out


def test_each_shape_has_as_many_operations_as_it_says() -> None:
    for library in workloads.SIDES:
        for shape, build in scale.SHAPES.items():
            result = build(library, 100)
            nodes, stack = set(), [result.grad_fn]
            while stack:
                node = stack.pop()
                following = [n for n, _ in node.next_functions] if library is workloads.PYTORCH else node.parents
                name = type(node).__name__ if library is workloads.PYTORCH else node.name
                if node in nodes or name in ("leaf", "AccumulateGrad"):
                    continue
                nodes.add(node)
                stack += [n for n in following if n is not None]
            assert 99 <= len(nodes) <= 101, (library.name, shape, len(nodes))


def test_growth_is_a_ratio_within_a_turn() -> None:
    costs = {
        ("Neuronix", "chain", 10): [scale.Cost(1.0, 1.0, 0.0), scale.Cost(3.0, 1.0, 0.0), scale.Cost(1.0, 0.5, 0.5)],
        ("Neuronix", "chain", 100): [scale.Cost(1.0, 1.0, 1.0), scale.Cost(2.0, 3.0, 1.0), scale.Cost(1.0, 1.0, 1.0)],
    }
    assert scale.growth(costs, "Neuronix", "chain", 100) == 1.5
    measured = scale.measure_all(sizes=(10,), turns=1, at_least=20)
    assert len(scale.rows(measured)) == 2 * len(scale.SHAPES)


def test_every_table_has_its_place_on_the_page() -> None:
    text = pages.PAGE.read_text(encoding="utf-8")
    for name in ("training", "phases", "compiled", "memory", "scale", "import"):
        assert text.count(f"<!-- {name}: ") == 1, name


def test_both_sides_of_a_workload_compute_the_same() -> None:
    for name, workload in workloads.SMALL.items():
        ours, theirs = (workload.on(library) for library in workloads.SIDES)
        for _ in range(2):
            mine, wanted = ours.step(), theirs.step()
            assert mine.item() == pytest.approx(wanted.item(), rel=1e-5), name
