"""What people expect of ``torch.nn.utils``.

| file | |
|---|---|
| ``gradients.py`` | gradients made smaller, and parameters as one vector |
| ``rnn.py`` | sequences of different lengths in one batch |
"""

from neuronix.nn.utils import rnn
from neuronix.nn.utils.gradients import (
    clip_grad_norm_,
    clip_grad_value_,
    parameters_to_vector,
    vector_to_parameters,
)

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "rnn", "vector_to_parameters"]
