"""What people expect of ``torch.nn.utils``; clipping gradients stands beside the optimizers, in ``neuronix.optim``.

| file | |
|---|---|
| ``vectors.py`` | parameters as one vector, and back |
| ``rnn.py`` | sequences of different lengths in one batch |
| ``parametrize.py`` | tensors of a module that are computed from others |
| ``parametrizations.py`` | weight and spectral normalisation, orthogonal weights |
| ``fusion.py`` | a layer and the batch normalisation after it as one layer |
"""

from typing import NoReturn

from neuronix.nn.utils import parametrizations, parametrize, rnn
from neuronix.nn.utils.fusion import (
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)
from neuronix.nn.utils.vectors import parameters_to_vector, vector_to_parameters

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "rnn",
    "vector_to_parameters",
]

_ELSEWHERE = {
    "clip_grad_norm_": "optim.clip_grad_norm_",
    "clip_grad_value_": "optim.clip_grad_value_",
    "clip_grads_with_norm_": "optim.clip_grads_with_norm_",
    "get_total_norm": "optim.get_total_norm",
    "remove_spectral_norm": "nn.utils.parametrize.remove_parametrizations",
    "remove_weight_norm": "nn.utils.parametrize.remove_parametrizations",
    "spectral_norm": "nn.utils.parametrizations.spectral_norm",
    "weight_norm": "nn.utils.parametrizations.weight_norm",
}


def __getattr__(name: str) -> NoReturn:
    hint = f"; it is neuronix.{_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
