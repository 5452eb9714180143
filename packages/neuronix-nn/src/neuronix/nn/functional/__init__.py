"""The operations of layers, with their derivative rules: names, arguments and defaults of ``torch.nn.functional``.

Importing this package also makes ``torch.nn.functional.conv2d`` and its sisters accept `CustomTensor`s.

| file | operations |
|---|---|
| ``convolution.py`` | `conv1d`, `conv2d`, `conv3d`, and the transposed ones |
| ``pooling.py`` | maxima and means of windows |
| ``adaptive_pooling.py`` | maxima and means of windows that divide an image into a grid |
| ``normalization.py`` | `batch_norm`, `layer_norm` |
| ``embedding.py`` | `embedding`, `embedding_bag` |
| ``dropout.py`` | `dropout`, of single elements and of whole channels |
| ``sampling.py`` | `grid_sample` |
| ``attention.py`` | `scaled_dot_product_attention`, `multi_head_attention_forward` |
| ``recurrent.py``, ``packing.py`` | `lstm`, `gru`, `rnn_tanh`, `rnn_relu`, their single steps, and packed sequences |
| ``recurrence/`` | what one recurrent layer computes in one direction |
| ``pooling_variants.py`` | power means, maxima at random places, and the way back from maxima |
| ``channel_normalization.py`` | `group_norm`, `instance_norm`, `rms_norm`, `local_response_norm` |
| ``upsampling.py`` | `interpolate` |
| ``folding.py``, ``shuffling.py`` | windows as columns and back; pixels and channels in another order |
| ``distance.py`` | `cosine_similarity`, `pairwise_distance`, `normalize` |
| ``spelling.py`` | `linear`, activation functions and others: operations of `neuronix.autograd`, spelt as in torch |
| ``arguments.py`` | what they share |
"""

from neuronix.nn.functional.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from neuronix.nn.functional.attention import (
    multi_head_attention_forward,
    scaled_dot_product_attention,
)
from neuronix.nn.functional.channel_normalization import (
    group_norm,
    instance_norm,
    local_response_norm,
    rms_norm,
)
from neuronix.nn.functional.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from neuronix.nn.functional.distance import (
    cosine_similarity,
    normalize,
    pairwise_distance,
)
from neuronix.nn.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
    rrelu,
)
from neuronix.nn.functional.embedding import (
    embedding,
    embedding_bag,
)
from neuronix.nn.functional.folding import (
    fold,
    unfold,
)
from neuronix.nn.functional.normalization import (
    batch_norm,
    layer_norm,
)
from neuronix.nn.functional.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from neuronix.nn.functional.pooling_variants import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from neuronix.nn.functional.recurrent import (
    gru,
    gru_cell,
    lstm,
    lstm_cell,
    rnn_relu,
    rnn_relu_cell,
    rnn_tanh,
    rnn_tanh_cell,
)
from neuronix.nn.functional.sampling import grid_sample
from neuronix.nn.functional.shuffling import (
    channel_shuffle,
    pixel_shuffle,
    pixel_unshuffle,
)
from neuronix.nn.functional.spelling import (
    affine_grid,
    bilinear,
    celu,
    celu_,
    elu,
    elu_,
    gelu,
    glu,
    gumbel_softmax,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    linear,
    log_softmax,
    logsigmoid,
    mish,
    one_hot,
    pad,
    pdist,
    prelu,
    relu,
    relu6,
    relu_,
    selu,
    selu_,
    sigmoid,
    silu,
    softmax,
    softmin,
    softplus,
    softshrink,
    softsign,
    tanh,
    tanhshrink,
    threshold,
    threshold_,
)
from neuronix.nn.functional.upsampling import (
    interpolate,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "affine_grid",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "bilinear",
    "celu",
    "celu_",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_similarity",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "elu_",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "fold",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "gelu",
    "glu",
    "group_norm",
    "gru",
    "gru_cell",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "instance_norm",
    "interpolate",
    "grid_sample",
    "layer_norm",
    "leaky_relu",
    "leaky_relu_",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "lstm",
    "lstm_cell",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mish",
    "multi_head_attention_forward",
    "normalize",
    "one_hot",
    "pad",
    "pairwise_distance",
    "pdist",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rms_norm",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
    "rrelu",
    "scaled_dot_product_attention",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
    "unfold",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]
