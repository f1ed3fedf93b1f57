"""The family ``tiny-ati``: what it is made of, and that its objects go where they are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wan_plugin_ati.tiny
from wan_plugin_ati.families import FAMILIES
from wan_plugin_ati.tiny import TINY_ATI

from wan_core import Session, parse_workflow
from wan_core.contract.lazy import resolve
from wan_core.media import read_frames
from wan_core.models.families import TINY_I2V

PICTURE = Path(__file__).parents[1] / "examples" / "pictures" / "tiny.png"
WEIGHTS = Path(wan_plugin_ati.tiny.__file__).with_name("ati.safetensors")
MOST_BYTES = 3_000_000
POINTS = [[28, 60], [40, 36], [68, 36]]
TEXT = f"""
format = 1
model = {{ family = "tiny-ati" }}
output = {{ path = "clip.mkv" }}
[[stages]]
use = "generate"
prompt = "a small red circle moves on a black background"
image = "{PICTURE}"
seed = 1
[[stages.apply]]
use = "ati"
tracks = [{{ points = {POINTS} }}]
"""


def test_it_is_the_cores_model_and_a_lora() -> None:
    assert TINY_ATI.components == TINY_I2V.components and TINY_ATI.preset == TINY_I2V.preset
    assert TINY_ATI.features == ("ati",)
    assert TINY_ATI.pictures and TINY_ATI.pictures.takes == ("image",)
    (lora,) = TINY_ATI.loras
    package, _, inside = lora.partition(":")
    assert package == "wan_plugin_ati"
    assert Path(wan_plugin_ati.__file__).parent / inside == WEIGHTS


def test_words_of_its_own_training_are_known_and_others_are_named() -> None:
    assert TINY_ATI.warn is not None
    warn = resolve(TINY_ATI.warn)
    assert warn("a red circle and a blue square follow curved paths on a black background") is None
    assert warn("A small red circle follows the drawn path, on a black background") is None
    assert '"elephant"' in warn("an elephant follows the track")


@pytest.mark.skipif(TINY_ATI not in FAMILIES, reason="its weights are not here")
def test_its_circle_goes_along_the_track(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size <= MOST_BYTES
    with Session(device="cpu", cache=tmp_path / "cache") as session:
        (path,) = session.run(parse_workflow(TEXT, folder=tmp_path)).outputs
    clip = np.stack(list(read_frames(path))).astype(float)
    red = np.clip(clip[..., 0] - clip[..., 1:].max(-1) - 60, 0, None)
    total = red.sum((1, 2))
    assert total.min() > 0
    x = (red.sum(1) * (np.arange(96) + 0.5)).sum(1) / total
    y = (red.sum(2) * (np.arange(96) + 0.5)).sum(1) / total
    times = np.linspace(0, 1, 33)
    wanted = [np.interp(times, np.linspace(0, 1, 3), [p[axis] for p in POINTS]) for axis in (0, 1)]
    distance = np.hypot(x - wanted[0], y - wanted[1])
    assert distance.mean() < 0.05 * 96
