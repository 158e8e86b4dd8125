"""How the shipped GIFNet weights are made: from which sets, with which options. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import InputError


@dataclass(frozen=True, kw_only=True)
class FusionSet:
    """A dataset of the training."""

    name: str  # of its folder
    recipe: str  # manifest
    folder: str  # of its pictures, below that of all data
    options: tuple[Any, ...]  # what synth is told about it
    kind: str | None = None  # of its pairs, where the head is calibrated with them


#: Optics and exposure as a camera has them.
_OPTICS = ("--focus", "thin-lens", "--exposure", "camera-response")
#: Real pairs of each kind of fusion, and focus and exposure pairs made from them in two ways.
FUSION_SETS = (
    FusionSet(
        name="roadscene",
        recipe="roadscene",
        folder="roadscene",
        options=("--tiles-per-frame", 4),
        kind="infrared",
    ),
    FusionSet(
        name="lens", recipe="roadscene", folder="roadscene", options=("--tiles-per-frame", 2, *_OPTICS)
    ),
    FusionSet(
        name="llvip", recipe="llvip", folder="llvip", options=("--split", "train", "--tiles-per-frame", 4)
    ),
    FusionSet(
        name="mefb",
        recipe="mefb",
        folder="mefb",
        options=("--roles", "over", "under", "--tiles-per-frame", 16),
        kind="exposure",
    ),
    FusionSet(
        name="mfif",
        recipe="mfifb",
        folder="mfif",
        options=("--roles", "near", "far", "--tiles-per-frame", 16),
        kind="focus",
    ),
    FusionSet(
        name="pet",
        recipe="harvard-pet-mri",
        folder="harvard/pet-mri",
        options=("--roles", "pet", "mri", "--tiles-per-frame", 12),
        kind="medical",
    ),
    FusionSet(
        name="ct",
        recipe="harvard-ct-mri",
        folder="harvard/ct-mri",
        options=("--roles", "ct", "mri", "--tiles-per-frame", 12),
        kind="medical",
    ),
)
#: Kinds of pairs with which the head is calibrated.
KINDS = ("infrared", "focus", "exposure", "medical")
#: Share of the scenes that neither training nor calibration sees.
HELD_OUT_SHARE = 0.1
#: How: a network of less than half of the published width, taught by fidelity.
FUSION_TRAINING = (
    *("--objective", "fidelity", "--dp-task", "both", "--feature-growth", 14, "--decoder-channels", 32),
    *("--head", "pyramid", "--crop", 160, "--lr", 0.0013, "--schedule", "cosine"),
    *("--structure-weight", 8, "--complement-weight", 5),
    *("--mutual-information-weight", 4.5, "--visual-information-weight", 0.5, "--truth-weight", 3.5),
    *("--rival-weight", 25, "--sharpness-weight", 55, "--overshoot-weight", 100),
    *("--clip-norm", 10, "--ema-decay", 0.995, "--validation-share", HELD_OUT_SHARE, "--resume"),
)


def sets_in(data: Path, kinds: tuple[str | None, ...]) -> list[FusionSet]:
    """The sets of some kinds whose pictures lie in a folder.

    Raises:
        InputError: there is none of them.
    """
    wanted = [one for one in FUSION_SETS if one.kind in kinds]
    there = [one for one in wanted if (data / one.folder).is_dir()]
    if not there:
        raise InputError(f"{data}: holds none of {', '.join(dict.fromkeys(one.folder for one in wanted))}")
    return there
