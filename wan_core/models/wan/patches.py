"""Which callable serves which attention of which block, for the time of one stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wan_core.contract.attention import Attend
from wan_core.contract.errors import PluginError, nearest
from wan_core.contract.requests import AttentionPatch
from wan_core.models.wan.block import WanBlock
from wan_core.models.wan.transformer import WanTransformer

SELF = "self"


class AttentionPatches:
    """Attention callables of a transformer's blocks: one default, and patches over it by step.

    Args:
        transformer: whose blocks get them; or blocks, numbered as they come, of a transformer that is built
            in another way.
        default: serves every attention that no patch serves.
        patches: may cover all blocks or some, all steps or some.

    Raises:
        PluginError: a patch is for blocks or an attention that are not there, or two patches serve the
            same attention of the same block at the same step.
    """

    def __init__(
        self,
        transformer: WanTransformer | Sequence[WanBlock],
        default: Attend,
        patches: Sequence[AttentionPatch] = (),
    ) -> None:
        blocks: Sequence[object]
        if isinstance(transformer, Sequence):
            blocks = transformer
        else:  # numbered as in AttentionCall.block: VACE blocks follow the main ones
            blocks = [*transformer.blocks, *getattr(transformer, "vace_blocks", ())]
        self._blocks = {i: b for i, b in enumerate(blocks) if isinstance(b, WanBlock)}
        self._default = default
        self._patches = tuple(patches)
        for index, patch in enumerate(self._patches):
            self._refuse_misplaced(patch)
            for other in self._patches[:index]:
                _refuse_overlap(patch, other)

    def _refuse_misplaced(self, patch: AttentionPatch) -> None:
        blocks = self._blocks.keys() if patch.blocks is None else patch.blocks
        if missing := sorted(blocks - self._blocks.keys()):
            raise PluginError(
                f"an attention patch is for blocks {missing}, which the transformer does not have",
                remedy=f"its blocks are 0 … {len(self._blocks) - 1}",
            )
        sources = {SELF, *(name for i in blocks for name in self._blocks[i].cross_attn.attend)}
        if patch.source not in sources:
            raise PluginError(
                f'an attention patch is for the attention "{patch.source}", which none of its blocks has',
                remedy=nearest(patch.source, sources),
            )

    @contextmanager
    def active(self) -> Iterator[None]:
        """The stage's time: afterwards every attention is as it was."""
        before = [(b, b.self_attn.attend, dict(b.cross_attn.attend)) for b in self._blocks.values()]
        try:
            yield
        finally:
            for block, own, cross in before:
                block.self_attn.attend = own
                block.cross_attn.attend.update(cross)

    def use(self, step: int, steps: int) -> None:
        """Put the callables of step ``step`` of ``steps`` in place."""
        now = [p for p in self._patches if p.steps.holds(step, steps)]
        for index, block in self._blocks.items():
            serving = {p.source: p.attend for p in now if p.blocks is None or index in p.blocks}
            block.self_attn.attend = serving.get(SELF, self._default)
            for source in block.cross_attn.attend:
                block.cross_attn.attend[source] = serving.get(source, self._default)


def _refuse_overlap(one: AttentionPatch, other: AttentionPatch) -> None:
    blocks = one.blocks is None or other.blocks is None or not one.blocks.isdisjoint(other.blocks)
    steps = one.steps.start < other.steps.end and other.steps.start < one.steps.end
    if one.source == other.source and blocks and steps:
        raise PluginError(
            f'two attention patches serve the attention "{one.source}" of the same blocks and steps',
            remedy="ask for only one of the features that patch it, or limit their steps",
        )
