"""One model in several threads: its parameters are leaves that all of them share."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from neuronix import nn
from neuronix.autograd import CustomTensor

THREADS = 4


@pytest.fixture(autouse=True)
def switch_threads_often() -> Iterator[None]:
    """Let the interpreter change threads as often as it can, so that races are found if there are any."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_threads_that_share_a_model_sum_their_gradients_exactly() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 5), nn.ReLU(), nn.Linear(5, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(27, 5),
        torch.nn.ReLU(),
        torch.nn.Linear(5, 2),
    )
    # Whole numbers, of which every sum is exact in any order.
    state = {name: torch.randint(-2, 3, value.shape).double() for name, value in theirs.state_dict().items()}
    theirs.double().load_state_dict(state)
    ours.double().load_state_dict(state)
    images = torch.randint(-3, 4, (THREADS * 10, 1, 4, 4)).double()
    theirs(images).square().sum().backward()
    barrier = threading.Barrier(THREADS)

    def work(part: Tensor) -> None:
        barrier.wait(timeout=60)
        for image in part.split(1):
            (ours(CustomTensor(image)) ** 2).sum().backward()

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work, part) for part in images.chunk(THREADS)]:
            done.result(timeout=60)
    for (name, parameter), expected in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, expected.grad), name
