"""Laplacian pyramids of planes, the blend of their bands, and the cues that steer it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_pictures import picture, planes_of, unit
from pretended_gpu import pretended_gpu

from model.blocks.cues import MIDDLE_STRENGTH, detail_cues, likeness, strengths, unlikeness
from model.blocks.pyramid import (
    BLOCK,
    LEVELS,
    blend_bases,
    blend_details,
    block_means,
    compose,
    decompose,
    doubled,
    halved,
    make_room,
    stronger_detail,
)
from model.evaluation.baselines import laplacian_pyramid
from pipeline.images import to_uint8
from pipeline.networks.device import repeatable

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 90), st.integers(5, 90))
def test_a_pyramid_is_undone(height: int, width: int) -> None:
    planes = planes_of(height, width)
    bands = decompose(planes)
    assert len(bands) == LEVELS + 1
    assert bands[-1].shape[2:] == (-(-height // BLOCK), -(-width // BLOCK))
    torch.testing.assert_close(compose(bands), planes, rtol=0, atol=1e-6)


def test_details_of_a_constant_are_nought_and_its_base_is_the_constant() -> None:
    *details, base = decompose(torch.full((1, 1, 37, 50), 0.3))
    assert all(float(detail.abs().max()) < 1e-6 for detail in details)
    torch.testing.assert_close(base, torch.full_like(base, 0.3))


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 70), st.integers(5, 70), st.integers(1, 4))
def test_means_over_blocks(height: int, width: int, blocks: int) -> None:
    maps = planes_of(height, width)
    whole = block_means(maps)
    strips = [block_means(strip) for strip in maps.split(blocks * BLOCK, dim=2)]
    for level, (parts, means) in enumerate(zip(zip(*strips, strict=True), whole, strict=True)):
        torch.testing.assert_close(torch.cat(parts, dim=2), means)
        rows, columns = (torch.arange(side) // 2**level for side in (height, width))
        last = rows == rows[-1], columns == columns[-1]
        torch.testing.assert_close(means[..., -1, -1], maps[:, :, last[0]][..., last[1]].mean(dim=(2, 3)))
        assert means.shape[2:] == decompose(maps)[level].shape[2:]


def test_the_stronger_detail_is_the_baseline() -> None:
    """They differ at the border alone, where OpenCV mirrors and we repeat."""
    a, b = picture(1, (150, 170)), picture(2, (150, 170))
    ours = stronger_detail(unit(a, b))[0, 0].numpy()
    inside = (slice(40, -40),) * 2
    difference = to_uint8(ours)[inside].astype(int) - laplacian_pyramid(a, b)[inside]
    assert np.abs(difference).max() <= 1


def test_no_plane_has_less_than_the_least_share() -> None:
    detail, nought = torch.ones(1, 2, 5, 7), torch.zeros(1, 1, 5, 7)
    detail[:, 1] = 0
    for choice, least, share in ((1e3, 0.1, 0.9), (-1e3, 0.1, 0.1), (1e3, 0.5, 0.5), (1e3, 0.0, 1.0)):
        blended = blend_details(detail, nought + choice, nought + least, nought)
        torch.testing.assert_close(blended, nought + share)


def test_maps_go_from_band_to_band() -> None:
    flat = torch.full((1, 1, 37, 52), 0.3)
    torch.testing.assert_close(halved(flat), torch.full((1, 1, 19, 26), 0.3))
    torch.testing.assert_close(doubled(halved(flat), flat.shape), flat)
    rows = torch.arange(8.0)[:, None].expand(1, 1, 8, 6)
    torch.testing.assert_close(halved(rows), (0.5 + torch.arange(0.0, 8, 2))[:, None].expand(1, 1, 4, 3))


def test_blended_bases_keep_the_contrast_of_both() -> None:
    """A scene and its negative would blend to grey; of two exposures the mean loses nothing."""
    a = planes_of(20, 30, 1)
    even, no_gain = torch.zeros_like(a), torch.zeros_like(a)
    for b, contrast in ((0.2 + 0.3 * a, 0.65), (0.9 - 0.8 * a, 0.2)):
        fused = blend_bases(torch.cat([a, b], dim=1), even, no_gain)
        assert float(fused.std() / a.std()) == pytest.approx(contrast, rel=1e-2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a real one")
def test_a_gpu_filters_by_convolution_to_the_same_bands() -> None:
    planes = planes_of(37, 52)
    on_cpu = [*decompose(planes), stronger_detail(planes)]
    with pretended_gpu(), repeatable(torch.device("cuda")), torch.no_grad():
        there = planes.to("cuda")
        on_gpu = [band.to("cpu") for band in (*decompose(there), stronger_detail(there))]
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_a_blend_that_has_more_contrast_than_either_base_keeps_it() -> None:
    dark, bright = torch.full((1, 1, 8, 12), 0.2), torch.full((1, 1, 8, 12), 0.8)
    logit = torch.full((1, 1, 8, 12), 20.0)
    logit[..., 6:] = -20
    fused = blend_bases(torch.cat([dark, bright], dim=1), logit, torch.zeros_like(logit))
    torch.testing.assert_close(fused, torch.where(logit > 0, dark, bright))


def test_room_is_made_for_details_beside_white_and_black() -> None:
    texture = torch.rand((1, 1, 96, 128), generator=torch.Generator().manual_seed(5)) / 5 - 0.1
    *details, _ = decompose(texture)
    sources = torch.tensor([0.4, 0.6])[None, :, None, None].expand(1, 2, 96, 128)
    for level in (0.98, 0.02):
        fused = level + texture
        roomy = make_room(fused, sources, details)
        # Details are as strong as before, and more of them are left after clipping.
        assert float((roomy - fused).std()) < 0.1 * float(texture.std())
        assert float(roomy.clamp(0, 1).std()) > 1.1 * float(fused.clamp(0, 1).std())
    torch.testing.assert_close(make_room(0.5 + texture, sources, details), 0.5 + texture)


def test_what_is_black_or_white_in_both_sources_stays_so() -> None:
    generator = torch.Generator().manual_seed(6)
    blend, sources = torch.rand((1, 3, 96, 128), generator=generator).split([1, 2], dim=1)
    *details, _ = decompose(blend)
    inside = torch.zeros(96, 128, dtype=torch.bool)
    inside[30:70, 40:90] = True
    for level in (0.0, 1.0):
        fused = 0.6 * blend + (0.6 if level else -0.2)
        flat = torch.where(inside, torch.tensor(level), sources)
        roomy = make_room(fused, flat, details)
        beyond = inside & ((fused <= 0) if level == 0 else (fused >= 1))[0, 0]
        assert bool((roomy.clamp(0, 1)[0, 0][beyond] == level).all())
        # Where only one source is black or white, the other one has something to lose.
        one = torch.cat([flat[:, :1], sources[:, 1:]], dim=1)
        assert not bool((make_room(fused, one, details).clamp(0, 1)[0, 0][beyond] == level).all())
    # A scene beside a black background asks for room; the background alone does not.
    alone = make_room(torch.full_like(blend, -0.2), torch.zeros_like(sources), details)
    assert bool((alone == -0.2).all())
    blend, half = torch.full_like(blend, 0.3), torch.full_like(sources, 0.3)
    blend[..., :64], half[..., :64] = -0.2, 0
    torch.testing.assert_close(make_room(blend, half, details), blend)


def test_likeness_is_the_local_correlation() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = torch.rand((2, 1, 1, 100, 130), generator=generator)
    flat = torch.full_like(a, 0.5)
    for other, expected, tolerance in (
        (a / 2 + 0.1, 1, 1e-2),
        (1 - a, -1, 1e-2),
        (b, 0, 0.1),
        (flat, 0, 1e-2),
    ):
        found = likeness(torch.cat([a, other], dim=1))
        assert found.shape == (1, 1, 7, 9)
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=tolerance)


def test_unlikeness_is_one_minus_the_correlation_of_the_image() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 1, 20, 30, generator=random)
    for other in (a, 0.3 * a + 0.2, 1 - a, b, 0.5 * a + 0.5 * b):
        expected = 1 - np.corrcoef(a.ravel(), other.ravel())[0, 1]
        assert unlikeness(torch.cat([a, other], dim=1)).item() == pytest.approx(expected, abs=1e-4)
    flat = torch.full_like(a, 0.4)
    assert unlikeness(torch.cat([flat, flat], dim=1)).item() == pytest.approx(0, abs=1e-5)


def test_strengths_are_the_same_up_to_the_border() -> None:
    for of_pixel, around in zip(*map(torch.unbind, strengths(torch.full((1, 2, 6, 7), 0.1))), strict=True):
        torch.testing.assert_close(of_pixel, torch.full_like(of_pixel, math.log(0.1)), rtol=0, atol=1e-3)
        torch.testing.assert_close(around, of_pixel)


def test_strength_is_that_of_the_stronger_detail_and_0_in_the_middle() -> None:
    cues, around = torch.full((1, 2, 3, 4), 0.5), torch.full((1, 2, 3, 4), math.log(MIDDLE_STRENGTH) - 3)
    for plane, above in ((0, 0.0), (1, 1.0)):
        around[:, plane] = math.log(MIDDLE_STRENGTH) + above
        found = detail_cues(cues, around)[0, :, 0, 0].tolist()
        assert found == pytest.approx([1, 0.5, 0.5, above / 2, above / 4, above / 4], abs=1e-6)
