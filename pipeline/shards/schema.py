"""Format 1 of shards: names, shapes, types and meanings of all that one holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FORMAT = "gifnet-joint"
FORMAT_VERSION = 1
#: Of a whole dataset: its index, written last, and before that a line for each sample that is not in it.
INDEX_NAME, FAILURES_NAME = "index.json", "failures.jsonl"
_PLANE, _COLOUR, _SCALAR = "(N,T,T)", "(N,T,T,3)", "(N,)"
_LENS, _CAMERA = ("focus", "thin-lens"), ("exposure", "camera-response")


@dataclass(frozen=True, kw_only=True)
class Field:
    """One dataset of a shard: its shape with N samples of T x T pixels, its type and its meaning."""

    shape: str
    dtype: str
    meaning: str
    only: tuple[str, str] | None = None  # setting and mode without which a dataset has no such field


#: Format 1. The README shows this table and a test compares the two.
FIELDS: Mapping[str, Field] = {
    "infrared": Field(shape=_PLANE, dtype="u1", meaning="infrared frame"),
    "visible": Field(shape=_COLOUR, dtype="u1", meaning="visible frame, RGB"),
    "visible_focus_near": Field(shape=_COLOUR, dtype="u1", meaning="visible, far side out of focus"),
    "visible_focus_far": Field(shape=_COLOUR, dtype="u1", meaning="visible, near side out of focus"),
    "visible_over": Field(shape=_COLOUR, dtype="u1", meaning="visible, over-exposed"),
    "visible_under": Field(shape=_COLOUR, dtype="u1", meaning="visible, under-exposed"),
    "inverse_depth": Field(shape=_PLANE, dtype="f2", meaning="1 = nearest of its frame, 0 = farthest"),
    "focus_threshold": Field(shape=_SCALAR, dtype="f4", meaning="alpha: near where inverse_depth > alpha"),
    "blur_sigma_px": Field(
        shape=_SCALAR,
        dtype="f4",
        meaning="standard deviation of the blur, in pixels: of the Gaussian; thin-lens: of the disc that the "
        "far focus distance has in the near-focused picture (half its radius)",
    ),
    "tile_row": Field(shape=_SCALAR, dtype="i4", meaning="first row of the tile in its frame"),
    "tile_col": Field(shape=_SCALAR, dtype="i4", meaning="first column of the tile in its frame"),
    "frame_height": Field(shape=_SCALAR, dtype="i4", meaning="height of the frame, in pixels"),
    "frame_width": Field(shape=_SCALAR, dtype="i4", meaning="width of the frame, in pixels"),
    "id": Field(shape=_SCALAR, dtype="str", meaning="frame id, '#', number of the tile"),
    "f_number": Field(shape=_SCALAR, dtype="f4", only=_LENS, meaning="thin-lens: aperture of both pictures"),
    "focal_length_mm": Field(shape=_SCALAR, dtype="f4", only=_LENS, meaning="thin-lens: focal length"),
    "near_focus_m": Field(
        shape=_SCALAR, dtype="f4", only=_LENS, meaning="thin-lens: focus distance of the near-focused picture"
    ),
    "far_focus_m": Field(
        shape=_SCALAR, dtype="f4", only=_LENS, meaning="thin-lens: focus distance of the far-focused picture"
    ),
    "over_ev": Field(
        shape=_SCALAR, dtype="f4", only=_CAMERA, meaning="camera-response: stops above the source"
    ),
    "under_ev": Field(
        shape=_SCALAR, dtype="f4", only=_CAMERA, meaning="camera-response: stops below the source, negative"
    ),
    "response_curve": Field(
        shape=_SCALAR, dtype="str", only=_CAMERA, meaning="camera-response: name of the response curve"
    ),
}
ATTRIBUTES = (
    "format",
    "format_version",
    "plan_digest",
    "config",
    "shard",
    "num_shards",
    "num_samples",
    "versions",
)


def fields_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the fields in a dataset of these settings (attribute ``config``), in the table's order."""

    def mode(setting: str) -> Any:
        table = settings.get(setting)
        return table.get("mode") if isinstance(table, Mapping) else None

    return tuple(
        name for name, field in FIELDS.items() if field.only is None or mode(field.only[0]) == field.only[1]
    )


def expected_shape(field: Field, num_samples: int, tile: int) -> tuple[int, ...]:
    """Shape of a field with so many samples of tile x tile pixels."""
    return {
        _PLANE: (num_samples, tile, tile),
        _COLOUR: (num_samples, tile, tile, 3),
        _SCALAR: (num_samples,),
    }[field.shape]
