"""Neural network layers with the names, defaults and state_dict keys of torch.nn.

| file | what is in it |
|---|---|
| ``module.py`` | `Module`: parameters, buffers, submodules |
| ``hooks.py``, ``backward_hooks.py``, ``state.py``, ``moving.py`` | its hooks, its state, moving it |
| ``parameter.py`` | `Parameter` |
| ``containers.py`` | `Sequential`, `ModuleList`, `ModuleDict` |
| ``linear.py``, ``conv.py``, ``partial_conv.py``, ``embedding.py`` | layers with weights |
| ``batchnorm.py``, ``layernorm.py`` | normalisation |
| ``activation.py``, ``swish.py``, ``pooling.py``, ``dropout.py``, ``flatten.py`` | the rest |
| ``recurrent.py``, ``recurrent_cells.py`` | recurrent layers and their single steps |
| ``attention.py``, ``transformer.py`` | attention, and the layers of the Transformer |
| ``adoption.py`` | `adopt`: PyTorch models, unchanged |
| ``saving.py``, ``structure.py`` | `save`, `load` |
| ``functional/`` | the operations behind them, with their derivative rules |
| ``init.py`` | initialisation |
| ``utils/`` | what people expect of ``torch.nn.utils`` |
"""

from neuronix.nn import errors, functional, init, utils
from neuronix.nn.__about__ import __version__ as __version__
from neuronix.nn.activation import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from neuronix.nn.adoption import Adopted, adopt
from neuronix.nn.attention import MultiheadAttention
from neuronix.nn.batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from neuronix.nn.containers import ModuleDict, ModuleList, Sequential
from neuronix.nn.conv import Conv1d, Conv2d, Conv3d
from neuronix.nn.dropout import Dropout
from neuronix.nn.embedding import Embedding
from neuronix.nn.flatten import Flatten
from neuronix.nn.layernorm import LayerNorm
from neuronix.nn.linear import Identity, Linear
from neuronix.nn.module import Module
from neuronix.nn.parameter import Parameter
from neuronix.nn.partial_conv import PartialConv2d
from neuronix.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from neuronix.nn.recurrent import GRU, LSTM, RNN
from neuronix.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell
from neuronix.nn.saving import load, save
from neuronix.nn.swish import Swish
from neuronix.nn.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "TransformerEncoderLayer",
    "TransformerEncoder",
    "TransformerDecoderLayer",
    "TransformerDecoder",
    "Transformer",
    "MultiheadAttention",
    "utils",
    "RNNCell",
    "LSTMCell",
    "GRUCell",
    "RNN",
    "LSTM",
    "GRU",
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "Adopted",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "PartialConv2d",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Swish",
    "Tanh",
    "adopt",
    "errors",
    "functional",
    "init",
    "load",
    "save",
]
