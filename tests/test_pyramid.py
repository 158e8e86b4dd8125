"""Laplacian pyramids of planes, and the head that blends two of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_pictures import picture
from pretended_gpu import pretended_gpu
from torch import Tensor

from model.baselines import laplacian_pyramid
from model.head import CUE_SCALE, SCALE, PyramidHead
from model.metrics.similarity import ground_truth_psnr
from model.network import GIFNet, NetworkConfig
from model.pyramid import (
    BLOCK,
    LEVELS,
    blend_bases,
    block_means,
    compose,
    decompose,
    likeness,
    make_room,
    stronger_detail,
    unlikeness,
)
from pipeline.device import repeatable
from pipeline.images import to_uint8

pytestmark = pytest.mark.usefixtures("one_thread")


def planes_of(height: int, width: int, channels: int = 2) -> Tensor:
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(height * width))


def unit(*planes: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(planes).astype(np.float32) / 255)[None]


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


def test_untrained_it_fuses_about_as_the_classic_does() -> None:
    torch.manual_seed(0)
    network = GIFNet(NetworkConfig(feature_growth=4, decoder_channels=8, head="pyramid")).eval()
    sharp = picture(3, (96, 112))
    finest, fine, *coarse = decompose(unit(sharp))
    without = compose([torch.zeros_like(finest), torch.zeros_like(fine), *coarse])
    blurred = to_uint8(without[0, 0].numpy())
    left = np.arange(112) < 56
    near, far = np.where(left, sharp, blurred), np.where(left, blurred, sharp)
    with torch.inference_mode():
        fused = network(unit(near), unit(far))[0, 0].numpy()
    classic = stronger_detail(unit(near, far))[0, 0].numpy()
    ours, theirs, mean = (
        ground_truth_psnr(to_uint8(image), sharp)
        for image in (fused, classic, unit(near, far).mean(1)[0].numpy())
    )
    assert ours > theirs - 1 > mean + 3


def test_a_share_of_one_copies_a_plane() -> None:
    head, planes = PyramidHead(), 0.25 + 0.7 * planes_of(40, 51)
    maps = torch.full((2, head.channels, 40, 51), 1e4)
    maps[:, LEVELS + 1 :] = 0
    torch.testing.assert_close(head(head.pooled(maps), planes), planes[:, :1], rtol=0, atol=1e-6)
    maps[:, : LEVELS + 1] = -1e4
    torch.testing.assert_close(head(head.pooled(maps), planes), planes[:, 1:], rtol=0, atol=1e-6)
    maps[:, LEVELS + 1 : 2 * (LEVELS + 1)] = 1e4
    low, high = head(head.pooled(maps), planes).detach().aminmax()
    assert low >= 0 and high <= 1


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


def test_gains_stretch_about_the_mean_and_leave_a_flat_image_alone() -> None:
    head = PyramidHead()
    maps = torch.zeros(1, head.channels, 48, 64)
    maps[:, LEVELS + 1 : 2 * (LEVELS + 1)] = float(np.arctanh(np.log(1.5))) / SCALE  # every gain is 1.5
    flat = torch.full((1, 2, 48, 64), 0.4)
    torch.testing.assert_close(head(head.pooled(maps), flat), flat[:, :1], rtol=0, atol=1e-6)
    ramp = torch.linspace(0.3, 0.7, 64).expand(1, 2, 48, 64)
    stretched = head(head.pooled(maps), ramp)
    torch.testing.assert_close(stretched, 0.5 + 1.5 * (ramp[:, :1] - 0.5), rtol=0, atol=0.03)


def test_opposite_bases_keep_their_contrast_and_equal_ones_are_left_alone() -> None:
    head = PyramidHead()
    maps = head.pooled(torch.zeros(1, head.channels, 64, 96))
    across, down = (
        torch.linspace(0.3, 0.7, 96).expand(64, 96),
        torch.linspace(0.3, 0.7, 64)[:, None].expand(64, 96),
    )
    fused = head(maps, torch.stack([across, down])[None])
    # The mean of two ramps at right angles has half the variance of each; here it has all of it.
    assert float(fused.detach().var()) == pytest.approx(float(across.var()), rel=0.1)
    torch.testing.assert_close(
        head(maps, torch.stack([across, across])[None])[0, 0], across, rtol=0, atol=1e-5
    )
    opposite = head(maps, torch.stack([across, 1 - across])[None])
    assert float(opposite.detach().std()) < 0.01  # what cancels altogether is not made up from rounding


def test_the_decoder_sees_the_picture_before_it_has_learned_anything() -> None:
    """With PyTorch's own start the last layer's input varies by 0.001, too little to learn from."""
    torch.manual_seed(0)
    network = GIFNet(NetworkConfig(feature_growth=14, decoder_channels=32, head="pyramid")).eval()
    seen = []
    network.global_decoder.decoder[-1].register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.inference_mode():
        network(*unit(picture(1, (64, 80)), picture(2, (64, 80))).split(1, dim=1))
    assert float(seen[0].std(dim=(2, 3)).mean()) > 0.02


def test_large_images_are_blended_some_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    head, planes = PyramidHead(), planes_of(503, 70)
    maps = head.pooled(torch.randn(2, head.channels, 503, 70) / 3)
    whole = head(maps, planes)
    monkeypatch.setattr("model.head.BAND_PIXELS", 70 * 48)
    torch.testing.assert_close(head.fuse(maps, planes), whole, rtol=0, atol=1e-6)
    monkeypatch.setattr("model.head.REACH", 16)
    assert not torch.allclose(head.fuse(maps, planes), whole, rtol=0, atol=1e-6)


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


def test_unlikeness_raises_the_contrast_of_unlike_bases_alone() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = torch.nn.functional.interpolate(torch.rand(2, 1, 6, 6, generator=random), size=(96, 96)).split(1)
    head, more = PyramidHead(), PyramidHead()
    with torch.no_grad():
        more.base_gain_by_cues[3] = 0.1 / CUE_SCALE
    maps = [torch.zeros(1, 1, 96 >> level, 96 >> level) for level in head.levels]
    with torch.inference_mode():
        alike, unlike = (
            [one(maps, torch.cat([a, 0.25 + 0.5 * other], dim=1)).std() for one in (head, more)]
            for other in (a, b)
        )
    assert alike[1] == pytest.approx(alike[0].item(), rel=1e-3)
    assert unlike[1] > 1.02 * unlike[0]


def test_what_likeness_steers_is_learned() -> None:
    """Alike planes keep their details, others are shown twice as strongly."""
    head = PyramidHead()
    with torch.no_grad():
        head.gain_by_cues[:, :2] = torch.tensor([1.0, -1.0]) * float(np.arctanh(np.log(2))) / CUE_SCALE
    ramp = torch.linspace(-0.1, 0.1, 96).expand(1, 1, 64, 96)
    texture = torch.rand((1, 1, 64, 96), generator=torch.Generator().manual_seed(3)) / 10
    alike, unlike = (torch.cat([0.5 + texture, 0.5 + other], dim=1) for other in (texture, ramp))
    kept, doubled = (
        head(head.pooled(torch.zeros(1, head.channels, 64, 96)), pair) for pair in (alike, unlike)
    )
    torch.testing.assert_close(kept, alike[:, :1], rtol=0, atol=2e-3)
    assert float((doubled.std() / texture.std()).detach()) > 1.5


def test_what_strength_steers_is_learned() -> None:
    """Faint details are shown more strongly, strong ones more faintly."""
    head = PyramidHead()
    with torch.no_grad():
        head.gain_by_cues[:, 3] = -1 / CUE_SCALE
    generator = torch.Generator().manual_seed(4)
    texture = torch.rand((1, 1, 64, 96), generator=generator) - 0.5
    faint, strong = (0.5 + (texture / ratio).expand(1, 2, 64, 96) for ratio in (100, 2))
    for planes, stretched in ((faint, True), (strong, False)):
        fused = head(head.pooled(torch.zeros(1, head.channels, 64, 96)), planes)
        assert (float(fused.detach().std() / planes.std()) > 1) == stretched
