"""The Wan transformer: the velocity of video latents, given a timestep and text.

Wan 2.1 and 2.2 (arXiv 2503.20314) in every published variant, by :class:`WanConfig`. Parameters
have the official names, so official state dicts load strictly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wan_core.contract.attention import AttentionCall
from wan_core.contract.conditioning import NATURAL, NOTHING, Positions
from wan_core.contract.state import State
from wan_core.memory.units import Unit, rest_of
from wan_core.models.wan.block import BlockCall, WanBlock
from wan_core.models.wan.config import PATCH, WanConfig
from wan_core.models.wan.embeddings import (
    Head,
    ImageEmbedding,
    PatchEmbedding,
    grid_of,
    sinusoid,
    unpatchify,
)
from wan_core.models.wan.files import KEEP_FLOAT32
from wan_core.models.wan.layers import Float32Linear
from wan_core.models.wan.rope import Grid, RopeCache, Table, padded
from wan_core.models.wan.sub_steps import Source
from wan_core.models.wan.vace import VaceBlock, VaceContext, contexts_of
from wan_core.weights.lora import KeptApart


@attrs.define(eq=False)
class Circumstances:
    """What all blocks of one forward pass share, beside the tokens, the time and the context.

    Attributes:
        rope: tables for all tokens.
        grid: token grid; None when the samples differ.
        lengths: true tokens per sample ``[batch]``; None = there is no padding.
        branch: guidance branch.
        add_ons: add-on -> input -> tensor.
        skip_blocks: blocks that are left out.
        state: state across calls.
    """

    rope: Table
    grid: Grid | None
    lengths: Tensor | None = None
    branch: str = "cond"
    add_ons: Mapping[str, Mapping[str, Tensor]] = NOTHING
    skip_blocks: frozenset[int] = frozenset()
    state: Mapping[str, State] = NOTHING

    def self_attention(self, block: int, unit: str) -> AttentionCall:
        """The call of a block's self-attention; ``unit`` is the block's name."""
        return AttentionCall(
            rope_q=self.rope,
            rope_k=self.rope,
            grid=self.grid,
            lengths=self.lengths,
            block=block,
            branch=self.branch,
            state=self._part(unit),
        )

    def _part(self, unit: str) -> dict[str, Tensor] | None:
        state = self.state.get("attention")
        if state is None:
            return None
        try:  # one look: a part may have to be fetched
            return dict(state.parts[unit])
        except KeyError:
            return {} if state.spec.mutable else None

    def put_back(self, unit: str, call: AttentionCall) -> None:
        """Keep what a block's self-attention made of its part of a mutable state."""
        state = self.state.get("attention")
        if state is not None and state.spec.mutable:
            state.parts[unit] = call.state or {}

    def cross_attention(self, block: int, source: str) -> AttentionCall:
        """The call of a block's attention to one source."""
        return AttentionCall(source, grid=self.grid, block=block, branch=self.branch)


class WanTransformer(nn.Module):
    """The transformer; see :meth:`forward`.

    Residual stream, norms, modulation, time embedding and head are float32; projections and
    attention run in :attr:`dtype`.

    Attributes:
        rows: tokens that a feed-forward handles at a time, without gradients; None = all.
        loras: LoRA files beside its weights; None = there are none.
    """

    KEEP_FLOAT32 = KEEP_FLOAT32

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.patch_embedding = PatchEmbedding(config.in_dim, dim)
        self.text_embedding = nn.Sequential(
            nn.Linear(config.text_dim, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim)
        )
        self.time_embedding = nn.Sequential(
            Float32Linear(config.freq_dim, dim), nn.SiLU(), Float32Linear(dim, dim)
        )
        self.time_projection = nn.Sequential(nn.SiLU(), Float32Linear(dim, 6 * dim))
        if config.image_dim is not None:
            self.img_emb = ImageEmbedding(config.image_dim, dim, config.image_positions)
        self.blocks = nn.ModuleList(WanBlock(config) for _ in range(config.num_layers))
        self.head = Head(dim, PATCH[0] * PATCH[1] * PATCH[2] * config.out_dim, config.eps)
        if config.vace_layers:
            self.vace_patch_embedding = PatchEmbedding(config.vace_in_dim or config.in_dim, dim)
            self.vace_blocks = nn.ModuleList(
                VaceBlock(config, first=k == 0) for k in range(len(config.vace_layers))
            )
        self.rows: int | None = None
        self.loras: KeptApart | None = None
        self._dtype: torch.dtype | None = None
        self._ropes = RopeCache()

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        text: Tensor | Sequence[Tensor],
        *,
        image_tokens: Tensor | None = None,
        positions: Positions = NATURAL,
        branch: str = "cond",
        add_ons: Mapping[str, Mapping[str, Tensor]] = NOTHING,
        skip_blocks: frozenset[int] = frozenset(),
        state: Mapping[str, State] = NOTHING,
    ) -> Tensor:
        """Predict the velocity ``noise - clean``.

        Args:
            latents: ``[batch, in_dim, frames, height, width]``, height and width even; conditioning
                channels follow the noisy ones.
            timesteps: 0…1000; ``[batch]``, ``[batch, frames]`` or ``[batch, tokens]``.
            text: ``[batch, rows, text_dim]``, or one ``[rows, text_dim]`` per sample; at most
                ``text_len`` rows. Padding is added and, as in training, attended to.
            image_tokens: ``[batch, tokens, image_dim]``; those of several images follow each other.
            positions: rope positions.
            branch: guidance branch, for attention callables.
            add_ons: add-on -> input -> tensor. Those of ``"vace"`` are contexts ``[batch,
                vace_in_dim, frames, height, width]`` and their scales, named as
                :func:`~wan_core.models.wan.vace.contexts_of` says.
            skip_blocks: blocks that this call leaves out.
            state: the part of ``state["attention"]`` for a unit reaches that block's self-attention; of a
                mutable state it is put back after the block.

        Returns:
            ``[batch, out_dim, frames, height, width]`` float32.
        """
        grid = grid_of(latents)
        rope = self._ropes.tables(self.config.head_width, grid, positions, latents.device)
        contexts = [
            VaceContext(self.vace_patch_embedding(context).float(), scale)
            for context, scale in contexts_of(add_ons.get("vace", NOTHING))
        ]
        patches = self.denoise(
            self.patch_embedding(latents).float(),
            timesteps,
            self.embed_context(text, image_tokens),
            Circumstances(rope, grid, None, branch, add_ons, skip_blocks, state),
            contexts,
        )
        return unpatchify(patches, grid)

    def forward_padded(
        self,
        latents: Sequence[Tensor],
        timesteps: Tensor,
        text: Sequence[Tensor],
        length: int,
        *,
        image_tokens: Tensor | None = None,
        vace_context: Sequence[Tensor] = (),
        vace_scale: Tensor | None = None,
    ) -> list[Tensor]:
        """Predict for samples of different sizes, their tokens padded to ``length`` and masked.

        Args:
            latents: per sample ``[in_dim, frames, height, width]``.
            timesteps: ``[batch]`` or ``[batch, length]``.
            text: per sample ``[rows, text_dim]``.
            image_tokens: ``[batch, tokens, image_dim]``.
            vace_context: per sample ``[vace_in_dim, frames, height, width]``.
            vace_scale: strength of the hints.

        Returns:
            Per sample ``[out_dim, frames, height, width]`` float32.

        Raises:
            ValueError: a sample has more tokens than ``length``.
        """
        grids = [grid_of(sample) for sample in latents]
        counts = [frames * height * width for frames, height, width in grids]
        if max(counts) > length:
            raise ValueError(f"{max(counts)} tokens do not fit a length of {length}")
        device, head_width = latents[0].device, self.config.head_width
        tables = [self._ropes.tables(head_width, grid, NATURAL, device) for grid in grids]
        shared = Circumstances(
            padded(tables, length),
            grids[0] if len(set(grids)) == 1 else None,
            torch.tensor(counts, device=device) if min(counts) < length else None,
        )

        def embed(embedding: nn.Module, samples: Sequence[Tensor]) -> Tensor:
            rows = [embedding(sample.unsqueeze(0)).float().squeeze(0) for sample in samples]
            return torch.stack([F.pad(row, (0, 0, 0, length - len(row))) for row in rows])

        contexts = []
        if vace_context:
            stream = embed(self.vace_patch_embedding, vace_context)
            contexts.append(VaceContext(stream, vace_scale))
        patches = self.denoise(
            embed(self.patch_embedding, latents),
            timesteps,
            self.embed_context(text, image_tokens),
            shared,
            contexts,
        )
        return [
            unpatchify(sample[None, :count], grid)[0]
            for sample, count, grid in zip(patches, counts, grids, strict=True)
        ]

    def denoise(
        self,
        tokens: Tensor,
        timesteps: Tensor,
        context: Mapping[str, Tensor],
        shared: Circumstances,
        vace: Sequence[VaceContext] = (),
    ) -> Tensor:
        """From tokens ``[batch, tokens, dim]`` to patches ``[batch, tokens, 4 * out_dim]`` float32.

        Args:
            timesteps: as for :meth:`forward`.
            context: cross-attention source -> tokens, as :meth:`embed_context` makes them.
            vace: contexts, embedded like ``tokens``.
        """
        time, projected = self.embed_time(timesteps)
        dtype = self.compute_dtype(tokens.device)

        def call(index: int, unit: str) -> BlockCall:
            sources = tuple(
                Source(name, rows, shared.cross_attention(index, name))
                for name, rows in context.items()
            )
            attention = shared.self_attention(index, unit)
            return BlockCall(projected, attention, sources, dtype, shared.add_ons, self.rows)

        x, start = tokens, tokens if vace else None
        del tokens  # without VACE nobody needs them after the first block
        hinting = self.hinting
        for index, block in enumerate(self.blocks):
            if index not in shared.skip_blocks:
                told = call(index, f"blocks.{index}")
                x = block(x, told)
                shared.put_back(f"blocks.{index}", told.attention)
            # hints depend on the chain alone: made here, only one is alive at a time
            for one in vace if index in hinting else ():
                k = hinting[index]
                told = call(len(self.blocks) + k, f"vace_blocks.{k}")
                one.stream, hint = self.vace_blocks[k](one.stream, told, start)
                shared.put_back(f"vace_blocks.{k}", told.attention)
                if index not in shared.skip_blocks:
                    x = one.add(x, hint)
        out: Tensor = self.head(x, time)
        return out

    def embed_time(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding ``[batch, groups, dim]`` and its projection ``[batch, groups, 6, dim]``.

        Float32; 1 group for a timestep per sample, else as many as ``timesteps`` has columns.
        """
        if timesteps.ndim == 1:
            timesteps = timesteps.unsqueeze(1)
        time = self.time_embedding(sinusoid(timesteps, self.config.freq_dim).float())
        return time, self.time_projection(time).unflatten(-1, (6, -1))

    def embed_context(
        self, text: Tensor | Sequence[Tensor], image_tokens: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Sources of the cross-attention ``[batch, rows, dim]`` by name; the same for all steps."""
        context = {"text": self.embed_text(text)}
        if image_tokens is not None:
            context["image"] = self.img_emb(image_tokens.to(self.dtype))
        return context

    def embed_text(self, text: Tensor | Sequence[Tensor]) -> Tensor:
        """Text rows, padded with zeros and then embedded: ``[batch, text_len, dim]``.

        Raises:
            ValueError: more rows than ``text_len``.
        """
        length = self.config.text_len
        longest = max(len(rows) for rows in text)
        if longest > length:
            raise ValueError(f"{longest} text rows, but the transformer takes {length}")
        rows = torch.stack([F.pad(rows, (0, 0, 0, length - len(rows))) for rows in text])
        out: Tensor = self.text_embedding(rows.to(self.dtype))
        return out

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of projections and attention: the one assigned, else that of the weights."""
        return self._dtype or next(self.text_embedding.parameters()).dtype

    @dtype.setter
    def dtype(self, dtype: torch.dtype | None) -> None:
        self._dtype = dtype

    def compute_dtype(self, device: torch.device) -> torch.dtype:
        """:attr:`dtype`, or autocast's while that is on."""
        if device.type != "meta" and torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return self.dtype

    @property
    def hinting(self) -> dict[int, int]:
        """Block -> VACE block that makes its hint."""
        return {layer: k for k, layer in enumerate(self.config.vace_layers)}

    def units(self) -> list[Unit]:
        """Blocks and VACE blocks in their order of use."""
        units = []
        for index, block in enumerate(self.blocks):
            units.append(Unit(f"blocks.{index}", block))
            if index in self.hinting:
                k = self.hinting[index]
                units.append(Unit(f"vace_blocks.{k}", self.vace_blocks[k]))
        return units

    def parts(self) -> list[Unit]:
        """Embeddings of text and image tokens: used once a pass, so they may be swapped, too."""
        names = ("text_embedding", "img_emb")
        return [Unit(name, getattr(self, name)) for name in names if hasattr(self, name)]

    def rest(self) -> dict[str, Tensor]:
        """Parameters outside the units, by name."""
        return rest_of(self, self.units())

    @torch.no_grad()
    def initialise(self) -> None:
        """Start values for training, as the makers' (Wan-Video/Wan2.1 ``wan/modules/model.py``)."""
        for name, parameter in self.named_parameters():
            if name.endswith("modulation"):
                nn.init.normal_(parameter, std=self.config.dim**-0.5)
            elif name.endswith("bias") or name == "head.head.weight" or "_proj.weight" in name:
                nn.init.zeros_(parameter)
            elif name.startswith(("text_embedding", "time_embedding")):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("weight") and parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter.flatten(1))
