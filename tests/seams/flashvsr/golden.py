"""The handler of the reference cases of a streamed transformer."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from wan_core.models.wan import WanConfig, attend
from wan_core.testing.golden import Case

from .attention import LocalSparseAttention
from .model import Stream, streaming_transformer

SIZES = (
    "dim",
    "ffn_dim",
    "num_heads",
    "num_layers",
    "in_dim",
    "out_dim",
    "freq_dim",
    "text_dim",
    "eps",
)


def stream_of(case: Case, context: Tensor) -> Stream:
    """The case's transformer, told ``context`` ``[rows, text width]``, with nothing in its caches."""
    sizes = {name: case["config"][name] for name in SIZES}
    with torch.device("meta"):
        denoiser = streaming_transformer(
            WanConfig(**sizes, text_len=len(context)), case["lq_layers"]
        )
    denoiser.transformer.load_state_dict(case.group("weights."), strict=True, assign=True)
    sparse = LocalSparseAttention(case["topk_ratio"], case["kv_ratio"], case["local_range"])
    return Stream(denoiser, context, sparse, attend)


def dit_stream(case: Case) -> None:
    """``flashvsr.dit_stream``: predictions, masks and caches of every chunk, and what is computed once."""
    masks: dict[int, Tensor] = {}
    stream = stream_of(case, case.tensor("inputs.context")[0])
    stream.sparse = attrs.evolve(stream.sparse, observe=masks.__setitem__)
    check_once(case, stream)
    lengths = case["latent_frames_per_chunk"]
    case.check_value("chunks", len(lengths), case["chunks"])
    last = f"blocks.{case['config']['num_layers'] - 1}"
    windows, empty = [], 0
    for chunk, noise in enumerate(case.tensor("inputs.latents").split(lengths, dim=2)):
        tokens = [rows.float() for rows in case.series(f"inputs.lq_tokens.{chunk}")]
        velocity = stream.predict(noise, tokens, case["timestep"])
        case.check(f"outputs.pred.{chunk}", velocity)
        case.check(f"outputs.x0.{chunk}", noise - velocity)
        for block in case.group(f"outputs.block_mask.{chunk}."):
            case.check(f"outputs.block_mask.{chunk}.{block}", masks[int(block)][0].byte())
        windows.append(stream.state.parts[last]["k"].shape[1])
        empty += sum(int((~mask.any(dim=-1)).sum()) for mask in masks.values())
    case.check_value("windows", windows, case["kv_cache_windows_after_chunk"])
    case.check_value("empty query blocks", empty, case["empty_query_blocks_total"])
    oldest = stream.state.parts[last]["k"][0, 0]
    case.check("outputs.kv_cache_k_last_block_first_window", oldest.flatten(1))


@torch.no_grad()
def check_once(case: Case, stream: Stream) -> None:
    """What does not change from chunk to chunk: the time embedding, text keys and values, the budget."""
    transformer = stream.denoiser.transformer
    time, projected = transformer.embed_time(torch.tensor([case["timestep"]]))
    case.check("outputs.t", time[:, 0])
    case.check("outputs.t_mod", projected[:, 0])
    text = transformer.embed_text(stream.text.unsqueeze(0))
    for block in map(int, case.group("outputs.cross_k.")):
        keys_values = transformer.blocks[block].cross_attn.keys_values("text", text)
        for name, rows in zip("kv", keys_values, strict=True):
            case.check(f"outputs.cross_{name}.{block}", rows.flatten(-2))
    rows, columns = (side // 16 for side in case.tensor("inputs.latents").shape[-2:])
    case.check_value("topk", stream.sparse.topk(rows * columns), case["topk"])


HANDLERS = {"flashvsr.dit_stream": dit_stream}
