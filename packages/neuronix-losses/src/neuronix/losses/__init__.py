"""Loss functions: modules with the names, arguments and defaults of `torch.nn`'s.

A loss is called with an input and a target and gives a scalar (or, unreduced, a value for each element).  The classes
hold options only; what is computed, and its derivative, stands in `neuronix.losses.functional`.
"""

from neuronix.losses import errors, functional
from neuronix.losses.__about__ import __version__ as __version__
from neuronix.losses.adaptive_softmax import AdaptiveLogSoftmaxWithLoss
from neuronix.losses.binary import BCELoss, BCEWithLogitsLoss
from neuronix.losses.classification import CrossEntropyLoss, NLLLoss
from neuronix.losses.ctc import CTCLoss
from neuronix.losses.divergence import KLDivLoss
from neuronix.losses.likelihood import GaussianNLLLoss, PoissonNLLLoss
from neuronix.losses.linear_classification import LinearCrossEntropyLoss
from neuronix.losses.margin import (
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    SoftMarginLoss,
)
from neuronix.losses.pairs import CosineEmbeddingLoss, TripletMarginLoss, TripletMarginWithDistanceLoss
from neuronix.losses.regression import HuberLoss, L1Loss, MSELoss, SmoothL1Loss

__all__ = [
    "AdaptiveLogSoftmaxWithLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LinearCrossEntropyLoss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "errors",
    "functional",
]
