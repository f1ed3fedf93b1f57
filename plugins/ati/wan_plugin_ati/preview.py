"""What tracks look like on their picture, before a second is spent on a GPU. Loads no weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from wan_core import Plugins, Workflow, load_workflows
from wan_core.contract import (
    FeatureCheck,
    MediaError,
    PlanContext,
    StageNeeds,
    VideoSize,
    WorkflowError,
)
from wan_core.contract.lazy import resolve
from wan_core.contract.options import show
from wan_core.media import (
    area_size,
    check_target,
    fit,
    is_still,
    read_frames,
    read_still,
    write_png,
    write_video,
)
from wan_core.workflow import FeatureSpec, StageSpec
from wan_plugin_ati.checking import check, summary
from wan_plugin_ati.clip import Laid, Layout, lay_out
from wan_plugin_ati.drawing import Picture, draw_over, layer_of, on_picture
from wan_plugin_ati.families import ATI_14B, FEATURE
from wan_plugin_ati.files import read_tracks
from wan_plugin_ati.options import AtiOptions, drawing_from
from wan_plugin_ati.placing import layout_of
from wan_plugin_ati.tracks import Drawing, TracksError

STILL = ".png"
GREY = 128
LEAST_SIDE = 384
"""Pixels of the short side; smaller pictures are shown in larger pixels."""
MOST_SIDE = 1536
"""Pixels of the long side that a picture is made larger to at most."""


@attrs.frozen(eq=False)
class Scene:
    """Tracks with the picture that they were drawn on.

    Attributes:
        picture: ``[height, width, 3]`` in the proportions of the video.
        source: the file that it comes from.
        notes: what is odd, for the user.
    """

    picture: Picture
    drawing: Drawing
    layout: Layout
    laid: Laid
    source: Path | None = None
    notes: tuple[str, ...] = ()

    def told(self) -> list[tuple[str, str]]:
        """What was read, in titled lines."""
        return summary(self.drawing, self.layout, self.laid)


def of_workflow(path: Path, overrides: Sequence[str] = (), stage: str | None = None) -> Scene:
    """The tracks of a workflow's stage.

    Args:
        overrides: as ``--set`` has them.
        stage: its name; None = the first that asks for tracks.

    Raises:
        WanCoreError: whatever planning would refuse, but for the files of the model.
    """
    plugins = Plugins.discover()
    try:
        # the runs of a sweep differ in seeds and prompts
        workflow = load_workflows(path, overrides, plugins=plugins)[0]
    except WorkflowError as error:
        if _is_drawing(path):
            raise WorkflowError(
                f"{show(path.name)} is a track file, and tracks alone have no picture",
                remedy="add --picture FILE",
            ) from error
        raise
    spec, asked = _asked(workflow, stage)
    if spec.model is None:
        raise WorkflowError(
            f"stage {spec.name} has no model that tracks could lead", where=path.name
        )
    family = plugins.family(workflow.models[spec.model].family)
    fitting = plugins.feature(FEATURE).families
    if family.name not in fitting and FEATURE not in family.features:
        raise WorkflowError(
            f"feature {FEATURE} does not fit family {family.name}",
            where=workflow.source.where(asked.key),
            remedy="it fits " + ", ".join(fitting),
        )
    needs = _needs(workflow, spec, plugins)
    if needs.size is None:
        raise WorkflowError(f"stage {spec.name} makes no video", where=path.name)
    request = FeatureCheck(
        feature=FEATURE,
        options=asked.options,
        stage=spec.name,
        where=partial(_place, workflow, asked.key),
        folder=workflow.source.folder,
        family=family,
        size=needs.size,
        steps=needs.steps,
        pictures=needs.pictures,
    )
    notes = tuple(check(request))
    picture = getattr(needs.options, "image", None)
    if isinstance(picture, Path):
        return _scene(asked.options, picture, request, notes)
    note = "no file holds the picture: tracks are shown on grey"
    return _scene(asked.options, None, request, (*notes, note))


def of_files(tracks: AtiOptions, picture: Path, frames: int | None = None) -> Scene:
    """Tracks on a picture, as a workflow with ``ati-14b`` would read them.

    Args:
        frames: of the video; None = the family's preset.

    Raises:
        WanCoreError: as the feature's check; no video has so many frames.
    """
    preset = ATI_14B.preset
    frames = preset.frames if frames is None else frames
    if (frames - 1) % preset.frame_step:
        below = (frames - 1) // preset.frame_step * preset.frame_step + 1
        raise WorkflowError(
            f"{frames} frames can't be made: the number must be {preset.frame_step} * n + 1",
            remedy=f"use {below} or {below + preset.frame_step}",
        )
    height, width = _first(picture).shape[:2]
    sides = area_size(width, height, preset.width * preset.height, preset.size_multiple)
    request = FeatureCheck(
        feature=FEATURE,
        options=tracks,
        stage="preview",
        where=lambda option: "",
        folder=Path(),
        family=ATI_14B,
        size=VideoSize(*sides, frames, preset.fps),
        pictures={"image": (width, height)},
    )
    return _scene(tracks, picture, request, tuple(check(request)))


def write(scene: Scene, path: Path, *, overwrite: bool = False) -> Path:
    """Write a picture (``.png``) with the ways of all tracks, or a video of moving points.

    Raises:
        MediaError: the suffix is not known, or the file is there already.
        ResourceError: the folder may not be written to.
    """
    if scene.source is not None and os.path.realpath(path) == os.path.realpath(scene.source):
        raise MediaError(f"{path} is the picture itself", remedy="name another file")
    if path.suffix.lower() == STILL and "%" not in path.name:
        return write_png(path, _frame(scene, 0), overwrite=overwrite)
    height, width = scene.picture.shape[:2]
    size = {"width": width - width % 2, "height": height - height % 2}
    check_target(path, **size, fps=scene.layout.fps, overwrite=overwrite)
    return write_video(path, _frames(scene), scene.layout.fps, overwrite=overwrite).path


def _is_drawing(path: Path) -> bool:
    try:
        read_tracks(path)
    except TracksError:
        return False
    return True


def _asked(workflow: Workflow, stage: str | None) -> tuple[StageSpec, FeatureSpec]:
    names = [spec.name for spec in workflow.stages]
    if stage is not None and stage not in names:
        raise WorkflowError(
            f"there is no stage {show(stage)}", remedy="there are " + ", ".join(names)
        )
    for spec in workflow.stages:
        for asked in spec.apply:
            if asked.use == FEATURE and stage in (None, spec.name):
                return spec, asked
    raise WorkflowError(
        f"no stage of {workflow.source.name} asks for {FEATURE}"
        if stage is None
        else f"stage {show(stage)} does not ask for {FEATURE}",
        remedy=f'add [[stages.apply]] with use = "{FEATURE}" and tracks = "FILE"',
    )


def _needs(workflow: Workflow, wanted: StageSpec, plugins: Plugins) -> StageNeeds:
    """What the stage would make, of what those before it make."""
    inputs: dict[str, VideoSize | None] = {}
    for spec in workflow.stages:
        description = plugins.stage(spec.use)
        needs = StageNeeds(spec.options)
        if description.plan:
            family = plugins.family(workflow.models[spec.model].family) if spec.model else None
            context = PlanContext(
                stage=spec.name,
                options=spec.options,
                where=partial(_place, workflow, spec.key),
                folder=workflow.source.folder,
                family=family,
                solver=plugins.solver,
                inputs=dict(inputs),
            )
            with plugins.attributed(description):
                needs = resolve(description.plan)(context)
        if spec is wanted:
            break
        inputs |= {f"{spec.name}.{output}": needs.size for output in description.outputs}
    return needs


def _place(workflow: Workflow, key: str, option: str) -> str:
    return workflow.source.where(f"{key}.{option}")


def _scene(
    options: AtiOptions, picture: Path | None, request: FeatureCheck, notes: tuple[str, ...]
) -> Scene:
    drawing = drawing_from(options)
    layout = layout_of(options, drawing, request.size, request.pictures)
    size = request.size
    pixels: Picture = np.full((size.height, size.width, 3), GREY, np.uint8)
    if picture is not None:
        cut = layout.window.left > 0 or layout.window.top > 0
        pixels = fit(_first(picture), size.width, size.height, "cover" if cut else "stretch")
    # what is drawn over a tiny picture would hide it
    sides = sorted((size.width, size.height))
    larger = max(1, min(LEAST_SIDE // sides[0], MOST_SIDE // sides[1]))
    pixels = pixels.repeat(larger, axis=0).repeat(larger, axis=1)
    return Scene(pixels, drawing, layout, lay_out(drawing, layout), picture, notes)


def _first(path: Path) -> Picture:
    """A picture, or the first frame of a video."""
    if is_still(path):
        return read_still(path).pixels
    return next(read_frames(path))


def _frames(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    # most formats want even sides; a picture loses a row at most
    height, width = (side - side % 2 for side in scene.picture.shape[:2])
    for frame in range(scene.layout.frames):
        yield _frame(scene, frame)[None, :height, :width]


def _frame(scene: Scene, frame: int) -> Picture:
    height, width = scene.picture.shape[:2]
    points = on_picture(scene.laid, scene.layout.window, width, height)
    return draw_over(scene.picture, layer_of(points, scene.laid.seen, frame, width, height))
