"""Pairs with which the head of the shipped weights is calibrated: of each kind some that training may see."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.calibration.recipe import KINDS, sets_in
from model.inputs.manifest_pairs import manifest_pairs
from model.inputs.sources import same_size
from model.training.planes import is_held_out, split_validation, whole_units
from pipeline.files import InputError
from pipeline.images import read_grey, size_text
from pipeline.images.resampling import shrunk
from pipeline.sources.listing import scene_of
from pipeline.sources.manifest import load_manifest, scene_expression

#: Larger pictures are scaled down to this side; VIF is not defined for smaller ones than these.
SIDE, LEAST_SIDE = 640, 41


def calibration_pairs(data: Path, count: int, *, held_out: float) -> dict[str, list[np.ndarray]]:
    """Planes (2, H, W) uint8, ``count`` of each kind at most, evenly over those of its sets that are there.

    Args:
        held_out: share of the scenes that training holds out; none of these is among the pairs.

    Raises:
        InputError: none of the sets is there, a picture cannot be read, or both of a pair differ in size.
    """
    sets = sets_in(data, KINDS)
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    for kind, pairs in found.items():
        there = [one for one in sets if one.kind == kind]
        for place, one in enumerate(there):
            share = (count + len(there) - 1 - place) // len(there)  # the first ones get what is left over
            pairs += _pairs_of(Path(one.recipe), data / one.folder, share, held_out)
    return found


def _pairs_of(recipe: Path, root: Path, count: int, held_out: float) -> list[np.ndarray]:
    listed = manifest_pairs(recipe, root=root)
    expression = scene_expression(load_manifest(recipe).scene)
    ids = list(listed.a.files)
    scenes = [scene_of(id_, expression) for id_ in ids]
    # Neither what training on this set alone holds out, nor scenes that it does in a mixture with others.
    kept, _ = split_validation(whole_units(scenes, ids), held_out)
    ids = [ids[place] for place in kept if not is_held_out(scenes[place], held_out)]
    return [_small_pair(listed.a.files[id_], listed.b.files[id_]) for id_ in _spread(ids, count)]


def _spread(ids: list[str], count: int) -> list[str]:
    return [ids[place * len(ids) // count] for place in range(count)] if count < len(ids) else ids


def _small_pair(a: Path, b: Path) -> np.ndarray:
    planes = same_size([read_grey(a), read_grey(b)], [str(a), str(b)], None)
    small = np.stack([shrunk(plane, SIDE) for plane in planes])
    if min(small.shape[1:]) < LEAST_SIDE:
        raise InputError(
            f"{a}: {size_text(planes[0])}; pairs to calibrate with need {LEAST_SIDE} pixels a side where the "
            f"longer one has no more than {SIDE}"
        )
    return small
