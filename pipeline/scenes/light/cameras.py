"""The two cameras of the sample scenes: optics, exposure, sensor noise and tone of visible and infrared."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.images import to_uint8
from pipeline.images.ycbcr import luminance
from pipeline.scenes.world import Weather


def photograph(
    radiance: np.ndarray, edges: np.ndarray, weather: Weather, rng: np.random.Generator
) -> np.ndarray:
    """Linear radiance (H, W, 3) -> what a colour camera stores, (H, W, 3) uint8.

    Auto exposure, glare around lights, vignetting, a lens that is not quite sharp, shot and read noise
    correlated as after demosaicing, white balance, tone curve. ``edges`` (H, W) bool are smoothed first, for
    radiance is known at pixel centres only.
    """
    height, width = radiance.shape[:2]
    grey = luminance(radiance)
    key = rng.uniform(0.05, 0.14) if weather.night else rng.uniform(0.2, 0.36)
    level = float(np.exp(np.log(grey + 0.004).mean()))
    gain = key / (0.6 * level + 0.4 * float(np.minimum(grey, 1.5).mean()) + 1e-4)
    gain = min(gain, 2.6) if weather.night else gain
    image: np.ndarray = radiance * np.float32(gain)
    smooth = cv2.GaussianBlur(np.minimum(image, 4), (3, 3), 0.75)
    image[edges] = smooth[edges]
    image += _glare(image, rng.uniform(0.04, 0.1) if weather.night else 0.02)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.45, 0.8)) * max(1.0, width / 640))
    image *= _vignette(height, width, float(rng.uniform(0.05, 0.3)))[..., None]
    image *= np.array(weather.tint, np.float32)
    read, shot = (0.005, 0.03) if weather.night else (0.002, 0.012)
    iso = float(rng.uniform(0.5, 1.6))
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.55) * np.float32(1.5)
    image += noise * (
        np.float32(iso) * np.sqrt(np.float32(read**2) + np.float32(shot**2) * np.maximum(image, 0))
    )
    # A filmic curve: a short toe, a long shoulder for highlights; then the display gamma.
    image = np.maximum(image, 0)
    toned = image * (2.2 * image + 0.10) / (image * (2.1 * image + 0.75) + 0.10)
    return to_uint8(np.minimum(toned, 1) ** np.float32(1 / 2.2))


def photograph_infrared(temperature_c: np.ndarray, weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """Apparent temperature (H, W) -> what a long-wave infrared camera stores, (H, W) uint8.

    Soft optics, noise with the column pattern of a microbolometer, automatic gain that either keeps the
    background dark (warm targets stand out) or spreads the grey levels (plateau equalisation).
    """
    height, width = temperature_c.shape
    heat = np.maximum(temperature_c, weather.air_c - 22)
    heat = cv2.GaussianBlur(heat, (0, 0), float(rng.uniform(0.7, 1.2)) * max(1.0, width / 640))
    columns = rng.standard_normal((1, width), dtype=np.float32)
    heat += np.float32(rng.uniform(0.05, 0.2)) * columns
    heat += np.float32(rng.uniform(0.1, 0.35)) * rng.standard_normal((height, width), dtype=np.float32)
    low, middle, high = np.percentile(heat[::3, ::3], (1, 45, 99.8))
    dark = rng.random() < 0.5
    floor = low + (0.75 * (middle - low) if dark else 0.0)
    top = max(high, floor + 9.0, weather.air_c + 12 if dark else 0.0)
    linear = np.clip((heat - floor) / (top - floor), 0, 1)
    if dark:
        return to_uint8(linear ** np.float32(rng.uniform(0.8, 1.1)) * 0.97 + 0.01)
    counts, edges = np.histogram(linear[::2, ::2], bins=256, range=(0, 1))
    plateau = np.minimum(counts, counts.sum() * 0.012)
    curve = np.concatenate([[0], np.cumsum(plateau)]) / plateau.sum()
    spread = np.interp(linear, edges, curve).astype(np.float32)
    share = np.float32(rng.uniform(0.3, 0.7))
    return to_uint8(linear + share * (spread - linear))


def _glare(image: np.ndarray, strength: float) -> np.ndarray:
    """Light that the lens scatters around what is brighter than white, at three widths."""
    height, width = image.shape[:2]
    small = cv2.resize(np.clip(image - 0.9, 0, 30), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    total: np.ndarray = np.zeros_like(small)
    for share, sigma in ((0.5, 0.004), (0.3, 0.018), (0.2, 0.07)):
        shrink = max(1, int(sigma * width / 4))
        tiny = cv2.resize(
            small, (max(1, width // 2 // shrink), max(1, height // 2 // shrink)), interpolation=cv2.INTER_AREA
        )
        tiny = cv2.GaussianBlur(tiny, (0, 0), max(0.6, sigma * width / 2 / shrink))
        total += np.float32(share) * cv2.resize(
            tiny, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR
        )
    return np.float32(strength * 4) * cv2.resize(total, (width, height), interpolation=cv2.INTER_LINEAR)


def _vignette(height: int, width: int, strength: float) -> np.ndarray:
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    return 1 - np.float32(strength) * (x * x + y * y) / 2
