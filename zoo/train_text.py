"""Train the tiny UMT5: ``python -m zoo.train_text --out OUT --minutes 1.5``.

The encoder learns to fill in hidden words and to tell, from the mean of its rows, what every slot
of the phrase holds (``zoo.world.phrasebook``), so that different wordings of one meaning agree.
Writes ``text_encoder.safetensors`` (official Wan names), ``tokenizer.json`` and ``text.json``.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from zoo import tokenizer as tiny
from zoo.training import (
    Average,
    Clock,
    autocast,
    command,
    describe,
    note,
    prepare,
    rate,
    save,
    say,
)
from zoo.world.phrasebook import SLOTS, Phrase, phrases

WIDTH, HEADS, HIDDEN, LAYERS, ROWS = 128, 4, 256, 4, 64
PAD, END, MASK = 0, 1, 2

_RENAMES = (
    (r"shared\.weight", "token_embedding.weight"),
    (r"encoder\.final_layer_norm\.weight", "norm.weight"),
    (r"encoder\.block\.(\d+)\.layer\.0\.layer_norm\.weight", r"blocks.\1.norm1.weight"),
    (r"encoder\.block\.(\d+)\.layer\.1\.layer_norm\.weight", r"blocks.\1.norm2.weight"),
    (
        r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\.weight",
        r"blocks.\1.pos_embedding.embedding.weight",
    ),
    (
        r"encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.([qkvo])\.weight",
        r"blocks.\1.attn.\2.weight",
    ),
    (
        r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_0\.weight",
        r"blocks.\1.ffn.gate.0.weight",
    ),
    (r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_1\.weight", r"blocks.\1.ffn.fc1.weight"),
    (r"encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wo\.weight", r"blocks.\1.ffn.fc2.weight"),
)


def official_name(name: str) -> str | None:
    """The name in Wan's own text-encoder file; None for the second name of the embedding."""
    if name == "encoder.embed_tokens.weight":
        return None
    for pattern, replacement in _RENAMES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    raise AssertionError(f"no official name for {name}")


def build(ids: int) -> UMT5EncoderModel:
    """The tiny encoder for a vocabulary of ``ids``."""
    make_config: Any = UMT5Config
    config = make_config(
        vocab_size=-(-ids // 64) * 64,
        d_model=WIDTH,
        d_kv=WIDTH // HEADS,
        d_ff=HIDDEN,
        num_layers=LAYERS,
        num_heads=HEADS,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
        layer_norm_epsilon=1e-6,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        use_cache=False,
        attn_implementation="eager",
    )
    model = UMT5EncoderModel(config)
    model.encoder.embed_tokens = model.shared
    return model


def placed(model: UMT5EncoderModel, device: torch.device) -> UMT5EncoderModel:
    """The model on a device."""
    module: nn.Module = model
    module.to(device)
    return model


def load(folder: Path, device: torch.device) -> tuple[UMT5EncoderModel, Tokenizer]:
    """The trained encoder (float32) and its tokenizer, from ``folder``."""
    from safetensors.torch import load_file

    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = build(words.get_vocab_size())
    stored = load_file(folder / "text_encoder.safetensors")
    wanted = {name: official_name(name) for name in model.state_dict()}
    state = {name: stored[found].float() for name, found in wanted.items() if found}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"encoder.embed_tokens.weight"}, missing
    model.encoder.embed_tokens = model.shared
    model.train(False)
    return placed(model, device), words


@torch.no_grad()
def embed(
    model: UMT5EncoderModel, words: Tokenizer, texts: Sequence[str], rows: int = ROWS
) -> Tensor:
    """Text rows as the transformer gets them: ``[texts, rows, width]``, zeros after the end."""
    device = next(model.parameters()).device
    out = []
    for start in range(0, len(texts), 512):
        ids = batch_ids(words, texts[start : start + 512], rows)
        valid = (ids != PAD).to(device)
        hidden = model(input_ids=ids.to(device), attention_mask=valid.long()).last_hidden_state
        hidden = hidden * valid[..., None]
        out.append(F.pad(hidden, (0, 0, 0, rows - hidden.shape[1])))
    return torch.cat(out)


def batch_ids(words: Tokenizer, texts: Sequence[str], rows: int = ROWS) -> Tensor:
    """Ids ``[texts, longest]``, padded with 0, ``</s>`` at each end."""
    lists = [e.ids[: rows - 1] for e in words.encode_batch(list(texts), add_special_tokens=False)]
    longest = max(len(ids) for ids in lists) + 1
    return torch.tensor([[*ids, END] + [PAD] * (longest - 1 - len(ids)) for ids in lists])


class Heads(nn.Module):
    """Training only: one classifier a slot (the last option: not mentioned)."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [len(options) + 1 for options in SLOTS.values()]
        self.out = nn.Linear(WIDTH, sum(self.sizes))

    def forward(self, pooled: Tensor) -> tuple[Tensor, ...]:
        """Scores of each slot, ``[batch, options + 1]``."""
        scores: Tensor = self.out(pooled)
        return torch.split(scores, self.sizes, dim=-1)


def labels_of(batch: Sequence[Phrase]) -> Tensor:
    """``[batch, slots]``: the option each slot holds; its number of options when not mentioned."""
    return torch.tensor(
        [[p.labels.get(name, len(options)) for name, options in SLOTS.items()] for p in batch]
    )


class Corpus:
    """Sentences drawn once, handed out in random batches, on the training device."""

    def __init__(self, words: Tokenizer, count: int, seed: int, device: torch.device) -> None:
        drawn = phrases(count, torch.Generator().manual_seed(seed))
        self.ids = batch_ids(words, [p.text for p in drawn]).to(device)
        self.labels = labels_of(drawn).to(device)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Ids ``[size, longest]`` and labels ``[size, slots]``."""
        rows = torch.randint(len(self.ids), (size,), device=self.ids.device)
        return self.ids[rows], self.labels[rows]


def losses(
    model: UMT5EncoderModel, heads: Heads, ids: Tensor, labels: Tensor, hide: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of hidden words, loss of slots, and share of slots told right."""
    valid = ids != PAD
    hidden = (torch.rand(ids.shape, device=ids.device) < hide) & valid & (ids != END)
    shown = torch.where(hidden, MASK, ids)
    # a stray word now and then, so that unknown ones do not upset the rest
    stray = (torch.rand(ids.shape, device=ids.device) < 0.02) & valid & (ids != END)
    anything = torch.randint_like(ids, 8, int(model.config.vocab_size))
    shown = torch.where(stray & ~hidden, anything, shown)
    rows = model(input_ids=shown, attention_mask=valid.long()).last_hidden_state.float()
    scores = rows @ model.shared.weight.float().T / WIDTH**0.5
    targets = torch.where(hidden, ids, -100)
    words = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="sum")
    words = words / hidden.sum().clamp(min=1)
    pooled = (rows * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
    slots = torch.zeros((), device=ids.device)
    right = torch.zeros((), device=ids.device)
    for column, slot_scores in enumerate(heads(pooled)):
        slots = slots + F.cross_entropy(slot_scores, labels[:, column])
        right = right + (slot_scores.argmax(-1) == labels[:, column]).float().mean()
    return words, slots, right / labels.shape[1]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train and write."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--corpus", type=int, default=120_000)
    parser.add_argument("--unseen", type=int, default=4096, help="sentences to measure on")
    parser.add_argument("--steps", type=int, default=6000, help="stop here if time is left")
    options = parser.parse_args(arguments)
    clock = Clock(options.minutes)
    device = prepare()

    words = tiny.build()
    options.out.mkdir(parents=True, exist_ok=True)
    words.save(str(options.out / "tokenizer.json"))
    model = placed(build(words.get_vocab_size()), device)
    nn.init.normal_(model.shared.weight, std=0.3)
    heads = Heads().to(device)
    describe(model, "text encoder")
    corpus = Corpus(words, options.corpus, 1, device)
    say(f"corpus of {len(corpus.ids)} sentences, longest {corpus.ids.shape[1]} ids")
    parameters = [*model.parameters(), *heads.parameters()]
    adam = torch.optim.AdamW(
        parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.02, fused=device.type == "cuda"
    )
    average = Average(model, 0.999)
    clock.begin()
    step = 0
    while not clock.over and step < options.steps:
        progress = max(clock.progress, step / options.steps)
        for group in adam.param_groups:
            group["lr"] = 1.5e-3 * rate(step, progress, 100)
        ids, labels = corpus.batch(options.batch)
        with autocast(device):
            hidden, slots, right = losses(model, heads, ids, labels, 0.15 if step % 2 else 0.0)
            loss = hidden * (0.3 if step % 2 else 0.0) + slots
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        average.update()
        if step % 250 in (0, 1):
            say(
                f"text step {step} words {float(hidden.detach()):.3f} slots "
                f"{float(slots.detach()):.3f} right {float(right):.4f}"
            )
        step += 1

    average.swap()
    unseen = Corpus(words, options.unseen, 2, device)
    model.train(False)
    with torch.no_grad():
        _, slots, right = losses(model, heads, unseen.ids, unseen.labels, 0.0)
    state = {official_name(name): t for name, t in model.state_dict().items()}
    tensors = {name: t for name, t in state.items() if name}
    save(
        options.out / "text_encoder.safetensors",
        tensors,
        {"format": "pt", "architecture": "umt5-encoder", "text_len": str(ROWS)},
    )
    sizes = [
        (options.out / n).stat().st_size for n in ("text_encoder.safetensors", "tokenizer.json")
    ]
    figures = {
        "command": command(),
        "steps": step,
        "seconds": round(clock.elapsed, 1),
        "slots_right_on_unseen": round(float(right), 5),
        "slot_loss_on_unseen": round(float(slots), 4),
        "ids": words.get_vocab_size(),
        "bytes": sizes,
    }
    note(options.out / "text.json", figures)
    say(f"text done: {figures}")
    return figures


if __name__ == "__main__":
    main()
