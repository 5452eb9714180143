"""A training step takes no more memory than PyTorch's: counted on small models, to the byte.

``benchmarks/memory.py`` counts the models of the speed benchmark in the same way.
"""

from __future__ import annotations

import pytest
import torch
from benchmark_modules import benchmark

from neuronix import nn

memory, workloads = benchmark("memory"), benchmark("workloads")


def test_the_meter_counts_each_storage_once_and_forgets_it_when_it_is_gone() -> None:
    kept = torch.zeros(25)
    with memory.Meter() as meter:
        meter.count([kept])
        assert meter.live == 100
        x = kept + 1
        view = x.view(5, 5)
        same = view.add_(1)
        assert (meter.live, meter.peak) == (200, 200)
        del x, view
        assert meter.live == 200  # `same` holds the memory
        del same
        z = torch.zeros(10)
    assert (meter.live, meter.peak) == (140, 200)
    assert z.shape == (10,)


@pytest.mark.kernels  # the rules alone keep more intermediate values: that is what the kernels are for
@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "gpt"])
def test_a_training_step_takes_no_more_than_pytorchs(name: str) -> None:
    workload = workloads.SMALL[name]
    ours, theirs = (memory.measure(workload, library) for library in (workloads.NEURONIX, workloads.PYTORCH))
    assert ours.before == theirs.before, f"{ours.before:,} bytes of state, not {theirs.before:,}"
    for part in ("passes", "step"):
        mine, limit = getattr(ours, part), memory.LIMIT * getattr(theirs, part)
        assert mine <= limit, f"{name}, {part}: {mine:,} bytes > {limit:,.0f}"


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "gpt"])
def test_counting_is_exact(name: str) -> None:
    first, second = (memory.measure(workloads.SMALL[name], workloads.NEURONIX) for _ in range(2))
    assert first == second, f"{first} and {second}"


@pytest.mark.kernels
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("name", "options"), [("RNN", {}), ("GRU", {}), ("LSTM", {}), ("LSTM", {"proj_size": 8})], ids=str
)
def test_a_recurrent_network_keeps_no_more_than_pytorchs(
    name: str, options: dict[str, int], dtype: torch.dtype
) -> None:
    kept = []
    for library in (nn, torch.nn):
        network = getattr(library, name)(12, 16, num_layers=2, bidirectional=True, dtype=dtype, **options)
        x = torch.randn(9, 4, 12, dtype=dtype)
        with memory.Meter() as meter:
            meter.count([x, *(parameter.data for parameter in network.parameters())])
            out = network(x)[0]
            kept.append(meter.live)
        out.sum().backward()
    ours, theirs = kept
    assert ours <= theirs
