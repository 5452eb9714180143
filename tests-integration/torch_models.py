"""Models as people write them for PyTorch, small: what `neuronix.nn.adopt` must run unchanged.

Each row makes a model and its inputs; nothing here knows of Neuronix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

Row = Callable[[], tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]
MODELS: dict[str, Row] = {}


def model(make_inputs: Callable[[], Any], **options: Any) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Enter a class in the table, with the inputs of its forward."""

    def enter(kind: type[nn.Module]) -> type[nn.Module]:
        def row() -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
            made = kind()
            inputs = make_inputs()
            return made, inputs if isinstance(inputs, tuple) else (inputs,), options

        MODELS[kind.__name__] = row
        return kind

    return enter


def images(channels: int = 3, size: int = 16, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, size, size)


@model(images)
class ConvolutionalNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 5),
        )  # fmt: skip


@model(lambda: torch.randn(2, 7, 8))
class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=False)

    def forward(self, x: Any) -> Any:
        padding = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        padding[1, 5:] = True
        return self.encoder(x, src_key_padding_mask=padding)


@model(lambda: (torch.randn(2, 5, 8), torch.randn(2, 4, 8)))
class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Transformer(8, 2, 1, 2, 16, dropout=0.1, batch_first=True)
        self.transformer.encoder.enable_nested_tensor = False

    def forward(self, source: Any, target: Any) -> Any:
        mask = self.transformer.generate_square_subsequent_mask(target.shape[1], dtype=target.dtype)
        return self.transformer(source, target, tgt_mask=mask, tgt_is_causal=True)


@model(lambda: torch.randn(5, 3, 4))
class BidirectionalLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, num_layers=2, bidirectional=True, dropout=0.1)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Any) -> Any:
        out, (h, c) = self.lstm(x)
        return self.head(out), h, c


@model(lambda: torch.randn(3, 5, 4))
class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 5, num_layers=2, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.gru(x)[0][:, -1]


@model(images)
class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = self.block(3, 4), self.block(4, 8)
        self.middle = self.block(8, 8)
        self.up2 = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(8, 4, 3, stride=2, padding=1, output_padding=1)
        self.out2, self.out1 = self.block(16, 8), self.block(8, 4)
        self.head = nn.Conv2d(4, 1, 1)

    def block(self, cin: int, cout: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.GroupNorm(2, cout), nn.SiLU(inplace=True))

    def forward(self, x: Any) -> Any:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.avg_pool2d(b, 2))
        c = self.out2(torch.cat([self.up2(c), b], 1))
        d = self.out1(torch.cat([self.up1(c), a], dim=1))
        return torch.sigmoid(F.interpolate(self.head(d), scale_factor=2, mode="bilinear", align_corners=False))


class BasicBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Any) -> Any:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


@model(images)
class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(4, 4, 1), BasicBlock(4, 4, 1))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2), BasicBlock(8, 8, 1))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(8, 3)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


@model(images)
class MobileNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(inplace=True),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardswish(inplace=True),
            nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.Hardsigmoid(), nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )  # fmt: skip


@model(lambda: images(size=8))
class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3 + 2 * i) for i in range(3))

    def forward(self, x: Any) -> Any:
        features = [x]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            features.append(layer(F.relu(norm(torch.cat(features, 1)), inplace=True)))
        return F.adaptive_avg_pool2d(torch.cat(features, 1), 1).view(len(x), -1)


@model(lambda: torch.rand(4, 12))
class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc, self.mu, self.logvar, self.dec = nn.Linear(12, 8), nn.Linear(8, 3), nn.Linear(8, 3), nn.Linear(3, 12)

    def reparameterize(self, mu: Any, logvar: Any) -> Any:
        std = torch.exp(0.5 * logvar)
        return mu + torch.randn_like(std) * std

    def decode(self, z: Any) -> Any:
        return torch.sigmoid(self.dec(z))

    def forward(self, x: Any) -> Any:
        h = F.relu(self.enc(x))
        mu, logvar = self.mu(h), self.logvar(h)
        out = self.decode(self.reparameterize(mu, logvar))
        bce = F.binary_cross_entropy(out, x, reduction="sum")
        return bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()), out


@model(lambda: (torch.randn(4, 5), torch.randn(4, 6)))
class GANPair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Sequential(
            nn.Linear(5, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2, inplace=True), nn.Linear(8, 6), nn.Tanh()
        )
        self.d = nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(6, 8)),
            nn.LeakyReLU(0.2),
            parametrizations.spectral_norm(nn.Linear(8, 1)),
        )

    def forward(self, z: Any, real: Any) -> Any:
        fake = self.g(z)
        ones = torch.ones(len(z), 1, device=z.device, dtype=z.dtype)
        d_loss = F.binary_cross_entropy_with_logits(self.d(real), ones) + F.binary_cross_entropy_with_logits(
            self.d(fake.detach()), torch.zeros_like(ones)
        )
        return d_loss + F.softplus(-self.d(fake)).mean()


@model(lambda: torch.randn(2, 4, 20))
class WaveNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=2**i) for i in range(3))
        self.gates = nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(4, 3, 1) for i in range(3))

    def forward(self, x: Any) -> Any:
        total = 0
        for i, (f, g, s) in enumerate(zip(self.filters, self.gates, self.skips, strict=True)):
            padded = F.pad(x, (2**i, 0))
            y = torch.tanh(f(padded)) * torch.sigmoid(g(padded))
            total = total + s(y)
            x = x + y
        return total


@model(lambda: torch.randn(1, 2, 6, 6, 6))
class Volumes(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(2, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ELU(inplace=True), nn.MaxPool3d(2),
            nn.ConvTranspose3d(4, 2, 2, stride=2), nn.InstanceNorm3d(2, affine=True), nn.AvgPool3d(2), nn.Flatten(),
        )  # fmt: skip


class MixerBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.tokens = nn.Sequential(nn.Linear(16, 12), nn.GELU(), nn.Linear(12, 16))
        self.channels = nn.Sequential(nn.Linear(8, 12), nn.GELU(approximate="tanh"), nn.Linear(12, 8))

    def forward(self, x: Any) -> Any:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


@model(images)
class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Conv2d(3, 8, 4, 4),
            nn.Sequential(MixerBlock(), MixerBlock()),
            nn.Linear(8, 3),
        )

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks(self.stem(x).flatten(2).mT).mean(dim=1))


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm, self.pw1, self.pw2 = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(1e-2 * torch.ones(dim))
        self.drop = 0.3

    def forward(self, x: Any) -> Any:
        shortcut = x
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.gamma * self.pw2(F.gelu(self.pw1(self.norm(x))))
        if self.training:  # stochastic depth
            keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.drop)
            x = x * keep.div_(1 - self.drop)
        return shortcut + x.permute(0, 3, 1, 2)


@model(lambda: images(size=8))
class ConvNeXt(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 2, 2), ConvNeXtBlock(4), ConvNeXtBlock(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )


@model(lambda: torch.randn(2, 8, 8, 6))
class ShiftedWindows(nn.Module):
    """Swin's attention within windows, cyclically shifted, with a table of relative positions."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.shift, self.heads = 4, 2, 2
        self.table = nn.Parameter(torch.zeros((2 * self.w - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.table, std=0.5)
        coords = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")).flatten(1)
        relative = (coords[:, :, None] - coords[:, None, :]).permute(1, 2, 0).contiguous() + 3
        relative[:, :, 0] *= 7
        self.register_buffer("index", relative.sum(-1))
        self.qkv, self.proj, self.norm = nn.Linear(6, 18), nn.Linear(6, 6), nn.LayerNorm(6)
        mask = torch.zeros(1, 8, 8, 1)
        for n, (h, v) in enumerate((h, v) for h in (slice(0, 4), slice(4, 8)) for v in (slice(0, 6), slice(6, 8))):
            mask[:, h, v] = n
        windows = self.windows(mask).squeeze(-1)
        self.register_buffer("mask", (windows[:, None] - windows[:, :, None]).ne(0) * -100.0, persistent=False)

    def windows(self, x: Any) -> Any:
        b, h, w, c = x.shape
        x = x.view(b, h // self.w, self.w, w // self.w, self.w, c)
        return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, self.w * self.w, c)

    def forward(self, x: Any) -> Any:
        b, h, w, c = x.shape
        y = self.windows(torch.roll(self.norm(x), shifts=(-self.shift, -self.shift), dims=(1, 2)))
        n = y.shape[1]
        q, k, v = self.qkv(y).reshape(-1, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attn = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
        bias = self.table[self.index.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        attn = attn + bias.unsqueeze(0)
        attn = attn.view(b, -1, self.heads, n, n) + self.mask.unsqueeze(1).unsqueeze(0)
        attn = attn.view(-1, self.heads, n, n).softmax(dim=-1)
        y = self.proj((attn @ v).transpose(1, 2).reshape(-1, n, c))
        y = y.view(b, h // self.w, w // self.w, self.w, self.w, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
        return x + torch.roll(y, shifts=(self.shift, self.shift), dims=(1, 2))


@model(lambda: (torch.randn(6, 4), torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])))
class GraphConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 5), nn.Linear(5, 2)
        self.att = nn.Parameter(torch.randn(10))

    def forward(self, x: Any, edges: Any) -> Any:
        source, target = edges
        degree = torch.zeros(len(x)).scatter_add_(0, target, torch.ones(len(target))).clamp(min=1)
        h = self.first(x)
        out = torch.zeros_like(h)
        out.index_add_(0, target, h[source] / degree[target].unsqueeze(-1).to(h.dtype))
        score = F.leaky_relu(torch.cat([h[source], h[target]], dim=-1) @ self.att, 0.2)
        score = (score - score.max()).exp()
        total = torch.zeros(len(x), dtype=h.dtype).scatter_add(0, target, score)
        weighted = torch.zeros_like(h).index_add(0, target, (score / total[target])[:, None] * h[source])
        highest = torch.full_like(h, -1e9).scatter_reduce(0, target[:, None].expand(-1, 5), h[source], "amax")
        return self.second(F.relu(out + weighted)) + highest.clamp(min=-5)[:, :2]


@model(lambda: torch.randn(4, 2))
class NeuralODE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, y: Any) -> Any:
        ts = torch.linspace(0, 1, 6)
        path = torch.empty(len(ts), *y.shape, dtype=y.dtype)
        path[0] = y
        for i, t in enumerate(ts[:-1]):
            h = (ts[i + 1] - t).to(y.dtype)

            def rate(s: Any, y: Any) -> Any:
                return self.f(torch.cat([y, s.expand(len(y), 1).to(y.dtype)], dim=1))

            k1 = rate(t, y)
            k2 = rate(t + h / 2, y + h / 2 * k1)
            y = y + h * k2
            path[i + 1] = y
        return path


@model(lambda: torch.randn(2, 3, 10))
class WeightNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv1d(3, 4, 3))
        self.orthogonal = parametrizations.orthogonal(nn.Linear(8, 8), orthogonal_map="householder")
        self.cayley = parametrizations.orthogonal(nn.Linear(8, 8), orthogonal_map="cayley")

    def forward(self, x: Any) -> Any:
        return self.cayley(self.orthogonal(F.selu(self.conv(x))))


@model(lambda: torch.randn(2, 3, 10))
class OldNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.utils.spectral_norm(nn.Conv1d(3, 4, 3))

    def forward(self, x: Any) -> Any:
        return self.conv(x).tanh()


@model(lambda: torch.randn(6, 2, 3))
class LayerNormRNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ih, self.hh, self.norm = nn.Linear(3, 16), nn.Linear(4, 16, bias=False), nn.LayerNorm(16)
        self.cell = nn.GRUCell(4, 4)
        self.h0 = nn.Parameter(torch.zeros(1, 4))

    def forward(self, x: Any) -> Any:
        h = self.h0.expand(x.size(1), -1)
        c = torch.zeros_like(h)
        outputs = torch.zeros(x.size(0), x.size(1), 4, dtype=x.dtype)
        for t, step in enumerate(x):
            i, f, g, o = self.norm(self.ih(step) + self.hh(h)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = self.cell(o.sigmoid() * c.tanh(), h)
            outputs[t] = h
        return outputs, h


@model(lambda: torch.randn(2, 6, 8))
class CausalAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.register_buffer("causal", torch.tril(torch.ones(6, 6)).view(1, 1, 6, 6))

    def forward(self, x: Any) -> Any:
        b, t, c = x.size()
        q, k, v = self.qkv(x).split(8, dim=2)
        q, k, v = (y.view(b, t, 2, 4).transpose(1, 2) for y in (q, k, v))
        fused = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        masked = F.scaled_dot_product_attention(q, k, v, attn_mask=self.causal.bool())
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = (att * self.scale).masked_fill(self.causal[:, :, :t, :t] == 0, float("-inf"))
        byhand = torch.einsum("bhts,bhsd->bhtd", F.softmax(att, dim=-1), v)
        return (fused + masked + byhand).transpose(1, 2).contiguous().view(b, t, c)


@model(lambda: torch.randn(2, 8, 6))
class FourierMixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(6), nn.Linear(6, 6)
        self.spectrum = nn.Parameter(torch.randn(5, 6, 2) * 0.1)

    def forward(self, x: Any) -> Any:
        x = self.norm(x + torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real)
        filtered = torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(self.spectrum)
        return self.mlp(torch.fft.irfft(filtered, n=8, dim=1, norm="ortho"))


@model(lambda: (torch.randn(4, 5), torch.randn(4, 5), torch.tensor([1.0, -1.0, 1.0, -1.0])))
class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.PReLU(), nn.Linear(8, 4))
        self.loss, self.triplet = nn.CosineEmbeddingLoss(margin=0.2), nn.TripletMarginLoss()

    def forward(self, a: Any, b: Any, y: Any) -> Any:
        a, b = self.body(a), self.body(b)
        distance = F.pairwise_distance(a, b)
        return self.loss(a, b, y) + self.triplet(a, b, b.roll(1, 0)) + distance.mean() + F.cosine_similarity(a, b).sum()


@model(lambda: torch.randn(6, 4))
class MixtureOfExperts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: Any) -> Any:
        weights, chosen = torch.topk(F.softmax(self.gate(x), dim=-1), 2)
        weights = weights / weights.sum(-1, keepdim=True)
        everything = torch.stack([e(x) for e in self.experts], dim=1)
        gathered = everything.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 4))
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows, slots = torch.where(chosen == i)
            out[rows] += weights[rows, slots, None] * expert(x[rows])
        return out + (weights.unsqueeze(-1) * gathered).sum(1)


@model(lambda: torch.randn(3, 4))
class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Tanh()), nn.Linear(8, 2)

    def forward(self, x: Any) -> Any:
        return self.second(checkpoint(self.first, x, use_reentrant=False))


class MemoryEfficientSwish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad * (s * (1 + x * (1 - s)))


class Quantize(torch.autograd.Function):
    """The nearest entry of a codebook, straight-through, with its number."""

    @staticmethod
    def forward(ctx: Any, x: Any, codebook: Any) -> Any:
        nearest = torch.cdist(x, codebook).argmin(1)
        ctx.save_for_backward(nearest, codebook)
        ctx.mark_non_differentiable(nearest)
        return codebook[nearest], nearest

    @staticmethod
    def backward(ctx: Any, grad: Any, _: Any) -> Any:
        nearest, codebook = ctx.saved_tensors
        return grad, torch.zeros_like(codebook).index_add_(0, nearest, grad)


swish = MemoryEfficientSwish.apply


@model(lambda: torch.randn(8, 3))
class OwnFunctions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.codebook = nn.Linear(3, 6), nn.Linear(6, 4), nn.Parameter(torch.randn(5, 4))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Any) -> Any:
        x = checkpoint(lambda x: swish(self.norm(self.first(x))), x.requires_grad_(), use_reentrant=True)
        codes, numbers = Quantize.apply(self.second(x), self.codebook)
        return codes.tanh(), numbers


@model(lambda: torch.randn(8, 3, 6))
class Dropouts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.d, self.d1, self.a, self.f = (
            nn.Dropout(0.4),
            nn.Dropout1d(0.3),
            nn.AlphaDropout(0.2),
            nn.FeatureAlphaDropout(0.2),
        )

    def forward(self, x: Any) -> Any:
        x = self.d1(self.d(self.fc(x)))
        x = self.f(self.a(F.dropout(x, 0.1, self.training)))
        return x * F.gumbel_softmax(x, tau=0.7, dim=-1) + torch.rand_like(x) * x


@model(lambda: torch.randn(4, 6))
class OwnBlocks(nn.Module):
    """A target network without gradient, buffers that are assigned, and questions of grad mode."""

    def __init__(self) -> None:
        super().__init__()
        self.online, self.target = nn.Linear(6, 3), nn.Linear(6, 3)
        self.target.load_state_dict(self.online.state_dict())
        for p in self.target.parameters():
            p.requires_grad = False
        self.register_buffer("centre", torch.zeros(1, 3))
        self.seen = 0

    @torch.no_grad()
    def update(self, batch: Any) -> None:
        for p, q in zip(self.online.parameters(), self.target.parameters(), strict=True):
            q.data.mul_(0.9).add_(0.1 * p.data)
        self.centre = self.centre * 0.9 + batch.mean(dim=0, keepdim=True) * 0.1

    def forward(self, x: Any) -> Any:
        assert isinstance(x, torch.Tensor)
        assert isinstance(self.online.weight, nn.Parameter)
        self.seen += len(x)
        out = self.online(x)
        with torch.no_grad():
            assert not torch.is_grad_enabled()
            teacher = F.softmax((self.target(x) - self.centre) / 0.5, dim=-1)
            noise = self.online(x)
            with torch.enable_grad():
                again = self.online(x * 2)
        with torch.set_grad_enabled(False):
            frozen = self.online(x)
        with torch.inference_mode():
            scale = float(self.online(x).abs().max())
        assert torch.is_grad_enabled()
        self.update(out.detach())
        return (-teacher * F.log_softmax(out, -1)).sum() + (noise + frozen + scale).sum() * out.mean() + again.sum()


@model(lambda: torch.randn(3, 4))
class GradientPenalty(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, x: Any) -> Any:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            (g,) = torch.autograd.grad(self.net(x).sum(), x, create_graph=True)
        return ((g.norm(2, dim=1) - 1) ** 2).mean()


@model(lambda: torch.randn(2, 3, 8, 8))
class SpatialTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 64, 6)
        self.fc.weight.data.mul_(0.1)
        self.fc.bias.data.copy_(torch.tensor([1, 0.1, 0.05, 0, 0.9, 0]))
        self.shuffle = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same", padding_mode="reflect"), nn.PixelShuffle(2))

    def forward(self, x: Any) -> Any:
        grid = F.affine_grid(self.fc(x.flatten(1)).view(-1, 2, 3), list(x.size()), align_corners=False)
        return self.shuffle(F.grid_sample(x, grid, align_corners=False)).square().mean((2, 3)).sqrt()


@model(lambda: torch.randn(4, 5))
class Parameters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.many = nn.ParameterList([nn.Parameter(torch.randn(5)) for _ in range(3)])
        self.named = nn.ParameterDict({"a": nn.Parameter(torch.randn(5)), "b": nn.Parameter(torch.randn(()))})
        self.bilinear, self.tied, self.also = nn.Bilinear(5, 5, 2), nn.Linear(5, 5), nn.Linear(5, 5)
        self.also.weight = self.tied.weight

    def forward(self, x: Any) -> Any:
        for p in self.many:
            x = x * p + p.abs().sqrt()
        x = torch.addmm(self.also.bias, self.also(self.tied(x)), self.tied.weight.t()) + self.named["a"] ** 2
        x = torch.where(x > 0, x, self.named["b"] * torch.expm1(x.clamp(max=0)))
        x = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-6) + torch.linalg.vector_norm(x)
        values, _ = x.sort(dim=1, descending=True)
        return self.bilinear(values, x.cumsum(1)) + torch.stack([x.amax(1), x.logsumexp(1)], 1) * x.var(unbiased=False)


@model(lambda: torch.randn(4, 5, dtype=torch.float32))
class AttentionPooling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q = nn.Parameter(torch.randn(1, 1, 5))
        self.mha = nn.MultiheadAttention(5, 1, batch_first=True, add_bias_kv=True, kdim=5, vdim=5)
        self.rms = nn.RMSNorm(5)

    def forward(self, x: Any) -> Any:
        x = self.rms(x).unsqueeze(0)
        out, weights = self.mha(self.q, x, x, average_attn_weights=False)
        return out, weights


@model(lambda: (torch.randn(6, 4, 5), torch.tensor([1, 2, 0, 1])))
class Losses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Any, y: Any) -> Any:
        s, t = self.student(x), self.teacher(x)
        soft = F.kl_div(F.log_softmax(s / 2, -1), F.softmax(t / 2, -1), reduction="batchmean")
        ce = F.cross_entropy(s[0], y, label_smoothing=0.1, weight=torch.ones(5, dtype=s.dtype))
        return soft + ce + F.smooth_l1_loss(s, t) + F.huber_loss(s, t) + F.mse_loss(s, t.detach())


@model(lambda: (torch.tensor([1, 2, 4, 5, 4, 3, 2, 9]), torch.tensor([0, 4])))
class BagClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(10, 4, mode="mean")
        self.fc = nn.Linear(4, 3)
        self.fc.weight.data.uniform_(-0.5, 0.5)

    def forward(self, text: Any, offsets: Any) -> Any:
        return F.log_softmax(self.fc(self.embedding(text, offsets)), dim=1)


@model(lambda: torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]]))
class PackedSequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(7, 4, padding_idx=0), nn.LSTM(4, 3, batch_first=True)

    def forward(self, tokens: Any) -> Any:
        lengths = (tokens != 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True)
        out, (h, _) = self.rnn(packed)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True)[0], h


@model(lambda: (torch.randn(2, 5, 20), torch.tensor([[1, 2, 3], [2, 4, 0]]), torch.tensor([3, 2])))
class SpeechCTC(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(5, 8, 3, stride=2, padding=1), nn.BatchNorm1d(8), nn.Hardtanh(0, 20))
        self.rnn = nn.GRU(8, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 6)

    def forward(self, sound: Any, letters: Any, lengths: Any) -> Any:
        x = self.rnn(self.conv(sound).mT)[0]
        log_probs = F.log_softmax(self.head(x), -1).transpose(0, 1)
        steps = torch.full((len(sound),), len(log_probs), dtype=torch.long)
        return F.ctc_loss(log_probs, letters, steps, lengths, zero_infinity=True)


@model(lambda: (torch.tensor([[4, 2, 3, 1], [2, 5, 0, 0]]), torch.tensor([[1, 3, 2], [1, 2, 0]])))
class Translator(nn.Module):
    """An encoder of packed sequences, a decoder with attention, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(7, 4, padding_idx=0), nn.Embedding(6, 4, padding_idx=0)
        self.encoder, self.decoder = nn.LSTM(4, 5, batch_first=True), nn.LSTMCell(9, 5)
        self.query, self.head = nn.Linear(5, 5, bias=False), nn.Linear(10, 6)

    def forward(self, source: Any, target: Any) -> Any:
        lengths = (source != 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(self.source(source), lengths, batch_first=True, enforce_sorted=False)
        states, (h, c) = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        h, c, context, scores = h[0], c[0], torch.zeros_like(memory[:, 0]), []
        for token in target.unbind(1):
            h, c = self.decoder(torch.cat([self.target(token), context], -1), (h, c))
            weights = torch.bmm(memory, self.query(h).unsqueeze(-1)).squeeze(-1)
            weights = weights.masked_fill(source[:, : weights.shape[1]] == 0, float("-inf")).softmax(-1)
            context = torch.einsum("bt,bth->bh", weights, memory)
            scores.append(self.head(torch.cat([h, context], -1)))
        return F.cross_entropy(torch.stack(scores, 2), target.roll(-1, 1), ignore_index=0)


@model(lambda: torch.randn(3, 2, 12))
class FourierOperator(nn.Module):
    """Complex weights on the lowest frequencies."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 4, dtype=torch.cdouble) * 0.3)
        self.skip = nn.Conv1d(2, 2, 1)

    def forward(self, x: Any) -> Any:
        spectrum = torch.fft.rfft(x)
        kept = torch.zeros_like(spectrum)
        kept[..., :4] = torch.einsum("bif,iof->bof", spectrum[..., :4], self.weight)
        phase = torch.angle(torch.view_as_complex(torch.stack([x, x.roll(1, -1)], -1)))
        return F.gelu(torch.fft.irfft(kept, n=x.shape[-1]) + self.skip(x)) + phase


@model(lambda: torch.randn(3, 2, 8, 8))
class SpectralNormed(nn.Module):
    """A discriminator whose layers are parametrized; the weight is used twice, in a block that computes it once."""

    def __init__(self) -> None:
        super().__init__()
        self.first = parametrizations.spectral_norm(nn.Conv2d(2, 4, 3))
        self.second = parametrizations.weight_norm(nn.ConvTranspose2d(4, 4, 2), dim=1)
        self.head = parametrizations.orthogonal(nn.Linear(4, 4))

    def forward(self, x: Any) -> Any:
        x = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2).mean((2, 3))
        with parametrize.cached():
            return self.head(torch.tanh(self.head(x))) @ self.head.weight


class LowRank(nn.Module):
    """The parametrization of a low-rank adapter: a frozen weight, and a product that is trained."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(2, columns)), nn.Parameter(torch.zeros(rows, 2))

    def forward(self, weight: Any) -> Any:
        return weight + self.b @ self.a


@model(lambda: torch.randn(4, 6))
class Adapters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 5), nn.ELU(), nn.Linear(5, 3)).requires_grad_(False)
        for layer in self.net:
            if isinstance(layer, nn.Linear):
                parametrize.register_parametrization(layer, "weight", LowRank(*layer.weight.shape))

    def forward(self, x: Any) -> Any:
        return self.net(x)


@model(lambda: (torch.randn(4, 3, 5), torch.randn(4, 3)))
class Functional(nn.Module):
    """A network called with other weights, those of a step of descent, and over a batch by vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
        self.rate = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Any, y: Any) -> Any:
        weights = dict(self.net.named_parameters())
        loss = F.mse_loss(torch.func.functional_call(self.net, weights, (x[0],)).squeeze(-1), y[0])
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        adapted = {name: w - self.rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
        return F.mse_loss(torch.func.functional_call(self.net, adapted, (x[1:],)).squeeze(-1), y[1:])


@model(lambda: (torch.randn(6, 4), torch.randn(6, 4), torch.randn(6, 4)))
class Triplets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(4, 8), nn.PReLU(), nn.LayerNorm(8), nn.Linear(8, 3))
        self.far = nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: 1 - F.cosine_similarity(a, b))

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        a, p, n = (F.normalize(self.embed(x), dim=-1) for x in (anchor, positive, negative))
        return F.triplet_margin_loss(a, p, n, margin=0.5, swap=True) + self.far(a, p, n), torch.cdist(a, n)


@model(lambda: torch.randn(5, 4))
class Distributions(nn.Module):
    """A policy and a posterior of torch.distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.scale, self.policy = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        posterior = torch.distributions.Normal(self.mean(x), F.softplus(self.scale(x)) + 0.1)
        z = posterior.rsample()
        divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(torch.zeros_like(z), 1.0))
        policy = torch.distributions.Categorical(logits=self.policy(x))
        action = policy.sample()
        mixture = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(logits=z), torch.distributions.Normal(z, z.square() + 1)
        )
        return divergence.sum(), policy.log_prob(action) + 0.1 * policy.entropy(), mixture.log_prob(x[:, 0])


@model(lambda: torch.randn(6, 4))
class Flow(nn.Module):
    """Coupling layers and a triangular map, with their log determinants."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleList([nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(2)])
        self.mix = nn.Parameter(torch.eye(4) + 0.1 * torch.randn(4, 4))

    def forward(self, x: Any) -> Any:
        log_det = x.new_zeros(len(x))
        for net in self.nets:
            x = x @ self.mix
            log_det = log_det + torch.linalg.slogdet(self.mix)[1]
            kept, changed = x.chunk(2, dim=-1)
            log_scale, shift = net(kept).chunk(2, -1)
            x = torch.cat([changed * torch.tanh(log_scale).exp() + shift, kept], -1)
            log_det += torch.tanh(log_scale).sum(-1)
        chol = torch.linalg.cholesky(self.mix @ self.mix.mT + torch.eye(4, dtype=x.dtype))
        return torch.linalg.solve_triangular(chol, x.mT, upper=False), log_det


@model(lambda: (torch.randn(2, 5, 4), torch.tensor([[0, 1, 2, 1, 0], [2, 2, 1, 0, 0]])))
class ConditionalField(nn.Module):
    """The forward algorithm of a linear chain, as a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.emit, self.move = nn.Linear(4, 3), nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Any, tags: Any) -> Any:
        scores = self.emit(x)
        alpha = scores[:, 0]
        path = scores[:, 0].gather(1, tags[:, :1]).squeeze(1)
        for t in range(1, x.shape[1]):
            alpha = torch.logsumexp(alpha.unsqueeze(2) + self.move, 1) + scores[:, t]
            path = path + self.move[tags[:, t - 1], tags[:, t]] + scores[:, t].gather(1, tags[:, t : t + 1]).squeeze(1)
        return (alpha.logsumexp(1) - path).mean()


class FixedPoint(torch.autograd.Function):
    """z = tanh(W z + x), differentiated where it is (implicitly), not along the iteration."""

    @staticmethod
    def forward(ctx: Any, weight: Any, x: Any) -> Any:
        z = torch.zeros_like(x)
        for _ in range(60):
            z = torch.tanh(z @ weight.mT + x)
        ctx.save_for_backward(weight, z)
        return z

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        weight, z = ctx.saved_tensors
        slope = 1 - z * z
        u = torch.zeros_like(grad)
        for _ in range(60):
            u = slope * (grad + u @ weight)
        return u.mT @ z, u


@model(lambda: torch.randn(3, 4))
class Equilibrium(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.embed = nn.Parameter(torch.randn(4, 4) * 0.2), nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return FixedPoint.apply(self.weight, self.embed(x))


@model(lambda: torch.randn(2, 9, 6))
class SetOfPoints(nn.Module):
    """Neighbours by topk, a pool over sets, routing by agreement in einsums, transport by Sinkhorn's iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.votes = nn.Sequential(nn.Linear(12, 8), nn.CELU()), nn.Parameter(torch.randn(3, 8, 4) * 0.3)
        self.seeds = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Any) -> Any:
        near = torch.cdist(x, x).topk(3, largest=False).indices
        neighbours = torch.gather(x.unsqueeze(1).expand(-1, 9, -1, -1), 2, near.unsqueeze(-1).expand(-1, -1, -1, 6))
        points = self.edge(torch.cat([x.unsqueeze(2).expand_as(neighbours), neighbours - x.unsqueeze(2)], -1)).amax(2)
        votes = torch.einsum("bnc,kcd->bnkd", points, self.votes)
        logits = votes.new_zeros(votes.shape[:-1])
        for _ in range(2):
            capsules = torch.einsum("bnk,bnkd->bkd", logits.softmax(-1), votes)
            size = capsules.norm(dim=-1, keepdim=True)
            capsules = capsules * size / (1 + size**2)
            logits = logits + torch.einsum("bnkd,bkd->bnk", votes, capsules)
        cost = torch.cdist(capsules, self.seeds.expand(2, -1, -1))
        f = torch.zeros_like(cost[..., 0])
        for _ in range(3):
            g = -torch.logsumexp(f.unsqueeze(-1) - cost, 1)
            f = -torch.logsumexp(g.unsqueeze(1) - cost, 2)
        return ((f.unsqueeze(-1) + g.unsqueeze(1) - cost).exp() * cost).sum((1, 2)), capsules


@model(lambda: torch.randn(4, 3))
class SparseGraph(nn.Module):
    """Edges as a sparse matrix, and messages added up by scatter and by index."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 5), nn.Linear(5, 2)
        edges = torch.tensor([[0, 1, 2, 3, 3], [1, 0, 3, 2, 0]])
        self.register_buffer("edges", edges)
        matrix = torch.sparse_coo_tensor(edges, torch.ones(5), (4, 4), check_invariants=True)
        self.register_buffer("adjacency", matrix.coalesce(), persistent=False)

    def forward(self, x: Any) -> Any:
        source, target = self.edges
        x = torch.relu(torch.sparse.mm(self.adjacency.to(x.dtype), self.first(x)))
        sent = torch.zeros_like(x).scatter_add(0, target.unsqueeze(1).expand(-1, 5), x[source])
        weights = torch.bincount(target, minlength=4).clamp(min=1).to(x.dtype)
        most = x.new_full(x.shape, -1e9).scatter_reduce(0, target.unsqueeze(1).expand(-1, 5), x[source], "amax")
        return self.second(sent / weights.unsqueeze(1) + most.clamp(min=0)).index_add(0, target[:2], x[:2, :2])
