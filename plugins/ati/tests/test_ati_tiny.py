"""The family ``tiny-ati``: what it is made of, and that its objects go where they are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import wan_plugin_ati.tiny
from wan_plugin_ati.tiny import TINY_ATI

from wan_core import Session, load_workflow
from wan_core.contract.lazy import resolve
from wan_core.media import read_frames
from wan_core.models.families import TINY_I2V

EXAMPLE = Path(__file__).parents[1] / "examples" / "tiny-ati.toml"
WEIGHTS = Path(wan_plugin_ati.tiny.__file__).with_name("ati.safetensors")
MOST_BYTES = 3_000_000


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


def test_a_prompt_that_leads_against_tracks_is_named() -> None:
    assert TINY_ATI.warn is not None
    note = resolve(TINY_ATI.warn)("a red circle moves right and up, right on a black background")
    assert note.startswith('the prompt says how things move ("right", "up"), which can lead more')
    both = resolve(TINY_ATI.warn)("an elephant stays still")
    assert '"elephant"' in both and '("still")' in both


def test_the_circle_of_the_example_goes_along_its_track(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size <= MOST_BYTES
    workflow = load_workflow(EXAMPLE, [f'output.path="{tmp_path / "clip.mkv"}"'])
    (track,) = workflow.stages[0].apply[0].options.tracks
    with Session(device="cpu", cache=tmp_path / "cache") as session:
        notes: list[str] = []
        (path,) = session.run(workflow, listen=lambda event: notes.append(str(event))).outputs
    assert not [note for note in notes if note.startswith("Note(")]
    clip = np.stack(list(read_frames(path))).astype(float)
    red = np.clip(clip[..., 0] - clip[..., 1:].max(-1) - 60, 0, None)
    total = red.sum((1, 2))
    assert total.min() > 0
    places = np.arange(96) + 0.5
    centre = (
        np.stack([(red.sum(1) * places).sum(1), (red.sum(2) * places).sum(1)], 1) / total[:, None]
    )
    points = np.asarray(track.points)
    times = np.linspace(0, 1, len(clip)), np.linspace(0, 1, len(points))
    wanted = np.stack([np.interp(*times, points[:, axis]) for axis in (0, 1)], 1)
    distance = np.linalg.norm(centre - wanted, axis=1)
    assert distance.mean() < 0.02 * 96
