"""Reference cases of topic ``transformer``: whole forward passes, names of tensors, rope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from wan_core.models.wan.attention import rotate
from wan_core.models.wan.config import WanConfig
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.models.wan.embeddings import sinusoid
from wan_core.models.wan.rope import grid_angles, padded
from wan_core.models.wan.transformer import WanTransformer
from wan_core.testing.golden.case import Case, stated


def config_of(case: Case, weights: Mapping[str, Tensor]) -> WanConfig:
    """The case's configuration; what it leaves open is read from the weights."""
    own, theirs = stated(case.get("config", {})), stated(case.get("diffusers_config", {}))
    heads = own.get("num_heads", theirs.get("num_attention_heads"))
    if heads is None and "attention_head_dim" in theirs:
        heads = weights["patch_embedding.weight"].shape[0] // theirs["attention_head_dim"]
    return WanConfig.from_shapes(
        {name: tuple(tensor.shape) for name, tensor in weights.items()},
        num_heads=heads,
        text_len=own.get("text_len", 512),
        vace_layers=own.get(
            "vace_layers", case.get("effective_vace_layers", theirs.get("vace_layers"))
        ),
    )


def build(config: WanConfig, weights: Mapping[str, Tensor]) -> WanTransformer:
    """A transformer with ``weights`` (official names), loaded strictly."""
    with torch.device("meta"):
        transformer = WanTransformer(config)
    transformer.load_state_dict(dict(weights), strict=True, assign=True)
    return transformer.eval()


def predict(case: Case, transformer: WanTransformer) -> list[Tensor]:
    """One forward pass on the case's model inputs."""
    latents, channels = case.series("inputs.x"), case.series("inputs.y")
    if channels:
        latents = [torch.cat(pair) for pair in zip(latents, channels, strict=True)]
    image_tokens = None
    if case.has("inputs.clip_fea"):
        image_tokens = case.tensor("inputs.clip_fea")
        # several images of one sample follow each other
        image_tokens = image_tokens.reshape(len(latents), -1, image_tokens.shape[-1])
    scale = case.get("vace_context_scale")
    with torch.no_grad():
        return transformer.forward_padded(
            latents,
            case.tensor("inputs.t"),
            case.series("inputs.context"),
            case["seq_len"],
            image_tokens=image_tokens,
            vace_context=case.series("inputs.vace_context"),
            vace_scale=None if scale is None else torch.tensor(scale),
        )


class Taps:
    """Keeps what chosen modules put out, or get, during a forward pass."""

    def __init__(self, hooks: ExitStack) -> None:
        self.kept: dict[str, Tensor] = {}
        self._hooks = hooks

    def output(self, name: str, module: nn.Module) -> None:
        def keep(_module: nn.Module, _arguments: object, result: Tensor) -> None:
            self.kept[name] = result

        self._hooks.callback(module.register_forward_hook(keep).remove)

    def input(self, name: str, module: nn.Module) -> None:
        def keep(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            self.kept[name] = arguments[0]

        self._hooks.callback(module.register_forward_pre_hook(keep).remove)


def tap(taps: Taps, transformer: WanTransformer) -> None:
    """Attach the taps that the reference cases hold."""
    taps.output("time_embedding_e", transformer.time_embedding)
    taps.output("time_projection_flat", transformer.time_projection)
    taps.output("text_embedding_rows0_7", transformer.text_embedding)
    taps.output("block0_self_attn_out", transformer.get_submodule("blocks.0.self_attn"))
    taps.output("block0_cross_attn_out", transformer.get_submodule("blocks.0.cross_attn"))
    # what comes next gets the stream after the hint was added
    taps.input("block0_out", [*transformer.blocks, transformer.head][1])
    taps.output("head_out", transformer.head)
    if transformer.config.image_dim is not None:
        taps.output("img_emb_out_rows0_7", transformer.img_emb)
    for index, block in enumerate(getattr(transformer, "vace_blocks", ())):
        taps.output(f"hint.{index}", block.after_proj)


def shown_rows(case: Case, name: str, value: Tensor) -> Tensor:
    """The rows of a tap that the case stores."""
    if name.endswith("rows0_7"):
        return value[:, :8]
    if not name.startswith("time_"):
        return value
    real, length = case.get("real_tokens"), case["seq_len"]
    if real is None:
        return value[:, 0]
    rows = [0, real // 2, real - 1, length - 1]
    return value.expand(-1, length, -1)[:, rows]


def run_forward(case: Case) -> None:
    """``wan.transformer.forward``: outputs and taps of one forward pass."""
    weights = case.group("weights.")
    transformer = build(config_of(case, weights), weights)
    with ExitStack() as hooks:
        taps = Taps(hooks)
        tap(taps, transformer)
        outputs = predict(case, transformer)
    for index, output in enumerate(outputs):
        case.check(f"outputs.{index}", output)
    for name in case.group("intermediates."):
        if name in taps.kept:
            case.check(f"intermediates.{name}", shown_rows(case, name, taps.kept[name]))


def run_keymap(case: Case) -> None:
    """``wan.keymap``: the diffusers names of all tensors, and a forward pass from either naming."""
    expected: dict[str, str] = case["key_map_official_to_diffusers"]
    official = case.group("weights.")
    renamed = {name: DIFFUSERS.from_official(name) for name in official}
    case.check_value("official to diffusers", renamed, expected)
    back = {theirs: DIFFUSERS.to_official(theirs) for theirs in expected.values()}
    case.check_value("diffusers to official", back, {v: k for k, v in expected.items()})
    in_diffusers = {str(theirs): official[ours] for ours, theirs in renamed.items()}
    returned = {str(DIFFUSERS.to_official(name)): t for name, t in in_diffusers.items()}
    for weights in (official, returned):
        transformer = build(config_of(case, weights), weights)
        for index, output in enumerate(predict(case, transformer)):
            case.check(f"outputs.{index}", output)


def run_rope(case: Case) -> None:
    """``wan.rope``: rotation of a grid's tokens, the tables' first rows, and the time sinusoid."""
    width = case["head_dim"]
    frames, height, width_tokens = (int(n) for n in case.tensor("inputs.grid_size_fhw"))
    q = case.tensor("inputs.q")
    angles = grid_angles(width, (frames, height, width_tokens))
    table = padded([(angles.cos().float(), angles.sin().float())], q.shape[1])
    case.check("outputs.q_rotated", rotate(q, table))
    # row r of each axis' table is where all three positions are r
    rows = case.tensor("outputs.freqs_real_rows0_7").shape[0]
    cube = grid_angles(width, (rows, rows, rows)).view(rows, rows, rows, -1)
    diagonal = torch.stack([cube[r, r, r] for r in range(rows)])
    case.check("outputs.freqs_real_rows0_7", diagonal.cos())
    case.check("outputs.freqs_imag_rows0_7", diagonal.sin())
    case.check("outputs.sinusoid_float64", sinusoid(case.tensor("inputs.t"), case["freq_dim"]))


HANDLERS: dict[str, Callable[[Case], None]] = {
    "wan.transformer.forward": run_forward,
    "wan.keymap": run_keymap,
    "wan.rope": run_rope,
}
