"""Optimizers and learning-rate schedulers that read like their papers.

They work on anything that has `.data`, a torch tensor, and `.grad`, a torch tensor or `None`: the tensors and
parameters of Neuronix, and those of torch. Names, arguments, defaults and saved states are those of `torch.optim`.
"""

from neuronix.optim import errors, lr_scheduler, swa_utils
from neuronix.optim.__about__ import __version__ as __version__
from neuronix.optim.adadelta import Adadelta
from neuronix.optim.adafactor import Adafactor
from neuronix.optim.adagrad import Adagrad
from neuronix.optim.adam import Adam
from neuronix.optim.adamax import Adamax
from neuronix.optim.adamw import AdamW
from neuronix.optim.asgd import ASGD
from neuronix.optim.clipping import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from neuronix.optim.lbfgs import LBFGS
from neuronix.optim.lion import Lion
from neuronix.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR
from neuronix.optim.momentum import Momentum
from neuronix.optim.muon import Muon
from neuronix.optim.nadam import NAdam
from neuronix.optim.nesterov import Nesterov
from neuronix.optim.optimizer import Optimizer
from neuronix.optim.prodigy import Prodigy
from neuronix.optim.radam import RAdam
from neuronix.optim.rmsprop import RMSprop
from neuronix.optim.rprop import Rprop
from neuronix.optim.schedule_free_adamw import ScheduleFreeAdamW
from neuronix.optim.sgd import SGD
from neuronix.optim.sparse_adam import SparseAdam

__all__ = [
    "Optimizer",
    "SGD",
    "Momentum",
    "Nesterov",
    "Adam",
    "AdamW",
    "NAdam",
    "RAdam",
    "Adamax",
    "Adagrad",
    "Adadelta",
    "Adafactor",
    "RMSprop",
    "Rprop",
    "ASGD",
    "LBFGS",
    "Muon",
    "SparseAdam",
    "Lion",
    "Prodigy",
    "ScheduleFreeAdamW",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
    "swa_utils",
    "lr_scheduler",
    "LRScheduler",
    "StepLR",
    "CosineAnnealingLR",
    "ReduceLROnPlateau",
    "errors",
]
