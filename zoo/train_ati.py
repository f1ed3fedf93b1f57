"""Train the LoRA of tracks for the tiny image-to-video model: ``python -m zoo.train_ati --tiny IN --out OUT``.

``IN`` holds the other tiny weights. Clips of objects on known paths are encoded once; the model sees the first
frame, and the conditioning with tracks pasted in by the published rule. Only factors and small tensors train.
Writes ``ati.safetensors`` (a LoRA file, float16, published names), ``ati.state.safetensors`` (to go on from)
and ``ati.json``; then draws unseen tracks (``zoo.track_test``), adds the figures and writes contact sheets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from zoo import image_model, lora_model, tiny_clip, track_edit, track_test, train_vae
from zoo.image_model import Trainee
from zoo.learning import ENDLESS, Loss, learn, steps_on, unseen_on
from zoo.lora_model import Trained, is_factor
from zoo.track_bank import Batch, edited, fill
from zoo.train_video import Size, compile_blocks
from zoo.training import (
    Average,
    Clock,
    Optimiser,
    autocast,
    describe,
    note,
    prepare,
    save,
    say,
    training_parser,
)

FILE = "ati.safetensors"
STATE = "ati.state.safetensors"
TITLE = "toy LoRA: objects follow tracks"
#: layers that have factors -> their rank, and what is trained
RANKS = {"blocks.*.self_attn.*": 64, "blocks.*.ffn.*": 56, "blocks.*.cross_attn.*": 16}
WHOLE = ("blocks.*", "patch_embedding.*", "head.*")
#: the LoRA file is no larger
MOST_BYTES = 3_000_000
#: how much more a cell counts that an object covers
OBJECT = 3.0
#: unseen clips that the loss is measured on
UNSEEN = 512

Told = Callable[[Batch], Tensor]
"""Which tracks the model is told of a batch."""


def loss_function(model: Trainee, told: Told, size: Size, device: torch.device) -> Loss:
    """Mean squared error of the velocity, cells that objects cover counting more."""
    grid = (size[1] // 8, size[2] // 8)

    def loss_of(batch: Batch, noise: Tensor, sigma: Tensor) -> Tensor:
        clean = batch.latents.float()
        noisy = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1))
        channels = edited(batch, told(batch))
        with autocast(device):
            predicted = model(
                torch.cat([noisy, channels], dim=1),
                sigma * 1000,
                batch.rows,
                image_tokens=batch.tokens,
            )
        weight = 1 + OBJECT * track_edit.near(batch.centres, batch.radii, grid)
        error = (predicted.float() - (noise - clean)).square().mean(dim=1)
        loss: Tensor = (error * weight).sum() / weight.sum()
        return loss

    return loss_of


def begin(tiny: Path) -> tuple[Trainee, Trained]:
    """The start of training, over the image-to-video model in ``tiny``: a model, and what of it is trained."""
    model = image_model.load(tiny / image_model.FILE, torch.device("cpu"))
    return model, lora_model.adopt(model, RANKS, WHOLE)


def load(tiny: Path, lora: Path, device: torch.device) -> Trainee:
    """The image-to-video model in the folder ``tiny`` with a LoRA file of tracks merged into its weights."""
    model = image_model.load(tiny / image_model.FILE, torch.device("cpu"))
    model.load_state_dict(lora_model.merged(load_file(tiny / image_model.FILE), load_file(lora)))
    return model.to(device).eval()


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        __doc__, minutes=6.0, batch=256, muon_lr=0.01, adam_lr=1e-3, state=STATE
    )
    parser.add_argument("--tiny", type=Path, required=True, help="folder of the other weights")
    parser.add_argument("--bank", type=int, default=60_000, help="clips, at most")
    parser.add_argument("--bank-seconds", type=float, default=75)
    parser.add_argument("--steps", type=int, default=ENDLESS, help="stop here if time is left")
    parser.add_argument("--prompts", type=int, default=64, help="clips that are drawn at the end")
    parser.add_argument(
        "--sweep-seconds", type=float, default=70, help="no further setting is tried after"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, write and measure."""
    options = _parser().parse_args(arguments)
    clock = Clock(options.minutes, *options.part)
    device = prepare(search=True)
    size: Size = tuple(options.size)
    on_gpu = device.type == "cuda"

    vae = train_vae.load(options.tiny / "vae.safetensors", device)
    tower = tiny_clip.load(options.tiny / tiny_clip.FILE, device)
    banks = [
        fill(
            vae,
            tower,
            options.tiny,
            count,
            options.bank_seconds,
            size,
            device,
            compile_it=on_gpu and not options.eager and not heldout,
            batch=min(count, 128 if on_gpu else 8),
            heldout=heldout,
        )
        for count, heldout in ((options.bank, False), (UNSEEN if on_gpu else 16, True))
    ]
    bank, unseen = banks
    torch._dynamo.reset()

    model, trained = begin(options.tiny)
    if options.resume:
        trained.resume(load_file(options.resume))
    model.to(device).train()
    base = load_file(options.tiny / image_model.FILE)
    describe(trained, "factors and small tensors")
    optimiser = Optimiser.of(
        trained, is_factor, muon_lr=options.muon_lr, adam_lr=options.adam_lr, decay=0.01
    )
    average = Average(trained, 0.9995)
    dice = torch.Generator(device).manual_seed(6)

    def some(batch: Batch) -> Tensor:
        return track_edit.told(batch.centres, batch.radii, size[1:], dice)

    def all_of_them(batch: Batch) -> Tensor:
        return track_edit.processed(batch.centres, *size[1:])

    one = steps_on(loss_function(model, some, size, device), bank, options.batch, device)

    def trial() -> None:
        one()
        trained.zero_grad(set_to_none=True)

    def keep() -> int:
        save(options.out / STATE, dict(trained.named_parameters()), {}, torch.float32)
        about = {"modelspec.title": TITLE, "words": json.dumps(list(bank.clips.words))}
        return lora_model.write(average.state(), base, options.out / FILE, about)

    compile_blocks(model, trial, wanted=on_gpu and not options.eager)
    figures = learn(
        "tracks", one, unseen_on(loss_function(model, all_of_them, size, device), unseen, device), keep,
        optimiser=optimiser, average=average, clock=clock, steps=options.steps, warm=200, told=250, kept=60,
    )  # fmt: skip
    assert figures["bytes"] <= MOST_BYTES, f"{figures['bytes']} bytes"
    figures["parameters"] = sum(p.numel() for p in trained.parameters())
    figures["bank"] = len(bank)
    note(options.out / "ati.json", figures)
    say(f"tracks done: {json.dumps(figures)}")

    written_model = load(options.tiny, options.out / FILE, device)
    untrained = image_model.load(options.tiny / image_model.FILE, device)
    for name, drawing, plan, seconds in (
        ("drawn", written_model, None, options.sweep_seconds),
        ("untrained", untrained, [track_test.PRESET], 0.0),
    ):
        figures[name] = track_test.track_test(
            drawing,
            vae,
            tower,
            options.tiny,
            options.out / name,
            count=options.prompts,
            seconds=seconds,
            size=size,
            plan=plan,
        )
        note(options.out / "ati.json", figures)
    return figures


if __name__ == "__main__":
    main()
