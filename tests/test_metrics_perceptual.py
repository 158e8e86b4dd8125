"""Perceptual metrics against window-by-window and unvectorised transcriptions of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from metric_pictures import picture

from model.metrics import perceptual


def test_mef_ssim_window_by_window() -> None:
    """Ma et al. 2015: the desired patch is built explicitly for every 11x11 window."""
    fused, a, b = (picture(seed, (15, 17)).astype(float) for seed in (1, 2, 3))
    offset = np.arange(-5, 6)
    weights = np.exp(-(offset**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for row in range(5):
        for column in range(7):
            window = (slice(row, row + 11), slice(column, column + 11))
            parts = [image[window] - image[window].mean() for image in (a, b)]
            strengths = [np.linalg.norm(part) for part in parts]
            agreement = np.linalg.norm(parts[0] + parts[1]) / sum(strengths)
            exponent = min(math.tan(math.pi / 2 * agreement), 10)
            shares = [((s + 0.001) / 11) ** exponent for s in strengths]
            desired = sum(
                share / sum(shares) * part / (s + 0.001)
                for share, part, s in zip(shares, parts, strengths, strict=True)
            )
            desired *= (max(strengths) + 0.001) / np.linalg.norm(desired)
            x, y = desired, fused[window]
            x, y = x - (weights * x).sum(), y - (weights * y).sum()
            c = 7.65**2
            values.append(
                (2 * (weights * x * y).sum() + c) / ((weights * x * x).sum() + (weights * y * y).sum() + c)
            )
    images = (image.astype(np.uint8) for image in (fused, a, b))
    assert perceptual.exposure_fusion_similarity_fine(*images) == pytest.approx(np.mean(values), rel=1e-9)


def test_mef_ssim_ignores_brightness_and_prefers_the_stronger_structure() -> None:
    strong = picture(2, (60, 70))
    weak = ((strong.astype(float) - 128) / 4 + 60).astype(np.uint8)
    brighter = (strong.astype(int) + 20).astype(np.uint8)
    score = perceptual.exposure_fusion_similarity
    assert score(brighter, strong, weak) == pytest.approx(score(strong, strong, weak), abs=1e-6)
    assert score(strong, strong, weak) > 0.99
    assert score(weak, strong, weak) < 0.7


def test_chen_blum_by_definition() -> None:
    """Contrast of each pixel from explicit Gaussian sums; the frequency filter from a full transform."""
    height, width = 40, 44
    images = [picture(seed, (height, width)).astype(float) for seed in (1, 2, 3)]
    u = np.arange(width) - width // 2
    v = np.arange(height) - height // 2
    radius = np.hypot(2 * u[None, :] / 30, 2 * v[:, None] / 30)
    dog = np.exp(-((radius / 15.3870) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))

    def masked(image: np.ndarray) -> np.ndarray:
        seen = np.fft.ifft2(np.fft.ifftshift(np.fft.fftshift(np.fft.fft2(image)) * dog)).real
        padded = np.pad(seen, 15, mode="reflect")
        offset = np.arange(-15, 16)
        blurred = []
        for sigma in (2, 4):
            kernel = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
            blurred.append(
                [
                    [(padded[r : r + 31, c : c + 31] * kernel).sum() for c in range(width)]
                    for r in range(height)
                ]
            )
        contrast = np.abs(np.array(blurred[0]) / np.array(blurred[1]) - 1)
        return contrast**3 / (contrast**2 + 0.0001)

    f, a, b = (masked(image) for image in images)
    kept = [np.minimum(x, f) / np.maximum(x, f) for x in (a, b)]
    saliency = a**2 / (a**2 + b**2)
    expected = (saliency * kept[0] + (1 - saliency) * kept[1]).mean()
    value = perceptual.chen_blum(*(image.astype(np.uint8) for image in images))
    assert value == pytest.approx(expected, rel=1e-9)


def test_chen_varshney_by_definition() -> None:
    height, width = 33, 40  # the last blocks are 1 row high and 8 columns wide
    fused, a, b = (picture(seed, (height, width)).astype(float) for seed in (1, 2, 3))
    v = 2 * np.fft.fftfreq(height)[:, None] * height / 8
    u = 2 * np.fft.fftfreq(width)[None, :] * width / 8
    r = 0.144 * np.hypot(u, v)
    sensitivity = 2.6 * (0.0192 + r) * np.exp(-(r**1.1))
    numerator = denominator = 0.0
    for source in (a, b):
        visible = np.fft.ifft2(np.fft.fft2(source - fused) * sensitivity).real
        padded = np.pad(source, 1, mode="edge")
        x = padded[:, 2:] - padded[:, :-2]
        y = padded[2:] - padded[:-2]
        sobel = np.hypot(x[:-2] + 2 * x[1:-1] + x[2:], y[:, :-2] + 2 * y[:, 1:-1] + y[:, 2:])
        for top in range(0, height, 16):
            for left in range(0, width, 16):
                block = (slice(top, top + 16), slice(left, left + 16))
                saliency = (sobel[block] ** 5).sum()
                numerator += saliency * (visible[block] ** 2).mean()
                denominator += saliency
    value = perceptual.chen_varshney(*(image.astype(np.uint8) for image in (fused, a, b)))
    assert value == pytest.approx(numerator / denominator, rel=1e-9)


def test_stretched_forms_ignore_gain_and_offset() -> None:
    fused, a, b = (picture(seed) for seed in (1, 2, 3))
    darker = (a // 2 + 3).astype(np.uint8)
    for stretched in (perceptual.chen_blum_stretched, perceptual.chen_varshney_stretched):
        exact = stretched(fused, a, b)
        assert stretched(fused, darker, b) == pytest.approx(exact, rel=0.1)  # darker is rounded
