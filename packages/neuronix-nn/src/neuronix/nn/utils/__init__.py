"""What people expect of ``torch.nn.utils``.

| file | |
|---|---|
| ``rnn.py`` | sequences of different lengths in one batch |
"""

from neuronix.nn.utils import rnn

__all__ = ["rnn"]
