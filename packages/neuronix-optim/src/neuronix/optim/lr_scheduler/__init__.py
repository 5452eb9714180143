"""Learning-rate schedulers: they change the `lr` of an optimizer's groups from epoch to epoch."""

from neuronix.optim.lr_scheduler.cosine_annealing_lr import CosineAnnealingLR
from neuronix.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from neuronix.optim.lr_scheduler.scheduler import LRScheduler
from neuronix.optim.lr_scheduler.step_lr import StepLR

__all__ = ["LRScheduler", "StepLR", "CosineAnnealingLR", "ReduceLROnPlateau"]
