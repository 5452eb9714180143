"""Neural network layers with the names, defaults and state_dict keys of torch.nn.

| file | what is in it |
|---|---|
| ``module.py`` | `Module`: parameters, buffers, submodules |
| ``hooks.py``, ``backward_hooks.py``, ``state.py``, ``moving.py`` | its hooks, its state, moving it |
| ``parameter.py`` | `Parameter` |
| ``containers.py``, ``parameter_containers.py`` | `Sequential`, lists and dictionaries of modules and of parameters |
| ``linear.py``, ``conv.py``, ``partial_conv.py``, ``embedding.py`` | layers with weights |
| ``batchnorm.py``, ``instancenorm.py``, ``layernorm.py``, ``groupnorm.py`` | normalisation |
| ``activation.py``, ``softmax.py``, ``swish.py`` | activation functions |
| ``pooling.py``, ``padding.py``, ``reshaping.py``, ``flatten.py`` | windows, margins, and elements elsewhere |
| ``dropout.py``, ``distance.py`` | the rest |
| ``applied.py`` | the base of layers that are functions |
| ``recurrent.py``, ``recurrent_cells.py`` | recurrent layers and their single steps |
| ``attention.py``, ``transformer.py`` | attention, and the layers of the Transformer |
| ``adoption.py`` | `adopt`: PyTorch models, unchanged |
| ``conversion.py`` | `from_torch`, `to_torch` |
| ``comparing.py`` | `compare`: a batch through torch and through Neuronix, layer by layer |
| ``saving.py``, ``structure.py`` | `save`, `load` |
| ``functional/`` | the operations behind them, with their derivative rules |
| ``summarizing.py`` | a table of a model's layers |
| ``init.py`` | initialisation |
| ``utils/`` | what people expect of ``torch.nn.utils`` |
"""

from neuronix.nn import errors, functional, init, utils
from neuronix.nn.__about__ import __version__ as __version__
from neuronix.nn.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    RReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from neuronix.nn.adoption import (
    Adopted,
    adopt,
)
from neuronix.nn.attention import (
    MultiheadAttention,
)
from neuronix.nn.batchnorm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    SyncBatchNorm,
)
from neuronix.nn.comparing import Comparison, LayerDifference, compare
from neuronix.nn.containers import (
    ModuleDict,
    ModuleList,
    Sequential,
)
from neuronix.nn.conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from neuronix.nn.conversion import from_torch, to_torch
from neuronix.nn.distance import (
    CosineSimilarity,
    PairwiseDistance,
)
from neuronix.nn.dropout import (
    AlphaDropout,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    FeatureAlphaDropout,
)
from neuronix.nn.embedding import (
    Embedding,
    EmbeddingBag,
)
from neuronix.nn.flatten import (
    Flatten,
)
from neuronix.nn.groupnorm import (
    CrossMapLRN2d,
    GroupNorm,
    LocalResponseNorm,
    RMSNorm,
)
from neuronix.nn.instancenorm import (
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from neuronix.nn.layernorm import (
    LayerNorm,
)
from neuronix.nn.linear import (
    Bilinear,
    Identity,
    Linear,
)
from neuronix.nn.module import (
    Module,
)
from neuronix.nn.padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from neuronix.nn.parameter import (
    Parameter,
)
from neuronix.nn.parameter_containers import (
    ParameterDict,
    ParameterList,
)
from neuronix.nn.partial_conv import (
    PartialConv2d,
)
from neuronix.nn.pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    FractionalMaxPool2d,
    FractionalMaxPool3d,
    LPPool1d,
    LPPool2d,
    LPPool3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    MaxUnpool1d,
    MaxUnpool2d,
    MaxUnpool3d,
)
from neuronix.nn.recurrent import (
    GRU,
    LSTM,
    RNN,
)
from neuronix.nn.recurrent_cells import (
    GRUCell,
    LSTMCell,
    RNNCell,
)
from neuronix.nn.reshaping import (
    ChannelShuffle,
    Fold,
    PixelShuffle,
    PixelUnshuffle,
    Unflatten,
    Unfold,
    Upsample,
    UpsamplingBilinear2d,
    UpsamplingNearest2d,
)
from neuronix.nn.saving import (
    load,
    save,
)
from neuronix.nn.softmax import (
    LogSoftmax,
    Softmax,
    Softmax2d,
    Softmin,
)
from neuronix.nn.summarizing import Summary, SummaryRow, summary
from neuronix.nn.swish import (
    Swish,
)
from neuronix.nn.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "Comparison",
    "LayerDifference",
    "compare",
    "from_torch",
    "to_torch",
    "summary",
    "SummaryRow",
    "Summary",
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
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "Adopted",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "CELU",
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineSimilarity",
    "CrossMapLRN2d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "EmbeddingBag",
    "FeatureAlphaDropout",
    "Flatten",
    "Fold",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "GLU",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "Mish",
    "Module",
    "ModuleDict",
    "ModuleList",
    "PReLU",
    "PairwiseDistance",
    "Parameter",
    "ParameterDict",
    "ParameterList",
    "PartialConv2d",
    "PixelShuffle",
    "PixelUnshuffle",
    "RMSNorm",
    "RReLU",
    "ReLU",
    "ReLU6",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Swish",
    "SyncBatchNorm",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Unflatten",
    "Unfold",
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "adopt",
    "errors",
    "functional",
    "init",
    "load",
    "save",
]
