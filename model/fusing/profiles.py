"""The colour profile (ICC) of a result: that of the source whose colours it shows. No value is converted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model.fusing.colour import Givers, Input, colour_givers
from model.fusing.fuse_jobs import Job
from pipeline.colour_profiles import DEFAULT, profile_name


def result_profile(sources: Sequence[Input], givers: Givers) -> bytes | None:
    """Of the first source that gives colour; of a grey result the first source's, if that is grey too."""
    if coloured := colour_givers(sources, givers):
        return coloured[0].profile
    return sources[0].profile if sources[0].image.ndim == 2 else None


class ProfileNotices:
    """Tells of the first result of a run whose colours its profile does not say."""

    def __init__(self, givers: Givers, tell: Callable[[str], None]) -> None:
        self._givers, self._tell, self._told = givers, tell, False

    def check(self, job: Job, sources: Sequence[Input]) -> None:
        """Look at the sources of one result, unless another has been told of."""
        if not self._told and (found := self._unsaid(job, sources)):
            self._told = True
            self._tell(found)

    def _unsaid(self, job: Job, sources: Sequence[Input]) -> str | None:
        profile = result_profile(sources, self._givers)
        profiles = dict.fromkeys(source.profile for source in colour_givers(sources, self._givers))
        if len(profiles) > 1 and len(names := dict.fromkeys(map(profile_name, profiles))) > 1:
            return (
                f"{job.name}: sources have the colour profiles {' and '.join(names)}, the result has the "
                "first; convert them to one for true colours"
            )
        if profile and job.output.suffix.lower() == ".bmp" and profile_name(profile) != DEFAULT:
            return f"{job.output}: a BMP holds no colour profile, and its source has {profile_name(profile)}"
        return None
