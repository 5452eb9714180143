"""Every fused kernel of every package equals the rule that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmark_modules import benchmark

from neuronix.autograd import rules_only

ROOT = Path(__file__).parent.parent

bench = benchmark("kernels")  # it finds the kernels, and has a sample of each
KERNELS: list[Any] = list(bench.kernels())
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5}
# torch's kernel takes 1/6 in single precision for every dtype
ROUGH = {"hardsigmoid: x": 1e-7}


def test_each_kernel_has_a_sample_and_each_sample_a_kernel() -> None:
    assert {kernel.operation for kernel in KERNELS} == set(bench.SAMPLES)


def test_kernels_are_found() -> None:
    # as many as there are decorators in the sources
    sources = [path.read_text(encoding="utf-8") for path in ROOT.glob("packages/*/src/**/*.py")]
    assert len(KERNELS) == sum(
        line.startswith("@") and ".fused(" in line for text in sources for line in text.split("\n")
    )


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_a_kernel_equals_its_rule(kernel: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def observed(*args: Any) -> Any:
        ran.append(kernel.name)
        return kernel.rule.function(*args)

    run = bench.forward(bench.SAMPLES[kernel.operation], bench.TESTED, dtype)
    name = f"kernel_{'_'.join(kernel.rule.wrt)}"  # as the generated code calls it
    scope = kernel.primitive.function.__globals__
    assert name in scope
    monkeypatch.setitem(scope, name, observed)
    by_kernel = run.backward()
    assert ran == [kernel.name]
    with rules_only():
        by_rule = run.backward()
    assert ran == [kernel.name]
    for ours, expected in zip(by_kernel, by_rule, strict=True):
        tolerance = max(TOLERANCES[dtype], ROUGH.get(kernel.name, 0.0))
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.kernels
@pytest.mark.parametrize("kernel", [k for k in KERNELS if len(k.rule.wrt) > 1], ids=lambda kernel: kernel.name)
def test_a_joint_kernel_gives_each_gradient_alone(kernel: Any) -> None:
    sample = bench.SAMPLES[kernel.operation]
    together = bench.forward(sample, bench.TESTED, torch.float64).backward()
    for place, expected in enumerate(together):
        (alone,) = bench.forward(sample, bench.TESTED, torch.float64, place).backward()
        torch.testing.assert_close(alone, expected, rtol=1e-12, atol=1e-12)


def test_the_page_lists_each_kernel() -> None:
    page = (ROOT / "docs" / "fused-kernels.md").read_text(encoding="utf-8")
    for kernel in KERNELS:
        assert f"| {kernel.name} | `{kernel.replaced.function.__name__}` |" in page
