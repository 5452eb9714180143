"""A small GPT learns to write the manual of Python, letter by letter.

    nox -s "examples(character_gpt)"               # or, with everything installed: python examples/character_gpt.py
    nox -s "examples(character_gpt)" -- --short

The text is what Python's own ``help()`` shows for its topics: 465,000 characters of English that every Python ships as
``pydoc_data.topics``.  The first nine tenths are for training, the rest is for the test.  The model is a transformer
of two layers that predicts each character from those before it.

Expected result: a test loss (in nats for each character) below that of a table which knows how often each character
follows each other one, the best guess from one character; with ``--short``, which trains a few dozen steps only, below
that of a table of single characters.  A prompt and what the model makes of it are printed.
The picture is ``character_gpt/loss.png``.
"""

from __future__ import annotations

import argparse
import math
import pydoc_data.topics
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from neuronix import losses, nn
from neuronix.autograd import no_grad
from neuronix.optim import AdamW, clip_grad_norm_
from neuronix.optim.lr_scheduler import OneCycleLR

CONTEXT = 64  # how many characters the model sees
WIDTH, HEADS, LAYERS = 64, 4, 2
PROMPT = 'The "for" statement'


class Attention(nn.Module):
    """Each place looks at those before it: softmax(Q Kᵀ / √d) V, with several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Any) -> Any:
        batch, length, _ = x.shape
        heads = self.query_key_value(x).reshape(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = heads[0], heads[1], heads[2]  # (batch, heads, length, WIDTH / HEADS)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        scores = (query @ key.mT / math.sqrt(WIDTH // HEADS)).masked_fill(future, -math.inf)
        return self.out((torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(batch, length, WIDTH))


class Block(nn.Module):
    """Attention, then a small network at each place; both add to what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.first_norm, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.second_norm = nn.LayerNorm(WIDTH)
        self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Any) -> Any:
        x = x + self.attention(self.first_norm(x))
        return x + self.network(self.second_norm(x))


class GPT(nn.Module):
    """From characters (batch, length) to a logit for each possible next one (batch, length, characters)."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters)

    def forward(self, tokens: torch.Tensor) -> Any:
        places = torch.arange(tokens.shape[1])
        return self.head(self.norm(self.blocks(self.token(tokens) + self.place(places))))


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pieces of a text, one after the other, and the same moved on by one character."""

    def __init__(self, text: torch.Tensor) -> None:
        self.text = text

    def __len__(self) -> int:
        return (len(self.text) - 1) // CONTEXT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        piece = self.text[index * CONTEXT : (index + 1) * CONTEXT + 1]
        return piece[:-1], piece[1:]


def table_losses(train: torch.Tensor, test: torch.Tensor, characters: int) -> tuple[float, float]:
    """The test losses of a table of single characters and of one of pairs, which begin with 0.1 everywhere."""
    pairs = torch.full((characters, characters), 0.1, dtype=torch.float64)
    pairs.index_put_((train[:-1], train[1:]), torch.ones(len(train) - 1, dtype=torch.float64), accumulate=True)
    singles = pairs.sum(0) / pairs.sum()
    pairs /= pairs.sum(1, keepdim=True)
    return -float(singles[test[1:]].log().mean()), -float(pairs[test[:-1], test[1:]].log().mean())


def loss_on(loader: Any, model: Any) -> float:
    """The mean loss over a loader."""
    criterion = losses.CrossEntropyLoss()
    with no_grad():
        found = [float(criterion(model(x).flatten(0, 1), y.flatten())) for x, y in loader]
    return sum(found) / len(found)


def written(model: Any, prompt: torch.Tensor, count: int) -> torch.Tensor:
    """The prompt, and `count` characters that the model has drawn, one at a time."""
    text = prompt
    with no_grad():
        for _ in range(count):
            logits = model(text[-CONTEXT:].unsqueeze(0)).data[0, -1]
            text = torch.cat([text, torch.multinomial(torch.softmax(logits / 0.7, -1), 1)])
    return text


def draw(history: list[float], tested: float, single: float, pair: float, path: Path) -> None:
    """The loss along the way, and the losses of the tables."""
    mpl.use("Agg")  # needs no screen
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(history, linewidth=1, label="training")
    axes.axhline(single, color="gray", linestyle=":", label="table of characters")
    axes.axhline(pair, color="gray", linestyle="--", label="table of pairs")
    axes.plot([len(history)], [tested], marker="o", color="black", linestyle="none", label="test, in the end")
    axes.set(xlabel="training step", ylabel="nats for each character", title="A small GPT reads the manual of Python")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    """Train, test, and let the model write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="60 steps, and a test on a part of the text")
    parser.add_argument("--steps", type=int, default=1500, help="training steps (default: 1500)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order (default: 0)")
    parser.add_argument("--output", type=Path, default=Path("character_gpt"), help="folder for the picture")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    steps = 60 if options.short else options.steps
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # layers as small as these: threads would take longer to meet than to compute

    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = sorted({*text})
    number_of = {character: number for number, character in enumerate(alphabet)}
    numbers = torch.tensor([number_of[character] for character in text])
    train, test = numbers[: len(numbers) * 9 // 10], numbers[len(numbers) * 9 // 10 :]
    loader = DataLoader(Windows(train), batch_size=32, shuffle=True, drop_last=True)
    test_loader = DataLoader(Windows(test[:8_000] if options.short else test), batch_size=64)

    model = GPT(len(alphabet))
    criterion = losses.CrossEntropyLoss()
    optimizer = AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    scheduler = OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps + 1)
    history: list[float] = []
    progress = tqdm(total=steps, desc="training", unit="step")
    while len(history) < steps:
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x).flatten(0, 1), y.flatten())
            loss.backward()
            clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            history.append(loss.item())
            progress.update()
            progress.set_postfix(loss=f"{history[-1]:.3f}")
            if len(history) == steps:
                break
    progress.close()

    tested = loss_on(test_loader, model)
    single, pair = table_losses(train, test, len(alphabet))
    draw(history, tested, single, pair, options.output / "loss.png")
    prompt = torch.tensor([number_of[character] for character in PROMPT])
    print("".join(alphabet[number] for number in written(model, prompt, 60 if options.short else 300).tolist()))
    print(f"{len(text)} characters, {sum(p.data.numel() for p in model.parameters())} parameters, {steps} steps")
    print(f"picture: {options.output / 'loss.png'}")
    print(f"test loss: {tested:.3f}; a table of characters has {single:.3f}, one of pairs {pair:.3f}")
    if not tested < (single if options.short else pair):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
