"""Encoding the texts of all stages in one residency of each text encoder, or taking them from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan_core.contract.errors import WeightsError
from wan_core.contract.placement import RESIDENT
from wan_core.engine.components import ModelComponents
from wan_core.engine.pieces import named_weights
from wan_core.engine.recovery import Recovery
from wan_core.engine.swapping import HostComponents
from wan_core.memory import Ledger, Residency
from wan_core.models.encoders import EmbeddingCache, embedding_key
from wan_core.planning import Plan, PlannedModel
from wan_core.planning.sharing import together
from wan_core.plugins import Plugins
from wan_core.weights.spoilt import spoilt_weight

if TYPE_CHECKING:
    from torch import Tensor

STAGE = "text"
SLOT = "text_encoder"
TOGETHER = 16
"""Prompts in a call of a swapped encoder: the rows of so many lie on the device at a time."""


def encode_texts(
    plan: Plan,
    plugins: Plugins,
    residencies: Mapping[str, Residency],
    host: HostComponents,
    ledger: Ledger,
    cache: Path,
    recovery: Recovery | None = None,
) -> dict[str, Mapping[str, Tensor]]:
    """Model name -> prompt -> text rows ``[rows, text width]`` on the CPU.

    Models that have their text encoder in common are served together.

    Args:
        residencies: device -> what is resident there.
        host: what lies in host memory to be swapped.
        cache: folder of the embedding cache.
        recovery: what happens when memory runs out.
    """
    recovery = recovery or Recovery(ledger.tell, ledger, plan)
    encoded: dict[str, Mapping[str, Tensor]] = {}
    for names in together(plan.models, SLOT, plan.texts):
        components = ModelComponents(
            plan, plan.models[names[0]], plugins, residencies, host, ledger, STAGE, recovery
        )
        prompts = tuple(dict.fromkeys(one for name in names for one in plan.texts[name]))
        rows = _encode(prompts, components, ledger, EmbeddingCache(cache), recovery)
        encoded |= {name: {one: rows[one] for one in plan.texts[name]} for name in names}
    return encoded


def _encode(
    prompts: Sequence[str],
    components: ModelComponents,
    ledger: Ledger,
    cache: EmbeddingCache,
    recovery: Recovery,
) -> dict[str, Tensor]:
    model = components.model
    keys = {prompt: _key(model, prompt) for prompt in prompts}
    rows = {p: found for p, key in keys.items() if key and (found := cache.get(key)) is not None}
    lacking = [prompt for prompt in prompts if prompt not in rows]
    planned = model.placements.get(SLOT, RESIDENT).device
    if lacking:
        try:
            encoder = components.get(SLOT)
            with ledger.task(STAGE, "encoding", total=len(lacking), unit="prompt") as progress:
                done = 0
                for some in _together(lacking, swapped=components.is_swapped(SLOT)):
                    with components.attributed():
                        made = recovery.persist(partial(encoder.encode, some), [components])
                    rows.update({p: one.cpu() for p, one in zip(some, made, strict=True)})
                    # before anything is kept for later runs
                    if not all(bool(rows[prompt].isfinite().all()) for prompt in some):
                        raise _why_not_finite(encoder, model)
                    # rows of another device differ in the last bits: no later run takes them for its own
                    if components.placement(SLOT).device == planned:
                        for prompt in some:
                            if key := keys[prompt]:
                                cache.put(key, rows[prompt])
                    done += len(some)
                    progress(done)
        finally:
            components.close()
    return rows


def _why_not_finite(encoder: Any, model: PlannedModel) -> WeightsError:
    """Find the cause: a broken weight, or a precision that is too small."""
    file = model.files.get(SLOT)
    name = file.path.name if file else ""
    if spoilt := spoilt_weight(named_weights(encoder)):
        return WeightsError(
            f"{spoilt}, which spoils the text rows",
            where=name,
            remedy="the text encoder's file is damaged: download or convert it again",
        )
    return WeightsError(
        "the text rows that it makes hold NaN or infinity",
        where=name,
        remedy="run the text encoder in bfloat16 or float32, or check its file",
    )


def _together(prompts: Sequence[str], *, swapped: bool) -> list[list[str]]:
    """Prompts that are encoded in one call: a swapped layer travels once for all of them."""
    step = TOGETHER if swapped else 1
    return [list(prompts[i : i + step]) for i in range(0, len(prompts), step)]


def _key(model: PlannedModel, prompt: str) -> str | None:
    """What the rows depend on; None for a component that makes its own weights."""
    file = model.files.get(SLOT)
    if file is None or model.tokenizer is None:
        return None
    placement = model.placements.get(SLOT, RESIDENT)
    return embedding_key(
        prompt,
        encoder=file.fingerprint,
        tokenizer=model.tokenizer.fingerprint,
        dtype=model.dtype,
        device=(placement.device or model.device).partition(":")[0],
        text_len=int(model.family.components[SLOT].config["text_len"]),
    )
