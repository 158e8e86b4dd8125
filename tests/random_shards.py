"""Datasets of random samples that have every field there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import write_json
from pipeline.shards.dataset import dataset_digest, shard_name
from pipeline.shards.file import write_shard
from pipeline.shards.schema import FIELDS, FORMAT, FORMAT_VERSION, INDEX_NAME

TILE = 16
ATTRIBUTE_VALUES = {
    "plan_digest": "0" * 64,
    # The modes in which a dataset has every field there is.
    "config": {
        "tile": TILE,
        "focus": {"mode": "thin-lens"},
        "exposure": {"mode": "camera-response"},
        "source": {"manifest": "none"},
    },
    "shard": 0,
    "num_shards": 1,
    "versions": {"numpy": np.__version__},
}


def make_sample(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    shapes = {"(N,T,T)": (TILE, TILE), "(N,T,T,3)": (TILE, TILE, 3), "(N,)": ()}
    values: dict[str, Any] = {"id": f"folder/straße-{number}#0"}
    for name, spec in FIELDS.items():
        if spec.dtype != "str":
            scale = 255 if spec.dtype == "u1" else 1
            values[name] = (rng.random(shapes[spec.shape]) * scale).astype(spec.dtype)
        elif name != "id":
            values[name] = f"{name} {number}"
    return values


def make_dataset(folder: Path, counts: tuple[int, ...] = (3, 2), compress: str = "none") -> Path:
    entries, number = [], 0
    for shard, count in enumerate(counts):
        path = folder / shard_name(shard, len(counts))
        samples = [make_sample(number + i) for i in range(count)]
        number += count
        attributes = {**ATTRIBUTE_VALUES, "shard": shard, "num_shards": len(counts)}
        entries.append(write_shard(path, samples, tile=TILE, attributes=attributes, compress=compress))
    index = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **{name: ATTRIBUTE_VALUES[name] for name in ("plan_digest", "config")},
        "source": {"manifest": "none"},
        "shards": entries,
        "num_samples": sum(counts),
        "digest": dataset_digest(entries),
        "seen": sum(counts) + 1,
        "written": sum(counts),
        "skipped": 0,
        "failed": 1,
        "failures": [{"id": "folder/broken#0", "reason": "broken"}],
    }
    write_json(folder / INDEX_NAME, index)
    return folder
