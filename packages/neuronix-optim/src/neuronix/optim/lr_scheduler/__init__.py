"""Learning-rate schedulers: they change the `lr` of an optimizer's groups from epoch to epoch.

The optimizer may be one of this package or of torch. Names, arguments, learning rates and saved states are those of
`torch.optim.lr_scheduler`.
"""

from neuronix.optim.lr_scheduler.chained_scheduler import ChainedScheduler
from neuronix.optim.lr_scheduler.constant_lr import ConstantLR
from neuronix.optim.lr_scheduler.cosine_annealing_lr import CosineAnnealingLR
from neuronix.optim.lr_scheduler.cosine_annealing_warm_restarts import CosineAnnealingWarmRestarts
from neuronix.optim.lr_scheduler.cyclic_lr import CyclicLR
from neuronix.optim.lr_scheduler.exponential_lr import ExponentialLR
from neuronix.optim.lr_scheduler.lambda_lr import LambdaLR, MultiplicativeLR
from neuronix.optim.lr_scheduler.linear_lr import LinearLR
from neuronix.optim.lr_scheduler.multi_step_lr import MultiStepLR
from neuronix.optim.lr_scheduler.one_cycle_lr import OneCycleLR
from neuronix.optim.lr_scheduler.polynomial_lr import PolynomialLR
from neuronix.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateau
from neuronix.optim.lr_scheduler.scheduler import LRScheduler
from neuronix.optim.lr_scheduler.sequential_lr import SequentialLR
from neuronix.optim.lr_scheduler.step_lr import StepLR

__all__ = [
    "LRScheduler",
    "StepLR",
    "MultiStepLR",
    "ConstantLR",
    "LinearLR",
    "ExponentialLR",
    "PolynomialLR",
    "LambdaLR",
    "MultiplicativeLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "OneCycleLR",
    "SequentialLR",
    "ChainedScheduler",
    "ReduceLROnPlateau",
]
