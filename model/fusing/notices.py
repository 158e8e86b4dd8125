"""What a run tells of its inputs, once: data that hardly count, colours that a result cannot show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from model.fusing.colour import Givers, Input, colour_givers, result_profile
from model.fusing.fuse_jobs import Job
from model.inputs.sources import unused_range
from pipeline.colour_profiles import DEFAULT, profile_name


class Notices:
    """Looks at each input and result of a run until there is something to tell, of ranges and of colours."""

    def __init__(self, range_16bit: str, givers: Givers, tell: Callable[[str], None]) -> None:
        self._range, self._givers, self._tell = range_16bit, givers, tell
        self._range_told = self._colours_told = False

    def check_range(self, path: Path, image: np.ndarray, none: int | None = None) -> None:
        """Of an image of any shape; ``none`` stands for no data."""
        if not self._range_told and image.dtype != np.uint8:
            used = image if none is None else image[image != none]
            if found := unused_range(used, self._range):
                self._range_told = True
                self._tell(f"{path}: {found}")

    def check_colours(self, job: Job, sources: Sequence[Input]) -> None:
        """Of a result of these sources."""
        if not self._colours_told and (found := _unsaid(job, sources, self._givers)):
            self._colours_told = True
            self._tell(found)


def _unsaid(job: Job, sources: Sequence[Input], givers: Givers) -> str | None:
    """What the profile of a result does not say of its colours."""
    profile = result_profile(sources, givers)
    profiles = dict.fromkeys(source.profile for source in colour_givers(sources, givers))
    if len(profiles) > 1 and len(names := dict.fromkeys(map(profile_name, profiles))) > 1:
        return (
            f"{job.name}: sources have the colour profiles {' and '.join(names)}, the result has the "
            "first; convert them to one for true colours"
        )
    if profile and job.output.suffix.lower() == ".bmp" and profile_name(profile) != DEFAULT:
        return f"{job.output}: a BMP holds no colour profile, and its source has {profile_name(profile)}"
    return None
