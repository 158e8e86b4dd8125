"""The joint data set in memory: luminance planes as uint8, loaded once, cropped where the network runs.

GIFNet sees one luminance plane per image (BT.601). It is computed once and rounded to 8 bits, as if the
tiles had been stored as grey images, which is how the published network was trained; the rounding moves no
value by more than half a grey level. The 2 x 10^4 tiles of the published schedule take 2 GB at 160 x 160
with four planes, so a GPU holds them whole and a step costs one gather.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.inputs.folders import pair_folders
from model.training.sampling import Crops
from pipeline.files import InputError, canonical_json, sha256_text
from pipeline.images import read_grey, size_text, to_uint8
from pipeline.images.ycbcr import luminance
from pipeline.shards.dataset import damaged_index, dataset_digest, each_shard, read_index
from pipeline.sources.listing import scene_of
from pipeline.sources.manifest import scene_expression

#: Share of the free GPU memory that the data may take; the rest is the network's.
MAX_MEMORY_SHARE = 0.5
#: Folders of unpaired focus pairs by role: those of MFI-WHU, or plain ones.
_UNPAIRED_LAYOUTS = (
    {"near": "source_1", "far": "source_2", "ground_truth": "full_clear"},
    {"near": "near", "far": "far", "ground_truth": "ground_truth"},
)
_UNPAIRED_ROLES = tuple(_UNPAIRED_LAYOUTS[0])
#: Samples turned to luminance at once, to bound the float copy.
_LUMINANCE_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class PlaneSet:
    """N samples of P luminance planes."""

    planes: Tensor  # uint8 (N, P, T, T), on the device of the network or on the host
    roles: tuple[str, ...]  # names of the P planes
    ids: tuple[str, ...]  # of the N samples; "frame#tile"
    scenes: tuple[str, ...]  # what each of them shows; samples of one scene are alike
    digest: str  # of the data set they come from
    one_scene: bool = False  # whether they show one alone, of which each frame stands for a scene
    too_small: tuple[str, ...] = ()  # pictures that hold no tile and are left out

    @property
    def tile(self) -> int:
        """Side of the tiles in pixels."""
        return self.planes.shape[-1]

    def to_device(self, device: torch.device) -> PlaneSet:
        """Move to the device if the planes fit; otherwise they stay on the host and crops are streamed."""
        if device.type == "cpu" or not _fits(self.planes, device):
            return self
        return replace(self, planes=self.planes.to(device))


def load_joint(folders: Sequence[Path], roles: Sequence[str]) -> PlaneSet:
    """Load the planes named in ``roles`` (fields of the shards) of all samples of finished data sets.

    Where all sets together show one scene, each of its frames counts as one; see :func:`whole_units`.

    Raises:
        InputError: a data set is unfinished, damaged or empty, or their tiles differ in size.
    """
    indexes = [read_index(folder) for folder in folders]
    tiles: dict[Path, int] = {}
    planes = np.empty(0, np.uint8)
    ids, scenes = list[str](), list[str]()
    total = sum(entry["samples"] for index in indexes for entry in index["shards"])
    for folder, index in zip(folders, indexes, strict=True):
        begun = len(ids)
        for part in each_shard(folder, index, (*roles, "id"), keep=to_luminance):
            stack = [part[role] for role in roles]
            tiles[folder] = stack[0].shape[-1]
            if len(set(tiles.values())) > 1:
                sizes = ", ".join(f"{one} of {tile}" for one, tile in tiles.items())
                raise InputError(
                    f"train: tiles differ in size: {sizes} pixels; make all sets with one --tile"
                )
            if not ids:
                planes = np.empty((total, len(roles), *stack[0].shape[1:]), np.uint8)
            np.stack(stack, axis=1, out=planes[len(ids) : len(ids) + len(part["id"])])
            ids.extend(part["id"])
        scenes.extend(_scenes(ids[begun:], folder, index))
    frames, one_scene = list(map(_frame_of, ids)), len(set(scenes)) == 1
    scenes = whole_units(scenes, frames)
    digests = [dataset_digest(index["shards"]) for index in indexes]
    digest = digests[0] if len(digests) == 1 else sha256_text("".join(digests))
    if scenes != frames:  # what is held out depends on them
        digest = sha256_text(digest + canonical_json(scenes))
    return PlaneSet(
        planes=torch.from_numpy(planes),
        roles=tuple(roles),
        ids=tuple(ids),
        scenes=tuple(scenes),
        digest=digest,
        one_scene=one_scene,
    )


def load_unpaired(folder: Path, tile: int) -> PlaneSet:
    """Load focus pairs with ground truth that show other scenes than the joint set, cut into tiles.

    The layout is that of MFI-WHU: ``source_1`` (near), ``source_2`` (far) and ``full_clear`` (ground
    truth), or the same folders named ``near``, ``far`` and ``ground_truth``; files of a triple share their
    name. What does not fill a tile at the right and lower border is left out, and so are triples that hold
    none, whose names are in ``too_small``.

    Raises:
        InputError: a folder is missing, a triple is incomplete or differs in size, or no image holds a tile.
    """
    layouts = [{role: folder / name for role, name in names.items()} for names in _UNPAIRED_LAYOUTS]
    roots = next((one for one in layouts if all(root.is_dir() for root in one.values())), None)
    if roots is None:
        wanted = ", or ".join(" and ".join(names.values()) for names in _UNPAIRED_LAYOUTS)
        raise InputError(f"--dp-folder {folder}: no focus pairs; give a folder that holds {wanted}")
    pairs = pair_folders(roots).require_complete()
    tiles: list[np.ndarray] = []
    ids: list[str] = []
    too_small: list[str] = []
    for stem in pairs.stems:
        images = {role: read_grey(path) for role, path in pairs.paths[stem].items()}
        if len({image.shape for image in images.values()}) > 1:
            sizes = ", ".join(f"{role} {size_text(image)}" for role, image in images.items())
            raise InputError(f"{folder}: {stem} has images of different sizes, {sizes}; they must be aligned")
        stack = np.stack([images[role] for role in _UNPAIRED_ROLES])
        if min(stack.shape[1:]) < tile:
            too_small.append(stem)
        for row in range(0, stack.shape[1] - tile + 1, tile):
            for column in range(0, stack.shape[2] - tile + 1, tile):
                ids.append(f"{stem}#{len(ids)}")
                tiles.append(stack[:, row : row + tile, column : column + tile])
    if not tiles:
        raise InputError(f"{folder}: no image holds a tile of {tile} pixels, the tile size of the joint set")
    planes = np.stack(tiles)
    return PlaneSet(
        planes=torch.from_numpy(planes),
        roles=_UNPAIRED_ROLES,
        ids=tuple(ids),
        scenes=tuple(map(_frame_of, ids)),
        digest=sha256_text(canonical_json(ids) + hashlib.sha256(planes.data).hexdigest()),
        too_small=tuple(too_small),
    )


def to_luminance(tiles: np.ndarray) -> np.ndarray:
    """uint8 (N, T, T, 3) RGB -> uint8 (N, T, T) BT.601 luminance, rounded; other arrays stay."""
    if tiles.ndim < 4:
        return tiles
    planes = np.empty(tiles.shape[:-1], np.uint8)
    for start in range(0, len(tiles), _LUMINANCE_BLOCK):
        block = slice(start, start + _LUMINANCE_BLOCK)
        planes[block] = to_uint8(luminance(tiles[block].astype(np.float32) / 255))
    return planes


def split_validation(scenes: Sequence[str], share: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation samples, of the scene of each sample.

    Whole scenes are held out, never single tiles or frames of one that is trained on. Whether a scene is
    depends on its name alone, so it is the same in a grown data set and in any mixture of sets; their number
    comes out near ``share``. But where the names would hold out none or all, as they may in a small set, one
    scene changes sides, and may change back when others join: at least one is trained on, and with ``share``
    above 0 and two scenes or more at least one is held out.
    """
    ranked = sorted(set(scenes), key=_name_digest)
    count = sum(is_held_out(scene, share) for scene in ranked)
    if share > 0:
        count = min(len(ranked) - 1, max(1, count))
    held_out = np.isin(np.array(scenes), ranked[:count])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def whole_units(scenes: Sequence[str], frames: Sequence[str]) -> list[str]:
    """What each sample is held out with: its scene; its frame where all show one scene.

    Frames of one camera are better to validate with than nothing. In a mixture with others that camera is one
    scene.
    """
    return list(scenes if len(set(scenes)) > 1 else frames)


def is_held_out(scene: str, share: float) -> bool:
    """Whether a scene is among the ``share`` that is kept for validation; its name decides."""
    return int(_name_digest(scene)[:12], 16) < share * 16**12


def _name_digest(name: str) -> str:
    """SHA-256 of a name that may come from a file's, whose bytes need not be UTF-8."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def _frame_of(sample_id: str) -> str:
    return sample_id.rsplit("#", 1)[0]


def _scenes(ids: Sequence[str], folder: Path, index: Mapping[str, Any]) -> list[str]:
    """The scene of each sample: of its frame's id what the manifest says, or all of it."""
    try:
        expression = scene_expression(index.get("source", {}).get("scene", ""))
    except (AttributeError, TypeError, ValueError) as error:
        raise damaged_index(folder, error) from None
    frames = [_frame_of(sample_id) for sample_id in ids]
    return [scene_of(frame, expression) for frame in frames]


def cut_crops(planes: Tensor, crops: Crops, crop: int) -> Tensor:
    """Cut and flip: uint8 (N, P, T, T) -> uint8 (B, P, crop, crop) where the planes are."""
    if planes.device.type == "cpu":
        return torch.from_numpy(_cut_by_rows(planes.numpy(), crops, crop))
    samples, tops, lefts = _index(np.stack([crops.samples, crops.tops, crops.lefts]), planes.device)
    # A view of every possible window; indexing it copies just the chosen ones.
    windows = planes.unfold(2, crop, 1).unfold(3, crop, 1)
    cut = windows[samples, :, tops, lefts]
    for bit, axis in ((1, -2), (2, -1)):
        flipped = _index(np.flatnonzero(crops.flips & bit), planes.device)
        cut[flipped] = cut[flipped].flip(axis)
    return cut


def _cut_by_rows(planes: np.ndarray, crops: Crops, crop: int) -> np.ndarray:
    """The same on the host, where rows are copied ten times faster than an index gathers pixels."""
    cut = np.empty((len(crops.samples), planes.shape[1], crop, crop), np.uint8)
    draws = zip(crops.samples, crops.tops, crops.lefts, crops.flips, strict=True)
    for place, (sample, top, left, flips) in enumerate(draws):
        window = planes[sample, :, top : top + crop, left : left + crop]
        cut[place] = window[:, :: -1 if flips & 1 else 1, :: -1 if flips & 2 else 1]
    return cut


def _index(values: np.ndarray, device: torch.device) -> Tensor:
    """Indices on the GPU, taken from pinned memory, so the host does not wait for it."""
    return torch.from_numpy(values).pin_memory().to(device, non_blocking=True)


def _fits(planes: Tensor, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return planes.nbytes <= MAX_MEMORY_SHARE * free
