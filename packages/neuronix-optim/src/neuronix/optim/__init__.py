"""Optimizers and learning-rate schedulers that read like their papers.

They work on anything that has `.data`, a torch tensor, and `.grad`, a torch tensor or `None`: the tensors and
parameters of Neuronix, and those of torch. Names, arguments, defaults and saved states are those of `torch.optim`.
"""

from neuronix.optim import errors, lr_scheduler
from neuronix.optim.__about__ import __version__ as __version__
from neuronix.optim.adam import Adam
from neuronix.optim.adamw import AdamW
from neuronix.optim.lion import Lion
from neuronix.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR
from neuronix.optim.momentum import Momentum
from neuronix.optim.nesterov import Nesterov
from neuronix.optim.optimizer import Optimizer
from neuronix.optim.sgd import SGD

__all__ = [
    "Optimizer",
    "SGD",
    "Momentum",
    "Nesterov",
    "Adam",
    "AdamW",
    "Lion",
    "lr_scheduler",
    "LRScheduler",
    "StepLR",
    "CosineAnnealingLR",
    "ReduceLROnPlateau",
    "errors",
]
