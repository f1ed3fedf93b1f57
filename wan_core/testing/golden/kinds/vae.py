"""Reference cases of topic ``vae``: the networks streamed, tiled, with an end frame; tiny ones.

They run in plain arithmetic. The networks of these cases are down to two channels wide, and an RMS
norm over two channels amplifies rounding where both are small: the float32 reference itself is up
to 1.5e-4 of scale away from the exact result, which is more than the tolerance. Op for op, on the
kind of processor that made it, its numbers come out to the bit; on another the result in double
precision decides (``Case.allow_rounding``). That saving memory and whole clips change them by
rounding only is for tests with wider networks to show.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from wan_core.models.vae.descriptor import VaeConfig
from wan_core.models.vae.end_frame import decode_with_end_frame, encode_with_end_frame
from wan_core.models.vae.layers import plain_arithmetic
from wan_core.models.vae.model import WanVAE
from wan_core.models.vae.taehv import Taehv
from wan_core.models.vae.taehv_files import TaehvConfig
from wan_core.models.vae.tiling import InPlaceTiling, RampTiling
from wan_core.testing.golden.case import Case, NotBuilt, stated


def _vae(case: Case) -> WanVAE:
    config = stated(case["config"])
    if config.get("attn_scales"):
        raise NotBuilt("attention inside the stages (attn_scales)")
    mean, std = case.tensor("inputs.latents_mean"), case.tensor("inputs.latents_std")
    vae = WanVAE(VaeConfig.from_official(config), mean.tolist(), std.tolist())
    weights = case.group("weights.")
    vae.to(next(iter(weights.values())).dtype).load_state_dict(weights)
    return vae


@contextmanager
def _taps(vae: nn.Module, names: Set[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect what the named modules return; copies, because inference writes in place."""
    seen: dict[str, list[Tensor]] = defaultdict(list)

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: seen[name].append(output.clone())

    hooks = [vae.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def roundtrip(case: Case) -> None:
    vae = _vae(case)
    for call in map(stated, case["calls"]):
        source = case.tensor(call["input"])
        if call["call"] == "encode":
            _encode(case, vae, call, source)
        elif call["call"] == "decode":
            _decode(case, vae, call, source)
        elif call["call"] == "decode(encode(x))":
            latents = torch.cat([mean for mean, _ in vae.encode_stream(source)], dim=2)
            frames = torch.cat(list(vae.decode_stream(latents)), dim=2)
            case.check(call["outputs"]["raw"], frames)
        else:
            raise NotBuilt(f"call {call['call']!r}")


def _trace_of(case: Case, prefix: str, source: str) -> str:
    """``prefix<tag>.`` of the taps that belong to the call whose tensors end in ``_<tag>``."""
    tags = {name.partition(".")[0] for name in case.group(prefix)}
    mine = [tag for tag in tags if source.endswith(f"_{tag}")]
    return f"{prefix}{max(mine, key=len, default=source)}."


def _traced(case: Case, vae: WanVAE, prefix: str) -> set[str]:
    return set(case.group(prefix)) & {name for name, _ in vae.named_modules()}


def _encode(case: Case, vae: WanVAE, call: dict[str, Any], source: Tensor) -> None:
    names = stated(call["outputs"])
    trace = _trace_of(case, "outputs.trace_encode_", call["input"])
    # "conv1" is the convolution behind the encoder: its output are the raw moments
    with _taps(vae, _traced(case, vae, trace) | {"conv1"}) as seen:
        parts = [mean for mean, _ in vae.encode_stream(source)]
    moments = torch.cat(seen["conv1"], dim=2)
    _check_traces(case, trace, seen)
    stride = vae.config.stride[0]
    frames = [1 + (part.shape[2] - 1) * stride if not i else part.shape[2] * stride
              for i, part in enumerate(parts)]  # fmt: skip
    if "chunks" in call:
        case.check_value(f"{call['input']} chunks", frames, call["chunks"])
    if "frames_used" in call:
        case.check_value(f"{call['input']} frames_used", sum(frames), call["frames_used"])
    case.check(names["mu"], torch.cat(parts, dim=2))
    if "moments" in names:
        case.check(names["moments"], moments)


def _decode(case: Case, vae: WanVAE, call: dict[str, Any], source: Tensor) -> None:
    names = stated(call["outputs"])
    trace = _trace_of(case, "outputs.trace_decode_", call["input"])
    with _taps(vae, _traced(case, vae, trace)) as seen:
        parts = list(vae.decode_stream(source))
    _check_traces(case, trace, seen)
    streamed = torch.cat(parts, dim=2)
    if "chunk_output_frames" in call:
        got = [part.shape[2] for part in parts]
        case.check_value(f"{call['input']} chunks", got, call["chunk_output_frames"])
    case.check(names["raw"], streamed)
    if "clamped" in names:
        case.check(names["clamped"], streamed.clamp(-1, 1))
    splits = call.get("carried_cache_splits_latent")
    if splits is None:
        return
    state = vae.decoder_state()
    pieces = [torch.cat(list(vae.decode_stream(part, state=state)), dim=2)
              for part in torch.split(source, splits, dim=2)]  # fmt: skip
    counts = [piece.shape[2] for piece in pieces]
    case.check_value(
        f"{call['input']} frames per piece", counts, call["carried_cache_output_frames"]
    )
    case.check(names["raw"], torch.cat(pieces, dim=2))
    same = torch.equal(torch.cat(pieces, dim=2), streamed)
    case.check_value(f"{call['input']} pieces are bit-identical", same, True)
    if "without_carry_second_part_frames" in call:
        rest = source[:, :, splits[0] :]
        restarted = sum(part.shape[2] for part in vae.decode_stream(rest))
        want = call["without_carry_second_part_frames"]
        case.check_value(f"{call['input']} frames without carry", restarted, want)


def _check_traces(case: Case, prefix: str, seen: dict[str, list[Tensor]]) -> None:
    for name in case.group(prefix):
        if name in seen:
            case.check(prefix + name, torch.cat(seen[name], dim=2))


def tiled(case: Case) -> None:
    vae = _vae(case)
    for call in map(stated, case["calls"]):
        style, _, direction = call["call"].partition(" tiled ")
        source = case.tensor(call["input"])
        if style == "kijai":
            ramp = RampTiling(call["tile_latent_hw"], call["stride_latent_hw"])
            result = ramp.decode(vae, source) if direction == "decode" else ramp.encode(vae, source)
        elif style == "diffusers":
            in_place = InPlaceTiling(call["tile_sample_min_hw"], call["tile_sample_stride_hw"])
            result = _raw_tiled(vae, in_place, source, direction)
        else:
            raise NotBuilt(f"call {call['call']!r}")
        if direction == "decode" and call.get("clamped", True):
            result = result.clamp(-1, 1)
        if direction == "encode" and not call.get("normalised", True):
            result = vae.denormalise(result)
        case.check(call["output"], result)
    if case.has("outputs.untiled_decode"):
        frames = torch.cat(list(vae.decode_stream(case.tensor("inputs.latent"))), dim=2)
        case.check("outputs.untiled_decode", frames)
    if case.has("outputs.untiled_encode_mu"):
        parts = [mean for mean, _ in vae.encode_stream(case.tensor("inputs.video"))]
        case.check("outputs.untiled_encode_mu", torch.cat(parts, dim=2))


def _raw_tiled(vae: WanVAE, tiling: InPlaceTiling, source: Tensor, direction: str) -> Tensor:
    """diffusers' VAE knows no constants; around it the reference multiplies by std."""
    assert vae.mean is not None and vae.std is not None
    mean = torch.tensor(vae.mean).view(-1, 1, 1, 1)
    std = torch.tensor(vae.std).view(-1, 1, 1, 1)
    bare = WanVAE(vae.config)
    bare.load_state_dict(vae.state_dict(), assign=True)
    if direction == "decode":
        return tiling.decode(bare, source * std + mean)
    return (tiling.encode(bare, source) - mean) / std


def end_frame(case: Case) -> None:
    vae = _vae(case)
    for call in map(stated, case["calls"]):
        source, name = case.tensor(call["input"]), call["output"]
        if call["call"] == "encode with end frame":
            latents = encode_with_end_frame(vae, source)
            case.check_value(f"{name} latents", latents.shape[2], call["latents"])
            case.check(name, latents)
        elif call["call"] == "decode with end frame":
            frames = torch.cat(list(decode_with_end_frame(vae, source)), dim=2)
            case.check_value(f"{name} frames", frames.shape[2], call["frames"])
            case.check(name, frames)
        else:
            raise NotBuilt(f"call {call['call']!r}")


def taehv(case: Case) -> None:
    """The tiny network; the case has frames before channels and pixels in [0, 1]."""
    config = stated(case["config"])
    sizes = TaehvConfig(
        z_dim=config["latent_channels"],
        patch=config.get("patch_size", 1),
        decoder_widths=config["decoder_widths"],
        encoder_width=config.get("encoder_width"),
    )
    weights = case.group("weights.")
    weights |= {name: weights[name][-rows:] for name, rows in sizes.grown.items()}
    network = Taehv(sizes).to(next(iter(weights.values())).dtype)
    network.load_state_dict(weights)
    for call in map(stated, case["calls"]):
        source = case.tensor(call["input"]).transpose(1, 2)
        if call["call"] == "decode":
            with _taps(network, {"decoder"}) as seen:
                parts = list(network.decode_stream(source))
            frames = torch.cat(parts, dim=2).transpose(1, 2)
            case.check(call["output"], (frames + 1) / 2)
            if "raw" in call:
                case.check(call["raw"], torch.cat(seen["decoder"], dim=1))
        elif call["call"] == "encode":
            latents = torch.cat(list(network.encode_stream(source * 2 - 1)), dim=2)
            case.check(call["output"], latents.transpose(1, 2))
        else:
            raise NotBuilt(f"call {call['call']!r}")


def _plain(handler: Callable[[Case], None]) -> Callable[[Case], None]:
    @wraps(handler)
    def run(case: Case) -> None:
        with plain_arithmetic():
            handler(case)
            if not all(check.ok for check in case.checks):
                exact = case.in_double()
                handler(exact)
                case.allow_rounding(exact)

    return run


HANDLERS = {
    "vae.roundtrip": _plain(roundtrip),
    "vae.tiled": _plain(tiled),
    "vae.end_frame": _plain(end_frame),
    "vae.taehv": _plain(taehv),
}
