"""Scenes of which photographs of other exposures exist: reading them, and how well a probe foretells these.

The well-exposed picture of a scene is the Mertens fusion of its over-/under-exposed pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.exposure.probe import ROLES, ExposureProbe, probe_luminance
from pipeline.files import InputError, check_outside
from pipeline.images import read_rgb, size_text, to_uint8
from pipeline.images.ycbcr import luminance
from pipeline.sources.listing import list_samples, scene_of
from pipeline.sources.manifest import load_manifest, scene_expression

#: Mean squared errors count as no less, 100 dB: of 0 there is no logarithm, and JSON has no infinity.
_LEAST_ERROR = 1e-10


@dataclass(frozen=True)
class ExposureScene:
    """Luminance planes of one scene, each (H, W) uint8."""

    id: str
    scene: str  # what the manifest says of the id, or the id: other pictures of it are no test
    fused: np.ndarray  # Mertens fusion of the pair: the well-exposed input
    over: np.ndarray
    under: np.ndarray


def read_scenes(
    manifest: Path | str,
    root: Path | str | None = None,
    split: str | None = None,
    *,
    least_px: int = 1,
    out: Path | str | None = None,
) -> list[ExposureScene]:
    """Read the pairs of a manifest with the roles ``over`` and ``under``, ordered by id, and fuse each.

    Args:
        out: a file that is to be written, outside the folders of the pictures.

    Raises:
        InputError: ``out`` would be among the pictures, a file without its partner, an unreadable one, a pair
            of two sizes, one with a side below ``least_px``, or an over-exposed picture that is the darker.
    """
    recipe = load_manifest(manifest)
    expression = scene_expression(recipe.scene)
    listing = list_samples(recipe, root=root, split=split, roles=ROLES).require_complete()
    if out is not None:
        folders = {path.parent for sample in listing.samples for path in sample.paths.values()}
        check_outside(Path(out), sorted(folders))
    merge = cv2.createMergeMertens()
    scenes = []
    for sample in listing.samples:
        over, under = (read_rgb(sample.paths[role]) for role in ROLES)
        if over.shape != under.shape:
            sizes = " and ".join(map(size_text, (over, under)))
            raise InputError(f"{sample.paths['over']}: pair of two sizes, {sizes}; the pair must be aligned")
        if min(over.shape[:2]) < least_px:
            raise InputError(
                f"{sample.paths['over']}: {size_text(over)} is smaller than the patches of "
                f"{least_px} pixels that are learnt from; remove the pair"
            )
        fused = merge.process([over, under])  # float32, 1 = white, same channel order
        planes = [
            to_uint8(luminance(image)) for image in (fused, over / np.float32(255), under / np.float32(255))
        ]
        if planes[1].mean() <= planes[2].mean():
            raise InputError(f"{sample.paths['over']}: darker than its under-exposed partner; swap the two")
        scenes.append(ExposureScene(sample.id, scene_of(sample.id, expression), *planes))
    return scenes


def split_scenes(
    scenes: Sequence[ExposureScene], held_out_every: int
) -> tuple[list[ExposureScene], list[ExposureScene]]:
    """Training and held-out pictures: all of the n-th, the 2n-th, ... scene are held out.

    Raises:
        InputError: there are fewer than ``held_out_every`` scenes.
    """
    names = list(dict.fromkeys(picture.scene for picture in scenes))
    apart = set(names[held_out_every - 1 :: held_out_every])
    if not apart:
        raise InputError(f"{len(names)} scene(s): too few to hold out every {held_out_every}th")
    training = [picture for picture in scenes if picture.scene not in apart]
    return training, [picture for picture in scenes if picture.scene in apart]


def probe_figures(
    probe: ExposureProbe, training: Sequence[ExposureScene], held_out: Sequence[ExposureScene]
) -> dict[str, float]:
    """Held-out figures of a probe and of the best global gamma (highest mean PSNR on the training scenes).

    For each role: ``ROLE_psnr`` and ``ROLE_gamma_psnr`` in dB, means over scenes; ``ROLE_gamma``, the
    baseline's exponent; ``ROLE_mean`` and ``ROLE_true_mean``, mean luminance in [0, 1] of the probe's
    pictures and of the photographs.
    """
    predicted = [dict(zip(ROLES, probe_luminance(scene.fused, probe), strict=True)) for scene in held_out]
    figures: dict[str, float] = {}
    for role in ROLES:
        truth = [getattr(scene, role).astype(np.float32) / 255 for scene in held_out]
        gamma = best_gamma(training, role)
        scores = [psnr(pair[role], true) for pair, true in zip(predicted, truth, strict=True)]
        baseline = [
            psnr((scene.fused / np.float32(255)) ** gamma, true)
            for scene, true in zip(held_out, truth, strict=True)
        ]
        figures |= {
            f"{role}_psnr": float(np.mean(scores)),
            f"{role}_gamma_psnr": float(np.mean(baseline)),
            f"{role}_gamma": gamma,
            f"{role}_mean": float(np.mean([pair[role].mean() for pair in predicted])),
            f"{role}_true_mean": float(np.mean([true.mean() for true in truth])),
        }
    return figures


def best_gamma(scenes: Sequence[ExposureScene], role: str) -> float:
    """Exponent g for which fused ** g has the highest mean :func:`psnr` against the role's pictures."""
    levels = np.arange(256) / 255
    joint = []  # share of pixels of each (fused, true) pair of levels: all that the error depends on
    for scene in scenes:
        codes = scene.fused.astype(np.int64).ravel() * 256 + getattr(scene, role).ravel()
        joint.append(np.bincount(codes, minlength=1 << 16).reshape(256, 256) / codes.size)

    def mean_psnr(gamma: float) -> float:
        squared = (levels[:, None] ** gamma - levels) ** 2
        return float(np.mean([_decibels((share * squared).sum()) for share in joint]))

    return float(max(np.geomspace(0.1, 10, 461), key=mean_psnr))


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pictures in [0, 1], dB; at most 100, as of a picture that is exact."""
    return _decibels(np.mean(np.square(image - truth, dtype=np.float64)))


def _decibels(squared: float) -> float:
    """PSNR of a mean squared error, which counts as 1e-10 at least."""
    return float(-10 * np.log10(max(squared, _LEAST_ERROR)))
