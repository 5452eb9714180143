"""Loss functions: modules with the names, arguments and defaults of `torch.nn`'s.

A loss is called with an input and a target and gives a scalar (or, unreduced, a value for each element).  The classes
hold options only; what is computed, and its derivative, stands in `neuronix.losses.functional`.
"""

from neuronix.losses import errors, functional
from neuronix.losses.__about__ import __version__ as __version__
from neuronix.losses.binary import BCELoss, BCEWithLogitsLoss
from neuronix.losses.classification import CrossEntropyLoss, NLLLoss
from neuronix.losses.divergence import KLDivLoss
from neuronix.losses.regression import HuberLoss, L1Loss, MSELoss, SmoothL1Loss

__all__ = [
    "MSELoss",
    "L1Loss",
    "SmoothL1Loss",
    "HuberLoss",
    "CrossEntropyLoss",
    "NLLLoss",
    "BCEWithLogitsLoss",
    "BCELoss",
    "KLDivLoss",
    "errors",
    "functional",
]
