"""How each kind of input is read, fused and written: pictures, multispectral scenes, videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from model.blocks.transformer import Task
from model.engine.strips import FusionEngine
from model.fusing.colour import TASKS, colour_givers, colourise, result_profile
from model.fusing.device_pictures import DevicePictures
from model.fusing.enhancement import counterpart
from model.fusing.fuse_config import BAND_SUFFIXES, MAIN_TASKS, FuseConfig
from model.fusing.fuse_jobs import Job, is_video
from model.fusing.multiband import Bands, read_bands, write_bands
from model.fusing.notices import Notices
from model.fusing.pansharpen import pansharpen
from model.fusing.places import displacement
from model.fusing.video import fuse_video
from model.inputs.sources import Source, has_colour, read_source, same_size
from model.network import GIFNet
from pipeline.files import InputError
from pipeline.images import read_image, size_text, write_image

#: Levels by which the channels of grey differ after a video codec.
CODEC_NOISE = 8


class Recipe(Protocol):
    """Three steps that may run at once for different jobs; all raise InputError for bad input."""

    def read(self, job: Job) -> Any:
        """Decode a job's inputs."""

    def fuse(self, loaded: Any) -> Any:
        """Take what ``read`` returned through the network."""

    def write(self, job: Job, result: Any) -> tuple[int, int]:
        """Write what ``fuse`` returned; height and width in pixels."""


def choose_recipe(
    config: FuseConfig,
    engine: FusionEngine,
    jobs: Sequence[Job],
    *,
    check_unclaimed: Callable[[Job], None],
    tell: Callable[[str], None],
) -> Recipe:
    """The recipe for a run's jobs, which are all of one kind.

    Args:
        check_unclaimed: raises if a job's result must not take its place; of those written while they are
            fused.
        tell: takes a line for the user.
    """
    if config.task == "pansharpen":
        return Scenes(config, engine, tell)
    if jobs and is_video(jobs[0].inputs[0]):
        return Videos(config, engine, check_unclaimed, tell)
    pictures, plain = Pictures(config, engine, tell), config.colour == "true" and config.bits == 8
    if plain and engine.device.type == "cuda":
        return DevicePictures(engine, pictures)
    return pictures


class Pictures:
    """Images that the network fuses, in colour or not."""

    def __init__(self, config: FuseConfig, engine: FusionEngine, tell: Callable[[str], None]) -> None:
        self.config, self.engine = config, engine
        self.main, self.givers = MAIN_TASKS[config.main_task], TASKS[config.task].givers
        self._notices = Notices(config.range_16bit, self.givers, tell)

    def read(self, job: Job) -> tuple[np.ndarray, list[Source]]:
        return self.prepared(self.sources(job))

    def prepared(self, sources: list[Source]) -> tuple[np.ndarray, list[Source]]:
        """What :meth:`fuse` takes."""
        return first_pair(sources, self.engine.network), sources

    def sources(self, job: Job) -> list[Source]:
        """Decode a job's inputs, which have one size then."""
        read = [read_source(path, range_16bit=self.config.range_16bit) for path in job.inputs]
        if self.config.colour == "true":
            read = [replace(source, coloured=has_colour(source.image)) for source in read]
        images = same_size([s.image for s in read], [str(p) for p in job.inputs], self.config.resize)
        self._notices.check_proportions(job, [source.image for source in read])
        for path, source in zip(job.inputs, read, strict=True):
            self._notices.check_range(path, source.image)
        sources = [replace(source, image=image) for source, image in zip(read, images, strict=True)]
        self._notices.check_colours(job, sources)
        self._notices.check_alignment(job, sources)
        return sources

    def fuse(self, loaded: tuple[np.ndarray, list[Source]]) -> tuple[np.ndarray, list[Source]]:
        pair, sources = loaded
        return fold(self.engine, pair, sources[2:], self.main), sources

    def write(self, job: Job, result: tuple[np.ndarray, list[Source]]) -> tuple[int, int]:
        fused, sources = result
        coloured = colour_givers(sources, self.givers)
        image = colourise(fused, coloured, mode=self.config.colour, bits=self.config.bits)
        write_image(job.output, image, profile=result_profile(sources, self.givers))
        return fused.shape[0], fused.shape[1]


class Scenes:
    """Multispectral bands that a panchromatic image sharpens."""

    def __init__(self, config: FuseConfig, engine: FusionEngine, tell: Callable[[str], None]) -> None:
        self.config, self.engine = config, engine
        self.main = MAIN_TASKS[config.main_task]
        self._notices = Notices(config.range_16bit, TASKS[config.task].givers, tell)

    def read(self, job: Job) -> tuple[Bands, Bands]:
        *band_files, pan_file = job.inputs
        parts = [_read_bands(path) for path in band_files]
        if len(parts) > 1:
            _check_alike(band_files, parts)
        pan = _read_bands(pan_file)
        if pan.values.shape[0] != 1:
            raise InputError(f"{pan_file}: {pan.values.shape[0]} channels; a panchromatic image has one")
        for path, part in zip(job.inputs, (*parts, pan), strict=True):
            self._notices.check_range(path, part.values, part.none())
            self._notices.check_alpha(path, part.alpha)
        self._notices.check_proportions(job, [parts[0].values[0], pan.values[0]])
        self._notices.check_places(job, displacement(job.inputs, [*parts, pan]))
        return replace(parts[0], values=np.concatenate([part.values for part in parts])), pan

    def fuse(self, scene: tuple[Bands, Bands]) -> Bands:
        bands, pan = scene
        return pansharpen(
            self.engine,
            bands,
            pan,
            main=self.main,
            range_16bit=self.config.range_16bit,
            resize=self.config.resize,
            published=self.config.colour == "upstream",
        )

    def write(self, job: Job, result: Bands) -> tuple[int, int]:
        write_bands(job.output, result)
        return result.values.shape[1], result.values.shape[2]


class Videos:
    """Videos, frame by frame; each is read and written while it is fused."""

    def __init__(
        self,
        config: FuseConfig,
        engine: FusionEngine,
        check_unclaimed: Callable[[Job], None],
        tell: Callable[[str], None],
    ) -> None:
        self.config, self.engine, self.tell = config, engine, tell
        self._check_unclaimed = check_unclaimed
        self.main, self.givers = MAIN_TASKS[config.main_task], TASKS[config.task].givers
        self._notices = Notices(config.range_16bit, self.givers, tell)

    def read(self, job: Job) -> Job:
        return job

    def fuse(self, job: Job) -> tuple[int, int]:
        size_hw = 0, 0

        def fuse_frame(frames: list[np.ndarray]) -> np.ndarray:
            nonlocal size_hw
            names = [str(path) for path in job.inputs]
            sources = [Source(frame, 0, 255) for frame in same_size(frames, names, self.config.resize)]
            if size_hw == (0, 0):
                seen = (has_colour(source.image, CODEC_NOISE) for source in sources)
                told = [replace(source, coloured=some) for source, some in zip(sources, seen, strict=True)]
                self._notices.check_proportions(job, frames)
                self._notices.check_colours(job, told)
                self._notices.check_alignment(job, told)
            pair = first_pair(sources, self.engine.network)
            fused = fold(self.engine, pair, sources[2:], self.main)
            size_hw = fused.shape[0], fused.shape[1]
            return colourise(fused, colour_givers(sources, self.givers), mode=self.config.colour)

        check = partial(self._check_unclaimed, job)
        written = fuse_video(job.inputs, job.output, fuse_frame, check_unclaimed=check, tell=self.tell)
        if written != size_hw:
            whole, even = (f"{width}x{height}" for height, width in (size_hw, written))
            self.tell(f"{job.output}: {whole} frames are cut to {even}, for videos have even sides")
        return written

    def write(self, job: Job, result: tuple[int, int]) -> tuple[int, int]:
        return result


def first_pair(sources: Sequence[Source], network: GIFNet) -> np.ndarray:
    """Luminance of the first two sources, (2, H, W) float32; of one alone, its :func:`counterpart` too."""
    pair = np.empty((2, *sources[0].image.shape[:2]), np.float32)
    pair[0] = sources[0].plane()
    pair[1] = sources[1].plane() if len(sources) > 1 else counterpart(pair[0], network)
    return pair


def fold(engine: FusionEngine, pair: np.ndarray, others: Sequence[Source], main: Task) -> np.ndarray:
    """Fuse a pair of planes, then the result with the luminance of each of the others; (H, W) float32."""
    fused = engine.fuse_pair(pair, main=main)
    for source in others:
        pair[0], pair[1] = fused, source.plane()
        fused = engine.fuse_pair(pair, main=main)
    return fused


def _check_alike(files: Sequence[Path], parts: Sequence[Bands]) -> None:
    """Files of single bands that belong together."""
    for path, part in zip(files, parts, strict=True):
        if len(part.values) != 1:
            raise InputError(f"{path}: {len(part.values)} channels in a folder of single bands; move it out")
        for what, there, here in zip(
            ("size", "type", "no-data value"), _kind(parts[0]), _kind(part), strict=True
        ):
            if there != here:
                raise InputError(f"{files[0]} has {what} {there}, {path} has {here}; bands must be alike")


def _kind(part: Bands) -> tuple[str, str, str]:
    none = part.none()
    return size_text(part.values[0]), str(part.values.dtype), "none" if none is None else str(none)


def _read_bands(path: Path) -> Bands:
    if path.suffix.lower() in BAND_SUFFIXES:
        return read_bands(path)
    image = read_image(path)
    return Bands(image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0))
