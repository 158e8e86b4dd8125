"""Source frames -> the samples of one shard: read, depth, tile, focus pair, exposure pair.

Frames pass in groups: a GPU works on full batches, the next group is read meanwhile, and no more than two
groups of whole frames lie in memory. Of tiles all of a shard do, which the exposure probe sees together.

A shard's content depends on the plan and its frames alone, not on the process, batch or machine part that
makes it. A frame or tile that cannot be made is a failure with its reason, and the others go on.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from pipeline.depth import FRAMES_AT_ONCE, DepthEstimator
from pipeline.exposure import exposure_pairs
from pipeline.exposure.camera_response import CameraDraw
from pipeline.exposure.probe import ExposureProbe
from pipeline.files import InputError
from pipeline.focus import LensDraw, SampleFailure, draw_focus, focus_pair
from pipeline.images import read_grey, read_rgb, size_text
from pipeline.runtime.randomness import random_stream
from pipeline.sources.listing import SourceSample
from pipeline.synthesis.plan import SynthesisConfig

#: The visible and infrared image of a frame, or the reason why there are none.
_Pair = tuple[np.ndarray, np.ndarray] | InputError | SampleFailure


@dataclass(frozen=True, kw_only=True)
class Models:
    """The networks that stage one runs, loaded once in each process."""

    depth: DepthEstimator
    probe: ExposureProbe


@dataclass(kw_only=True)
class ShardContent:
    """What became of the frames of one shard: ``seen == len(samples) + len(failures)``."""

    seen: int
    samples: list[dict[str, Any]] = field(default_factory=list)  # a value for each shard field
    failures: list[dict[str, str]] = field(default_factory=list)  # id and reason
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # by stage

    def fail(self, ids: Sequence[str], reason: object) -> None:
        """Count the samples of these ids as failed for one reason."""
        self.failures += [{"id": sample_id, "reason": str(reason)} for sample_id in ids]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the body to a stage's account."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def sample_ids(frame_id: str, tiles_per_frame: int) -> list[str]:
    """Ids of the samples of one frame: the frame's id, ``#``, the number of the tile."""
    return [f"{frame_id}#{tile}" for tile in range(tiles_per_frame)]


def make_samples(frames: Sequence[SourceSample], config: SynthesisConfig, models: Models) -> ShardContent:
    """Make all samples of the given source frames.

    Args:
        frames: source frames with the roles ``visible`` and ``infrared``.
        config: what to make of them.
        models: the depth estimator and the exposure probe.
    """
    content = ShardContent(seen=len(frames) * config.tiles_per_frame)
    for group, pairs in _read_ahead(frames, config.tile, content):
        _add_focused(group, pairs, config, models.depth, content)
    with content.timed("exposure"):
        _expose(content.samples, config, models.probe)
    return content


def _read_ahead(
    frames: Sequence[SourceSample], tile: int, content: ShardContent
) -> Iterator[tuple[Sequence[SourceSample], list[_Pair]]]:
    """Groups of frames and their images; while one group is in use, the next is read."""

    def read(group: Sequence[SourceSample]) -> list[_Pair]:
        with content.timed("read"):
            return [_read_pair(frame, tile) for frame in group]

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, frames[:FRAMES_AT_ONCE])
        for start in range(0, len(frames), FRAMES_AT_ONCE):
            stop = start + FRAMES_AT_ONCE
            pairs = coming.result()
            coming = reader.submit(read, frames[stop : stop + FRAMES_AT_ONCE])
            yield frames[start:stop], pairs


def _read_pair(frame: SourceSample, tile: int) -> _Pair:
    try:
        visible, infrared = read_rgb(frame.paths["visible"]), read_grey(frame.paths["infrared"])
    except InputError as error:
        return error
    size = size_text(visible)
    if visible.shape[:2] != infrared.shape:
        return SampleFailure(
            f"{frame.paths['visible']} is {size}, but {frame.paths['infrared']} is "
            f"{size_text(infrared)}; the pair must be aligned"
        )
    if min(infrared.shape) < tile:
        return SampleFailure(f"{frame.paths['visible']}: {size} is smaller than the tile of {tile} pixels")
    return visible, infrared


def _add_focused(
    frames: Sequence[SourceSample],
    pairs: Sequence[_Pair],
    config: SynthesisConfig,
    estimator: DepthEstimator,
    content: ShardContent,
) -> None:
    """Add the samples of some frames, all but their exposure pairs."""
    with content.timed("depth"):
        depths = iter(_estimate_depths(frames, pairs, config, estimator))
    for frame, pair in zip(frames, pairs, strict=True):
        ids = sample_ids(frame.id, config.tiles_per_frame)
        depth = next(depths) if isinstance(pair, tuple) else pair
        if not isinstance(pair, tuple) or not isinstance(depth, np.ndarray):
            content.fail(ids, depth)
            continue
        for sample_id in ids:
            try:
                content.samples.append(_focused_sample(sample_id, *pair, depth, config, content))
            except SampleFailure as error:
                content.fail([sample_id], error)


def _estimate_depths(
    frames: Sequence[SourceSample], pairs: Sequence[_Pair], config: SynthesisConfig, estimator: DepthEstimator
) -> list[np.ndarray | InputError]:
    """Inverse depth of each readable frame, rounded as it will be stored, or the reason why there is none."""
    readable = [
        (frame.id, *pair) for frame, pair in zip(frames, pairs, strict=True) if isinstance(pair, tuple)
    ]
    thermal = config.roles[0] == "infrared"  # another role may stand in its place

    def estimate(some: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        ids, visible = [one[0] for one in some], [one[1] for one in some]
        return estimator.estimate(visible, ids, [one[2] for one in some] if thermal else None)

    try:
        depths: list[np.ndarray | InputError] = list(estimate(readable))
    except InputError:
        # One of them has no depth; find out which, so that the others do not fail with it.
        depths = []
        for one in readable:
            try:
                depths += estimate([one])
            except InputError as error:
                depths.append(error)
    # Rounding first lets a reader of the shard compute the very same near mask.
    return [
        depth if isinstance(depth, InputError) else torch.from_numpy(depth).half().float().numpy()
        for depth in depths
    ]


def _focused_sample(
    sample_id: str,
    visible: np.ndarray,
    infrared: np.ndarray,
    inverse_depth: np.ndarray,
    config: SynthesisConfig,
    content: ShardContent,
) -> dict[str, Any]:
    """A sample with all its fields but those of the exposure pair."""
    tile = config.tile
    with content.timed("draw"):
        rng = random_stream(config.seed, "synth", sample_id, "focus")
        draw = draw_focus(inverse_depth, tile=tile, config=config.focus, rng=rng)
    with content.timed("focus"):
        near, far = focus_pair(visible, inverse_depth, draw, tile=tile)
    inside = np.s_[draw.row : draw.row + tile, draw.col : draw.col + tile]
    return {
        "id": sample_id,
        # Copies: a view would keep the whole frame.
        "infrared": infrared[inside].copy(),
        "visible": visible[inside].copy(),
        "visible_focus_near": near,
        "visible_focus_far": far,
        "inverse_depth": inverse_depth[inside].copy(),
        "focus_threshold": draw.threshold,
        "blur_sigma_px": draw.blur_sigma_px,
        "tile_row": draw.row,
        "tile_col": draw.col,
        "frame_height": visible.shape[0],
        "frame_width": visible.shape[1],
        **_lens_values(draw.lens),
    }


def _expose(samples: Sequence[dict[str, Any]], config: SynthesisConfig, probe: ExposureProbe) -> None:
    """Add the exposure pairs of all samples of a shard, which the probe computes together."""
    pairs = exposure_pairs(
        [sample["visible"] for sample in samples],
        probe,
        config=config.exposure,
        streams=[random_stream(config.seed, "synth", sample["id"], "exposure") for sample in samples],
    )
    for sample, pair in zip(samples, pairs, strict=True):
        sample |= {"visible_over": pair.over, "visible_under": pair.under, **_camera_values(pair.camera)}


def _lens_values(lens: LensDraw | None) -> dict[str, Any]:
    if lens is None:
        return {}
    return {
        "f_number": lens.f_number,
        "focal_length_mm": lens.lens.focal_length_mm,
        "near_focus_m": lens.near_focus_m,
        "far_focus_m": lens.far_focus_m,
    }


def _camera_values(camera: CameraDraw | None) -> dict[str, Any]:
    if camera is None:
        return {}
    return {"over_ev": camera.over_ev, "under_ev": camera.under_ev, "response_curve": camera.curve.name}
