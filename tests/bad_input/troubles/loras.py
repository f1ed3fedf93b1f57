"""LoRA files that are missing, something else, or for another model, and how they are named."""

from __future__ import annotations

from makers import Maker, header_only, manifest, safetensors, workflow
from table import Case, Group, Trouble

Q = "diffusion_model.blocks.0.self_attn.q"


def pair(path: str = Q, rows: int = 192, columns: int = 192, rank: int = 4) -> dict[str, list[int]]:
    return {f"{path}.lora_A.weight": [rank, columns], f"{path}.lora_B.weight": [rows, rank]}


def lora(entry: str = "", family: str = "tiny-t2v", model: str = "") -> str:
    """A workflow with one LoRA file (line 4)."""
    text = f'loras = [{{ file = "x.safetensors"{entry} }}]'
    return workflow(family=family, model=f"{text}\n{model}" if model else text)


def with_file(maker: Maker, entry: str = "") -> dict[str, Maker]:
    return {"w.toml": lora(entry), "x.safetensors": maker}


WIDE = pair(rows=5120, columns=5120, rank=16)
GOOD = safetensors(pair())

GROUP = Group(
    "LoRA files",
    (
        Trouble(
            "The LoRA is not there, or is no LoRA",
            "Each table of `loras` names a LoRA file. A whole model is a `transformer` instead.",
            "Correct the path; `wan-core inspect FILE` says what a file is.",
            (
                Case(
                    "lora-missing",
                    "w.toml, line 4, model.loras.0.file: {folder}/x.safetensors does not exist, and there are "
                    "no model folders to look in; correct the path.",
                    {"w.toml": lora()},
                    code=3,
                ),
                Case(
                    "lora-of-a-stage-that-is-not-there",
                    "w.toml, line 7, stages.0.loras.0.file: {folder}/z.safetensors does not exist, and there "
                    "are no model folders to look in; correct the path.",
                    {"w.toml": workflow('loras = [{ file = "z.safetensors" }]', family="tiny-t2v")},
                    code=3,
                ),
                Case(
                    "lora-that-is-a-transformer",
                    "w.toml, line 4, model.loras.0.file: x.safetensors is a Wan transformer (t2v, dim 1536, "
                    "ffn_dim 8960, num_layers 30, in_dim 16, out_dim 16, text_dim 4096), not a LoRA; name a "
                    "LoRA file.",
                    with_file(manifest("wan2.1-t2v-1.3b")),
                    code=3,
                ),
                Case(
                    "lora-damaged",
                    "w.toml, line 4, model.loras.0.file, {folder}/x.safetensors: damaged safetensors file: "
                    "the header entry of tensor 'a' is incomplete; download it again.",
                    with_file(header_only('{"a": 1}')),
                    code=3,
                ),
                Case(
                    "lora-empty",
                    "w.toml, line 4, model.loras.0.file, {folder}/x.safetensors: the file is empty; "
                    "download it again.",
                    with_file(b""),
                    code=3,
                ),
            ),
        ),
        Trouble(
            "The LoRA is for another model",
            "A LoRA changes weights of one size: that of a 14 B model does not fit one of 1.3 B. What it "
            "changes has to be there, too: image-to-video models have weights that text-to-video ones "
            "have not.",
            "Use a LoRA that was made for the model. When it is only some tensors that have no place, "
            '`unmatched = "skip"` goes on without them.',
            (
                Case(
                    "lora-of-another-width",
                    "w.toml, line 4, model.loras.0.file: x.safetensors is a LoRA for the 14 B models of Wan "
                    "2.1 and 2.2: it changes a transformer of width 5120, that of family tiny-t2v has 192; "
                    "use a LoRA that was made for this model.",
                    with_file(safetensors(WIDE)),
                    code=3,
                ),
                Case(
                    "lora-with-image-tokens",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: the model has no place for 2 of the "
                    "LoRA's 4 tensors: 'diffusion_model.blocks.0.cross_attn.k_img.*' "
                    "(the model has no such module); use a LoRA that was made for this model, or go on "
                    'without them with unmatched = "skip".',
                    with_file(
                        safetensors(
                            {**pair(), **pair(Q.replace("self_attn.q", "cross_attn.k_img"))}
                        )
                    ),
                    code=3,
                ),
                Case(
                    "lora-of-which-nothing-fits",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: nothing in the LoRA fits the model: "
                    "of 'lora_unet_single_blocks_0_linear1.lora_down.weight', the model has no such module; "
                    "use a LoRA that was made for this model.",
                    with_file(
                        safetensors(
                            {
                                "lora_unet_single_blocks_0_linear1.lora_down.weight": [4, 8],
                                "lora_unet_single_blocks_0_linear1.lora_up.weight": [8, 4],
                            }
                        ),
                        ', unmatched = "skip"',
                    ),
                    code=3,
                ),
                Case(
                    "lora-of-half-a-pair",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: the model has no place for 1 of the "
                    "LoRA's 3 tensors: 'diffusion_model.blocks.1.self_attn.q.lora_B.weight' (what belongs to "
                    "it is missing); use a LoRA that was made for this model, or go on without them with "
                    'unmatched = "skip".',
                    with_file(
                        safetensors({**pair(), f"{Q.replace('0', '1')}.lora_B.weight": [192, 4]})
                    ),
                    code=3,
                ),
                Case(
                    "lora-with-two-adapters",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: "
                    "'diffusion_model.blocks.0.self_attn.q.lora_A.weight' and "
                    "'diffusion_model.blocks.0.self_attn.q.lora_A.b.weight' are the same part of one module: "
                    "the file holds two adapters; save one of them by itself.",
                    with_file(safetensors({**pair(), f"{Q}.lora_A.b.weight": [4, 192]})),
                    code=3,
                ),
                Case(
                    "lora-with-one-adapter-twice",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: "
                    "'diffusion_model.blocks.0.self_attn.q.lora_A.weight' and "
                    "'blocks.0.self_attn.q.lora_A.weight' change one weight: the file holds "
                    "two adapters; save one of them by itself.",
                    with_file(safetensors({**pair(), **pair(Q.removeprefix("diffusion_model."))})),
                    code=3,
                ),
                Case(
                    "lora-for-control",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: the LoRA makes "
                    "'patch_embedding.weight' 32 input channels wide, and that of the family has 16; name a "
                    "family that takes 32, or use a LoRA that keeps the model's shapes.",
                    with_file(
                        safetensors(
                            {
                                "diffusion_model.patch_embedding.reshape_weight": [5],
                                "diffusion_model.patch_embedding.lora_A.weight": [4, 32, 1, 2, 2],
                                "diffusion_model.patch_embedding.lora_B.weight": [192, 4, 1, 1, 1],
                            }
                        )
                    ),
                    code=3,
                ),
                Case(
                    "lora-for-control-that-does-not-say-so",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: the LoRA makes "
                    "'patch_embedding.weight' 32 input channels wide, and that of the family has 16; name a "
                    "family that takes 32, or use a LoRA that keeps the model's shapes.",
                    with_file(
                        safetensors(
                            {
                                **pair(),
                                "diffusion_model.patch_embedding.lora_A.weight": [4, 32, 1, 2, 2],
                                "diffusion_model.patch_embedding.lora_B.weight": [192, 4, 1, 1, 1],
                            }
                        )
                    ),
                    code=3,
                ),
                Case(
                    "lora-of-rank-zero",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: nothing in the LoRA fits the model: "
                    f"of '{Q}.lora_A.weight', it holds no numbers; use a "
                    "LoRA that was made for this model.",
                    with_file(safetensors(pair(rank=0))),
                    code=3,
                ),
                Case(
                    "lora-with-odd-names",
                    "w.toml, line 4, model.loras.0.file, x.safetensors: the model has no place for 1 of the "
                    "LoRA's 3 tensors: {any} (it is no part of a LoRA that is known); use a LoRA that was "
                    'made for this model, or go on without them with unmatched = "skip".',
                    with_file(safetensors({**pair(), "\x1b[2J\r\n": [1]})),
                    code=3,
                ),
                Case(
                    "loras-of-a-family-without",
                    "w.toml, line 4, model.loras: family tiny-random takes no LoRAs; leave loras out, or name "
                    "another family.",
                    {"w.toml": lora(family="tiny-random"), "x.safetensors": GOOD},
                ),
                Case(
                    "lora-that-can-not-be-merged",
                    "w.toml, line 4, model.loras.0.merge: x.safetensors can't be merged into the weights: its "
                    "strength changes by step; leave merge out.",
                    with_file(GOOD, ", strength = [1, 0.5], merge = true"),
                ),
                Case(
                    "lora-for-one-of-two-experts",
                    "w.toml, line 4, model.loras.0.transformer: family tiny-t2v has one transformer, not one "
                    "for high and one for low noise; leave transformer out.",
                    with_file(GOOD, ', transformer = "high"'),
                ),
            ),
        ),
        Trouble(
            "The table of a LoRA says something odd",
            '`loras` is a list of tables: `loras = [{ file = "x.safetensors", strength = 0.8 }]`.',
            "Correct the value; the [reference](../reference/workflow.md) lists all keys.",
            (
                Case(
                    "loras-are-text",
                    'w.toml, line 4, model.loras: loras must be a list of tables, not "x.safetensors".',
                    {"w.toml": workflow(family="tiny-t2v", model='loras = "x.safetensors"')},
                ),
                Case(
                    "lora-is-text",
                    'w.toml, line 4, model.loras.0: loras.0 must be a table, not "x.safetensors".',
                    {"w.toml": workflow(family="tiny-t2v", model='loras = ["x.safetensors"]')},
                ),
                Case(
                    "lora-without-file",
                    "w.toml, line 4, model.loras.0: this table needs file; add file = VALUE (the LoRA file).",
                    {"w.toml": workflow(family="tiny-t2v", model="loras = [{ strength = 1 }]")},
                ),
                Case(
                    "lora-strength",
                    "w.toml, line 4, model.loras.0.strength: strength must be from -100 to 100, not 1000.",
                    with_file(GOOD, ", strength = 1000"),
                ),
                Case(
                    "lora-strengths",
                    "w.toml, line 4, model.loras.0.strength: strength has 30 numbers for 24 steps; give one "
                    "for each step at most.",
                    with_file(GOOD, f", strength = {[1] * 30}"),
                ),
                Case(
                    "lora-merge",
                    'w.toml, line 4, model.loras.0.merge: merge must be true or false, not "no".',
                    with_file(GOOD, ', merge = "no"'),
                ),
                Case(
                    "lora-blocks",
                    'w.toml, line 4, model.loras.0.blocks: blocks holds "first", which is no block such as '
                    '"3" or "0-9".',
                    with_file(GOOD, ', blocks = "first"'),
                ),
                Case(
                    "lora-blocks-turned",
                    'w.toml, line 4, model.loras.0.blocks: blocks holds "9-0", which is no block such as '
                    '"3" or "0-9".',
                    with_file(GOOD, ', blocks = "1, 9-0"'),
                ),
                Case(
                    "lora-blocks-factor",
                    "w.toml, line 4, model.loras.0.blocks.0-9: 0-9 must be from -100 to 100, not 1e+99.",
                    with_file(GOOD, ', blocks = { "0-9" = 1e99 }'),
                ),
                Case(
                    "lora-skip-nothing",
                    "w.toml, line 4, model.loras.0.skip: skip must be a list of at most 64 texts that are not "
                    "empty.",
                    with_file(GOOD, ', skip = [""]'),
                ),
                Case(
                    "lora-scaling",
                    'w.toml, line 4, model.loras.0.scaling: scaling must be "file" or "rank-stabilised", not '
                    '"rank-stabilized"; did you mean "rank-stabilised".',
                    with_file(GOOD, ', scaling = "rank-stabilized"'),
                ),
                Case(
                    "lora-unmatched",
                    'w.toml, line 4, model.loras.0.unmatched: unmatched must be "refuse" or "skip", not '
                    '"ignore".',
                    with_file(GOOD, ', unmatched = "ignore"'),
                ),
                Case(
                    "loras-too-many",
                    "w.toml, line 4, model.loras: loras holds 40 files, the most it may hold is 32.",
                    {
                        "w.toml": workflow(
                            family="tiny-t2v",
                            model="loras = ["
                            + ", ".join(['{ file = "x.safetensors" }'] * 40)
                            + "]",
                        )
                    },
                ),
            ),
        ),
    ),
)
