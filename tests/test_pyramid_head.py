"""The head that blends the Laplacian pyramids of two planes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from metric_pictures import picture, planes_of, unit

from model.blocks.cues import CUE_SCALE
from model.blocks.pyramid import (
    LEVELS,
    base_of,
    compose,
    decompose,
    stronger_detail,
)
from model.blocks.pyramid_head import SCALE, PyramidHead
from model.metrics.similarity import ground_truth_psnr
from model.network import GIFNet, NetworkConfig
from pipeline.images import to_uint8

pytestmark = pytest.mark.usefixtures("one_thread")


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
    torch.nn.init.zeros_(head.least_by_cues)
    maps = torch.full((2, head.channels, 40, 51), 1e4)
    maps[:, LEVELS + 1 :] = 0
    torch.testing.assert_close(head(head.pooled(maps), planes), planes[:, :1], rtol=0, atol=1e-6)
    maps[:, : LEVELS + 1] = -1e4
    torch.testing.assert_close(head(head.pooled(maps), planes), planes[:, 1:], rtol=0, atol=1e-6)
    maps[:, LEVELS + 1 : 2 * (LEVELS + 1)] = 1e4
    low, high = head(head.pooled(maps), planes).detach().aminmax()
    assert low >= 0 and high <= 1


def test_what_is_sharper_is_so_at_all_scales() -> None:
    """A picture has details of all sizes, of which a blur leaves the coarse ones much as they are."""
    random = np.random.default_rng(0)
    sizes = [cv2.GaussianBlur(random.standard_normal((160, 192)), (0, 0), 2**octave) for octave in range(5)]
    details = sum(size / size.std() * 2 ** (octave / 2) for octave, size in enumerate(sizes))
    sharp = to_uint8((0.5 + 0.03 * details).astype(np.float32))
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
    left = np.arange(192) < 96
    planes = unit(np.where(left, sharp, blurred), np.where(left, blurred, sharp))
    together, alone = PyramidHead(), PyramidHead()
    for weights in (together.least_by_cues, alone.least_by_cues, alone.finer_by_cues, alone.coarser_by_cues):
        torch.nn.init.zeros_(weights)
    maps = [torch.zeros(1, 1, 160 >> level, 192 >> level) for level in together.levels]
    with torch.inference_mode():
        ours, theirs = (
            ground_truth_psnr(to_uint8(head(maps, planes)[0, 0].numpy()), sharp) for head in (together, alone)
        )
    assert ours > theirs + 3


def test_the_base_follows_the_details_where_bases_are_the_same() -> None:
    texture = torch.rand((1, 1, 96, 128), generator=torch.Generator().manual_seed(5)) / 5 + 0.3
    *details, base = decompose(texture)
    faint = compose([*(detail / 2 for detail in details), base + 0.02])
    head = PyramidHead()
    maps = [torch.zeros(1, 1, 96 >> level, 128 >> level) for level in head.levels]
    with torch.inference_mode():
        for order in ([texture, faint], [faint, texture]):
            fused = base_of(head(maps, torch.cat(order, dim=1)))
            assert float((fused - base_of(texture)).mean()) < 0.005
        apart = base_of(head(maps, torch.cat([texture, faint + 0.2], dim=1)))
        torch.testing.assert_close((apart - base).mean(), torch.tensor(0.11), rtol=0, atol=0.01)


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


@pytest.mark.parametrize("size_hw", [(503, 70), (70, 503)])
def test_large_images_are_blended_some_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch, size_hw: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    head, planes = PyramidHead(), planes_of(*size_hw)
    for weights in head.parameters():
        torch.nn.init.normal_(weights, std=0.7 / CUE_SCALE)
    maps = head.pooled(torch.randn(2, head.channels, *size_hw) / 3)
    whole = head(maps, planes)
    monkeypatch.setattr("model.blocks.pyramid_head.BAND_PIXELS", 70 * 48)
    torch.testing.assert_close(head.fuse(maps, planes), whole, rtol=0, atol=2e-5)
    monkeypatch.setattr("model.blocks.pyramid_head.REACH", 16)
    assert not torch.allclose(head.fuse(maps, planes), whole, rtol=0, atol=2e-5)


def test_what_a_blend_holds_depends_on_the_pixels_and_not_on_the_shape() -> None:
    head = PyramidHead()
    square, long, wide = (
        head.working_numbers(*size) for size in ((4096, 4096), (1 << 16, 256), (256, 1 << 16))
    )
    assert long < square and wide < 1.1 * square


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


def test_strength_where_bases_lie_apart_leaves_a_focus_pair_alone() -> None:
    head, steered = PyramidHead(), PyramidHead()
    with torch.no_grad():
        steered.gain_by_cues[:, 5] = -4 / CUE_SCALE
    generator = torch.Generator().manual_seed(5)
    texture = 0.03 * (torch.rand((1, 1, 64, 96), generator=generator) - 0.5)
    maps = head.pooled(torch.zeros(1, head.channels, 64, 96))
    with torch.inference_mode():
        focus, exposures = (torch.cat([low + texture, 0.6 + texture], dim=1) for low in (0.6, 0.2))
        torch.testing.assert_close(steered(maps, focus), head(maps, focus), rtol=0, atol=1e-6)
        assert steered(maps, exposures).std() > 1.2 * head(maps, exposures).std()


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(2)
    head, planes = PyramidHead(), planes_of(40, 51) * torch.tensor([1.0, 0.3])[:, None, None, None]
    for weights in head.parameters():
        torch.nn.init.normal_(weights, std=0.7 / CUE_SCALE)
    maps = torch.randn(2, head.channels, 40, 51) / 3
    both = head(head.pooled(maps), planes)
    for one in (slice(1), slice(1, 2)):
        torch.testing.assert_close(head(head.pooled(maps[one]), planes[one]), both[one], rtol=0, atol=1e-5)


def test_sharpness_goes_from_the_mean_of_both_details_to_the_choice_of_one() -> None:
    strong = 0.4 + 0.2 * planes_of(64, 96)[:1, :1]
    head, planes = PyramidHead(), torch.cat([strong, 0.5 + (strong - 0.5) / 1.1], dim=1)
    far = []
    for sharpness in (1.0, 0.0, -1.0):
        maps = torch.zeros(1, head.channels, 64, 96)
        maps[:, 2 * (LEVELS + 1) :] = sharpness
        far.append(float((head(head.pooled(maps), planes) - strong).detach().abs().mean()))
    assert far[0] < 0.8 * far[1] < 0.8**2 * far[2]


def test_no_band_tells_another_one_more_than_itself_and_no_plane_has_less_than_none() -> None:
    planes = planes_of(40, 51)
    maps = PyramidHead().pooled(torch.zeros(2, PyramidHead.channels, 40, 51))
    for name, most in (("finer_by_cues", 1.0), ("coarser_by_cues", 1.0), ("least_by_cues", 0.5)):
        fused = []
        for weight in (most, 5 * most):
            head = PyramidHead()
            getattr(head, name).data[:] = torch.tensor([weight / CUE_SCALE, 0, 0, 0, 0, 0])
            fused.append(head(maps, planes))
        torch.testing.assert_close(*fused)


def test_the_coarsest_band_tells_the_finest() -> None:
    """In every band between them the planes are flat."""
    *others, coarse, base = decompose(planes_of(96, 128))
    noise, flat = others[0], [torch.zeros_like(band) for band in others[1:]]
    with_coarse, without = (
        compose([noise[:1, plane : plane + 1], *(band[:1, :1] for band in flat), *rest])
        for plane, rest in ((0, (8 * coarse[:1, :1], base[:1, :1])), (1, (0 * coarse[:1, :1], base[:1, :1])))
    )
    told, not_told = PyramidHead(), PyramidHead()
    for head, weight in ((told, 1.0), (not_told, 0.0)):
        torch.nn.init.zeros_(head.finer_by_cues)
        head.coarser_by_cues.data[:] = torch.tensor([weight / CUE_SCALE, 0, 0, 0, 0, 0])
    maps = [torch.zeros(1, 1, 96 >> level, 128 >> level) for level in told.levels]
    planes = torch.cat([with_coarse, without], dim=1)
    with torch.inference_mode():
        finest = [decompose(head(maps, planes))[0] for head in (told, not_told)]
    far = [float((band - noise[:1, :1]).abs().mean()) for band in finest]
    assert far[0] < 0.5 * far[1]
