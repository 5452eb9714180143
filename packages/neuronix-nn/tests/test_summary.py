"""`summary`, and what stands in `nn.utils` beside sequences."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neuronix import nn
from neuronix.autograd.errors import ArgumentError, ShapeError
from neuronix.nn.errors import LayerArgumentError, ModuleTypeError


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.norm = nn.BatchNorm1d(4)
        self.spare = nn.Linear(4, 4)
        self.out = nn.Linear(4, 10, bias=False)
        self.out.weight = self.embedding.weight
        self.norm.bias.requires_grad_(False)

    def forward(self, words: Any, *, twice: bool = False) -> Any:
        x = self.norm(self.embedding(words))
        return {"logits": self.out(self.norm(x) if twice else x), "hidden": (x, "text")}


def test_rows_and_totals() -> None:
    model = Tied()
    found = nn.summary(model, input_data={"words": torch.arange(3), "twice": True}, verbose=False)
    by_name = {row.name: row for row in found.rows}
    assert list(by_name) == [name for name, _ in model.named_modules()]
    assert found.parameters == sum(p.numel() for p in model.parameters()) == 40 + 8 + 20
    assert found.trainable == 64
    assert found.buffers == 9
    assert found.bytes == 4 * 68 + 4 * 8 + 8
    assert by_name[""].output_shape == {"logits": (3, 10), "hidden": ((3, 4), "str")}
    assert by_name["norm"].calls == 2
    assert by_name["spare"].output_shape is None
    assert by_name["out"].parameters == 0
    assert by_name["out"].shared == ("embedding.weight",)
    assert str(found).count("shared: embedding.weight") == 1
    assert repr(found) == "Summary(Tied: 5 modules, 68 parameters, 64 trainable)"


EXPECTED = """
layer             output shape                parameters
─────────────────────────────────────────────────────────────────────
Sequential        ([5, 2], ([1, 2], [1, 2]))
  0: Linear       [5, 4]                              16  frozen
  1: BatchNorm1d  [5, 4]                               8  4 trainable
  2: LSTM         ([5, 2], ([1, 2], [1, 2]))          64
─────────────────────────────────────────────────────────────────────
parameters: 88, of which trainable: 68
entries of buffers: 9
memory of both: 392 bytes
""".lstrip()


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LSTM(4, 2))
    model[0].requires_grad_(False)
    model[1].bias.requires_grad_(False)
    found = nn.summary(model, (5, 3))
    printed = capsys.readouterr().out
    assert printed == f"{found}\n"
    assert printed == EXPECTED


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[2].eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    nn.summary(model, [5, 3], verbose=False)
    assert torch.equal(torch.rand(1), expected)
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ShapeError):
        nn.summary(model, (5, 7), verbose=False)
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert not any(module._forward_hooks for module in model.modules())


def test_several_inputs_and_none() -> None:
    layer = nn.Bilinear(2, 3, 4) if hasattr(nn, "Bilinear") else nn.TransformerDecoderLayer(4, 2, 6)
    sizes = [(5, 2), (5, 3)] if hasattr(nn, "Bilinear") else [(5, 1, 4), (3, 1, 4)]
    assert nn.summary(layer, sizes, verbose=False).rows[0].calls == 1
    x = torch.zeros(sizes[0]), torch.zeros(sizes[1])
    assert nn.summary(layer, input_data=x, verbose=False) == nn.summary(layer, sizes, verbose=False)
    assert "not called" not in str(nn.summary(layer, verbose=False))
    adopted = nn.adopt(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()))
    assert [row.output_shape for row in nn.summary(adopted, (4, 2), verbose=False).rows] == [(4, 3)] * 3
    double = nn.Linear(2, 3, dtype=torch.float64)
    assert nn.summary(double, (4, 2), verbose=False).bytes == 72


def test_summary_refuses() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(ModuleTypeError, match="got Linear"):
        nn.summary(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    with pytest.raises(LayerArgumentError, match="not both"):
        nn.summary(layer, (1, 2), torch.zeros(1, 2))
    with pytest.raises(LayerArgumentError, match="is no shape"):
        nn.summary(layer, (1, -2))


# Vectors


def models() -> tuple[Any, Any]:
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    ours = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    ours.load_state_dict(theirs.state_dict())
    x = 9 * torch.randn(5, 3, dtype=torch.float64)
    for model in (ours, theirs):
        model(x).square().sum().backward()
    return ours, theirs


def test_clipping_is_found() -> None:
    with pytest.raises(AttributeError, match=r"it is neuronix\.optim\.clip_grad_norm_"):
        nn.utils.clip_grad_norm_  # type: ignore[attr-defined]


def test_parameters_as_a_vector() -> None:
    ours, theirs = models()
    vector = nn.utils.parameters_to_vector(ours.parameters())
    expected = torch.nn.utils.parameters_to_vector(theirs.parameters())
    torch.testing.assert_close(vector.data, expected.detach(), rtol=0, atol=0)
    ours.zero_grad()
    (vector * torch.arange(26)).sum().backward()
    assert ours[2].bias.grad.tolist() == [24.0, 25.0]
    nn.utils.vector_to_parameters(expected.detach() + 1, ours.parameters())
    torch.testing.assert_close(ours[2].bias.data, theirs[2].bias.detach() + 1, rtol=0, atol=0)
    with pytest.raises(ShapeError, match=r"26 entries, the vector has shape \(25,\)"):
        nn.utils.vector_to_parameters(torch.zeros(25), ours.parameters())
    with pytest.raises(ArgumentError, match="got none"):
        nn.utils.parameters_to_vector([])
