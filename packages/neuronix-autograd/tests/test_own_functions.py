"""A ``torch.autograd.Function`` inside code that was written for PyTorch: what torch makes of it, made here."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from neuronix.autograd import CustomTensor, grad, tensor
from neuronix.autograd.disguise import disguise, function_hook, reveal, torch_code
from neuronix.autograd.errors import ArgumentError, DtypeError, GradientError, ShapeError, UnsupportedError


def run(code: Callable[..., Any], *args: Any) -> Any:
    """Run code of torch's on CustomTensors."""
    with torch_code():
        return reveal(code(*disguise(args)))


class Cube(Function):
    """k x³, and how often it was differentiated is for the engine to say."""

    @staticmethod
    def forward(ctx: Any, x: Any, k: float) -> Any:
        ctx.save_for_backward(x)
        ctx.k = k
        return k * x**3

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * ctx.k * x**2 * grad, None


cube = Cube.apply  # as modules of models do, before anything of ours runs


class Separate(Function):
    """The newer form, with a default argument."""

    @staticmethod
    def forward(x: Any, y: Any, k: float = 2.0) -> Any:
        return (x * y).sin() * k

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, y, ctx.k = inputs
        ctx.save_for_backward(x, None, y, output)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, nothing, y, out = ctx.saved_tensors
        assert nothing is None
        # cos z = ± sqrt(1 - sin² z): with the result, so that its own derivative is tried
        common = grad * ctx.k * (1 - (out / ctx.k) ** 2).sqrt() * torch.sign(torch.cos(x * y))
        return common * y, common * x, None


class Exponential(Function):
    """Keeps its result, as an attribute, which torch's own documentation advises against."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.out = x.exp()
        return ctx.out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * ctx.out


class Several(Function):
    """Three inputs, one of them an integer tensor, and four results, one of them no tensor."""

    @staticmethod
    def forward(ctx: Any, x: Any, positions: Any, y: Any) -> Any:
        assert ctx.needs_input_grad == (x.requires_grad, False, y.requires_grad)
        product, picked = x * y, x[positions]
        ctx.save_for_backward(x, y, positions, product)
        return positions + 1, product, picked, "no tensor"

    @staticmethod
    def backward(ctx: Any, unused: Any, g_product: Any, g_picked: Any, nothing: Any) -> Any:
        x, _, positions, product = ctx.saved_tensors
        assert nothing is None
        g_x = g_product * product / x if ctx.needs_input_grad[0] else None
        return None if g_x is None else g_x.index_add(0, positions, g_picked), None, g_product * x


class Unmaterialized(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.set_materialize_grads(False)
        constant = x * 7
        ctx.mark_non_differentiable(constant)
        return x * 2, x * 3, constant

    @staticmethod
    def backward(ctx: Any, a: Any, b: Any, c: Any) -> Any:
        assert a is None
        assert c is None
        return b * 3


class Nested(Function):
    """Calls another Function, forward and backward, and states its rule as ``vjp``."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return cube(x, 0.5)

    @staticmethod
    def vjp(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return cube(x, 1.0) / x * 1.5 * grad


class Broadcast(Function):
    """Returns gradients in another shape and type than its argument's."""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, y = ctx.saved_tensors
        return grad * y, (grad * x).float()


class Conjugate(Function):
    @staticmethod
    def forward(ctx: Any, z: Any) -> Any:
        ctx.save_for_backward(z)
        return z * z.abs()

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (z,) = ctx.saved_tensors
        size = z.abs()
        return grad * size + (grad.conj() * z).real * z / size


class Reversed(Function):
    """Gradient reversal: the result is the argument itself."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return -grad


class Same(Reversed):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x


class Once(Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * grad


def leaf(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype).requires_grad_()


def twice(x: Any) -> Any:
    return cube(x * 2, 2.0) * x


def several(x: Any, y: Any) -> Any:
    positions, product, picked, text = Several.apply(x, torch.tensor([2, 0, 0]), y)
    assert text == "no tensor"
    assert positions.tolist() == [3, 1, 1]
    return product.tanh() + picked**2


def one_of_several(x: Any, y: Any) -> Any:
    return Several.apply(x.detach(), torch.tensor([2, 0, 0]), y)[1]


def unmaterialized(x: Any) -> Any:
    _, b, constant = Unmaterialized.apply(x)
    assert not constant.requires_grad
    return b * constant


def checkpointed(x: Any, y: Any) -> Any:
    def block(a: Any, b: Any) -> Any:
        return (a * b).sin(), a.exp()

    p, q = checkpoint(block, x * 2, y, use_reentrant=True)
    return p * q


PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[[], tuple[torch.Tensor, ...]]]] = {
    "bound before": (twice, lambda: (leaf(3),)),
    "setup_context": (lambda x, y: Separate.apply(x, y), lambda: (leaf(4), leaf(4))),
    "setup_context with keywords": (lambda x, y: Separate.apply(x, y=y, k=3.0), lambda: (leaf(4), leaf(4))),
    "result in an attribute": (lambda x: Exponential.apply(x * 2), lambda: (leaf(3),)),
    "several": (several, lambda: (leaf(3), leaf(3))),
    "one of several": (one_of_several, lambda: (leaf(3), leaf(3))),
    "unmaterialized": (unmaterialized, lambda: (leaf(3),)),
    "nested": (lambda x: Nested.apply(x), lambda: (leaf(3),)),
    "gradients of another shape and type": (Broadcast.apply, lambda: (leaf(2, 3), leaf(3))),
    "complex": (lambda z: Conjugate.apply(z).abs(), lambda: (leaf(3, dtype=torch.complex128),)),
    "view": (lambda x: Reversed.apply(x * 2) * x, lambda: (leaf(3),)),
    "argument": (lambda x: Same.apply(x * 2) * x, lambda: (leaf(3),)),
    "frozen": (lambda x: cube(x.detach(), 2.0) * x, lambda: (leaf(3),)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_and_two_derivatives_are_torchs(name: str) -> None:
    torch.manual_seed(0)
    code, make = PROGRAMS[name]
    theirs = make()
    ours = [CustomTensor(x.detach().clone(), requires_grad=True) for x in theirs]
    expected, found = code(*theirs), run(code, *ours)
    assert_close(found.data, expected.detach(), rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(expected.detach())
    options: dict[str, Any] = dict(create_graph=True, allow_unused=True)
    firsts = torch.autograd.grad((expected * weight).sum(), theirs, **options)
    our_firsts = grad((found * weight).sum(), ours, **options)
    for a, b in zip(our_firsts, firsts, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert_close(a.data, b.detach(), rtol=1e-9, atol=1e-9)
    total = sum(b.abs().square().sum() for b in firsts if b is not None and b.requires_grad)
    our_total = sum(a.abs().square().sum() for a in our_firsts if a is not None and a.requires_grad)
    assert isinstance(our_total, CustomTensor) == isinstance(total, torch.Tensor)
    if isinstance(total, torch.Tensor) and isinstance(our_total, CustomTensor):
        seconds = torch.autograd.grad(total, theirs, allow_unused=True, materialize_grads=True)
        for a, b in zip(grad(our_total, ours, allow_unused=True, materialize_grads=True), seconds, strict=True):
            assert a is not None
            assert_close(a.data, b, rtol=1e-9, atol=1e-9)


def test_it_is_one_operation_of_its_own_name() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    y = run(twice, x)
    node = y.grad_fn.parents[0]
    assert repr(node) == "<Cube(mul) -> (2,)>"
    y.sum().backward()
    assert node.freed
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_results_die_with_their_holders() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    gc.disable()
    try:
        y = run(lambda x: Separate.apply(x, x), x)
        node, data = weakref.ref(y.grad_fn), weakref.ref(y.data)
        assert node() is not None
        del y
        assert node() is None
        assert data() is None
    finally:
        gc.enable()


def test_marked_once_differentiable() -> None:
    """Also where torch would take the gradient for a constant in silence: it depends on what was saved."""
    x = tensor([1.0, 2.0], requires_grad=True)
    (first,) = grad(run(Once.apply, x).sum(), x, create_graph=True)
    assert first.data.tolist() == [3.0, 12.0]
    with pytest.raises(GradientError, match="Once: trying to differentiate twice"):
        first.sum().backward()
    run(Once.apply, x).sum().backward()
    assert_close(x.grad, torch.tensor([3.0, 12.0]))


def test_reentrant_checkpoint() -> None:
    torch.manual_seed(0)
    theirs = leaf(3), leaf(3)
    ours = [CustomTensor(x.detach().clone(), requires_grad=True) for x in theirs]
    checkpointed(*theirs).sum().backward()
    run(checkpointed, *ours).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)


def test_a_change_of_what_is_saved_is_noticed() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)

    def changes(x: Any) -> Any:
        y = x * 2
        z = cube(y, 1.0)
        y += 1
        return z

    with pytest.raises(GradientError, match="Cube: its saved tensor with shape .2,. is needed"):
        run(changes, x).sum().backward()

    def changes_result(x: Any) -> Any:
        z = cube(x, 1.0)  # which doesn't save it
        z *= 2
        return z

    run(changes_result, x).sum().backward()
    assert_close(x.grad, torch.tensor([6.0, 24.0]))


@pytest.mark.parametrize("kind", [Reversed, Same])
def test_a_result_that_shares_memory_changes_with_its_argument(kind: Any) -> None:
    x = tensor([1.0, 2.0], requires_grad=True)

    def changes(x: Any) -> Any:
        y = x * 2
        z = kind.apply(y)
        y *= 3  # z is a view of y, so 6x: what the Function did with gradients is between y and z as they were
        return z

    z = run(changes, x)
    assert z.data.tolist() == [6.0, 12.0]
    z.sum().backward()
    assert_close(x.grad, torch.tensor([6.0, 6.0]))


def test_nothing_is_recorded_where_torch_records_nothing() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)

    def without(x: Any) -> Any:
        with torch.no_grad():
            return cube(x, 1.0)

    assert not run(without, x).requires_grad
    assert not run(cube, tensor([1.0]), 1.0).requires_grad


def returning(*gradients: Any) -> Any:
    class Returns(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, k: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return gradients

    return Returns


@pytest.mark.parametrize(
    ("gradients", "error", "words"),
    [
        ((torch.ones(2),), GradientError, "Returns: backward.. returned 1 gradients for 2 arguments"),
        ((torch.ones(2), None, torch.ones(2)), GradientError, "returned 3 gradients for 2"),
        ((torch.ones(2), torch.ones(2)), GradientError, "a gradient for argument 1 of forward.., which is no tensor"),
        ((1.0, None), DtypeError, "returned a float"),
        ((torch.ones(3), None), ShapeError, r"argument 0 of shape \(2,\) got a gradient of shape \(3,\)"),
    ],
)
def test_wrong_gradients_are_refused(gradients: Any, error: Any, words: str) -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(error, match=words):
        run(returning(*gradients).apply, x, 1.0).sum().backward()
    assert x.grad is None


def test_more_gradients_are_welcome_if_they_are_none() -> None:
    x = tensor([1.0, 2.0], requires_grad=True)
    run(returning(torch.ones(2), None, None).apply, x, 1.0).sum().backward()
    assert_close(x.grad, torch.ones(2))


def test_a_function_that_changes_its_argument_is_refused() -> None:
    class Changes(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.mark_dirty(x)
            return x.mul_(2)

    with pytest.raises(UnsupportedError, match=r"Changes: ctx\.mark_dirty"):
        run(lambda x: Changes.apply(x * 1), tensor([1.0], requires_grad=True))


def test_arguments_that_dont_fit() -> None:
    with pytest.raises(ArgumentError, match=r"Cube\.apply takes no keyword arguments, got k"):
        run(lambda x: Cube.apply(x, k=1.0), tensor([1.0]))
    with pytest.raises(ArgumentError, match=r"Separate\.apply: missing a required argument: 'y'"):
        run(Separate.apply, tensor([1.0]))


def gelu(x: torch.Tensor, k: float) -> torch.Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / k))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("compiled", ["script", "trace"])
def test_a_function_compiled_by_torch_jit_is_the_one_that_it_was_compiled_from(compiled: str) -> None:
    def written(x: Any) -> Any:
        return gelu(x, 1.4)

    script: Any = torch.jit.script(gelu) if compiled == "script" else torch.jit.trace(written, torch.ones(2))
    arguments = (1.4,) if compiled == "script" else ()
    theirs = torch.tensor([0.5, -1.0], requires_grad=True)
    expected = script(theirs, *arguments)
    expected.sum().backward()
    for _ in range(3):  # scripts are specialized after their first calls
        ours = tensor([0.5, -1.0], requires_grad=True)
        found = run(lambda x: script(x, *arguments), ours)
        assert_close(found.data, expected.detach())
        found.sum().backward()
        assert_close(ours.grad, theirs.grad)
    assert torch.jit.ScriptFunction.__call__ is function_hook._torchs_call_script


def test_torchs_own_is_untouched_outside_and_in_other_threads() -> None:
    code = function_hook._apply.__code__
    theirs: list[Any] = []

    def in_torch() -> None:
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        y = cube(x, 1.0)
        theirs.append(type(y.grad_fn).__name__)
        y.sum().backward()
        theirs.append(x.grad)

    with torch_code():
        assert function_hook._apply.__code__ is not code
        with torch_code():
            thread = threading.Thread(target=in_torch)
            thread.start()
            thread.join()
        assert function_hook._apply.__code__ is not code
    assert function_hook._apply.__code__ is code
    in_torch()
    assert theirs[0] == theirs[2] == "CubeBackward"
    assert_close(theirs[1], torch.tensor([3.0, 12.0]))
    with pytest.raises(ZeroDivisionError), torch_code():
        raise ZeroDivisionError
    assert function_hook._apply.__code__ is code
