"""Loss functions, with the names and arguments of ``torch.nn.functional``, and their derivative rules.

Importing this module also makes ``torch.nn.functional.cross_entropy`` and its sisters accept `CustomTensor`s.  A
function whose name ends in an underscore is a primitive: a loss with ATen's arguments, and its rules below it.

| file | losses |
|---|---|
| ``regression.py`` | `mse_loss`, `l1_loss`, `smooth_l1_loss`, `huber_loss` |
| ``classification.py`` | `cross_entropy`, `nll_loss` |
| ``binary.py`` | `binary_cross_entropy_with_logits`, `binary_cross_entropy` |
| ``divergence.py`` | `kl_div` |
"""

from neuronix.losses.functional.binary import binary_cross_entropy, binary_cross_entropy_with_logits
from neuronix.losses.functional.classification import cross_entropy, nll_loss
from neuronix.losses.functional.divergence import kl_div
from neuronix.losses.functional.regression import huber_loss, l1_loss, mse_loss, smooth_l1_loss

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]
