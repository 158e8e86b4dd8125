"""What a run tells of its inputs, each kind once: nothing is wrong, but it may not be what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from model.fusing.alignment import shift_between
from model.fusing.colour import Givers, Input, colour_givers, is_coloured, result_profile
from model.fusing.fuse_jobs import Job
from model.inputs.sources import Source, unused_range
from pipeline.images import size_text
from pipeline.images.colour_profiles import DEFAULT, profile_name

#: Share by which the proportions of inputs that are brought to one size may differ.
PROPORTIONS = 0.02
#: Jobs of a run whose inputs are compared: those of one camera are displaced alike.
ALIGNED_JOBS = 8


class Notices:
    """Looks at the inputs and results of a run, and tells of the first of each kind."""

    def __init__(self, range_16bit: str, givers: Givers, tell: Callable[[str], None]) -> None:
        self._range, self._givers, self._tell = range_16bit, givers, tell
        self._told: set[str] = set()
        self._aligned_jobs = 0

    def check_range(self, path: Path, image: np.ndarray, none: int | None = None) -> None:
        """Of an image of any shape whose values fill little of their range; ``none`` stands for no data."""
        if "range" not in self._told and image.dtype != np.uint8:
            used = image if none is None else image[image != none]
            if found := unused_range(used, self._range):
                self._once("range", f"{path}: {found}")

    def check_proportions(self, job: Job, images: Sequence[np.ndarray]) -> None:
        """Of images (H, W[, C]) that are brought to one size."""
        wide = [image.shape[1] / image.shape[0] for image in images]
        if max(wide) > (1 + PROPORTIONS) * min(wide):
            sizes = " and ".join(dict.fromkeys(map(size_text, images)))
            self._once("proportions", f"{job.name}: {sizes} have other proportions; one of them is stretched")

    def check_alignment(self, job: Job, sources: Sequence[Source]) -> None:
        """Of sources of one size that do not lie on each other; of the first few jobs alone."""
        if self._aligned_jobs >= ALIGNED_JOBS or "alignment" in self._told:
            return
        self._aligned_jobs += 1
        for path, other in zip(job.inputs[1:], sources[1:], strict=True):
            if shift := shift_between(sources[0], other):
                self._once(
                    "alignment",
                    f"{job.name}: by its edges the scene lies {_shift_text(*shift)} in {path}; nothing is "
                    "registered here, and such pairs give double contours",
                )

    def check_places(self, job: Job, pixels: float) -> None:
        """Of scenes whose corners differ by so many pixels of the panchromatic one."""
        if pixels > 1:
            self._once(
                "places",
                f"{job.name}: by their geographic tags the bands and the panchromatic image end up to "
                f"{pixels:.1f} of its pixels apart; cut them alike, for they are taken to cover the same",
            )

    def check_alpha(self, path: Path, tagged: bool) -> None:
        """Of a band that its file calls transparency."""
        if tagged:
            self._once("alpha", f"{path}: its last channel is tagged as transparency and is taken for a band")

    def check_colours(self, job: Job, sources: Sequence[Input]) -> None:
        """Of a result whose colours are lost, or not said by its profile."""
        givers = colour_givers(sources, self._givers)
        if any(map(is_coloured, sources)) and not any(map(is_coloured, givers)):
            giver, other = ("A", "B") if self._givers == "first" else ("B", "A")
            self._once(
                "grey",
                f"{job.name}: the task takes the colour from {giver}, which is grey, though {other} has one; "
                "the result is grey: swap -a and -b, or choose another --task",
            )
        grey = all(source.image.ndim == 2 for source in sources)
        profiles = dict.fromkeys(source.profile for source in (sources if grey else givers))
        if len(profiles) > 1 and len(names := dict.fromkeys(map(profile_name, profiles))) > 1:
            self._once(
                "profile",
                f"{job.name}: sources have the colour profiles {' and '.join(names)}, the result has the "
                "first; convert them to one for true colours",
            )
        profile = result_profile(sources, self._givers)
        if profile and job.output.suffix.lower() == ".bmp" and profile_name(profile) != DEFAULT:
            lost = f"a BMP holds no colour profile, and its source has {profile_name(profile)}"
            self._once("profile", f"{job.output}: {lost}")

    def _once(self, kind: str, text: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._tell(text)


def _shift_text(down: int, right: int) -> str:
    ways = ((right, "right" if right > 0 else "left"), (down, "down" if down > 0 else "up"))
    return " and ".join(f"{abs(pixels)} pixels {way}" for pixels, way in ways if pixels)
