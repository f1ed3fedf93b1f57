"""Train the tiny VAE: ``python -m zoo.train_vae --out OUT --minutes 5.5``.

Whole clips through the product's own network, in one pass. Writes ``vae.safetensors`` (official
names; its metadata holds the configuration and the latents' mean and deviation) and ``vae.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from wan_core.models.vae import VaeConfig, WanVAE
from zoo.training import (
    Average,
    Clock,
    Optimiser,
    autocast,
    command,
    compiled,
    describe,
    mean_of,
    note,
    prepare,
    psnr,
    rate,
    save,
    say,
    training_parser,
)
from zoo.world import FRAMES, HEIGHT, KINDS, WIDTH, draw_clips, draw_mixture

CONFIG = VaeConfig(dim=8, dim_mult=(2, 4, 7, 8), num_res_blocks=1)

#: how often each kind of clip is seen
SHARES = {
    "plain": 0.34,
    "lit": 0.10,
    "gradient": 0.08,
    "textured": 0.11,
    "noisy": 0.08,
    "relief": 0.06,
    "face": 0.10,
    "path": 0.06,
    "lowres": 0.07,
}
KINDS_SEEN = (*KINDS, "lowres")
KL = 2e-4
#: unseen clips that are drawn and measured at a time
UNSEEN = 8

Size = tuple[int, int, int]


def build(device: torch.device) -> WanVAE:
    """The tiny network with fresh weights and no constants."""
    vae = WanVAE(CONFIG, None, None).to(device)
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            # residual branches and attention begin small, log-variances small and steady
            if name.endswith(("residual.6.weight", "proj.weight")):
                parameter.mul_(0.3)
        named = dict(vae.named_parameters())
        named["decoder.head.2.weight"].mul_(0.1)
        named["conv1.weight"][CONFIG.z_dim :].mul_(0.1)
        named["conv1.bias"][CONFIG.z_dim :].fill_(-4.0)
    return vae


def load(path: Path, device: torch.device) -> WanVAE:
    """The trained network in float32, with its constants."""
    with safe_open(path, "pt") as file:
        about = file.metadata()
        state = {name: file.get_tensor(name).float() for name in list(file.keys())}
    mean, std = json.loads(about["latents_mean"]), json.loads(about["latents_std"])
    stored = json.loads(about["config"])
    vae = WanVAE(VaeConfig(**stored), mean, std)
    vae.load_state_dict(state)
    return vae.to(device).eval()


def channels_last_pays(device: torch.device) -> bool:
    """Whether convolutions of this network's size run faster with channels last."""
    if device.type != "cuda":
        return False
    times: dict[torch.memory_format, float] = {}
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        conv = nn.Conv3d(16, 16, 3, padding=(0, 1, 1)).to(device, torch.bfloat16)
        conv.weight.data = conv.weight.data.contiguous(memory_format=layout)
        x = torch.randn(8, 16, FRAMES + 2, HEIGHT, WIDTH, device=device, dtype=torch.bfloat16)
        x = x.to(memory_format=layout).requires_grad_()
        event: Any = torch.cuda.Event
        start, end = (event(enable_timing=True) for _ in range(2))
        for turn in range(8):
            if turn == 3:
                start.record()
            conv(x).square().mean().backward()
        end.record()
        torch.cuda.synchronize()
        times[layout] = start.elapsed_time(end)
    say(
        f"convolutions: {times[torch.contiguous_format]:.1f} ms channels first, "
        f"{times[torch.channels_last_3d]:.1f} ms channels last"
    )
    return times[torch.channels_last_3d] < times[torch.contiguous_format]


def loss_function(
    vae: WanVAE, device: torch.device
) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """The training loss as a plain function of clips and noise."""

    def loss_of(clips: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        with autocast(device):
            mean, log_variance = vae.encode(clips)
            mean, log_variance = mean.float(), log_variance.float().clamp(-12, 4)
            sampled = mean + torch.exp(0.5 * log_variance) * noise
            decoded = vae.decode(sampled).float()
        truth = clips.float()
        error = decoded - truth
        squared = error.square().mean()
        edges = (
            error.diff(dim=-1).abs().mean()
            + error.diff(dim=-2).abs().mean()
            + error.diff(dim=2).abs().mean()
        )
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = error.abs().mean() + 6 * squared + 0.5 * edges + KL * kl
        return loss, squared.detach(), kl.detach()

    return loss_of


def clips_for(batch: int, size: Size, device: torch.device, seed: int) -> Iterator[Tensor]:
    """Endless training batches in bfloat16 (float32 on a CPU), drawn many at a time."""
    group = 16 if device.type == "cuda" else 2
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    while True:
        bank = draw_mixture(SHARES, batch * group, seed, device, size).to(dtype)
        yield from torch.split(bank, batch)
        seed += 1


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """What Muon steps: all kernels but those at the ends of the two networks."""
    ends = (
        "encoder.conv1.",
        "encoder.head.",
        "decoder.conv1.",
        "decoder.head.",
        "conv1.",
        "conv2.",
    )
    return parameter.ndim >= 4 and name.endswith("weight") and not name.startswith(ends)


@torch.no_grad()
def unseen_psnr(
    vae: WanVAE, kind: str, start: int, count: int, device: torch.device, size: Size
) -> list[float]:
    """PSNR in dB of ``count`` unseen clips of a kind, from the fixed row that ``start`` counts in."""
    seed = 9_000_000 + 1000 * KINDS_SEEN.index(kind) + start
    values: list[float] = []
    for clips in torch.split(draw_clips(kind, count, seed, device, size), 4):
        mean, _ = vae.encode(clips)
        values += psnr(vae.decode(mean), clips).tolist()
    return values


def measure(
    vae: WanVAE, device: torch.device, count: int, size: Size
) -> dict[str, dict[str, float]]:
    """PSNR in dB on unseen clips of every kind: mean over clips, and the worst clip."""
    figures = {}
    for kind in KINDS_SEEN:
        values: list[float] = []
        for start in range(0, count, UNSEEN):
            values += unseen_psnr(vae, kind, start, min(UNSEEN, count - start), device, size)
        figures[kind] = summary(values)
    return figures


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean and worst, rounded."""
    return {"mean": round(mean_of(values), 2), "worst": round(min(values), 2)}


@torch.no_grad()
def statistics(vae: WanVAE, device: torch.device, count: int, size: Size) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each latent channel over sampled latents of the training mixture.

    The posterior's own variance counts, so that a channel that says nothing is not blown up.
    """
    means, squares = torch.zeros(2, CONFIG.z_dim, device=device, dtype=torch.float64).unbind()
    seen = 0
    for start in range(0, count, 16):
        shares = SHARES | {"plain": 1.0}
        clips = draw_mixture(shares, min(16, count - start), 8_000_000 + start, device, size)
        mean, log_variance = (part.double() for part in vae.encode(clips))
        means = means + mean.sum(dim=(0, 2, 3, 4))
        squares = squares + (mean.square() + log_variance.exp()).sum(dim=(0, 2, 3, 4))
        seen += mean[:, 0].numel()
    centre = means / seen
    return centre.float(), (squares / seen - centre.square()).sqrt().float()


def write(
    vae: WanVAE, state: dict[str, Tensor], out: Path, device: torch.device, size: Size, count: int
) -> dict[str, Any]:
    """Save the averaged weights in float16 with their constants, and measure them as saved."""
    fresh = WanVAE(CONFIG, None, None).to(device).eval()
    fresh.load_state_dict({name: t.half().float() for name, t in state.items()})
    mean, std = statistics(fresh, device, max(16, count * 8), size)
    metadata = {
        "format": "pt",
        "architecture": "wan-vae",
        "config": json.dumps(
            {
                "dim": CONFIG.dim,
                "z_dim": CONFIG.z_dim,
                "dim_mult": list(CONFIG.dim_mult),
                "num_res_blocks": CONFIG.num_res_blocks,
                "temporal_downsample": list(CONFIG.temporal_downsample),
            }
        ),
        "latents_mean": json.dumps([round(v, 5) for v in mean.tolist()]),
        "latents_std": json.dumps([round(v, 5) for v in std.tolist()]),
    }
    save(out / "vae.safetensors", state, metadata)
    return {
        "psnr": measure(fresh, device, count, size),
        "latents_mean": json.loads(metadata["latents_mean"]),
        "latents_std": json.loads(metadata["latents_std"]),
        "bytes": (out / "vae.safetensors").stat().st_size,
    }


def keep(vae: WanVAE, out: Path) -> None:
    """Save what training can go on from: the weights as they are, in float32."""
    save(out / "vae.state.safetensors", dict(vae.named_parameters()), {}, torch.float32)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train and write."""
    parser = training_parser(
        __doc__,
        minutes=5.5,
        batch=16,
        muon_lr=0.008,
        adam_lr=3e-3,
        state="vae.state.safetensors",
    )
    parser.add_argument("--steps", type=int, default=100_000, help="stop here if time is left")
    parser.add_argument("--clips", type=int, default=32, help="unseen clips of each kind")
    options = parser.parse_args(arguments)
    clock = Clock(options.minutes, *options.part)
    device = prepare(search=True)
    size: Size = tuple(options.size)

    vae = build(device)
    if options.resume:
        vae.load_state_dict(load_file(options.resume))
    describe(vae, "VAE")
    layout = torch.channels_last_3d if channels_last_pays(device) else torch.contiguous_format
    if layout is torch.channels_last_3d:
        for module in vae.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                flat = isinstance(module, nn.Conv2d)
                order = torch.channels_last if flat else torch.channels_last_3d
                module.weight.data = module.weight.data.contiguous(memory_format=order)
    optimiser = Optimiser.of(
        vae, is_matrix, muon_lr=options.muon_lr, adam_lr=options.adam_lr, betas=(0.9, 0.99)
    )
    average = Average(vae, 0.998)
    batches = clips_for(options.batch, size, device, 1 + 100_000 * bool(options.resume))
    frames, height, width = size
    z_shape = (options.batch, CONFIG.z_dim, (frames - 1) // 4 + 1, height // 8, width // 8)

    def one(function: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        clips = next(batches).contiguous(memory_format=layout)
        results = function(clips, torch.randn(z_shape, device=device))
        torch.autograd.backward(results[0])
        return results

    def trial(function: Callable[[Tensor, Tensor], tuple[Tensor, ...]]) -> None:
        one(function)
        vae.zero_grad(set_to_none=True)

    wanted = device.type == "cuda" and not options.eager
    loss_of = compiled(loss_function(vae, device), trial, wanted=wanted)
    clock.begin()
    step, kept = 0, clock.elapsed
    while not clock.over and step < options.steps:
        loss, squared, kl = one(loss_of)
        progress = clock.progress if options.steps >= 100_000 else step / options.steps
        norm = optimiser.step(rate(step, progress, 60, hold=0.1))
        average.update()
        if step % 100 == 0 or step in (10, 30):
            rough = -10 * torch.log10(squared / 4)
            say(
                f"vae step {step} at {clock.elapsed:.0f} s loss {float(loss.detach()):.4f} "
                f"{float(rough):.2f} dB kl {float(kl):.3f} norm {float(norm):.2f}"
            )
            if not bool(torch.isfinite(loss)):
                raise RuntimeError("the loss is no number any more")
        if clock.elapsed - kept > 90:
            kept = clock.elapsed
            keep(vae, options.out)
        step += 1

    trained = clock.elapsed
    keep(vae, options.out)
    figures = {
        "command": command(),
        "steps": step,
        "training_seconds": round(trained, 1),
        "parameters": sum(p.numel() for p in vae.parameters()),
    } | write(vae, average.state(), options.out, device, size, options.clips)
    figures["seconds"] = round(clock.elapsed, 1)
    if device.type == "cuda":
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1)
    note(options.out / "vae.json", figures)
    say(f"vae done: {json.dumps(figures)}")
    return figures


if __name__ == "__main__":
    main()
