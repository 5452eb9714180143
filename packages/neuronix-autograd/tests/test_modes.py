"""Grad modes: blocks, decorators, threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import torch

from neuronix.autograd import enable_grad, is_grad_enabled, no_grad, rules_only, set_grad_enabled, tensor


def test_blocks_nest_and_end_with_an_exception() -> None:
    with no_grad():
        assert not is_grad_enabled()
        with enable_grad():
            assert is_grad_enabled()
        assert not is_grad_enabled()
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_grad_enabled()


def test_decorators() -> None:
    @no_grad()
    def with_parentheses() -> bool:
        return is_grad_enabled()

    @no_grad
    def without() -> bool:
        return is_grad_enabled()

    @set_grad_enabled(False)
    def switched() -> bool:
        return is_grad_enabled()

    assert (with_parentheses(), without(), switched(), is_grad_enabled()) == (False, False, False, True)
    assert without.__name__ == "without"


def test_a_decorated_function_may_call_itself() -> None:
    @no_grad()
    def descend(depth: int) -> bool:
        return not is_grad_enabled() and (depth == 0 or descend(depth - 1))

    assert descend(3)
    assert is_grad_enabled()


def test_set_grad_enabled_acts_at_once_and_as_a_block() -> None:
    set_grad_enabled(False)
    assert not is_grad_enabled()
    set_grad_enabled(True)
    assert is_grad_enabled()
    with set_grad_enabled(False):
        assert not is_grad_enabled()
    assert is_grad_enabled()


def test_torchs_mode_is_another_one() -> None:
    x = tensor([1.0], requires_grad=True)
    with torch.no_grad():
        assert (x * 2).requires_grad
    with no_grad():
        assert not (x * 2).requires_grad
        assert torch.is_grad_enabled()


def test_each_thread_has_its_own() -> None:
    seen = []
    with no_grad(), rules_only():
        thread = threading.Thread(target=lambda: seen.append(is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_an_entered_mode_object_can_be_used_again() -> None:
    mode = no_grad()
    with mode, mode:
        assert not is_grad_enabled()
    assert is_grad_enabled()
    assert repr(mode) == "no_grad()"


@pytest.mark.parametrize("decorate", [no_grad, no_grad(), lambda function: set_grad_enabled(False)(function)])
def test_decorated_coroutines_and_generators_that_await(decorate: Any) -> None:
    seen: list[tuple[str, bool]] = []

    @decorate
    async def decorated(fails: bool) -> bool:
        seen.append(("decorated", is_grad_enabled()))
        await asyncio.sleep(0)
        seen.append(("decorated", is_grad_enabled()))
        if fails:
            raise KeyError
        return (tensor([1.0], requires_grad=True) * 2).requires_grad

    async def beside() -> None:
        for _ in range(3):
            seen.append(("beside", is_grad_enabled()))
            await asyncio.sleep(0)

    @decorate
    async def items() -> Any:
        try:
            for _ in range(2):
                await asyncio.sleep(0)
                yield is_grad_enabled()
        except ValueError:
            yield ("caught", is_grad_enabled())
        finally:
            seen.append(("decorated", is_grad_enabled()))

    async def program() -> None:
        assert (await asyncio.gather(decorated(False), beside()))[0] is False
        assert is_grad_enabled()
        with pytest.raises(KeyError):
            await decorated(True)
        assert is_grad_enabled()
        async for item in items():
            assert item is False
            assert is_grad_enabled()
        generator = items()
        assert await anext(generator) is False
        assert await generator.athrow(ValueError()) == ("caught", False)
        assert is_grad_enabled()
        await generator.aclose()
        assert is_grad_enabled()

    asyncio.run(program())
    assert set(seen) == {("decorated", False), ("beside", True)}
    assert seen.count(("decorated", False)) == 6
