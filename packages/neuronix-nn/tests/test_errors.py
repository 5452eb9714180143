"""Bad input: a typed error that is a sentence with the values, and nothing has changed afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix import nn
from neuronix.autograd import AutogradGraph
from neuronix.autograd.errors import (
    ArgumentError,
    AxisError,
    DtypeError,
    NeuronixError,
    ShapeError,
    UnsupportedError,
)
from neuronix.nn import functional
from neuronix.nn.errors import LayerArgumentError, ModuleTypeError

# Layers that can't be made


MAKING: list[tuple[Callable[[], Any], type[Exception], type[Exception], str]] = [
    (
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        LayerArgumentError,
        ValueError,
        "in_channels (3) must be divisible by groups (2)",
    ),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), LayerArgumentError, ValueError, "out_channels (3) must be divisible"),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), LayerArgumentError, ValueError, "groups must be a positive integer, got 0"),
    (lambda: nn.Conv2d(4, 4, 3, padding="foo"), LayerArgumentError, ValueError, "invalid padding string 'foo'"),
    (lambda: nn.Conv2d(4, 4, 3, stride=2, padding="same"), LayerArgumentError, ValueError, "strided convolutions"),
    (lambda: nn.Conv2d(4, 4, 3, padding_mode="x"), LayerArgumentError, ValueError, "padding_mode must be one of"),
    (
        lambda: nn.Conv2d(4, 4, (3, 3, 3)),
        LayerArgumentError,
        ValueError,
        "kernel_size must be one number, or 2 of them",
    ),
    (lambda: nn.Dropout(2.0), LayerArgumentError, ValueError, "must lie between 0 and 1, got 2.0"),
    (lambda: nn.Linear(-1, 3), LayerArgumentError, RuntimeError, "Linear: in_features must not be negative, got -1"),
    (lambda: nn.Linear(3, "a"), ModuleTypeError, TypeError, "Linear: out_features must be an integer, got 'a'"),
    (lambda: nn.Conv2d(3, 4, (3, -1)), LayerArgumentError, RuntimeError, "kernel_size must not be negative, got -1"),
    (lambda: nn.BatchNorm1d(2.5), ModuleTypeError, TypeError, "num_features must be an integer, got 2.5"),
    (lambda: nn.LayerNorm((2, None)), ModuleTypeError, TypeError, "normalized_shape must be an integer, got None"),
    (lambda: nn.Embedding(-3, 2), LayerArgumentError, RuntimeError, "num_embeddings must not be negative, got -3"),
    (lambda: nn.Dropout("a"), ModuleTypeError, TypeError, "p must be a number, got 'a'"),
    (lambda: nn.Dropout(-0.1), LayerArgumentError, ValueError, "got -0.1"),
    (lambda: nn.Embedding(3, 2, padding_idx=3), LayerArgumentError, ValueError, "within num_embeddings (3), got 3"),
    (lambda: nn.Embedding(3, 2, padding_idx=-4), LayerArgumentError, ValueError, "got -4"),
    (lambda: nn.Embedding(3, 2, scale_grad_by_freq=True, sparse=True), UnsupportedError, NotImplementedError, "sparse"),
    (lambda: nn.Embedding(3, 2, _weight=torch.ones(2, 2)), LayerArgumentError, ValueError, "expected (3, 2)"),
    (lambda: nn.PartialConv2d(3, 4), LayerArgumentError, ValueError, "number of channels (3), got 4"),
    (lambda: nn.PartialConv2d(8, 2, kernel_size=2), LayerArgumentError, ValueError, "must be odd"),
    (lambda: nn.init.kaiming_uniform_(nn.Parameter(torch.ones(3))), LayerArgumentError, ValueError, "two or more axes"),
    (lambda: nn.init.calculate_gain("step"), LayerArgumentError, ValueError, "unknown nonlinearity 'step'"),
    (
        lambda: nn.init.kaiming_normal_(nn.Parameter(torch.ones(3, 3)), mode="in"),
        LayerArgumentError,
        ValueError,
        "mode must be",
    ),
]


@pytest.mark.parametrize("make, error, builtin, message", MAKING, ids=[message for *_, message in MAKING])
def test_layers_that_cannot_be(
    make: Callable[[], Any], error: type[Exception], builtin: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert isinstance(caught.value, NeuronixError)
    assert isinstance(caught.value, builtin)
    assert message in str(caught.value)


# Inputs that don't fit


def real(*shape: int) -> torch.Tensor:
    return torch.randn(shape)


CALLS: list[tuple[Any, Any, type[Exception], str]] = [
    (nn.Linear(3, 2), real(2, 4), ShapeError, "float32(2, 4)"),
    (nn.Linear(3, 2), real(2, 3).double(), DtypeError, "float64(2, 3)"),
    (nn.Conv2d(3, 4, 3), real(2, 5, 8, 8), ShapeError, "to have 3 channels, but got 5 channels instead"),
    (
        nn.Conv2d(3, 4, 3),
        real(8, 8),
        ShapeError,
        "conv2d: expected 3D (unbatched) or 4D (batched) input, got shape (8, 8)",
    ),
    (nn.Conv2d(3, 4, 9), real(2, 3, 8, 8), ShapeError, "Kernel size can't be greater than actual input size"),
    (nn.Conv2d(3, 4, 3), real(2, 3, 8, 8).double(), DtypeError, "float64(2, 3, 8, 8)"),
    (nn.Conv2d(3, 4, 3), [[1.0]], DtypeError, "the input must be a tensor, got list"),
    (
        nn.Conv2d(3, 4, 3, padding=3, padding_mode="reflect"),
        real(1, 3, 3, 3),
        ShapeError,
        "Padding size should be less",
    ),
    (nn.BatchNorm1d(3), real(4, 3).long(), UnsupportedError, "not implemented for 'Long'"),
    (nn.MaxPool2d(2), torch.ones(1, 1, 4, 4, dtype=torch.bool), UnsupportedError, "not implemented for 'Bool'"),
    (nn.Dropout(), torch.ones(3, dtype=torch.long), DtypeError, "floating-point type, got torch.int64"),
    (nn.BatchNorm2d(3), real(3, 3), ShapeError, "BatchNorm2d: expected 4D input, got shape (3, 3)"),
    (nn.BatchNorm1d(3), real(3), ShapeError, "BatchNorm1d: expected 2D or 3D input, got shape (3,)"),
    (
        nn.BatchNorm2d(3),
        real(2, 4, 3, 3),
        ShapeError,
        "running_mean has shape (3,), but the input of shape (2, 4, 3, 3)",
    ),
    (nn.BatchNorm1d(3), real(1, 3), ShapeError, "expected more than 1 value per channel when training"),
    (nn.BatchNorm1d(3), real(4, 3).double(), NeuronixError, "batch_norm"),
    (nn.LayerNorm(4), real(3, 3), ShapeError, "Given normalized_shape=[4]"),
    (nn.LayerNorm(4), real(3, 4).double(), NeuronixError, "layer_norm"),
    (nn.Embedding(3, 2), torch.tensor([5]), AxisError, "index out of range"),
    (nn.Embedding(3, 2), torch.tensor([0.5]), DtypeError, "scalar types"),
    (
        nn.MaxPool2d(2, padding=2),
        real(1, 1, 4, 4),
        NeuronixError,
        "pad should be at most half of effective kernel size",
    ),
    (nn.MaxPool2d(9), real(1, 1, 4, 4), ShapeError, "Output size is too small"),
    (nn.MaxPool2d(2), real(4, 4), ShapeError, "max_pool2d: expected 3D (unbatched) or 4D (batched) input"),
    (nn.AvgPool2d(9), real(1, 1, 4, 4), ShapeError, "Output size is too small"),
    (nn.AvgPool2d((2, 2, 2)), real(1, 1, 4, 4), ArgumentError, "kernel_size must be one number, or 2 of them"),
    (nn.AdaptiveAvgPool2d(2), real(4, 4), ShapeError, "adaptive_avg_pool2d: expected"),
    (nn.AdaptiveAvgPool2d((1, 2, 3)), real(1, 2, 4, 4), ArgumentError, "output_size must be one number, or 2 of them"),
    (nn.Flatten(), real(3), AxisError, "imension out of range"),
    (nn.Softmax(3), real(2, 2), AxisError, "Dimension out of range"),
    (nn.PartialConv2d(8), real(1, 7, 4, 4), NeuronixError, "narrow"),
]


@pytest.mark.parametrize(
    "layer, x, error, message", CALLS, ids=[f"{type(layer).__name__}-{message}" for layer, *_, message in CALLS]
)
def test_inputs_that_do_not_fit(layer: Any, x: Any, error: type[Exception], message: str) -> None:
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with AutogradGraph() as graph:
        nodes = graph.num_nodes()
        with pytest.raises(error) as caught:
            layer(x)
        assert graph.num_nodes() == nodes
    assert isinstance(caught.value, NeuronixError)
    assert message in str(caught.value)
    after = layer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in layer.parameters())


FUNCTIONS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: functional.batch_norm(real(3, 2), None, None), ArgumentError, "expected running_mean and running_var"),
    (lambda: functional.batch_norm(real(3), None, None, training=True), ShapeError, "expected input (N, C, …)"),
    (
        lambda: functional.batch_norm(real(3, 2), None, None, real(3), training=True),
        ShapeError,
        "weight has shape (3,)",
    ),
    (
        lambda: functional.batch_norm(real(3, 2), None, None, eps=0.0),
        LayerArgumentError,
        "eps must be positive, got 0.0",
    ),
    (lambda: functional.embedding(torch.tensor([0]), real(3, 2), padding_idx=3), ArgumentError, "got 3"),
    (
        lambda: functional.embedding(torch.tensor([0]), real(3, 2), None, None, 2.0, True, True),
        UnsupportedError,
        "sparse",
    ),
    (lambda: functional.embedding(0, real(3, 2)), DtypeError, "embedding: the input must be a tensor, got int"),
    (lambda: functional.dropout(real(3), 1.5), LayerArgumentError, "got 1.5"),
    (lambda: functional.conv2d(real(1, 1, 4, 4), real(1, 1, 2, 2), padding="full"), ArgumentError, "'full'"),
    (lambda: functional.conv2d(real(1, 1, 4, 4), real(1, 1, 2, 2), stride=(1, 2, 3)), ArgumentError, "(1, 2, 3)"),
]


@pytest.mark.parametrize("call, error, message", FUNCTIONS, ids=[message for *_, message in FUNCTIONS])
def test_functions_that_are_called_wrongly(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
