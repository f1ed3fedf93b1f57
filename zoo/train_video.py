"""Train the tiny text-to-video transformer: ``python -m zoo.train_video --tiny IN --out OUT``.

``IN`` holds the trained VAE and text encoder. A bank of clips is drawn and encoded once; then the
product's own transformer learns the velocity of noisy latents. Writes ``t2v.safetensors`` (the
average of the weights, float16, official names), ``words.txt`` (all words of the captions),
``t2v.state.safetensors`` (to go on from) and ``video.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from wan_core.models.vae import WanVAE
from wan_core.models.wan import WanConfig, WanTransformer
from zoo import train_text, train_vae
from zoo.measures import slices
from zoo.training import (
    Average,
    Clock,
    Optimiser,
    autocast,
    command,
    compiled,
    describe,
    note,
    prepare,
    rate,
    save,
    say,
    training_parser,
)
from zoo.world import KINDS, render
from zoo.world import captions as text
from zoo.world.draw import Scenes
from zoo.world.heldout import assert_trainable, combinations
from zoo.world.kinds.kind import Kind
from zoo.world.kinds.plain import scenes_of
from zoo.world.phrasebook import words_in

CONFIG = WanConfig(
    dim=192, ffn_dim=544, num_heads=4, num_layers=7, freq_dim=256, text_dim=train_text.WIDTH,
    text_len=train_text.ROWS,
)  # fmt: skip

#: how often each kind of clip is in the bank; plain scenes are what the model is for
SHARES = {"plain": 0.93, "lit": 0.03, "textured": 0.02, "gradient": 0.02}
#: how often a plain scene is told in other words, and how often in none
REWORDED, UNTOLD = 0.2, 0.1
#: other wordings of each combination
WORDINGS = 6
#: how much more the first latent frame counts: it stands for one picture, and judges look there
FIRST_FRAME = 2.5
SHIFT = 3.0

Size = tuple[int, int, int]


class Trainee(WanTransformer):
    """The product's transformer; text comes as one padded tensor, so that one graph holds a step."""

    def embed_text(self, text: Tensor | Sequence[Tensor]) -> Tensor:
        """Rows ``[batch, text_len, text_dim]`` to the stream's width."""
        assert isinstance(text, Tensor) and text.shape[1] == self.config.text_len
        out: Tensor = self.text_embedding(text.to(self.dtype))
        return out


def build(device: torch.device) -> WanTransformer:
    """The tiny transformer with fresh weights."""
    model = Trainee(CONFIG)
    model.initialise()
    return model.to(device)


def load(path: Path, device: torch.device) -> WanTransformer:
    """A trained transformer in float32."""
    model = Trainee(CONFIG)
    model.load_state_dict({name: t.float() for name, t in load_file(path).items()})
    return model.to(device).eval()


def sigmas(count: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels to train on: logit-normal, shifted."""
    base = torch.sigmoid(torch.randn(count, device=device, generator=generator))
    return SHIFT * base / (1 + (SHIFT - 1) * base)


@attrs.frozen(eq=False)
class Bank:
    """Encoded clips and their captions, on the training device.

    Attributes:
        latents: ``[clips, 16, f, h, w]`` float16.
        told, reworded: row in ``rows`` of each clip's caption, ``[clips]`` int64.
        rows: text rows of every caption, ``[captions, 64, 128]``; the first is the empty one.
        words: all words that occur in the captions.
    """

    latents: Tensor
    told: Tensor
    reworded: Tensor
    rows: Tensor
    words: tuple[str, ...]

    def batch(self, size: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Random clips and, for each, the text rows of one of its captions or of none."""
        index, caption = self.draw(size, generator)
        return self.latents[index], self.rows[caption]

    def draw(self, size: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Numbers of random clips and, for each, the number of one of its captions or of the empty one."""
        device = self.latents.device
        index = torch.randint(len(self.latents), (size,), device=device, generator=generator)
        dice = torch.rand(size, device=device, generator=generator)
        caption = torch.where(dice < UNTOLD + REWORDED, self.reworded[index], self.told[index])
        return index, torch.where(dice < UNTOLD, 0, caption)


class Captions:
    """The captions of a bank's clips in the order of the clips, every different one stored once.

    Number 0 is the empty caption.

    Attributes:
        told, reworded: for each clip the number of its own caption, and of some other wording.
    """

    def __init__(self) -> None:
        self.told: list[int] = []
        self.reworded: list[int] = []
        self._numbers: dict[str, int] = {"": 0}
        self._wordings: dict[tuple[int, ...], list[int]] = {}

    @property
    def texts(self) -> list[str]:
        """Every different caption, by number."""
        return list(self._numbers)

    @property
    def words(self) -> tuple[str, ...]:
        """All words that occur, sorted."""
        return tuple(sorted({word for caption in self._numbers for word in words_in(caption)}))

    def add(self, kind: Kind, scenes: Scenes, generator: torch.Generator) -> None:
        """Caption these scenes; only plain ones have other wordings."""
        numbers = [self._number(caption) for caption in kind.captions(scenes, generator)]
        self.told += numbers
        if kind.name == "plain":
            rows = scenes["attributes"].tolist()
            numbers = [self._other_wording(row, generator) for row in rows]
        self.reworded += numbers

    def _number(self, caption: str) -> int:
        return self._numbers.setdefault(caption, len(self._numbers))

    def _other_wording(self, row: Sequence[int], generator: torch.Generator) -> int:
        known = self._wordings.setdefault(tuple(row), [])
        if len(known) < WORDINGS:
            known.append(self._number(text.paraphrase(row, generator)))
        return known[int(torch.randint(len(known), (), generator=generator))]


def encoder_of(
    vae: WanVAE, device: torch.device, wanted: bool, sample: Tensor
) -> Callable[[Tensor], Tensor]:
    """Clips to latents, compiled where that works."""

    def encode(clips: Tensor) -> Tensor:
        with autocast(device):
            return vae.encode(clips)[0].float()

    def trial(function: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            function(sample)

    fast: Callable[[Tensor], Tensor] = compiled(encode, trial, wanted=wanted)
    return fast


def scene_batches(batch: int, generator: torch.Generator) -> Iterator[tuple[Kind, Scenes]]:
    """Endless batches of scenes, each of one kind, none of a held-out combination; plain ones first."""
    names, shares = list(SHARES), torch.tensor(list(SHARES.values()))
    kind = KINDS["plain"]
    while True:
        scenes = kind.sample(batch, generator)
        assert_trainable(scenes["attributes"])
        yield kind, scenes
        kind = KINDS[names[int(torch.multinomial(shares, 1, generator=generator))]]


@torch.no_grad()
def fill(
    vae: WanVAE,
    folder: Path,
    count: int,
    seconds: float,
    size: Size,
    device: torch.device,
    *,
    compile_it: bool,
    batch: int = 128,
) -> Bank:
    """Draw and encode clips until there are ``count`` or ``seconds`` are over."""
    clock = Clock(seconds / 60)
    generator = torch.Generator().manual_seed(77)
    sample = render(KINDS["plain"], KINDS["plain"].sample(batch, generator), device, size)
    encode = encoder_of(vae, device, compile_it, sample)
    captions = Captions()
    latents: list[Tensor] = []
    for kind, scenes in scene_batches(batch, generator):
        latents.append(encode(render(kind, scenes, device, size)).half())
        captions.add(kind, scenes, generator)
        if len(captions.told) >= count or clock.over:
            break
    bank = Bank(
        torch.cat(latents),
        torch.tensor(captions.told, device=device),
        torch.tensor(captions.reworded, device=device),
        text_rows(folder, captions.texts, device),
        captions.words,
    )
    say(
        f"bank: {len(bank.latents)} clips, {len(bank.rows)} captions, {len(bank.words)} words, "
        f"{clock.elapsed:.0f} s, latents {float(bank.latents[:512].float().std()):.3f}"
    )
    return bank


def text_rows(folder: Path, texts: Sequence[str], device: torch.device) -> Tensor:
    """Rows ``[texts, 64, 128]`` of the trained text encoder in ``folder``, in training precision."""
    rows = train_text.embed(*train_text.load(folder, device), texts)
    return rows.to(torch.bfloat16 if device.type == "cuda" else torch.float32)


@torch.no_grad()
def fill_unseen(vae: WanVAE, folder: Path, size: Size, device: torch.device, count: int) -> Bank:
    """Clips of held-out combinations, to measure the loss on."""
    generator = torch.Generator().manual_seed(78)
    attributes = combinations(heldout=True)
    attributes = attributes[torch.randint(len(attributes), (count,), generator=generator)]
    scenes = scenes_of(attributes, generator)
    parts = [
        vae.encode(render(KINDS["plain"], part, device, size))[0].half()
        for part in slices(scenes, 32)
    ]
    sentences = ["", *(text.sentence(row) for row in attributes.tolist())]
    number = torch.arange(1, count + 1, device=device)
    return Bank(torch.cat(parts), number, number, text_rows(folder, sentences, device), ())


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """What Muon steps: the matrices inside the blocks."""
    return name.startswith("blocks.") and parameter.ndim == 2


Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def loss_function(model: WanTransformer, frames: int, device: torch.device) -> Loss:
    """Mean squared error of the velocity, the first latent frame counting more."""
    weight = torch.ones((frames - 1) // 4 + 1, device=device)
    weight[0] = FIRST_FRAME
    weight = (weight / weight.mean()).view(1, 1, -1, 1, 1)

    def loss_of(latents: Tensor, noise: Tensor, sigma: Tensor, rows: Tensor) -> Tensor:
        clean = latents.float()
        level = sigma.view(-1, 1, 1, 1, 1)
        with autocast(device):
            predicted = model(torch.lerp(clean, noise, level), sigma * 1000, rows)
        loss: Tensor = ((predicted.float() - (noise - clean)).square() * weight).mean()
        return loss

    return loss_of


def compile_blocks(model: WanTransformer, trial: Callable[[], None], *, wanted: bool) -> None:
    """Compile the blocks (one graph serves them all), if a trial run goes well."""
    start = time.monotonic()
    if wanted:
        try:
            for block in model.blocks:
                block.compile(dynamic=False)
            trial()
            say(f"blocks compiled in {time.monotonic() - start:.0f} s")
            return
        except Exception as error:
            for block in model.blocks:
                block._compiled_call_impl = None
            torch._dynamo.reset()
            say(f"NOT compiled, running eagerly: {type(error).__name__}: {str(error)[:600]}")
    trial()


@torch.no_grad()
def unseen_loss(loss_of: Loss, bank: Bank, batch: int, device: torch.device) -> float:
    """Loss on a fixed draw of clips, noise and levels."""
    generator = torch.Generator(device).manual_seed(5)
    total, turns = 0.0, max(1, len(bank.latents) // batch)
    with torch.compiler.set_stance("force_eager"):
        for _ in range(turns):
            latents, rows = bank.batch(batch, generator)
            noise = torch.randn(latents.shape, device=device, generator=generator)
            total += float(loss_of(latents, noise, sigmas(batch, device, generator), rows))
    return total / turns


def header(config: WanConfig, model_type: str, words: Sequence[str]) -> dict[str, str]:
    """What a loader wants to know of a transformer's file."""
    names = [
        "dim",
        "ffn_dim",
        "num_heads",
        "num_layers",
        "in_dim",
        "out_dim",
        "freq_dim",
        "text_dim",
    ]
    names += ["text_len", *(["image_dim"] if config.image_dim else [])]
    return {
        "format": "pt",
        "architecture": "wan-transformer",
        "config": json.dumps(
            {"model_type": model_type} | {name: getattr(config, name) for name in names}
        ),
        "words": json.dumps(words),
    }


def write(state: Mapping[str, Tensor], bank: Bank, out: Path) -> int:
    """Save weights with what a loader wants to know, and the words; returns the file's bytes."""
    about = header(CONFIG, "t2v", bank.words)
    save(out / "t2v.safetensors", state, about)
    (out / "words.txt").write_text("".join(f"{word}\n" for word in bank.words))
    return (out / "t2v.safetensors").stat().st_size


def keep(model: WanTransformer, out: Path) -> None:
    """Save what training can go on from: the weights as they are, in float32."""
    save(out / "t2v.state.safetensors", dict(model.named_parameters()), {}, torch.float32)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        __doc__,
        minutes=8.1,
        batch=256,
        muon_lr=0.02,
        adam_lr=2e-3,
        state="t2v.state.safetensors",
    )
    parser.add_argument("--tiny", type=Path, required=True, help="folder of VAE and text encoder")
    parser.add_argument("--bank", type=int, default=120_000, help="clips, at most")
    parser.add_argument("--bank-seconds", type=float, default=60)
    parser.add_argument("--steps", type=int, default=1_000_000, help="stop here if time is left")
    return parser


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train and write."""
    options = _parser().parse_args(arguments)
    clock = Clock(options.minutes, *options.part)
    device = prepare(search=True)
    size: Size = tuple(options.size)
    wanted = device.type == "cuda" and not options.eager

    vae = train_vae.load(options.tiny / "vae.safetensors", device)
    bank = fill(
        vae,
        options.tiny,
        options.bank,
        options.bank_seconds,
        size,
        device,
        compile_it=wanted,
        batch=128 if device.type == "cuda" else 8,
    )
    unseen = fill_unseen(vae, options.tiny, size, device, 512 if device.type == "cuda" else 16)
    torch._dynamo.reset()

    model = build(device)
    if options.resume:
        model.load_state_dict(load_file(options.resume))
    describe(model, "transformer")
    optimiser = Optimiser.of(
        model,
        is_matrix,
        muon_lr=options.muon_lr,
        adam_lr=options.adam_lr,
        decay=0.02,
        betas=(0.9, 0.98),
    )
    average = Average(model, 0.9995)

    def one(function: Loss) -> Tensor:
        latents, rows = bank.batch(options.batch)
        noise = torch.randn(latents.shape, device=device)
        loss = function(latents, noise, sigmas(options.batch, device), rows)
        torch.autograd.backward(loss)
        return loss.detach()

    def trial(function: Loss) -> None:
        one(function)
        model.zero_grad(set_to_none=True)

    loss_of = loss_function(model, size[0], device)
    compile_blocks(model, lambda: trial(loss_of), wanted=wanted)
    clock.begin()
    step, kept, running = 0, clock.elapsed, torch.zeros((), device=device)
    history = []
    while not clock.over and step < options.steps:
        loss = one(loss_of)
        progress = clock.progress if options.steps >= 1_000_000 else step / options.steps
        optimiser.step(rate(step, progress, 300))
        average.update()
        running = loss if step == 0 else running.lerp(loss, 0.02)
        if step % 500 == 0:
            say(f"video step {step} at {clock.elapsed:.0f} s loss {float(running):.4f}")
            if not bool(torch.isfinite(running)):
                raise RuntimeError("the loss is no number any more")
        if clock.elapsed - kept > 100:
            kept = clock.elapsed
            average.swap()
            history.append((step, round(unseen_loss(loss_of, unseen, 128, device), 4)))
            average.swap()
            say(f"unseen loss {history[-1]}")
            write(average.state(), bank, options.out)
            keep(model, options.out)
        step += 1

    trained = clock.elapsed
    keep(model, options.out)
    written = write(average.state(), bank, options.out)
    average.swap()
    figures: dict[str, Any] = {
        "command": command(),
        "steps": step,
        "training_seconds": round(trained, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "bank": len(bank.latents),
        "loss": round(float(running), 4),
        "unseen_loss": round(
            unseen_loss(loss_of, unseen, min(128, len(unseen.latents)), device), 4
        ),
        "history": history,
        "bytes": written,
    }
    if device.type == "cuda":
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    note(options.out / "video.json", figures)
    say(f"video done: {json.dumps(figures)}")
    return figures


if __name__ == "__main__":
    main()
