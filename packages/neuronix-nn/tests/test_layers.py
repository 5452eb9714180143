"""Every layer against torch's: parameters, state, repr, outputs, gradients of both orders, training and evaluation."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neuronix import nn
from neuronix.autograd import CustomTensor, no_grad
from neuronix.autograd.errors import UnsupportedError

DTYPES = [torch.float64, torch.float32]
FLOAT64 = torch.float64


class Layer:
    """A row: how both sides make the layer, and the shapes of its inputs (or the inputs themselves).

    ``torch_fails``: in its own second order, which it doesn't have there.
    """

    def __init__(self, name: str, *args: Any, x: Any, note: str = "", torch_fails: bool = False, **kwargs: Any) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs
        self.x, self.torch_fails = x, torch_fails
        arguments = [*map(str, args), *(f"{key}={value}" for key, value in kwargs.items())]
        self.id = f"{name}({', '.join(arguments)})".replace(" ", "") + (f"-{note}" if note else "")

    def make(self, seed: int = 0) -> tuple[Any, Any]:
        """Ours and torch's, each made from the same seed."""
        torch.manual_seed(seed)
        ours = getattr(nn, self.name)(*self.args, **self.kwargs)
        torch.manual_seed(seed)
        return ours, getattr(torch.nn, self.name)(*self.args, **self.kwargs)

    def input(self, dtype: torch.dtype, seed: int = 1) -> Tensor:
        if isinstance(self.x, Tensor):
            return self.x
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(self.x, generator=generator, dtype=FLOAT64).to(dtype).requires_grad_()


INDICES = torch.tensor([[1, 4, 1], [0, 2, 4]])

LAYERS = [
    Layer("Identity", x=(2, 3)),
    Layer("Linear", 4, 3, x=(2, 4)),
    Layer("Linear", 4, 3, x=(4,), note="one_vector"),
    Layer("Linear", 4, 3, x=(2, 5, 4), note="three_axes"),
    Layer("Linear", 4, 3, bias=False, x=(2, 4)),
    Layer("Linear", 4, 1, x=(1, 4)),
    Layer("Conv1d", 3, 4, 3, x=(2, 3, 7)),
    Layer("Conv1d", 3, 4, 3, padding=2, padding_mode="circular", x=(2, 3, 7)),
    Layer("Conv2d", 3, 4, 3, x=(2, 3, 6, 5)),
    Layer("Conv2d", 3, 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), x=(2, 3, 8, 7)),
    Layer("Conv2d", 4, 6, 3, groups=2, bias=False, x=(2, 4, 5, 5)),
    Layer("Conv2d", 4, 4, 3, groups=4, padding="same", x=(1, 4, 5, 5)),
    Layer("Conv2d", 2, 3, 3, padding="valid", x=(2, 5, 5), note="unbatched"),
    Layer("Conv2d", 2, 3, 3, padding=1, padding_mode="reflect", x=(2, 2, 5, 4)),
    Layer("Conv2d", 2, 3, 3, padding=(2, 1), padding_mode="replicate", x=(2, 2, 5, 4)),
    Layer("Conv2d", 2, 3, (2, 3), padding="same", padding_mode="circular", dilation=(3, 1), x=(2, 2, 5, 4)),
    Layer("Conv2d", 2, 3, (2, 3), padding="same", padding_mode="reflect", x=(2, 5, 4), note="unbatched"),
    Layer("Conv3d", 2, 3, 2, x=(2, 2, 3, 4, 3)),
    Layer("BatchNorm1d", 3, x=(4, 3)),
    Layer("BatchNorm1d", 3, x=(4, 3, 5), note="signal"),
    Layer("BatchNorm1d", 3, 1e-3, 0.3, bias=False, x=(4, 3)),
    Layer("BatchNorm2d", 3, x=(2, 3, 4, 3)),
    Layer("BatchNorm2d", 3, x=(1, 3, 4, 3), note="batch_of_one"),
    Layer("BatchNorm2d", 3, affine=False, x=(2, 3, 4, 3)),
    Layer("BatchNorm2d", 3, momentum=None, x=(2, 3, 4, 3)),
    Layer("BatchNorm2d", 3, track_running_stats=False, x=(2, 3, 4, 3)),
    Layer("BatchNorm3d", 2, x=(2, 2, 3, 2, 3)),
    Layer("SyncBatchNorm", 3, x=(4, 3)),
    Layer("SyncBatchNorm", 3, momentum=None, bias=False, x=(2, 3, 2, 2)),
    Layer("LayerNorm", 4, x=(2, 3, 4)),
    Layer("LayerNorm", (3, 4), 1e-3, x=(2, 3, 4)),
    Layer("LayerNorm", 4, elementwise_affine=False, x=(2, 4)),
    Layer("LayerNorm", 4, bias=False, x=(1, 4)),
    Layer("Embedding", 5, 3, x=INDICES),
    Layer("Embedding", 5, 3, padding_idx=-1, x=INDICES),
    Layer("Embedding", 5, 3, max_norm=1.0, x=INDICES),
    Layer("MaxPool1d", 2, x=(2, 3, 7)),
    Layer("MaxPool2d", 2, x=(2, 3, 6, 5)),
    Layer("MaxPool2d", 3, 2, 1, ceil_mode=True, x=(2, 3, 6, 5)),
    Layer("MaxPool2d", (2, 3), stride=1, dilation=2, x=(2, 3, 6, 7)),
    Layer("MaxPool2d", 2, return_indices=True, x=(3, 6, 4), note="unbatched"),
    Layer("MaxPool3d", 2, x=(2, 2, 4, 4, 5)),
    Layer("AvgPool1d", 3, 2, 1, x=(2, 3, 7)),
    Layer("AvgPool2d", 2, x=(2, 3, 6, 5)),
    Layer("AvgPool2d", 3, 2, 1, True, False, x=(2, 3, 6, 5)),
    Layer("AvgPool2d", 2, divisor_override=3, x=(3, 6, 5), note="unbatched"),
    Layer("AvgPool3d", 2, x=(2, 2, 4, 4, 5)),
    Layer("AdaptiveAvgPool1d", 3, x=(2, 3, 7)),
    Layer("AdaptiveAvgPool2d", 1, x=(2, 3, 5, 4)),
    Layer("AdaptiveAvgPool2d", (None, 3), x=(2, 3, 5, 4)),
    Layer("AdaptiveAvgPool3d", 2, x=(2, 3, 3, 4, 5)),
    Layer("Flatten", x=(2, 3, 4)),
    Layer("Flatten", 0, 1, x=(2, 3, 4)),
    Layer("ReLU", x=(3, 4)),
    Layer("ReLU6", x=(3, 4)),
    Layer("LeakyReLU", x=(3, 4)),
    Layer("LeakyReLU", 0.3, x=(3, 4)),
    Layer("ELU", 1.5, x=(3, 4)),
    Layer("SELU", x=(3, 4)),
    Layer("GELU", x=(3, 4)),
    Layer("GELU", "tanh", x=(3, 4)),
    Layer("SiLU", x=(3, 4)),
    Layer("Mish", x=(3, 4)),
    Layer("Sigmoid", x=(3, 4)),
    Layer("Tanh", x=(3, 4)),
    Layer("Softplus", 2.0, 1.0, x=(3, 4)),
    Layer("Softmax", -1, x=(3, 4)),
    Layer("Softmax", 0, x=(3, 4)),
    Layer("LogSoftmax", 1, x=(3, 4)),
    Layer("Dropout", 0.3, x=(10, 4)),
    Layer("Dropout", 0.0, x=(3, 4)),
    Layer("Dropout", 1.0, x=(3, 4)),
    # Functions of each element, or along an axis
    *(Layer(name, x=(3, 4)) for name in ("Hardswish", "LogSigmoid", "Softsign", "Tanhshrink", "PReLU")),
    Layer("CELU", 1.5, x=(3, 4)),
    Layer("Threshold", 0.25, -2.0, x=(3, 4)),
    Layer("GLU", 0, x=(4, 3)),
    Layer("Hardshrink", 0.25, x=(3, 4)),
    Layer("Softshrink", 0.25, x=(3, 4)),
    Layer("Hardtanh", -0.5, 0.25, x=(3, 4)),
    Layer("RReLU", 0.25, 0.5, x=(3, 4)),
    Layer("PReLU", 3, 0.5, x=(2, 3, 4)),
    Layer("Softmin", 1, x=(3, 4)),
    Layer("Softmax2d", x=(2, 3, 2, 2)),
    Layer("Softmax2d", x=(3, 2, 2), note="unbatched"),
    # Convolutions that are used the other way round
    Layer("ConvTranspose1d", 2, 3, 3, 2, 1, 1, x=(2, 2, 4)),
    Layer("ConvTranspose2d", 4, 2, (3, 2), stride=2, groups=2, dilation=2, x=(2, 4, 3, 3)),
    Layer("ConvTranspose2d", 2, 3, 2, bias=False, x=(2, 3, 3), note="unbatched"),
    Layer("ConvTranspose3d", 2, 2, 2, x=(1, 2, 2, 2, 3)),
    # Margins
    *(
        Layer(f"{kind}Pad{axes}d", padding, x=(2, 3, *(4, 3, 5)[:axes]))
        for kind in ("Zero", "Reflection", "Replication", "Circular")
        for axes, padding in ((1, 2), (2, (1, 2, 2, 1)), (3, 1))
    ),
    *(Layer(f"ConstantPad{axes}d", 1, 0.5, x=(2, 3, *(4, 3, 5)[:axes])) for axes in (1, 2, 3)),
    Layer("ConstantPad2d", (1, -1, 0, 2), -1.5, x=(2, 4, 4)),
    Layer("ReflectionPad2d", (2, 0, 1, 1), x=(2, 3, 3), note="unbatched"),
    # Windows
    *(Layer(f"AdaptiveMaxPool{axes}d", 2, x=(2, 3, *(5, 3, 4)[:axes])) for axes in (1, 2, 3)),
    Layer("AdaptiveMaxPool2d", (None, 3), return_indices=True, x=(3, 5, 4), note="unbatched"),
    *(Layer(f"LPPool{axes}d", 2, 2, x=(2, 3, *(5, 4, 4)[:axes])) for axes in (1, 2, 3)),
    Layer("LPPool2d", 3.0, (3, 2), stride=(2, 1), ceil_mode=True, x=torch.rand(2, 5, 6).double().requires_grad_()),
    Layer("FractionalMaxPool2d", 2, 3, return_indices=True, x=(2, 3, 7, 6)),
    Layer("FractionalMaxPool2d", (3, 2), output_ratio=0.6, x=(3, 9, 8), note="unbatched"),
    Layer("FractionalMaxPool3d", 2, output_ratio=(0.6, 0.5, 0.7), x=(2, 1, 5, 6, 5)),
    # Normalisation
    *(Layer(f"InstanceNorm{axes}d", 3, x=(2, 3, *(5, 3, 2)[:axes])) for axes in (1, 2, 3)),
    Layer("InstanceNorm2d", 3, affine=True, track_running_stats=True, momentum=0.3, x=(2, 3, 4, 3)),
    Layer("InstanceNorm2d", 3, affine=True, bias=False, x=(3, 4, 3), note="unbatched"),
    Layer("GroupNorm", 2, 4, x=(2, 4, 3)),
    Layer("GroupNorm", 4, 4, 1e-3, bias=False, x=(2, 4, 3, 2)),
    Layer("GroupNorm", 1, 4, affine=False, x=(2, 4)),
    Layer("RMSNorm", 4, x=(2, 3, 4)),
    Layer("RMSNorm", (3, 4), 1e-3, False, x=(2, 3, 4)),
    Layer("LocalResponseNorm", 2, 0.5, 0.5, 2.0, x=(2, 4, 3)),
    Layer("LocalResponseNorm", 3, 0.5, x=(2, 4, 3, 2)),
    # Random masks
    *(Layer(f"Dropout{axes}d", 0.4, x=(4, 5, *(2, 3, 2)[:axes])) for axes in (1, 2, 3)),
    Layer("Dropout1d", 0.4, x=(6, 3), note="unbatched"),
    Layer("Dropout3d", 0.4, x=(6, 3, 2, 2), note="unbatched"),
    Layer("AlphaDropout", 0.4, x=(10, 4)),
    Layer("FeatureAlphaDropout", 0.4, x=(5, 4, 3)),
    # Elements elsewhere
    Layer("PixelShuffle", 2, x=(2, 8, 2, 3)),
    Layer("PixelUnshuffle", 2, x=(3, 2, 4, 6)),
    Layer("ChannelShuffle", 3, x=(2, 6, 2)),
    Layer("Unflatten", 1, (2, 3), x=(2, 6)),
    Layer("Unfold", (2, 3), dilation=(1, 2), padding=1, stride=2, x=(2, 2, 5, 6)),
    Layer("Fold", (4, 5), (2, 3), padding=1, stride=2, x=(2, 12, 9)),
    Layer("Upsample", scale_factor=1.7, x=(2, 3, 4)),
    Layer("Upsample", (5, 3), mode="bicubic", align_corners=False, x=(2, 2, 3, 4)),
    Layer("Upsample", scale_factor=(2, 1.5, 1), mode="trilinear", recompute_scale_factor=True, x=(1, 2, 2, 3, 2)),
    Layer("UpsamplingNearest2d", scale_factor=2, x=(2, 2, 3, 4)),
    Layer("UpsamplingBilinear2d", (5, 3), x=(2, 2, 3, 4)),
    Layer("EmbeddingBag", 5, 3, x=INDICES, torch_fails=True),
    Layer("EmbeddingBag", 5, 3, mode="max", padding_idx=-1, x=INDICES, torch_fails=True),
]
in_place = [
    Layer(name, inplace=True, x=(5, 4))
    for name in (
        "ReLU",
        "ReLU6",
        "LeakyReLU",
        "ELU",
        "SELU",
        "SiLU",
        "Mish",
        "Dropout",
        "CELU",
        "Hardswish",
        "Hardtanh",
        "RReLU",
    )
]

layers = pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.id)


def pairs(ours: Any, theirs: Any) -> dict[str, tuple[Any, Tensor]]:
    """The parameters of both sides by name."""
    named = dict(theirs.named_parameters())
    return {name: (parameter, named[name]) for name, parameter in ours.named_parameters()}


def seeded(layer: Callable[..., Any]) -> Callable[..., Any]:
    def call(*inputs: Any) -> Any:
        torch.manual_seed(7)
        return layer(*inputs)

    return call


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@layers
def test_against_torch(
    layer: Layer, dtype: torch.dtype, training: bool, check_against_torch: Callable[..., None]
) -> None:
    ours, theirs = layer.make()
    for step in range(2):  # the second time, running statistics aren't what they were at the start
        ours.to(dtype).train(training or step == 0)
        theirs.to(dtype).train(training or step == 0)
        check_against_torch(
            seeded(ours),
            layer.input(dtype, seed=step),
            torch_function=seeded(theirs),
            parameters=pairs(ours, theirs),
            second_order=not layer.torch_fails,
        )
    for (name, a), (expected_name, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert name == expected_name
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 if dtype is FLOAT64 else 1e-6)


@layers
def test_begins_with_torchs_numbers(layer: Layer) -> None:
    """The same seed gives bit-identical parameters, under the same names and in the same order."""
    ours, theirs = layer.make(seed=3)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for name, value in expected.items():
        assert type(state[name]) is Tensor
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value)


@layers
def test_shows_itself_as_torchs(layer: Layer) -> None:
    ours, theirs = layer.make()
    assert repr(ours) == repr(theirs)


@layers
def test_each_side_loads_the_other(layer: Layer) -> None:
    ours, theirs = layer.make(seed=1)
    ours_again, theirs_again = layer.make(seed=2)
    assert str(ours_again.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    assert str(theirs_again.load_state_dict(ours.state_dict())) == "<All keys matched successfully>"
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours_again.state_dict()[name], value)
        assert torch.equal(theirs_again.state_dict()[name], value)


@layers
def test_copies_and_pickles(layer: Layer) -> None:
    ours, _ = layer.make()
    for copied in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert repr(copied) == repr(ours)
        for (name, a), (_, b) in zip(copied.named_parameters(), ours.named_parameters(), strict=True):
            assert a is not b, name
            assert type(a) is nn.Parameter
            assert a.requires_grad == b.requires_grad
            assert torch.equal(a.data, b.data)
            assert a.data.data_ptr() != b.data.data_ptr()


@layers
def test_float32_and_constants(layer: Layer) -> None:
    """Torch tensors and arrays are constants; without parameters that require grad the result is one."""
    ours, theirs = layer.make()
    ours.eval().requires_grad_(False)
    theirs.eval()
    x = layer.input(torch.float32).detach()
    expected = seeded(theirs)(x)
    for given in (x, x.numpy(), CustomTensor(x)):
        out = seeded(ours)(given)
        if layer.name == "Identity":
            assert out is given
            continue
        out, wanted = (out[0], expected[0]) if isinstance(out, tuple) else (out, expected)
        assert isinstance(out, CustomTensor)
        assert not out.requires_grad
        torch.testing.assert_close(out.data, wanted.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", in_place, ids=lambda layer: layer.id)
def test_in_place_layers_overwrite_their_input(layer: Layer, check_against_torch: Callable[..., None]) -> None:
    ours, theirs = layer.make()
    assert repr(ours) == repr(theirs)

    def twice(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(x: Any) -> Any:
            y = x * 2
            torch.manual_seed(3)
            z = function(y)
            assert z is y
            return y + 1

        return call

    check_against_torch(twice(ours), layer.input(FLOAT64), torch_function=twice(theirs))
    x = layer.input(FLOAT64).detach()
    torch.manual_seed(3)
    expected = theirs(x.clone())
    given = x.clone()
    torch.manual_seed(3)
    ours(given)  # a torch tensor is overwritten too
    torch.testing.assert_close(given, expected)


def test_every_public_layer_has_a_row() -> None:
    with_tests_of_their_own = {"attention", "containers", "module", "parameter_containers", "transformer"}
    with_tests_of_their_own |= {"recurrent", "recurrent_cells"}
    public = {
        name
        for name, layer in vars(nn).items()
        if name in nn.__all__
        and hasattr(torch.nn, name)
        and isinstance(layer, type)
        and issubclass(layer, nn.Module)
        and layer.__module__.removeprefix("neuronix.nn.") not in with_tests_of_their_own
    }
    below = {"CrossMapLRN2d", "Hardsigmoid", *(name for name, _ in OF_SEVERAL)}
    assert public == below | {layer.name for layer in LAYERS}


# Layers of several inputs

PLACES = {axes: torch.tensor([[3, 5], [0, 6]]).reshape(1, 2, 2, *(1,) * (axes - 1)) for axes in (1, 2, 3)}
OF_SEVERAL = {
    ("Bilinear", (3, 4, 2)): ((5, 3), (5, 4)),
    ("CosineSimilarity", (-1,)): ((5, 3), (2, 5, 3)),
    ("PairwiseDistance", (3.0,)): ((5, 3), (5, 3)),
    ("MaxUnpool1d", (4,)): ((1, 2, 2), PLACES[1]),
    ("MaxUnpool2d", ((4, 1),)): ((1, 2, 2, 1), PLACES[2]),
    ("MaxUnpool3d", ((4, 1, 1),)): ((1, 2, 2, 1, 1), PLACES[3]),
}


@pytest.mark.parametrize("name, arguments", OF_SEVERAL)
def test_layers_of_several_inputs(
    name: str, arguments: tuple[Any, ...], check_against_torch: Callable[..., None]
) -> None:
    layer = Layer(name, *arguments, x=())
    ours, theirs = layer.make()
    assert repr(ours) == repr(theirs)
    inputs = [
        x if isinstance(x, Tensor) else torch.randn(x, dtype=FLOAT64).requires_grad_()
        for x in OF_SEVERAL[name, arguments]
    ]
    parameters = pairs(ours.double(), theirs.double())
    check_against_torch(ours, *inputs, torch_function=theirs, parameters=parameters)


def test_transposed_convolution_and_unpooling_of_a_wanted_size(check_against_torch: Callable[..., None]) -> None:
    ours, theirs = Layer("ConvTranspose2d", 2, 3, 3, stride=2, x=()).make()
    x = torch.randn(2, 2, 3, 4, dtype=FLOAT64)
    for size in ([8, 9], [2, 3, 7, 10]):
        check_against_torch(
            lambda x, size=size: ours(x, output_size=size),
            x,
            torch_function=lambda x, size=size: theirs(x, output_size=size),
            parameters=pairs(ours.double(), theirs.double()),
        )
    with pytest.raises(ValueError, match=r"\(9, 9\).*\(7, 9\) to \(8, 10\)"):
        ours(x, output_size=[9, 9])
    values, places = torch.nn.MaxPool2d(2, return_indices=True)(torch.randn(1, 1, 5, 5))
    ours, theirs = Layer("MaxUnpool2d", 2, x=()).make()
    assert torch.equal(ours(values, places, output_size=[5, 5]).data, theirs(values, places, output_size=[5, 5]))
    with pytest.raises(ValueError, match="output_size"):
        ours(values, places, output_size=[7, 7])


def test_hardsigmoid() -> None:
    """By itself, because torch's gradient of float64 has the float32 nearest to 1/6."""
    ours, theirs = Layer("Hardsigmoid", x=()).make()
    assert repr(ours) == repr(theirs)
    x = CustomTensor(torch.tensor([-4.0, -3.0, -1.5, 0.0, 2.0, 3.0, 5.0], dtype=FLOAT64), requires_grad=True)
    ours(x).sum().backward()
    torch.testing.assert_close(ours(x).data, theirs(x.data), rtol=1e-15, atol=0)
    torch.testing.assert_close(x.grad, torch.tensor([0, 0, 1, 1, 1, 0, 0]) / torch.tensor(6.0, dtype=FLOAT64))
    y = torch.tensor([-1.5, 6.0])
    nn.Hardsigmoid(inplace=True)(y)
    assert y.tolist() == [0.25, 1.0]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_cross_map_normalisation(size: int, check_against_torch: Callable[..., None]) -> None:
    ours, theirs = Layer("CrossMapLRN2d", size, 0.5, x=()).make()
    assert repr(ours) == repr(theirs)
    x = torch.randn(2, 7, 2, 2, dtype=FLOAT64)
    reach = (size - 1) // 2
    before_its_mistake = reach + 1  # after that torch's sums keep the first channel
    torch.testing.assert_close(
        ours(x).data[:, :before_its_mistake], theirs(x)[:, :before_its_mistake], rtol=1e-12, atol=0
    )
    # the formula itself, at every channel
    expected = torch.stack(
        [x[:, c] / (1 + 0.5 / size * (x[:, max(c - reach, 0) : c + reach + 1] ** 2).sum(1)) ** 0.75 for c in range(7)],
        dim=1,
    )
    torch.testing.assert_close(ours(x).data, expected, rtol=1e-12, atol=0)


# Batch normalisation


@pytest.mark.parametrize("momentum", [0.1, None, 0.0, 1.0])
def test_running_statistics(momentum: float | None) -> None:
    ours, theirs = nn.BatchNorm2d(3, momentum=momentum).double(), torch.nn.BatchNorm2d(3, momentum=momentum).double()
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        x = torch.randn(2, 3, 4, 4, generator=generator, dtype=FLOAT64) * (step + 1) + step
        ours.train(step != 2)
        theirs.train(step != 2)
        torch.testing.assert_close(ours(x).data, theirs(x).detach(), rtol=0, atol=1e-12)
        for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)
    assert ours.num_batches_tracked.item() == 3
    ours.reset_running_stats()
    assert ours.running_mean.tolist() == [0, 0, 0]
    assert ours.running_var.tolist() == [1, 1, 1]
    assert ours.num_batches_tracked.item() == 0


def test_running_statistics_move_without_grad_too() -> None:
    layer = nn.BatchNorm1d(2)
    with no_grad():
        layer(torch.randn(4, 2))
    assert layer.num_batches_tracked.item() == 1
    assert layer.running_mean.abs().sum() > 0


def test_two_batches_before_one_backward() -> None:
    """Running statistics change between the first batch's forward and backward pass, and nothing depends on it."""
    ours, theirs = nn.BatchNorm1d(3).double(), torch.nn.BatchNorm1d(3).double()
    a, b = torch.randn(4, 3, dtype=FLOAT64), torch.randn(4, 3, dtype=FLOAT64)
    ((ours(a) ** 3).sum() + (ours(b) ** 3).sum()).backward()
    ((theirs(a) ** 3).sum() + (theirs(b) ** 3).sum()).backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_evaluation_is_differentiable() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1)).eval()
    layer(torch.randn(1, 3)).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


# Embedding


def test_embedding_from_pretrained() -> None:
    table = torch.randn(4, 2)
    ours, theirs = nn.Embedding.from_pretrained(table), torch.nn.Embedding.from_pretrained(table)
    assert repr(ours) == repr(theirs)
    assert not ours.weight.requires_grad
    assert ours.weight.data is table
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad


def test_embedding_scaled_by_frequency() -> None:
    ours, theirs = Layer("Embedding", 5, 3, scale_grad_by_freq=True, x=INDICES).make()
    ours(INDICES).sum().backward()
    theirs(INDICES).sum().backward()
    assert torch.equal(ours.weight.grad, theirs.weight.grad)


# Dropout


def test_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    layer, x = nn.Dropout(0.25), CustomTensor(torch.ones(20_000), requires_grad=True)
    out = layer(x)
    assert abs(out.mean().item() - 1) < 0.02
    assert set(out.data.unique().tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    out.sum().backward()
    assert torch.equal(x.grad, out.data)  # the same mask
    assert layer.eval()(x) is x


# Softmax


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (2, 3, 2, 2)])
def test_softmax_without_an_axis_guesses_torchs_and_warns(name: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    with pytest.warns(UserWarning, match="Implicit dimension choice") as caught:
        out = getattr(nn, name)()(x)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        expected = getattr(torch.nn, name)()(x)
    torch.testing.assert_close(out.data, expected)


# Layers that torch doesn't have


class TorchSwish(torch.nn.Module):
    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = torch.nn.Parameter(torch.tensor(beta))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


@pytest.mark.parametrize("beta", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
def test_swish(beta: float, dtype: torch.dtype, check_against_torch: Callable[..., None]) -> None:
    ours, theirs = nn.Swish(beta).to(dtype), TorchSwish(beta).to(dtype)
    x = torch.tensor([-30.0, -2.0, -0.0, 0.0, 1e-3, 0.5, 30.0], dtype=dtype, requires_grad=True)
    check_against_torch(ours, x, torch_function=theirs, parameters=pairs(ours, theirs))


def test_swish_with_beta_one_is_silu() -> None:
    x = torch.linspace(-5, 5, 11, dtype=FLOAT64)
    torch.testing.assert_close(nn.Swish()(x).data, nn.SiLU()(x).data, rtol=1e-15, atol=1e-15)


def test_swish_and_silu_at_zero_have_slope_one_half() -> None:
    for layer in (nn.Swish(), nn.SiLU()):
        x = CustomTensor(torch.zeros(3), requires_grad=True)
        layer(x).sum().backward()
        assert x.grad.tolist() == [0.5, 0.5, 0.5]


class TorchPartialConv(torch.nn.Module):
    def __init__(self, channels: int, n_div: int, kernel_size: int, bias: bool) -> None:
        super().__init__()
        self.first = channels // n_div
        self.conv = torch.nn.Conv2d(self.first, self.first, kernel_size, padding="same", bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        first, others = x.split([self.first, x.shape[-3] - self.first], dim=-3)
        return torch.cat([self.conv(first), others], dim=-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=["float64", "float32"])
@pytest.mark.parametrize(
    "args, shape", [((8, 4, 3, False), (2, 8, 5, 4)), ((5, 2, 5, True), (5, 6, 6)), ((3, 1, 1, True), (1, 3, 2, 2))]
)
def test_partial_conv(
    args: tuple[Any, ...], shape: tuple[int, ...], dtype: torch.dtype, check_against_torch: Callable[..., None]
) -> None:
    torch.manual_seed(0)
    ours = nn.PartialConv2d(*args).to(dtype)
    torch.manual_seed(0)
    theirs = TorchPartialConv(*args).to(dtype)
    assert all(torch.equal(a.data, b.data) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    check_against_torch(ours, x, torch_function=theirs, parameters=pairs(ours, theirs))
    untouched = ours(x.detach()).data[..., ours.convolved :, :, :]
    assert torch.equal(untouched, x.detach()[..., ours.convolved :, :, :])


def test_batch_normalisations_become_synchronized_ones() -> None:
    models = []
    for library in (nn, torch.nn):
        inner = library.Sequential(library.Conv2d(2, 3, 1), library.BatchNorm2d(3, eps=0.1, affine=False))
        models.append(library.Sequential(inner, library.BatchNorm2d(3, momentum=None), library.Dropout(0.0)).double())
    ours, theirs = models
    ours.load_state_dict(theirs.state_dict())
    parameters = list(ours.parameters())
    assert nn.SyncBatchNorm.convert_sync_batchnorm(ours) is ours
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(theirs)
    assert repr(ours) == repr(theirs)
    assert all(a is b for a, b in zip(ours.parameters(), parameters, strict=True))
    x = torch.randn(4, 2, 3, 3, dtype=torch.float64)
    for train in (True, True, False):
        found, expected = ours.train(train)(x), theirs.train(train)(x)
        torch.testing.assert_close(found.data, expected.detach(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-9, atol=1e-9)
    assert isinstance(nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3).eval()), nn.SyncBatchNorm)


def test_synchronized_batch_normalisation_in_several_processes_is_refused_in_training() -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    layer, x = nn.SyncBatchNorm(3), torch.randn(4, 3)
    for processes in (1, 2):
        torch.distributed.init_process_group("fake", rank=0, world_size=processes, store=FakeStore())
        try:
            if processes == 1:
                layer.train()(x)
                continue
            with pytest.raises(UnsupportedError, match="SyncBatchNorm: 2 processes would have to exchange"):
                layer.train()(x)
            assert layer.num_batches_tracked == 1
            layer.eval()(x)
        finally:
            torch.distributed.destroy_process_group()
