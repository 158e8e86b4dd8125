"""Where on Earth two scenes lie, by the tags of GeoTIFF (OGC 19-008r4, Annex B.6)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.fusing.multiband import Bands
from pipeline.files import InputError

#: ModelPixelScale, ModelTiepoint, GeoKeyDirectory.
_SCALE, _TIEPOINT, _KEYS = 33550, 33922, 34735
#: GTRasterTypeGeoKey, and its value where tie points are the centres of pixels.
_RASTER_TYPE, _IS_POINT = 1025, 2


def displacement(files: Sequence[Path], scenes: Sequence[Bands]) -> float:
    """By how many pixels of the last scene its corners differ from those of the others at most.

    0 where that is not known: not all have a scale and a tie point, or one coordinate system.

    Raises:
        InputError: two scenes do not overlap.
    """
    corners = [_corners(scene) for scene in scenes]
    if len({_system(scene) for scene in scenes}) > 1:
        return 0.0
    *others, last = corners
    most = 0.0
    for path, one in zip(files[:-1], others, strict=True):
        if one is None or last is None:
            continue
        if (np.minimum(one[1], last[1]) <= np.maximum(one[0], last[0])).any():
            raise InputError(
                f"{path} and {files[-1]}: lie at different places by their geographic tags; give one scene"
            )
        pixel = (last[1] - last[0]) / scenes[-1].values.shape[:0:-1]
        most = max(most, float((np.abs(one - last) / pixel).max()))
    return most


def _corners(scene: Bands) -> np.ndarray | None:
    """Least and largest (x, y) of the scene's outer corners, (2, 2)."""
    scale, tie = (_numbers(scene, tag) for tag in (_SCALE, _TIEPOINT))
    if len(scale) < 2 or len(tie) != 6 or not (scale[:2] > 0).all():
        return None
    height, width = scene.values.shape[1:]
    column, row, _, x, y, _ = tie
    if _is_point(scene):
        column, row = column + 0.5, row + 0.5
    left, top = x - column * scale[0], y + row * scale[1]
    return np.array([[left, top - height * scale[1]], [left + width * scale[0], top]])


def _system(scene: Bands) -> bytes:
    """The coordinate system, as the keys say it; what a tie point is makes no other one."""
    return np.array([key for key in _keys(scene) if key[0] != _RASTER_TYPE]).tobytes()


def _is_point(scene: Bands) -> bool:
    return any(key[0] == _RASTER_TYPE and key[3] == _IS_POINT for key in _keys(scene))


def _keys(scene: Bands) -> list[tuple[float, ...]]:
    """Identifier, place, count and value of each key, behind four numbers of the whole."""
    numbers = _numbers(scene, _KEYS)[4:]
    return [tuple(key) for key in numbers[: len(numbers) // 4 * 4].reshape(-1, 4).tolist()]


def _numbers(scene: Bands, tag: int) -> np.ndarray:
    value = scene.geography.get(tag, (0, ()))[1]
    return np.array([], float) if isinstance(value, bytes) else np.atleast_1d(np.array(value, float))
