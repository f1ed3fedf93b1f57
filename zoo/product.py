"""Clips exactly as a user gets them: a workflow, a session, a video file, and that file read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import wan_core

if TYPE_CHECKING:
    from wan_core.contract.events import Listener
    from wan_core.models.vae import WanVAE


def video_of(
    session: wan_core.Session,
    prompt: str,
    seed: int,
    folder: Path,
    *,
    family: str = "tiny-t2v",
    output: str = "clip.mp4",
    listen: Listener | None = None,
    **options: Any,
) -> Tensor:
    """Run a bundled model through the product.

    Args:
        folder: where the video goes; the same name is used again and again.
        family: which model.
        output: the video's name; ``.mkv`` keeps every pixel as it is.
        listen: gets the events of the run.
        options: further keys of the stage (``frames=5``), and ``apply``, a list of features with their options;
            what is left out is the family's preset.

    Returns:
        ``[3, frames, height, width]`` uint8.
    """
    text = workflow_text({"prompt": prompt, "seed": seed} | options, family, output)
    workflow = wan_core.parse_workflow(text, folder=folder)
    (path,) = session.run(workflow, listen=listen).outputs
    return read_clip(path)


def workflow_text(stage: Mapping[str, Any], family: str, output: str) -> str:
    """A ``workflow.toml`` with one ``generate`` stage and the features in its key ``apply``."""
    keys = {key: value for key, value in stage.items() if key != "apply"}
    features = "".join(f"[[stages.apply]]\n{_lines(one)}\n" for one in stage.get("apply", ()))
    return (
        f'format = 1\nmodel = {{ family = "{family}" }}\n'
        f'output = {{ path = "{output}", overwrite = true }}\n'
        f'[[stages]]\nuse = "generate"\n{_lines(keys)}\n{features}'
    )


def _lines(keys: Mapping[str, Any]) -> str:
    """JSON's strings and numbers are TOML's too."""
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())


def read_clip(path: Path) -> Tensor:
    """A video file as ``[3, frames, height, width]`` uint8."""
    from wan_core.media import read_frames

    frames = torch.stack([torch.from_numpy(frame.copy()) for frame in read_frames(path)])
    return frames.permute(3, 0, 1, 2).contiguous()


def write_picture(path: Path, frame: Tensor) -> None:
    """A frame ``[3, height, width]`` uint8 as a picture."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(path)


def write_clip(path: Path, clip: Tensor, fps: int = 12) -> None:
    """A clip ``[3, frames, height, width]`` uint8 as a video file."""
    from wan_core.media import write_video

    write_video(path, [clip.permute(1, 2, 3, 0).contiguous().numpy()], fps)


def bundled_vae() -> WanVAE:
    """The bundled VAE as the product loads it, in float32 on the CPU."""
    from wan_core.contract.loading import LoadRequest
    from wan_core.models.families import TINY_T2V
    from wan_core.models.loaders import load_vae

    component = TINY_T2V.components["vae"]
    assert component.bundled is not None
    file = Path(wan_core.__file__).parent / "models" / component.bundled
    return load_vae(LoadRequest("vae", component, file, torch.device("cpu"), torch.float32))
