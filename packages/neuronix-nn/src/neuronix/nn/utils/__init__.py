"""What people expect of ``torch.nn.utils``; clipping gradients stands beside the optimizers, in ``neuronix.optim``.

| file | |
|---|---|
| ``vectors.py`` | parameters as one vector, and back |
| ``rnn.py`` | sequences of different lengths in one batch |
"""

from typing import NoReturn

from neuronix.nn.utils import rnn
from neuronix.nn.utils.vectors import parameters_to_vector, vector_to_parameters

__all__ = ["parameters_to_vector", "rnn", "vector_to_parameters"]


def __getattr__(name: str) -> NoReturn:
    hint = f"; it is neuronix.optim.{name}" if name.startswith(("clip_grad", "get_total_norm")) else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
