"""Recognises LoRA files: how their pairs and modules are called, their rank, and the model they are for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from wan_core.weights.kinds.base import Identity, LoraTraits
from wan_core.weights.kinds.names import Names, Shape

__all__ = ["flat", "lora"]

# what follows the path of a module; each group of `_FORMS` is one way of storing a change
_FORMS = {
    "lora_down/lora_up": r"\.lora_(?:down|mid|up)(?:\.blocks\.\d+)?\.weight",
    "lora_A/lora_B": r"\.lora_[AB](?:\.(?!bias)[\w-]+)?\.weight|\.lora_[AB](?:\.bias)?",
    "lora.down/lora.up": r"[._]lora\.(?:down|up)\.weight|\.lora_linear_layer\.(?:down|up)\.weight",
    "branches": r"_loras\.(?:down|up)\.weight",
    "LoHa": r"\.hada_[wt]\d(?:_[ab])?",
    "LoKr": r"\.lokr_[wt]\d(?:_[ab])?",
    "differences": r"\.diff(?:_[bm])?|\.set_weight|\.[wb]_norm",
}
_EXTRAS = r"\.alpha(?:_scale)?|\.dora_scale|\.lora_magnitude_vector(?:\.[\w-]+)?|\.reshape_weight"
_SUFFIX = re.compile(
    "|".join(f"(?P<f{i}>{form})" for i, form in enumerate(_FORMS.values())) + f"|(?P<x>{_EXTRAS})"
)
_SUFFIX_AT_END = re.compile(f"(?:{_SUFFIX.pattern})$")
_UP = re.compile(
    r"[._](?:lora_up(?:\.blocks\.0)?|lora_B(?:\.(?!bias)[\w-]+)?|loras?\.up|.*layer\.up)"
)
_DOWN = re.compile(r"[._](?:lora_down|lora_A(?:\.(?!bias)[\w-]+)?|loras?\.down|.*layer\.down)")

# beginnings of paths -> who writes them so; the first that fits
_DIALECTS = (
    ("longcat", r"lora___lorahyphen___"),
    ("wan-fun", r"lora_unet__"),
    ("half-flat", r"lora_unet_\w*\."),
    ("kohya", r"lora_(?:unet|te\d?|transformer)_"),
    ("lycoris", r"lycoris_"),
    ("peft", r"base_model\.model\."),
    ("diffsynth", r"pipe\.dit\."),
    ("diffusers", r"(?:transformer|transformer_2|unet|text_encoder(?:_2)?)\.|.*\.attn[12]\.to_"),
    (
        "official",
        r"(?:diffusion_model\.|model\.)*(?:vace_)?(?:blocks\.\d|head\.|\w+_embedding\.|img_emb\.)",
    ),
)
_LEAD = re.compile(
    r"^(?:lora___lorahyphen___|lora_unet__?|lycoris_|base_model\.model\.|pipe\.dit\.|"
    r"transformer(?:_2)?\.|diffusion_model\.|model\.)+"
)

# modules that give, or take, what is as wide as the model; a LoRA may change any of them, in any block
_BLOCK = r"(?:vace_)?blocks_\d+_"
_GIVES = re.compile(
    _BLOCK
    + r"(?:(?:self|cross)_attn_(?:norm_)?(?:to_)?(?:[qkvo]|out_0|[kv]_img)|cross_attn_q_linear|attn_proj"
    r"|attn[12]_(?:to_[qkv]|to_out_0|add_[kv]_proj)|ffn_2|ffn_net_2|norm3|norm2|(?:before|after)_proj)"
)
_TAKES = re.compile(_BLOCK + r"(?:attn1_to_qkv|attn_qkv|ffn_0|ffn_net_0_proj|ffn_w1)")
_PATCHES = "patch_embedding"
_OTHERS = (
    (r"(?:double|single)_blocks_|single_transformer_blocks_", "Flux or HunyuanVideo"),
    (r"transformer_blocks_\d+_img_m", "Qwen-Image"),
    (r"joint_(?:transformer_)?blocks_", "Stable Diffusion 3"),
    (r"(?:unet_)?(?:input|down|up|mid|output|middle)_blocks?_", "Stable Diffusion"),
    (r"transformer_blocks_\d+_attn_", "Qwen-Image, Flux or Stable Diffusion 3"),
    (r"transformer_blocks_", "LTX Video or CogVideoX"),
)
_WIDTHS = {
    1536: "Wan 2.1, 1.3 B",
    3072: "Wan 2.2 TI2V 5B",
    5120: "the 14 B models of Wan 2.1 and 2.2",
}


def lora(names: Names) -> Identity | None:
    # what stands before a module's path says who wrote the file
    shapes = names.stored
    found = {name: m for name in shapes if (m := _SUFFIX_AT_END.search(name))}
    forms = Counter(form for m in found.values() if (form := _form(m)))
    # trainers add the parts that a feature needs; a whole model with a few of such names is no LoRA
    if not forms or 3 * len(found) < len(shapes):
        return None
    modules: dict[str, dict[str, Shape]] = {}
    for name, suffix in found.items():
        modules.setdefault(name[: suffix.start()], {})[suffix[0]] = shapes[name]
    ranks = Counter(rank for parts in modules.values() if (rank := _rank(parts)))
    by_flat = {flat(path): path for path in modules}
    given = (_width(modules[path]) for f, path in by_flat.items() if _GIVES.fullmatch(f))
    taken = (_columns(modules[path]) for f, path in by_flat.items() if _TAKES.fullmatch(f))
    width = next(filter(None, chain(given, taken)), 0)
    traits = LoraTraits(
        form=" and ".join(form for form, _ in forms.most_common()),
        ranks=dict(ranks.most_common()),
        modules=len(modules),
        keys=len(shapes),
        width=width,
        target=_target(by_flat, width),
        extras=tuple(_extras(found.values(), shapes, found)),
        inputs=_channels(modules[by_flat[_PATCHES]]) if _PATCHES in by_flat else 0,
    )
    details = {"rank": traits.rank, "dim": width, "modules": traits.modules}
    known = {name: value for name, value in details.items() if value}
    model = f"a LoRA for {traits.target}" if traits.target else ""
    return Identity("lora", "", known, model, _dialect(modules, found.values()), traits)


def _form(suffix: re.Match[str]) -> str:
    return next((name for i, name in enumerate(_FORMS) if suffix[f"f{i}"] is not None), "")


def _dialect(paths: Iterable[str], suffixes: Iterable[re.Match[str]]) -> str:
    votes = Counter(
        next((name for name, start in _DIALECTS if re.match(start, path)), "other")
        for path in paths
    )
    best = votes.most_common(1)[0][0]
    # DiffSynth writes PEFT's name of the adapter into plain paths
    if best == "official" and any(suffix[0].endswith(".default.weight") for suffix in suffixes):
        return "diffsynth"
    return best


def flat(path: str) -> str:
    """A module's path as kohya writes it, without what wrappers put in front: ``blocks_0_ffn_0``."""
    return re.sub(
        r"^_+", "", _LEAD.sub("", path).replace("___lorahyphen___", "_").replace(".", "_")
    )


def _rank(parts: Mapping[str, Shape]) -> int:
    for suffix, shape in parts.items():
        if _UP.match(suffix) and len(shape) > 1:
            return shape[1]
    for suffix in (".hada_w1_b", ".lokr_w2_b", ".lokr_w1_b"):
        if len(parts.get(suffix, ())) > 1:
            return parts[suffix][0]
    return 0


def _width(parts: Mapping[str, Shape]) -> int:
    """Rows of the weight that these parts change; 0 when they don't show it."""
    for suffix, shape in parts.items():
        if (_UP.match(suffix) or suffix == ".hada_w1_a" or suffix.startswith(".diff")) and shape:
            return max(shape) if suffix == ".diff_m" else shape[0]
    left, right = (
        next((parts[s][0] for s in (f".lokr_w{i}", f".lokr_w{i}_a") if parts.get(s)), 0)
        for i in (1, 2)
    )
    return left * right


def _channels(parts: Mapping[str, Shape]) -> int:
    """Input channels of the convolution that these parts change; 0 when they don't show them."""
    shown = (s[1] for suffix, s in parts.items() if len(s) == 5 and not _UP.match(suffix))
    return next(shown, 0)


def _columns(parts: Mapping[str, Shape]) -> int:
    """Columns of the weight that these parts change; 0 when they don't show it."""
    return next((s[1] for suffix, s in parts.items() if _DOWN.match(suffix) and len(s) > 1), 0)


def _target(paths: Iterable[str], width: int) -> str:
    flattened = list(paths)
    own = [path for path in flattened if re.match(r"(?:vace_)?blocks_\d|head_", path)]
    if not own:
        found = (
            title for start, title in _OTHERS if any(re.match(start, path) for path in flattened)
        )
        return next(found, "")
    if width == 4096 or any("adaLN_modulation" in path or "attn_qkv" in path for path in own):
        return "LongCat-Video"
    title = _WIDTHS.get(width, "")
    if title and any("k_img" in path or "add_k_proj" in path for path in own):
        title += ", with image tokens"
    return title


def _extras(
    suffixes: Iterable[re.Match[str]], shapes: Mapping[str, Shape], found: Mapping[str, object]
) -> Iterable[str]:
    ends = {suffix[0] for suffix in suffixes}
    if any(end.startswith((".dora", ".lora_magnitude")) for end in ends):
        yield "DoRA magnitudes"
    if {".alpha", ".alpha_scale"} & ends:
        yield "alpha"
    if ".reshape_weight" in ends:
        yield "reshaped weights"
    if left := len(shapes) - len(found):
        yield f"{left} other tensor{'s' * (left > 1)}"
