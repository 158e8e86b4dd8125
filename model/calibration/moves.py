"""What calibration may change of a pyramid head: combinations of its cue weights, and how far they may go.

Of focus pairs choosing right is all: a move that touches pairs which are alike costs them mutual information
on either side. So most moves leave such pairs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.blocks.pyramid import LEVELS


@dataclass(frozen=True, kw_only=True)
class Move:
    """A combination of cue weights, what is tried of it and how far it may go in a round."""

    weights: str
    rows: slice | None  # levels of the pyramid, finest first; None: of the base
    cues: Mapping[int, float]
    step: float
    most: float


#: Cues of a move that leaves pairs alone which are alike (likeness 1): for all of the others, and for their
#: strong details.
_UNLIKE, _UNLIKE_STRONG = {0: 1.0, 1: -1.0}, {3: 1.0, 4: -1.0}
#: Cues of a move that leaves unlike pairs alone, of one for where bases are far apart, and of their strong
#: details.
_LIKE, _APART, _APART_STRONG = {1: 1.0}, {2: 1.0}, {5: 1.0}
_FINEST, _OTHERS = slice(1), slice(1, None)
#: Contrast of bases far apart and of unlike ones, and what details tell about bases; gain of unlike pairs and
#: where bases are far apart, and of the strong details of both; how decidedly and in what window these are
#: chosen; how much other bands tell, and the least share; of all pairs the gain of the finest details.
MOVES = (
    Move(weights="base_gain_by_cues", rows=None, cues=_APART, step=-0.05, most=0.3),
    Move(weights="base_gain_by_cues", rows=None, cues={3: 1.0}, step=0.05, most=0.3),
    Move(weights="base_choice_by_cues", rows=None, cues={0: 1.0}, step=0.5, most=1.0),
    Move(weights="base_choice_by_cues", rows=None, cues={1: 1.0}, step=0.05, most=0.2),
    Move(weights="base_choice_by_cues", rows=None, cues={2: 1.0}, step=0.05, most=0.2),
    *(
        Move(weights="gain_by_cues", rows=slice(level, level + 1), cues=cues, step=0.01, most=0.06)
        for level in range(LEVELS)
        for cues in (_UNLIKE, _UNLIKE_STRONG, _APART, _APART_STRONG)
    ),
    *(
        Move(weights=f"{name}_by_cues", rows=rows, cues=cues, step=step, most=3 * step)
        for name, step in (("sharpness", 0.05), ("window", 0.25))
        for cues in (_UNLIKE, _APART)
        for rows in (_FINEST, _OTHERS)
    ),
    *(
        Move(weights=f"{told}_by_cues", rows=slice(None), cues=cues, step=0.05, most=0.15)
        for told in ("finer", "coarser")
        for cues in (_UNLIKE, _LIKE, _APART)
    ),
    *(
        Move(weights="least_by_cues", rows=rows, cues=cues, step=step, most=2 * step)
        for cues, step in ((_UNLIKE, 0.02), (_LIKE, 0.02), (_APART, 0.1), (_APART_STRONG, 0.1))
        for rows in (_FINEST, _OTHERS)
    ),
    Move(weights="gain_by_cues", rows=_FINEST, cues={0: 1.0}, step=0.005, most=0.02),
    Move(weights="gain_by_cues", rows=_FINEST, cues={3: 1.0}, step=0.005, most=0.02),
)
