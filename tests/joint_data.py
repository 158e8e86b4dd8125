"""A tiny joint data set for tests of the training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.files import write_json
from pipeline.shards.dataset import INDEX_NAME, shard_name
from pipeline.shards.file import write_shard
from pipeline.shards.schema import FORMAT, FORMAT_VERSION

#: Grey levels that each derived image is brighter than the visible one, so that tests can tell them apart.
SHIFTS = {"visible_focus_near": 1, "visible_focus_far": 2, "visible_over": 3, "visible_under": 4}


def write_joint(
    folder: Path,
    *,
    frames: int = 6,
    tiles_per_frame: int = 2,
    tile: int = 40,
    samples_per_shard: int = 5,
    seed: int = 0,
    scene: str | None = None,
) -> Path:
    """Write a finished data set of smooth grey textures; the infrared image has half their brightness."""
    rng = np.random.default_rng(seed)
    samples = []
    for frame in range(frames):
        for number in range(tiles_per_frame):
            texture = cv2.GaussianBlur(rng.random((tile, tile)), (0, 0), 2)
            grey = np.rint(np.interp(texture, (texture.min(), texture.max()), (5, 245))).astype(np.uint8)
            visible = np.repeat(grey[..., None], 3, axis=2)
            samples.append(
                {
                    "id": f"night/{frame:03d}#{number}",
                    "infrared": grey // 2,
                    "visible": visible,
                    **{name: visible + np.uint8(shift) for name, shift in SHIFTS.items()},
                    "inverse_depth": texture,
                    "focus_threshold": 0.5,
                    "blur_sigma_px": 2.0,
                    "tile_row": 0,
                    "tile_col": 0,
                    "frame_height": tile,
                    "frame_width": tile,
                }
            )
    shards = -(-len(samples) // samples_per_shard)
    entries = []
    for shard in range(shards):
        entries.append(
            write_shard(
                folder / shard_name(shard, shards),
                samples[shard * samples_per_shard : (shard + 1) * samples_per_shard],
                tile=tile,
                attributes={
                    "plan_digest": "-",
                    "config": {},
                    "shard": shard,
                    "num_shards": shards,
                    "versions": {},
                },
            )
        )
    source = {} if scene is None else {"source": {"manifest": "textures", "split": None, "scene": scene}}
    write_json(
        folder / INDEX_NAME,
        {"format": FORMAT, "format_version": FORMAT_VERSION, "shards": entries, **source},
    )
    return folder
