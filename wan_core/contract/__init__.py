"""The contract: what plugins and the core share. Importing it never imports torch.

These names are public, as are three modules: :mod:`~wan_core.contract.options`, the fields of option
classes, named for what they hold (``text``, ``path`` …) and therefore best read with their module;
:mod:`~wan_core.contract.protocols`, whose ``Solver`` is what the description ``Solver`` builds; and
:mod:`~wan_core.contract.lazy`, import strings and lazy exports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.contract.attention import Attend as Attend
    from wan_core.contract.attention import AttentionCall as AttentionCall
    from wan_core.contract.attention import AttentionSupport as AttentionSupport
    from wan_core.contract.attention import Segment as Segment
    from wan_core.contract.conditioning import ALWAYS as ALWAYS
    from wan_core.contract.conditioning import NATURAL as NATURAL
    from wan_core.contract.conditioning import NOTHING as NOTHING
    from wan_core.contract.conditioning import Axis as Axis
    from wan_core.contract.conditioning import Conditioning as Conditioning
    from wan_core.contract.conditioning import Held as Held
    from wan_core.contract.conditioning import Inputs as Inputs
    from wan_core.contract.conditioning import Positions as Positions
    from wan_core.contract.conditioning import StepRange as StepRange
    from wan_core.contract.conditioning import Time as Time
    from wan_core.contract.conditioning import Timed as Timed
    from wan_core.contract.conditioning import anchored as anchored
    from wan_core.contract.conditioning import sliced as sliced
    from wan_core.contract.conditioning import whole as whole
    from wan_core.contract.descriptions import AttentionBackend as AttentionBackend
    from wan_core.contract.descriptions import Command as Command
    from wan_core.contract.descriptions import Component as Component
    from wan_core.contract.descriptions import Description as Description
    from wan_core.contract.descriptions import Dialect as Dialect
    from wan_core.contract.descriptions import Family as Family
    from wan_core.contract.descriptions import Feature as Feature
    from wan_core.contract.descriptions import GoldenKinds as GoldenKinds
    from wan_core.contract.descriptions import Pictures as Pictures
    from wan_core.contract.descriptions import Preset as Preset
    from wan_core.contract.descriptions import PublishedFile as PublishedFile
    from wan_core.contract.descriptions import Solver as Solver
    from wan_core.contract.descriptions import Stage as Stage
    from wan_core.contract.errors import Cancelled as Cancelled
    from wan_core.contract.errors import DeadLatentsError as DeadLatentsError
    from wan_core.contract.errors import MediaError as MediaError
    from wan_core.contract.errors import PluginError as PluginError
    from wan_core.contract.errors import ResourceError as ResourceError
    from wan_core.contract.errors import WanCoreError as WanCoreError
    from wan_core.contract.errors import WeightsError as WeightsError
    from wan_core.contract.errors import WorkflowError as WorkflowError
    from wan_core.contract.errors import nearest as nearest
    from wan_core.contract.events import Event as Event
    from wan_core.contract.events import Listener as Listener
    from wan_core.contract.events import Note as Note
    from wan_core.contract.events import Preview as Preview
    from wan_core.contract.events import Recovered as Recovered
    from wan_core.contract.events import RerunCompared as RerunCompared
    from wan_core.contract.events import RunFailed as RunFailed
    from wan_core.contract.events import RunFinished as RunFinished
    from wan_core.contract.events import RunStarted as RunStarted
    from wan_core.contract.events import StageFinished as StageFinished
    from wan_core.contract.events import StageStarted as StageStarted
    from wan_core.contract.events import SweepFinished as SweepFinished
    from wan_core.contract.events import TaskFinished as TaskFinished
    from wan_core.contract.events import TaskProgress as TaskProgress
    from wan_core.contract.events import TaskStarted as TaskStarted
    from wan_core.contract.loading import Components as Components
    from wan_core.contract.loading import LoadRequest as LoadRequest
    from wan_core.contract.loras import LoraUse as LoraUse
    from wan_core.contract.placement import Placement as Placement
    from wan_core.contract.protocols import BranchCall as BranchCall
    from wan_core.contract.protocols import ChunkSource as ChunkSource
    from wan_core.contract.protocols import Denoiser as Denoiser
    from wan_core.contract.protocols import Guidance as Guidance
    from wan_core.contract.protocols import Latents as Latents
    from wan_core.contract.protocols import LatentSource as LatentSource
    from wan_core.contract.protocols import SoundSource as SoundSource
    from wan_core.contract.protocols import Stateful as Stateful
    from wan_core.contract.protocols import Step as Step
    from wan_core.contract.protocols import TextEncoder as TextEncoder
    from wan_core.contract.quantization import Quantization as Quantization
    from wan_core.contract.requests import AttentionPatch as AttentionPatch
    from wan_core.contract.requests import AttentionRequest as AttentionRequest
    from wan_core.contract.requests import ConditioningRequest as ConditioningRequest
    from wan_core.contract.requests import FeatureCheck as FeatureCheck
    from wan_core.contract.requests import GivenFrames as GivenFrames
    from wan_core.contract.requests import PictureRequest as PictureRequest
    from wan_core.contract.requests import PlanContext as PlanContext
    from wan_core.contract.requests import PostProcessRequest as PostProcessRequest
    from wan_core.contract.requests import StageContext as StageContext
    from wan_core.contract.requests import StageNeeds as StageNeeds
    from wan_core.contract.requests import VideoSize as VideoSize
    from wan_core.contract.stack import Stack as Stack
    from wan_core.contract.state import State as State
    from wan_core.contract.state import StateSpec as StateSpec

CONTRACT_VERSION = (1, 1)
"""Major and minor version. A plugin made for another major version is not loaded."""

__getattr__, __dir__, _lazy = exports(
    __name__,
    {
        "Preset": "descriptions",
        "PublishedFile": "descriptions",
        "Component": "descriptions",
        "Family": "descriptions",
        "Pictures": "descriptions",
        "Stack": "stack",
        "Stage": "descriptions",
        "Feature": "descriptions",
        "Solver": "descriptions",
        "AttentionBackend": "descriptions",
        "Dialect": "descriptions",
        "Command": "descriptions",
        "GoldenKinds": "descriptions",
        "Description": "descriptions",
        "Segment": "attention",
        "AttentionCall": "attention",
        "Attend": "attention",
        "AttentionSupport": "attention",
        "NOTHING": "conditioning",
        "StepRange": "conditioning",
        "ALWAYS": "conditioning",
        "Time": "conditioning",
        "whole": "conditioning",
        "sliced": "conditioning",
        "anchored": "conditioning",
        "Timed": "conditioning",
        "Held": "conditioning",
        "Axis": "conditioning",
        "Positions": "conditioning",
        "NATURAL": "conditioning",
        "Inputs": "conditioning",
        "Conditioning": "conditioning",
        "VideoSize": "requests",
        "LoadRequest": "loading",
        "LoraUse": "loras",
        "Components": "loading",
        "FeatureCheck": "requests",
        "GivenFrames": "requests",
        "PictureRequest": "requests",
        "ConditioningRequest": "requests",
        "AttentionRequest": "requests",
        "AttentionPatch": "requests",
        "PostProcessRequest": "requests",
        "PlanContext": "requests",
        "StageNeeds": "requests",
        "StageContext": "requests",
        "State": "state",
        "StateSpec": "state",
        "WanCoreError": "errors",
        "WorkflowError": "errors",
        "WeightsError": "errors",
        "PluginError": "errors",
        "ResourceError": "errors",
        "DeadLatentsError": "errors",
        "MediaError": "errors",
        "Cancelled": "errors",
        "nearest": "errors",
        "Event": "events",
        "RunStarted": "events",
        "StageStarted": "events",
        "TaskStarted": "events",
        "TaskProgress": "events",
        "TaskFinished": "events",
        "StageFinished": "events",
        "Preview": "events",
        "Placement": "placement",
        "Quantization": "quantization",
        "Note": "events",
        "RunFinished": "events",
        "Recovered": "events",
        "RerunCompared": "events",
        "RunFailed": "events",
        "SweepFinished": "events",
        "Listener": "events",
        "Latents": "protocols",
        "Step": "protocols",
        "BranchCall": "protocols",
        "Guidance": "protocols",
        "Denoiser": "protocols",
        "ChunkSource": "protocols",
        "LatentSource": "protocols",
        "SoundSource": "protocols",
        "Stateful": "protocols",
        "TextEncoder": "protocols",
    },
)
__all__ = ["CONTRACT_VERSION", *_lazy]
