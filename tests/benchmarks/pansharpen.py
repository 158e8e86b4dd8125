"""Pan-sharpening against known bands (Wald's protocol), beside the published recipe and plain methods.

    python tests/benchmarks/pansharpen.py ../shared/data/samples/remote

Bands that come enlarged four times are reduced to their own resolution, which is the truth; these and the
panchromatic image are reduced four times more, through a Gaussian like a sensor's, and sharpened again. ERGAS
(0 is best) is the relative error of all bands, SAM the mean angle between spectra in degrees, CC the mean
correlation (Wald, Ranchin and Mangolini, "Fusion of satellite images of different spatial resolutions",
Photogrammetric Engineering & Remote Sensing 1997).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from model.checkpoint import load_network
from model.engine.strips import FusionEngine
from model.fusing.multiband import Bands, read_bands
from model.fusing.pansharpen import USUAL_RATIO, add_detail, pansharpen

RATIO = int(USUAL_RATIO)
#: Of a sensor that passes 0.3 of the amplitude at its Nyquist frequency.
SIGMA_PX = 0.49 * RATIO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="of ms.tif, enlarged four times, and pan.tif of its size")
    parser.add_argument("--weights", type=Path, help="other weights than the shipped ones")
    arguments = parser.parse_args()
    given, pan = (read_bands(arguments.folder / name).values for name in ("ms.tif", "pan.tif"))
    height, width = (side // RATIO**2 * RATIO**2 for side in pan.shape[1:])
    truth = _reduced(given[:, :height, :width], blurred=False)
    coarse, fine = _reduced(truth), _reduced(pan[:, :height, :width])
    size = fine.shape[2], fine.shape[1]
    enlarged = np.stack([cv2.resize(band, size, interpolation=cv2.INTER_CUBIC) for band in coarse])
    detail = [add_detail(fine[0].astype(np.float32), band, RATIO) for band in enlarged]
    results = {"bands enlarged": enlarged, "plain detail of the panchromatic image": np.stack(detail)}
    engine = FusionEngine(load_network(arguments.weights))
    for name, published in (("published recipe", True), ("this product", False)):
        results[name] = pansharpen(engine, Bands(coarse), Bands(fine), resize="a", published=published).values
    print(f"{'':40}  ERGAS    SAM      CC")
    for name, result in results.items():
        ergas, angle, correlation = _scores(result.astype(np.float64), truth.astype(np.float64))
        print(f"{name:40}  {ergas:5.3f}  {angle:5.3f}  {correlation:6.4f}")


def _reduced(bands: np.ndarray, *, blurred: bool = True) -> np.ndarray:
    """(B, H, W) -> a quarter of each side, the same type."""
    planes = list(bands.astype(np.float32))
    if blurred:
        planes = [cv2.GaussianBlur(plane, (0, 0), SIGMA_PX) for plane in planes]
    size = bands.shape[2] // RATIO, bands.shape[1] // RATIO
    small = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes])
    return np.rint(small).astype(bands.dtype)


def _scores(result: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    errors = np.square(result - truth).mean((1, 2)) / np.square(truth.mean((1, 2)))
    norms = np.linalg.norm(result, axis=0) * np.linalg.norm(truth, axis=0)
    angles = np.arccos(((result * truth).sum(0) / np.maximum(norms, 1)).clip(-1, 1))
    pairs = zip(result, truth, strict=True)
    correlation = np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])
    return 100 / RATIO * float(np.sqrt(errors.mean())), float(np.degrees(angles.mean())), float(correlation)


if __name__ == "__main__":
    main()
