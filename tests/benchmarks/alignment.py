"""How many displaced pairs `fuse` tells of, and how many registered ones it takes for displaced.

    python tests/benchmarks/alignment.py [../shared/data]

Of the pairs of each set as they are (0 %), and displaced in a random direction by a share of their longer
side: how many are told of, and of how many the shift that is told is right to within 1.5 % of it.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from model.fusing.alignment import shift_between
from model.inputs.sources import Source, read_source
from pipeline.sources.listing import list_samples
from pipeline.sources.manifest import load_manifest

#: Folder, recipe, split and roles.
SETS = (
    ("roadscene", "roadscene", None, ("infrared", "visible")),
    ("llvip", "llvip", "train", ("infrared", "visible")),
    ("mefb", "mefb", None, ("over", "under")),
    ("mfif", "mfifb", None, ("near", "far")),
    ("harvard/ct-mri", "harvard-ct-mri", None, ("ct", "mri")),
    ("harvard/pet-mri", "harvard-pet-mri", None, ("pet", "mri")),
    ("harvard/spect-mri", "harvard-spect-mri", None, ("spect", "mri")),
)
SHARES = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08)
RIGHT = 0.015  # share of the longer side


def main() -> None:
    """Print a row for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    print(f"{platform.processor() or platform.machine()}, NumPy {np.__version__}; told of (right)\n")
    print("| set | pairs | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |")
    print("|---" * (2 + len(SHARES)) + "|")
    for folder, recipe, split, roles in SETS:
        if not (data / folder).is_dir():
            continue
        told, right = Counter[float](), Counter[float]()
        rng = np.random.default_rng(0)
        samples = list_samples(load_manifest(recipe), root=data / folder, split=split, roles=roles).samples
        for sample in samples:
            a, b = (read_source(sample.paths[role], range_16bit="percentile") for role in roles)
            for share in SHARES:
                moved = round(share * max(a.image.shape[:2])) * _direction(rng)
                down, right_px = np.rint(moved).astype(int)
                found = shift_between(*_displaced(a, b, down, right_px))
                if found is not None:
                    told[share] += 1
                    off = np.hypot(found[0] - down, found[1] - right_px)
                    right[share] += share > 0 and off <= RIGHT * max(a.image.shape[:2])
        cells = (f"{told[share]}" + (f" ({right[share]})" if share else "") for share in SHARES)
        print(f"| {folder} | {len(samples)} | " + " | ".join(cells) + " |", flush=True)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sin(angle), np.cos(angle)])


def _displaced(a: Source, b: Source, down: int, right: int) -> tuple[Source, Source]:
    """The parts of two sources of one size in which the scene lies so much lower, and farther right, in B."""
    height, width = a.image.shape[:2]
    parts = []
    for source, rows, columns in ((a, down, right), (b, -down, -right)):
        top, left = max(rows, 0), max(columns, 0)
        part = source.image[top : height + min(rows, 0), left : width + min(columns, 0)]
        parts.append(replace(source, image=np.ascontiguousarray(part)))
    return parts[0], parts[1]


if __name__ == "__main__":
    main()
