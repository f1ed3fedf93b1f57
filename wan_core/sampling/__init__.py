"""Sampling: schedules, solvers, guidance and the loop.

Start with :mod:`wan_core.sampling.loop`; the solvers by name are in
:mod:`wan_core.sampling.catalog`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wan_core.contract.lazy import exports

if TYPE_CHECKING:
    from wan_core.sampling.catalog import SOLVERS as SOLVERS
    from wan_core.sampling.experts import TwoExperts as TwoExperts
    from wan_core.sampling.guidance import CFG as CFG
    from wan_core.sampling.guidance import ByExpert as ByExpert
    from wan_core.sampling.guidance_edits import RAAG as RAAG
    from wan_core.sampling.guidance_edits import TCFG as TCFG
    from wan_core.sampling.guidance_edits import Edit as Edit
    from wan_core.sampling.guidance_edits import FreSca as FreSca
    from wan_core.sampling.guidance_edits import TemporalScoreRescaling as TemporalScoreRescaling
    from wan_core.sampling.guidance_edits import ZeroStar as ZeroStar
    from wan_core.sampling.guidance_option import guidance_field as guidance_field
    from wan_core.sampling.guidance_options import build_guidance as build_guidance
    from wan_core.sampling.health import Health as Health
    from wan_core.sampling.health import LatentStatistics as LatentStatistics
    from wan_core.sampling.loop import StepReport as StepReport
    from wan_core.sampling.loop import sample as sample
    from wan_core.sampling.noise import NoiseSource as NoiseSource
    from wan_core.sampling.noise import SeededNoise as SeededNoise
    from wan_core.sampling.noise import noise_sources as noise_sources
    from wan_core.sampling.noise import start_latents as start_latents
    from wan_core.sampling.recipes import Recipe as Recipe
    from wan_core.sampling.recipes import SamplerSetup as SamplerSetup
    from wan_core.sampling.recording import Store as Store
    from wan_core.sampling.recording import recorded as recorded
    from wan_core.sampling.rescue import rescued as rescued
    from wan_core.sampling.schedules import Schedule as Schedule
    from wan_core.sampling.schedules import beta_spaced as beta_spaced
    from wan_core.sampling.schedules import shifted as shifted
    from wan_core.sampling.state import SamplerState as SamplerState

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "CFG": "guidance",
        "RAAG": "guidance_edits",
        "SOLVERS": "catalog",
        "TCFG": "guidance_edits",
        "ByExpert": "guidance",
        "Edit": "guidance_edits",
        "FreSca": "guidance_edits",
        "Health": "health",
        "LatentStatistics": "health",
        "NoiseSource": "noise",
        "Recipe": "recipes",
        "SamplerSetup": "recipes",
        "SamplerState": "state",
        "Schedule": "schedules",
        "SeededNoise": "noise",
        "StepReport": "loop",
        "Store": "recording",
        "TemporalScoreRescaling": "guidance_edits",
        "TwoExperts": "experts",
        "ZeroStar": "guidance_edits",
        "beta_spaced": "schedules",
        "build_guidance": "guidance_options",
        "guidance_field": "guidance_option",
        "noise_sources": "noise",
        "recorded": "recording",
        "rescued": "rescue",
        "sample": "loop",
        "shifted": "schedules",
        "start_latents": "noise",
    },
)
