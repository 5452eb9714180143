"""Loss functions, with the names and arguments of ``torch.nn.functional``, and their derivative rules.

Importing this module also makes ``torch.nn.functional.cross_entropy`` and its sisters accept `CustomTensor`s.  A
function whose name ends in an underscore is a primitive: a loss with ATen's arguments, and its rules below it.

| file | losses |
|---|---|
| ``regression.py`` | `mse_loss`, `l1_loss`, `smooth_l1_loss`, `huber_loss` |
| ``classification.py`` | `cross_entropy`, `nll_loss` |
| ``ctc.py`` | `ctc_loss` |
| ``binary.py`` | `binary_cross_entropy_with_logits`, `binary_cross_entropy` |
| ``divergence.py`` | `kl_div` |
| ``likelihood.py`` | `poisson_nll_loss`, `gaussian_nll_loss` |
| ``margin.py`` | `hinge_embedding_loss`, `margin_ranking_loss`, `multi_margin_loss`, `soft_margin_loss`, multi-label |
| ``pairs.py`` | `cosine_embedding_loss`, `triplet_margin_loss`, `triplet_margin_with_distance_loss` |
| ``linear_classification.py`` | `linear_cross_entropy` |
"""

from neuronix.losses.functional.binary import binary_cross_entropy, binary_cross_entropy_with_logits
from neuronix.losses.functional.classification import cross_entropy, nll_loss
from neuronix.losses.functional.ctc import ctc_loss
from neuronix.losses.functional.divergence import kl_div
from neuronix.losses.functional.likelihood import gaussian_nll_loss, poisson_nll_loss
from neuronix.losses.functional.linear_classification import linear_cross_entropy
from neuronix.losses.functional.margin import (
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
)
from neuronix.losses.functional.pairs import (
    cosine_embedding_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from neuronix.losses.functional.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "linear_cross_entropy",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]
