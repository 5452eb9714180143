"""Complex parts, conjugates and angles against torch, to second order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from neuronix.autograd import CustomTensor, errors, ops
from neuronix.autograd.dispatch import registry

Z = [[0.3 + 0.4j, -0.7 + 0.2j], [0.5 - 0.6j, -0.2 - 0.9j]]
REAL = [[0.3, -0.4], [1.5, 2.5]]

ROWS: list[tuple[str, Callable[..., Any], list[Any]]] = [
    ("angle", torch.angle, [Z]),
    ("angle", torch.angle, [REAL]),
    ("complex", torch.complex, [REAL, REAL]),
    ("conj", lambda z: torch.conj(z) * z, [Z]),
    ("conj", lambda z: z.conj().sin(), [Z]),
    ("conj", torch.conj, [REAL]),
    ("conj_physical", torch.conj_physical, [Z]),
    ("conj_physical", torch.conj_physical, [REAL]),
    ("imag", lambda z: z.imag**2, [Z]),
    ("imag", torch.imag, [Z]),
    ("polar", lambda x, y: torch.polar(x.exp(), y), [REAL, REAL]),
    ("real", lambda z: z.real**2, [Z]),
    ("real", torch.real, [Z]),
    ("real", torch.real, [REAL]),
    ("resolve_conj", lambda z: torch.resolve_conj(z.conj()), [Z]),
    ("resolve_neg", lambda z: torch.resolve_neg(z.conj().imag), [Z]),
    ("view_as_complex", torch.view_as_complex, [REAL]),
    ("view_as_real", torch.view_as_real, [Z]),
    ("view_as_real", lambda z: torch.view_as_real(z * z).sin(), [Z]),
    ("abs", lambda z: (z.real**2 + z.imag**2).sqrt() - z.abs(), [Z]),
]


@pytest.mark.parametrize(("name", "function", "inputs"), ROWS, ids=[row[0] for row in ROWS])
def test_against_torch(
    check_against_torch: Callable[..., None], name: str, function: Callable[..., Any], inputs: list[Any]
) -> None:
    leaves = [torch.tensor(v, dtype=torch.complex128 if v is Z else torch.float64, requires_grad=True) for v in inputs]
    check_against_torch(function, *leaves)


def test_angle_at_zero() -> None:
    z = CustomTensor(torch.zeros(2, dtype=torch.complex128), requires_grad=True)
    torch.angle(z).sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [0, 0]


def test_real_numbers_have_no_imaginary_part() -> None:
    with pytest.raises(errors.DtypeError, match="imag"):
        torch.imag(CustomTensor([1.0], requires_grad=True))


def test_every_operation_has_a_row() -> None:
    module = ops.complex_numbers
    declared = {key.rsplit(".", 1)[1] for key in registry.OPERATIONS if key.startswith(module.__name__ + ".")}
    assert declared == set(module.__all__)
    assert declared <= {row[0] for row in ROWS}
