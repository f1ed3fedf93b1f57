"""What can be known of tracks before anything is computed. Imports no torch, but to open a ``.pth``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wan_core.contract import FeatureCheck, WanCoreError, WorkflowError
from wan_plugin_ati import published, splines
from wan_plugin_ati.clip import SAMPLES, Laid, Layout, lay_out
from wan_plugin_ati.families import FEATURE
from wan_plugin_ati.options import AtiOptions, drawing_from
from wan_plugin_ati.placing import layout_of, picture_size
from wan_plugin_ati.reach import note_on_reach
from wan_plugin_ati.sights import places_notes
from wan_plugin_ati.steps import leads
from wan_plugin_ati.tracks import Drawing

TRAINED_TRACKS = 20
"""ATI was trained with 1 to so many tracks a clip."""


def check(request: FeatureCheck) -> list[str]:
    """Look at everything; notes for the user.

    Raises:
        TracksError: the tracks can't be read, or can't be meant on this picture.
        WorkflowError: options that don't go together, or a family that has nothing for tracks to change.
    """
    options: AtiOptions = request.options
    _check_family(request)
    _check_canvas(request, options)
    _check_steps(request, options)
    with naming(request, "tracks"):
        drawing = drawing_from(options)
        layout = layout_of(options, drawing, request.size, request.pictures)
        laid = lay_out(drawing, layout)
        notes = [*drawing.repaired, *places_notes(drawing, layout, laid)]
    notes += _on_samples(drawing, layout)
    notes += _on_canvas(request, layout)
    notes += note_on_reach(options, request.family.name, request.size)
    if "last_image" in request.pictures:
        notes.append(
            "tracks take the channels that say which frames are given, so the video may not end with last_image"
        )
    if FEATURE not in request.family.features:
        notes.append(
            f"family {request.family.name} was not made for tracks, and its weights do not follow them; "
            "ati-14b with ATI's weights does"
        )
    return [_told(note) for note in notes]


def summary(drawing: Drawing, layout: Layout, laid: Laid) -> list[tuple[str, str]]:
    """What was read, in titled lines."""
    counts = sorted({len(track.points) for track in drawing.tracks})
    samples = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return [
        ("tracks", f"{len(drawing.tracks)}, from {drawing.form}"),
        ("samples", f"{samples} a track"),
        ("canvas", f"{layout.canvas[0]}x{layout.canvas[1]}, points in {layout.units}"),
        ("clip", f"{layout.frames} frame{'s' * (layout.frames > 1)} at {layout.fps:g} per second"),
        ("visible", f"{100 * float(laid.seen.mean()):.0f} % of all points"),
    ]


@contextmanager
def naming(request: FeatureCheck, option: str) -> Iterator[None]:
    """Errors name the place of the option in the workflow beside that of the file."""
    try:
        yield
    except WanCoreError as error:
        error.place(request.where(option))
        raise


def _check_family(request: FeatureCheck) -> None:
    if request.family.pictures is None:
        raise WorkflowError(
            f"family {request.family.name} is told of no picture, so it has no image channels for tracks",
            where=request.where("use"),
            remedy="use an image-to-video family such as ati-14b",
        )


def _check_canvas(request: FeatureCheck, options: AtiOptions) -> None:
    if (options.width is None) != (options.height is None):
        given, missing = ("height", "width") if options.width is None else ("width", "height")
        raise WorkflowError(
            f"{given} of the canvas is given without its {missing}",
            where=request.where(given),
            remedy=f"add {missing}",
        )


def _check_steps(request: FeatureCheck, options: AtiOptions) -> None:
    where = request.where("start" if options.start else "end")
    if options.start > options.end:
        raise WorkflowError(
            f"start {options.start:g} is after end {options.end:g}, so no step sees the tracks",
            where=where,
            remedy="use a start below the end",
        )
    steps = request.steps
    if steps and not any(leads(i, steps, options.start, options.end) for i in range(steps)):
        raise WorkflowError(
            f"none of the {steps} steps begins between start {options.start:g} and end "
            f"{options.end:g} of the run",
            where=where,
            remedy="use a longer part",
        )


def _on_samples(drawing: Drawing, layout: Layout) -> list[str]:
    notes = []
    if layout.frames == 1:
        notes.append("a clip of one frame has nothing that tracks could move")
    if len(drawing.tracks) > TRAINED_TRACKS:
        notes.append(
            f"there are {len(drawing.tracks)} tracks; ATI was trained with 1 to {TRAINED_TRACKS}"
        )
    zeros = layout.padding == "zeros"
    if drawing.form in (published.FORM, splines.FORM) or zeros:
        counts = {len(track.points) for track in drawing.tracks if track.times is None}
        # a single point stays where it is, which is meant
        if odd := sorted(counts - ({SAMPLES} if zeros else {1, SAMPLES})):
            becomes = "cut or filled up with hidden points" if zeros else "spread over the clip"
            said = ", ".join(map(str, odd[:5]))
            notes.append(
                f"tracks have {said} samples, ATI's own have {SAMPLES}: they are {becomes}"
            )
    return notes


def _on_canvas(request: FeatureCheck, layout: Layout) -> list[str]:
    picture = picture_size(request.size, request.pictures)
    (width, height), (across, down) = layout.canvas, picture
    if abs(width * down / (height * across) - 1) <= 0.02:
        return []
    return [
        f"tracks were drawn on {width}x{height}, which has other proportions than the picture's "
        f"{across}x{down}: they are stretched with it"
    ]


def _told(note: str) -> str:
    return f"feature {FEATURE}: {note}"
