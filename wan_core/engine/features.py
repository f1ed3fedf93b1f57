"""The features that one stage asks for, called in the workflow's order, and held to what they declare."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from wan_core.contract.conditioning import NAMED, SLOTS, Conditioning
from wan_core.contract.descriptions import Feature
from wan_core.contract.errors import PluginError
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import (
    AttentionPatch,
    AttentionRequest,
    ConditioningRequest,
    PostProcessRequest,
)
from wan_core.engine.guards import CheckedVideo, check_patch, guarded_attend
from wan_core.planning import Plan, PlannedStage
from wan_core.planning.handover import POST
from wan_core.plugins import Plugins


@attrs.frozen
class Features:
    """Calls the hooks of a stage's features.

    Attributes:
        made: what earlier stages made, by ``"NAME.output"``.
    """

    plan: Plan
    stage: PlannedStage
    plugins: Plugins
    made: Mapping[str, ChunkSource]

    def condition(self, conditioning: Conditioning, **circumstances: Any) -> Conditioning:
        """Each feature's ``wan_condition`` in turn.

        Raises:
            PluginError: a feature returns something else, writes a slot that it does not declare, or
                for latents that the stage does not have.
        """
        for asked in self.stage.spec.apply:
            feature = self.plugins.feature(asked.use)
            request = ConditioningRequest(
                feature=asked.use,
                options=asked.options,
                stage=self.stage.name,
                folder=self.plan.workflow.source.folder,
                inputs=self.made,
                pictures=self.stage.needs.pictures,
                **circumstances,
            )
            changed = self.plugins.call_feature(
                "wan_condition", asked.use, request=request, conditioning=conditioning
            )
            if changed is not None:
                self._check_conditioning(feature, asked.options, conditioning, changed)
                self._check_latents(feature, changed, request.latent_shapes)
                conditioning = changed
        return conditioning

    def attention_patches(self, **circumstances: Any) -> Sequence[AttentionPatch]:
        """All patches of all features, in order.

        Raises:
            PluginError: a feature returns something else.
        """
        patches: list[AttentionPatch] = []
        for asked in self.stage.spec.apply:
            request = AttentionRequest(
                feature=asked.use, options=asked.options, stage=self.stage.name, **circumstances
            )
            answer = self.plugins.call_feature("wan_patch_attention", asked.use, request=request)
            answer = answer or ()
            if not isinstance(answer, list | tuple) or not all(
                isinstance(one, AttentionPatch) for one in answer
            ):
                self._refuse(asked.use, "wan_patch_attention", "a list of AttentionPatch", answer)
            feature = self.plugins.feature(asked.use)
            for one in answer:
                check_patch(one, feature, self.plugins)
                attend = guarded_attend(one.attend, feature, self.plugins)
                patches.append(attrs.evolve(one, attend=attend))
        return patches

    def post_process(self, source: ChunkSource) -> ChunkSource:
        """Each feature's ``wan_post_process`` around the one before it.

        Raises:
            PluginError: now or while the result is read, a feature returns something else than a source
                of the stage's number of finite frames in the stage's size.
        """
        size = self.stage.needs.size
        if size is None:
            return source
        for asked in self.stage.spec.apply:
            request = PostProcessRequest(
                feature=asked.use,
                options=asked.options,
                stage=self.stage.name,
                folder=self.plan.workflow.source.folder,
                size=size,
                pictures=self.stage.needs.pictures,
            )
            changed = self.plugins.call_feature(
                "wan_post_process", asked.use, source=source, request=request
            )
            if changed is not None:
                feature = self.plugins.feature(asked.use)
                if POST not in feature.slots(asked.options):
                    self._refuse_undeclared(feature, [POST])
                if not hasattr(changed, "__iter__"):
                    self._refuse(asked.use, "wan_post_process", "a source of chunks", changed)
                source = CheckedVideo(changed, self.plugins, feature, size=size)
        return source

    def _check_conditioning(
        self, feature: Feature, options: Any, before: Conditioning, after: Any
    ) -> None:
        if not isinstance(after, Conditioning):
            self._refuse(feature.name, "wan_condition", "a Conditioning", after)
        written = {s for s in SLOTS if getattr(after, s) is not getattr(before, s)}
        for branch, overrides in after.branches.items():
            earlier = before.branches.get(branch, {})
            written |= {s for s, value in overrides.items() if earlier.get(s) is not value}
        if undeclared := sorted(written - set(feature.slots(options))):
            self._refuse_undeclared(feature, undeclared)

    def _refuse_undeclared(self, feature: Feature, slots: Sequence[str]) -> None:
        raise PluginError(
            f"{self.plugins.title_of(feature)} wrote {', '.join(slots)}, which its description does not "
            "declare",
            remedy="its author should add the slot to Feature.writes",
        )

    def _check_latents(
        self, feature: Feature, after: Conditioning, latents: Collection[str]
    ) -> None:
        told = [(slot, getattr(after, slot)) for slot in NAMED]
        for overrides in after.branches.values():
            told += [(slot, value) for slot, value in overrides.items() if slot in NAMED]
        for slot, value in told:
            if unknown := sorted(map(str, set(value) - set(latents))):
                raise PluginError(
                    f"{self.plugins.title_of(feature)} wrote {slot} for the latents "
                    f'"{unknown[0]}", which this stage does not have',
                    remedy=f"it has {', '.join(latents)}",
                )

    def _refuse(self, feature: str, hook: str, wanted: str, got: object) -> None:
        title = self.plugins.title_of(self.plugins.feature(feature))
        raise PluginError(f"{hook} of {title} returned {type(got).__name__}, not {wanted}")
