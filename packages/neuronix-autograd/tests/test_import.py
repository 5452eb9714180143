"""What importing does to a process, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc
import torch

{before}
rounds = []
gc.callbacks.append(lambda phase, info: rounds.append(info["generation"]))
import neuronix.autograd

print(rounds, gc.isenabled())
"""


@pytest.mark.parametrize("before, enabled", [("gc.enable()", True), ("gc.disable()", False)])
def test_importing_collects_nothing_and_leaves_the_collector_as_it_was(before: str, enabled: bool) -> None:
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rounds = done.stdout.split()
    assert rounds[-1] == str(enabled)
    assert "2" not in done.stdout  # no full round, which goes through all of torch's objects
