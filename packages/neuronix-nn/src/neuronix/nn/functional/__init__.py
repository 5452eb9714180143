"""The operations of layers, with their derivative rules: names, arguments and defaults of ``torch.nn.functional``.

Importing this package also makes ``torch.nn.functional.conv2d`` and its sisters accept `CustomTensor`s.

| file | operations |
|---|---|
| ``convolution.py`` | `conv1d`, `conv2d`, `conv3d`, and the transposed ones |
| ``pooling.py`` | maxima and means of windows |
| ``adaptive_pooling.py`` | maxima and means of windows that divide an image into a grid |
| ``normalization.py`` | `batch_norm`, `layer_norm` |
| ``embedding.py`` | `embedding`, `embedding_bag` |
| ``dropout.py`` | `dropout` |
| ``attention.py`` | `scaled_dot_product_attention`, `multi_head_attention_forward` |
| ``recurrent.py``, ``packing.py`` | `lstm`, `gru`, `rnn_tanh`, `rnn_relu`, their single steps, and packed sequences |
| ``arguments.py`` | what they share |

`linear` and the activation functions are operations of `neuronix.autograd`; they are named here too.
"""

from neuronix.autograd.ops import (
    elu,
    gelu,
    leaky_relu,
    linear,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from neuronix.nn.functional.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from neuronix.nn.functional.attention import multi_head_attention_forward, scaled_dot_product_attention
from neuronix.nn.functional.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from neuronix.nn.functional.dropout import dropout
from neuronix.nn.functional.embedding import embedding, embedding_bag
from neuronix.nn.functional.normalization import batch_norm, layer_norm
from neuronix.nn.functional.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
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

__all__ = [
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "rnn_tanh_cell",
    "rnn_tanh",
    "rnn_relu_cell",
    "rnn_relu",
    "lstm_cell",
    "lstm",
    "gru_cell",
    "gru",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "dropout",
    "elu",
    "embedding",
    "embedding_bag",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
