"""Views of the depth training: what moves together, what keeps its tone, what follows from the stream."""

from __future__ import annotations

import numpy as np

from pipeline.depth.augmentation import random_view, with_detail

#: Another picture, for the fine detail of views.
OTHER = np.random.default_rng(9).integers(0, 256, (90, 70, 3), np.uint8)


def test_views_move_frame_and_depth_together() -> None:
    # Depth is painted into the frame; under mild photography the two must still agree everywhere.
    height, width = 100, 140
    rows, columns = np.mgrid[0:height, 0:width]
    depth = ((rows // 20 + columns // 20) % 2).astype(np.float16)
    frame = (np.repeat(depth[..., None], 3, axis=2) * 155 + 50).astype(np.uint8)
    agreements = []
    for seed in range(40):
        view = random_view(frame, depth, None, OTHER, (64, 96), np.random.default_rng(seed))
        moved = view.inverse_depth
        assert view.frame.shape == (64, 96, 3) and view.frame.dtype == np.float32 and view.infrared is None
        assert np.isfinite(view.frame).all() and view.frame.min() >= 0 and view.frame.max() <= 1
        assert moved.shape == (64, 96) and set(np.unique(moved)) <= {0.0, 1.0}
        agreements.append(np.corrcoef(view.frame.mean(axis=2).ravel(), moved.ravel())[0, 1])
    assert np.median(agreements) > 0.8


def test_infrared_moves_with_its_scene_however_dark_that_is() -> None:
    rows, columns = np.mgrid[0:100, 0:140]
    depth = ((rows // 20 + columns // 20) % 2).astype(np.float16)
    infrared = (depth * 155 + 50).astype(np.uint8)
    frame = np.repeat(infrared[..., None], 3, axis=2)
    agreements, brightness = [], []
    for seed in range(40):
        view = random_view(frame, depth, infrared, OTHER, (64, 96), np.random.default_rng(seed))
        assert view.infrared is not None and view.infrared.shape == (64, 96)
        assert view.infrared.dtype == view.frame.dtype == np.float32
        for picture in (view.infrared, view.frame):
            assert np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1
        agreements.append(abs(np.corrcoef(view.infrared.ravel(), view.inverse_depth.ravel())[0, 1]))
        brightness.append(view.frame.mean())
    assert np.median(agreements) > 0.7
    assert np.quantile(brightness, 0.4) < 0.15 < np.quantile(brightness, 0.9)


def test_foreign_detail_textures_a_frame_and_keeps_its_tone() -> None:
    columns = np.arange(96, dtype=np.float32) / 96
    frame = np.repeat(np.tile(0.2 + 0.4 * columns, (64, 1))[..., None], 3, axis=2)
    flat = np.full_like(frame, 0.7)
    np.testing.assert_allclose(with_detail(frame, flat, np.random.default_rng(0)), frame, atol=1e-6)
    stripes = np.repeat(np.tile(0.5 + 0.2 * (np.arange(96) % 4 < 2), (64, 1))[..., None], 3, axis=2)
    textured = with_detail(frame, stripes.astype(np.float32), np.random.default_rng(0))
    assert textured.dtype == np.float32 and textured.min() >= 0 and textured.max() <= 1
    stands_out = textured / frame - 1
    assert np.corrcoef(stands_out[..., 0].ravel(), stripes[..., 0].ravel())[0, 1] > 0.9
    # Of eight columns each.
    tone = [picture.reshape(64, 12, 8, 3).mean(axis=(0, 2)) for picture in (textured, frame)]
    np.testing.assert_allclose(*tone, rtol=0.05)


def test_views_follow_from_their_stream() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    depth = np.random.default_rng(1).random((80, 100)).astype(np.float16)
    infrared = frame[..., 0]
    first, second, other = (
        random_view(frame, depth, infrared, OTHER, (64, 64), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    for name in ("frame", "inverse_depth", "infrared"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
