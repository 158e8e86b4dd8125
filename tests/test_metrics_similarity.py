"""Similarity metrics against hand-computed values and other implementations."""

from __future__ import annotations

import math

import numpy as np
import piq
import pytest
import torch
from metric_pictures import picture
from skimage.metrics import structural_similarity

from model.metrics import similarity

A = np.array([[0, 10], [20, 30]], np.uint8)
B = np.array([[50, 0], [0, 50]], np.uint8)


def test_errors_and_decibels() -> None:
    fused = np.array([[0, 10], [20, 34]], np.uint8)
    # Against A: 16 / 4 = 4. Against B: (2500 + 100 + 400 + 256) / 4 = 814.
    assert similarity.mean_squared_error(fused, A, B) == 409.0
    assert similarity.mean_squared_error_unit_range(fused, A, B) == pytest.approx(409 / 65025)
    psnr = 10 * math.log10(65025 / 409)
    assert similarity.peak_signal_to_noise(fused, A, B) == pytest.approx(psnr)
    assert similarity.peak_signal_to_noise_unit_range(fused, A, B) == pytest.approx(psnr + 48.1308, 1e-6)
    assert similarity.peak_signal_to_noise_by_maximum(fused, A, B) == pytest.approx(
        10 * math.log10(34**2 / 409)
    )
    frobenius = (4 + math.sqrt(3256)) / 8
    assert similarity.frobenius_error(fused, A, B) == pytest.approx(frobenius)
    assert similarity.peak_signal_to_frobenius(fused, A, B) == pytest.approx(
        10 * math.log10(65025 / frobenius)
    )
    assert similarity.peak_signal_to_noise(A, A, A) == similarity.PSNR_CAP_DB
    assert similarity.ground_truth_psnr(fused, A) == pytest.approx(10 * math.log10(65025 / 4))


def test_standard_deviation() -> None:
    assert similarity.standard_deviation(A) == pytest.approx(math.sqrt(125))
    # Deviations from 15: -15 -> 0, -5 -> 0, 5 -> 25, 15 -> 225.
    assert similarity.standard_deviation_saturated(A) == pytest.approx(math.sqrt(250 / 4))
    # Deviation of 25 from the mean of 25: the square stops at 255.
    assert similarity.standard_deviation_saturated(B) == pytest.approx(math.sqrt(255 / 2))


def test_correlations() -> None:
    assert similarity.correlation_coefficient(A, A, A) == pytest.approx(1)
    assert similarity.correlation_coefficient(A, A, A[::-1, ::-1]) == pytest.approx(0)
    assert similarity.sum_of_difference_correlations(A + B, A, B) == pytest.approx(2)
    # F = A, so F - A = 0 correlates with nothing; F - B = A - B.
    x, y = A.astype(float) - B, A.astype(float)
    assert similarity.sum_of_difference_correlations(A, A, B) == pytest.approx(
        np.corrcoef(x.ravel(), y.ravel())[0, 1]
    )


def test_ssim_conventions() -> None:
    fused, a, b = picture(1), picture(2), picture(3)
    mean = similarity.structural_similarity_mean(fused, a, b)
    assert similarity.structural_similarity_sum(fused, a, b) == pytest.approx(2 * mean)
    old_default = sum(
        structural_similarity(fused.astype(np.float32), x.astype(np.float32), data_range=2) for x in (a, b)
    )
    assert similarity.structural_similarity_range_two(fused, a, b) == pytest.approx(old_default)
    assert similarity.ground_truth_ssim(fused, a) == pytest.approx(
        2 * mean - similarity.ground_truth_ssim(fused, b)
    )


def test_ssim_window_by_window() -> None:
    """Wang et al. 2004, Eq. 13, one 11x11 Gaussian window at a time."""
    x, y = (picture(seed, (13, 14)).astype(float) for seed in (8, 9))
    offset = np.arange(-5, 6)
    weights = np.exp(-(offset**2) / (2 * 1.5**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for row in range(3):
        for column in range(4):
            p, q = (image[row : row + 11, column : column + 11] for image in (x, y))
            mp, mq = (weights * p).sum(), (weights * q).sum()
            vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
            cross = (weights * (p - mp) * (q - mq)).sum()
            c1, c2 = 2.55**2, 7.65**2
            values.append((2 * mp * mq + c1) * (2 * cross + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert similarity.ground_truth_ssim(*(image.astype(np.uint8) for image in (x, y))) == pytest.approx(
        np.mean(values), rel=1e-9
    )


def test_ms_ssim_agrees_with_piq() -> None:
    source = picture(1, (208, 240))
    fused = np.clip(source + np.random.default_rng(0).normal(0, 12, source.shape), 0, 255).astype(np.uint8)
    x, y = (torch.from_numpy(image.astype(np.float64))[None, None] for image in (fused, source))
    expected = piq.multi_scale_ssim(x, y, data_range=255).item()
    assert similarity.multi_scale_similarity(fused, source, source) == pytest.approx(expected, abs=1e-4)


def test_error_map() -> None:
    error = similarity.error_map(A, np.full_like(A, 12))
    assert error.dtype == np.uint8
    assert error.tolist() == [[12, 2], [8, 18]]
