"""Reference cases of the transformer's forward pass."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from tests.seams.longcat.config import LongCatConfig
from tests.seams.longcat.model import LongCatTransformer
from wan_core.contract import State
from wan_core.testing.golden import Case


def build(case: Case, **changed: object) -> LongCatTransformer:
    config = attrs.evolve(LongCatConfig.of(case["config"]), **changed)
    with torch.device("meta"):
        transformer = LongCatTransformer(config)
    transformer.load_state_dict(case.group("weights."), strict=True, assign=True)
    return transformer.eval()


def inputs_of(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, timestep, text, mask = (
        case.tensor(f"inputs.{name}") for name in ("x", "timestep", "text", "text_mask")
    )
    return x, timestep, text.squeeze(1), mask


@torch.no_grad()
def t2v(case: Case) -> None:
    """``longcat.forward.t2v``: both ways to treat padding of the text, with taps."""
    x, timestep, text, mask = inputs_of(case)
    taps: dict[str, Tensor] = {}
    for variant, zero_pad in (("zeropad", True), ("varlen", False)):
        transformer = build(case, text_tokens_zero_pad=zero_pad)
        watched = {f"{variant}.block{i}": b for i, b in enumerate(transformer.blocks)}
        watched["x_embedder"] = transformer.x_embedder["proj"]
        watched["t_embedder"] = transformer.t_embedder
        watched["y_embedder_raw"] = transformer.y_embedder["y_proj"]
        for name, module in watched.items():
            module.register_forward_hook(lambda _m, _a, out, name=name: taps.update({name: out}))
        taps[f"{variant}.sample"] = transformer(x, timestep, text, mask)
    taps["t_embedder"] = taps["t_embedder"].flatten(0, 1)
    taps["y_embedder_raw"] = taps["y_embedder_raw"].unsqueeze(1)
    for name in case.group("outputs."):
        case.check(f"outputs.{name}", taps[name])


@torch.no_grad()
def i2v(case: Case) -> None:
    """``longcat.forward.i2v``: condition frames in the sequence, and the same without telling them apart."""
    arguments, transformer = inputs_of(case), build(case)
    case.check("outputs.sample", transformer(*arguments, condition=case["num_cond_latents"]))
    case.check("outputs.sample_without_cond_split", transformer(*arguments))


@torch.no_grad()
def kv_cache(case: Case) -> None:
    """``longcat.forward.kv_cache``: the pass that fills the cache, and the one that reads it."""
    (x, timestep, text, mask), transformer = inputs_of(case), build(case)
    c = case["num_cond_latents"]
    case.check("outputs.sample", transformer(x, timestep, text, mask, condition=c))
    state = State(transformer.config.kv_spec(c, *x.shape[-2:], item=x.element_size()))
    filled = transformer(x[:1, :, :c], timestep.new_zeros(1, c), None, state=state, fill=True)
    case.check("outputs.cache_pass_sample", filled)
    case.check_value("bytes of the state", state.bytes, state.spec.bytes)
    for index, unit in enumerate(transformer.units()):
        for name, tensor in state.parts[unit.name].items():
            case.check(f"outputs.cache.{index}.{name}", tensor.transpose(1, 2))
    rest = transformer(x[:, :, c:], timestep[:, c:], text, mask, condition=c, state=state)
    case.check("outputs.sample_noise_frames_from_cache", rest)


HANDLERS = {
    "longcat.forward.t2v": t2v,
    "longcat.forward.i2v": i2v,
    "longcat.forward.kv_cache": kv_cache,
}
