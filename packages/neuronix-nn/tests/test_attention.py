"""Attention and the Transformer beyond what torch's module database lists."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from neuronix import nn
from neuronix.autograd import CustomTensor, rules_only
from neuronix.autograd.errors import ArgumentError, DtypeError, RankError, ShapeError
from neuronix.nn import functional
from neuronix.nn.errors import AssertedError, LayerArgumentError

# torch's TransformerEncoder says so of an optimisation that it can't use.
pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")


@pytest.fixture(autouse=True)
def twice_differentiable_oracle() -> Iterator[None]:
    """torch's other implementations of attention have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def double(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def both(name: str, *args: Any, **kwargs: Any) -> tuple[Any, Any, dict[str, tuple[Any, Any]]]:
    """Ours and torch's with the same parameters, none of them zero, and these in pairs."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, **kwargs, dtype=torch.float64)
    torch.manual_seed(0)
    ours = getattr(nn, name)(*args, **kwargs, dtype=torch.float64)
    assert repr(ours) == repr(theirs)
    expected = dict(theirs.named_parameters())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in ours.named_parameters():
        assert torch.equal(value.data, expected[key])
        expected[key].data.copy_(torch.randn_like(value.data))
        value.data.copy_(expected[key].detach())
    return ours, theirs, {key: (value, expected[key]) for key, value in ours.named_parameters()}


# The function

CAUSAL = torch.ones(4, 6, dtype=torch.bool).tril()
DEAD = CAUSAL.clone()
DEAD[1] = False  # this query may attend to nothing
SDPA: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "boolean mask": {"attn_mask": CAUSAL},
    "a row without keys": {"attn_mask": DEAD},
    "numbers as a mask": {"attn_mask": torch.linspace(-2, 2, 24).reshape(4, 6).double()},
    "mask of each head": {"attn_mask": torch.linspace(-2, 2, 48).reshape(2, 1, 4, 6).double()},
    "scale": {"scale": 0.3},
}


@pytest.mark.parametrize("options", SDPA.values(), ids=SDPA)
def test_scaled_dot_product_attention(options: dict[str, Any], check_against_torch: Callable[..., None]) -> None:
    q, k, v = double(2, 3, 4, 5), double(2, 3, 6, 5), double(2, 3, 6, 2)
    check_against_torch(
        lambda *args: functional.scaled_dot_product_attention(*args, **options),
        q,
        k,
        v,
        torch_function=lambda *args: torch.nn.functional.scaled_dot_product_attention(*args, **options),
    )


def test_a_learnt_bias_and_shared_heads(check_against_torch: Callable[..., None]) -> None:
    def run(library: Any) -> Callable[..., Any]:
        return lambda q, k, v, bias: library.scaled_dot_product_attention(q, k, v, bias, enable_gqa=True)

    inputs = double(2, 4, 3, 5), double(2, 2, 6, 5), double(2, 2, 6, 5), double(3, 6)
    check_against_torch(run(functional), *inputs, torch_function=run(torch.nn.functional))
    check_against_torch(run(torch.nn.functional), *inputs)  # torch's name arrives here


def test_dropped_weights_are_those_that_torch_drops() -> None:
    q = double(2, 3, 4, 5)
    torch.manual_seed(1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    torch.manual_seed(1)
    received = functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5)
    torch.testing.assert_close(received.data, expected.detach(), rtol=0, atol=1e-12)


# The layer

PADDING = torch.tensor([[False, False, True, True, False], [False, True, False, False, False]])
FORBIDDEN = torch.ones(3, 5, dtype=torch.bool).triu(2)
LAYERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "no bias": ({"bias": False}, {}),
    "weights of each head": ({}, {"average_attn_weights": False}),
    "no weights": ({}, {"need_weights": False}),
    "other sizes": ({"kdim": 3, "vdim": 7}, {}),
    "key and value learnt": ({"add_bias_kv": True}, {"attn_mask": FORBIDDEN, "key_padding_mask": PADDING}),
    "key and value of zeros": ({"add_zero_attn": True}, {"key_padding_mask": PADDING, "need_weights": False}),
    "everything": ({"add_bias_kv": True, "add_zero_attn": True, "kdim": 3, "vdim": 7}, {"attn_mask": FORBIDDEN}),
    "numbers as masks": ({}, {"attn_mask": FORBIDDEN.double() * -3, "key_padding_mask": PADDING.double() * -2}),
    "mask of each head": (
        {},
        {"attn_mask": torch.linspace(-1, 1, 60).reshape(4, 3, 5).double(), "need_weights": False},
    ),
    "causal": ({}, {"attn_mask": torch.ones(3, 5).bool().triu(1), "is_causal": True, "need_weights": False}),
}


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("made, called", LAYERS.values(), ids=LAYERS)
def test_multihead_attention(
    made: dict[str, Any], called: dict[str, Any], batch_first: bool, check_against_torch: Callable[..., None]
) -> None:
    ours, theirs, parameters = both("MultiheadAttention", 6, 2, batch_first=batch_first, **made)
    sizes = (3, 6), (5, made.get("kdim", 6)), (5, made.get("vdim", 6))
    query, key, value = (double(2, n, size) if batch_first else double(n, 2, size) for n, size in sizes)

    def run(layer: Any) -> Callable[..., Any]:
        return lambda q, k, v: [each for each in layer(q, k, v, **called) if each is not None]

    check_against_torch(run(ours), query, key, value, torch_function=run(theirs), parameters=parameters)


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_of_a_single_sequence_to_itself(need_weights: bool, check_against_torch: Callable[..., None]) -> None:
    ours, theirs, parameters = both("MultiheadAttention", 6, 3)
    padding = torch.tensor([False, False, True, False])

    def run(layer: Any) -> Callable[..., Any]:
        def attention(x: Any) -> Any:
            found = layer(x, x, x, key_padding_mask=padding, need_weights=need_weights)
            return found if need_weights else found[0]

        return attention

    check_against_torch(run(ours), double(4, 6), torch_function=run(theirs), parameters=parameters)
    products = [node for node in history(run(ours)(double(4, 6))) if node.startswith("linear")]
    assert len(products) == 2  # the three projections are one product


def history(out: Any) -> list[str]:
    """The names of the operations that made a result."""
    found, left = {}, [out[0].grad_fn if isinstance(out, tuple) else out.grad_fn]
    while left:
        node = left.pop()
        if node is not None and id(node) not in found:
            found[id(node)] = node
            left += node.parents
    return [node.name for node in found.values()]


def test_static_keys_and_torchs_function(check_against_torch: Callable[..., None]) -> None:
    weights = [double(12, 4), double(12), double(4, 4), double(4)]
    static = double(4, 7, 2), double(4, 7, 2)

    def run(library: Any) -> Callable[..., Any]:
        def attention(q: Any, in_w: Any, in_b: Any, out_w: Any, out_b: Any, k: Any, v: Any) -> Any:
            return library.multi_head_attention_forward(
                q, q, q, 4, 2, in_w, in_b, None, None, False, 0.0, out_w, out_b, static_k=k, static_v=v
            )

        return attention

    inputs = double(3, 2, 4), *weights, *static
    check_against_torch(run(functional), *inputs, torch_function=run(torch.nn.functional))
    check_against_torch(run(torch.nn.functional), *inputs)


# The Transformer


def masks(dtype: torch.dtype) -> dict[str, Any]:
    causal = nn.Transformer.generate_square_subsequent_mask(4, dtype=dtype)
    return {
        "tgt_mask": causal,
        "src_key_padding_mask": PADDING.to(dtype) * -1e9,
        "memory_mask": -torch.eye(4, 5, dtype=dtype),
    }


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", torch.nn.functional.silu])
def test_transformer(norm_first: bool, activation: Any, check_against_torch: Callable[..., None]) -> None:
    options = {"activation": activation, "norm_first": norm_first, "batch_first": True, "dropout": 0.0}
    ours, theirs, parameters = both("Transformer", 4, 2, 2, 2, 6, **options)
    check_against_torch(
        lambda src, tgt: ours(src, tgt, **masks(torch.float64)),
        double(2, 5, 4),
        double(2, 4, 4),
        torch_function=lambda src, tgt: theirs(src, tgt, **masks(torch.float64)),
        parameters=parameters,
        rtol=1e-9,  # random normal weights, not small ones: what passes four layers is large
    )


def test_dropout_of_the_transformer_draws_what_torch_draws() -> None:
    ours, theirs, _ = both("Transformer", 4, 2, 1, 1, 6, dropout=0.3)
    src, tgt = double(5, 2, 4), double(3, 2, 4)
    torch.manual_seed(1)
    expected = theirs(src, tgt)
    torch.manual_seed(1)
    torch.testing.assert_close(ours(src, tgt).data, expected.detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.eval()(src, tgt).data, theirs.eval()(src, tgt).detach(), rtol=0, atol=1e-9)


def test_rules_alone_give_the_same() -> None:
    ours, theirs, parameters = both("TransformerEncoderLayer", 4, 2, 6, 0.0)
    x = double(5, 2, 4)
    theirs(x).sin().sum().backward()
    with rules_only():
        ours(x.detach()).sin().sum().backward()
    for received, expected in parameters.values():
        torch.testing.assert_close(received.grad, expected.grad, rtol=1e-9, atol=1e-10)


def test_layers_of_a_stack_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 6)
    stack = nn.TransformerEncoder(layer, 2, nn.LayerNorm(4))
    first, second = stack.layers
    assert first.linear1.weight is not second.linear1.weight
    assert torch.equal(first.linear1.weight.data, second.linear1.weight.data)
    again = copy.deepcopy(stack)
    assert isinstance(again.layers[0].self_attn.in_proj_weight, CustomTensor)
    assert list(again.state_dict()) == list(stack.state_dict())
    custom = nn.Transformer(4, 2, custom_encoder=stack, custom_decoder=nn.TransformerDecoder(nn.Identity(), 1))
    assert custom.encoder is stack


def test_the_causal_mask_is_torchs() -> None:
    for dtype in (torch.float32, torch.float64):
        ours, theirs = (
            library.Transformer.generate_square_subsequent_mask(5, dtype=dtype) for library in (nn, torch.nn)
        )
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


# Bad input


def attention(*args: Any, **kwargs: Any) -> Any:
    return nn.MultiheadAttention(4, 2)(*(torch.ones(shape) for shape in args), **kwargs)


X = (3, 2, 4)


def with_parts(bias_k: Any = None, bias_v: Any = None, **kwargs: Any) -> Any:
    x, w = torch.ones(X), torch.ones(12, 4)
    return functional.multi_head_attention_forward(
        x, x, x, 4, 2, w, None, bias_k, bias_v, False, 0.0, torch.ones(4, 4), None, **kwargs
    )


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: nn.MultiheadAttention(5, 2), LayerArgumentError, "embed_dim=5 and num_heads=2"),
    (lambda: nn.MultiheadAttention(4, 2, dropout=2.0), LayerArgumentError, "must lie between 0 and 1, got 2.0"),
    (lambda: attention((3, 2, 5), X, X), AssertedError, "embedding dimension of 4, but got 5"),
    (lambda: attention(X, X, (5, 2, 4)), ShapeError, "(3, 2, 4) does not match value shape (5, 2, 4)"),
    (lambda: attention((3, 4), X, X), ShapeError, "2-D, 3-D and 3-D"),
    (lambda: attention(X, X, X, attn_mask=torch.ones(2, 3)), ShapeError, "(2, 3), but should be (3, 3) or (4, 3, 3)"),
    (lambda: attention(X, X, X, key_padding_mask=torch.ones(3, 2)), ShapeError, "(3, 2), but should be (2, 3)"),
    (lambda: attention(X, X, X, attn_mask=torch.ones(3, 3).int()), DtypeError, "got torch.int32"),
    (lambda: attention(X, X, X, attn_mask=torch.ones(3, 3).half()), DtypeError, "got torch.float16"),
    (
        lambda: with_parts(bias_k=torch.ones(1, 1, 1), bias_v=torch.ones(1, 1, 4)),
        ShapeError,
        "bias_k must be (1, 1, 4)",
    ),
    (lambda: with_parts(static_k=torch.ones(2, 3, 2)), AssertedError, "(4, S, 2), got (2, 3, 2)"),
    (
        lambda: functional.scaled_dot_product_attention(torch.ones(X), torch.ones(X), torch.ones(X), torch.ones(2)),
        RankError,
        "attn_mask must be (…, L, S), got shape (2,)",
    ),
    (lambda: attention(X, X, X, is_causal=True), ArgumentError, "Need attn_mask"),
    (
        lambda: functional.scaled_dot_product_attention(
            torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2).bool(), is_causal=True
        ),
        ArgumentError,
        "Explicit attn_mask should not be set when is_causal=True",
    ),
    (lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh"), LayerArgumentError, "not 'tanh'"),
    (lambda: nn.Transformer(4, 2, 1, 1, 6)(torch.ones(X), torch.ones(3, 3, 4)), ShapeError, "must be equal"),
    (lambda: nn.Transformer(4, 2, 1, 1, 6)(torch.ones(X), torch.ones(3, 2, 5)), ShapeError, "equal to d_model (4)"),
]


@pytest.mark.parametrize("do, error, message", WRONG, ids=[message for *_, message in WRONG])
def test_what_is_refused(do: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        do()
    assert message in str(caught.value)
