"""Seven small pairs with exact inverse depth, and a quick synthesis of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.synthesis.engines import RunOptions
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.synthesise import SynthesisSummary, synthesise

FRAMES, SIZE = 7, (72, 96)
MANIFEST = """
name = "tiny"
title = "Tiny frames"
homepage = "-"
licence = "-"
citation = "-"
[roles]
visible = "visible/{id}.png"
infrared = "infrared/{id}.png"
"""


def make_source(folder: Path) -> Path:
    """Seven small textured pairs whose inverse depth is a tilted plane, as files."""
    rng = np.random.default_rng(0)
    for name in ("visible", "infrared", "depth"):
        (folder / name).mkdir(parents=True)
    rows, cols = np.mgrid[: SIZE[0], : SIZE[1]] / max(SIZE)
    for number in range(FRAMES):
        noise = cv2.GaussianBlur(rng.random((*SIZE, 3)), (0, 0), 1.5)
        visible = np.uint8(255 * (noise - noise.min()) / np.ptp(noise))
        plane = np.cos(number) * rows + np.sin(number) * cols
        plane = (plane - plane.min()) / np.ptp(plane)
        cv2.imwrite(str(folder / f"visible/{number}.png"), visible)
        cv2.imwrite(str(folder / f"infrared/{number}.png"), 255 - visible[..., 1])
        cv2.imwrite(str(folder / f"depth/{number}.png"), np.uint16(65535 * plane))
    (folder / "manifest.toml").write_text(MANIFEST)
    return folder / "manifest.toml"


def make_config(manifest: Path) -> SynthesisConfig:
    return SynthesisConfig(
        depth=f"files:{manifest.parent / 'depth'}", tile=32, tiles_per_frame=2, samples_per_shard=4
    )


def run(
    manifest: Path,
    out: Path,
    config: SynthesisConfig | None = None,
    *,
    split: str | None = None,
    **options: object,
) -> SynthesisSummary:
    options = {"device": "cpu", "jobs": 1, **options}
    return synthesise(
        config or make_config(manifest),
        manifest,
        out,
        split=split,
        options=RunOptions(**options),  # type: ignore[arg-type]
    )
