"""Photographs in the depth training: people found by their warmth, pasted into scenes, labelled in frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.depth.cutouts import PERSON_TO_CAMERA, CutOut, cut_out, find_standing, paste
from pipeline.depth.photographs import labelled, read_photographs
from pipeline.files import InputError
from tests.manifest_files import PAIR

#: Of the plane of :func:`ground`: row of the horizon.
HORIZON = 30


def person(infrared: np.ndarray, visible: np.ndarray, *, left: int, top: int, warmth: int = 200) -> None:
    """A warm figure, 60 pixels wide and 150 high: an ellipse on two legs."""
    centre = (left + 30, top + 60)
    cv2.ellipse(infrared, centre, (30, 60), 0, 0, 360, warmth, -1)
    cv2.ellipse(visible, centre, (30, 60), 0, 0, 360, (10, 200, 30), -1)
    for x in (left + 12, left + 36):
        infrared[top + 100 : top + 151, x : x + 14] = warmth
        visible[top + 100 : top + 151, x : x + 14] = (10, 200, 30)


def pair() -> tuple[np.ndarray, np.ndarray]:
    return np.full((400, 600), 40, np.uint8), np.full((400, 600, 3), 60, np.uint8)


def ground() -> tuple[np.ndarray, np.ndarray]:
    """A grey plane seen from above: inverse depth rises from the horizon down."""
    rows = np.arange(240, dtype=np.float32)[:, None]
    depth = np.repeat(np.clip((rows - HORIZON) / 210, 0, 1), 320, axis=1)
    return np.full((240, 320, 3), 90, np.uint8), depth


def block() -> CutOut:
    return CutOut(np.full((90, 30, 3), 160, np.uint8), np.ones((90, 30), np.float32))


def test_warm_upright_things_are_cut_out() -> None:
    infrared, visible = pair()
    person(infrared, visible, left=100, top=80)
    person(infrared, visible, left=300, top=200)
    found = cut_out(visible, infrared)
    assert len(found) == 2
    for cutout in found:
        height, width = cutout.opacity.shape
        assert abs(height - 150) <= 4 and abs(width - 60) <= 4 and cutout.visible.shape == (height, width, 3)
        inside = cutout.opacity > 0.99
        assert (cutout.visible[inside] == (10, 200, 30)).all(axis=1).mean() > 0.97
        assert 0.5 < inside.mean() < 0.85


@pytest.mark.parametrize("what", ["cool", "at the border", "wide", "small", "warm surroundings"])
def test_other_things_are_not(what: str) -> None:
    infrared, visible = pair()
    if what == "cool":
        person(infrared, visible, left=100, top=80, warmth=100)
    elif what == "at the border":
        person(infrared, visible, left=100, top=270)
    elif what == "wide":
        cv2.ellipse(infrared, (300, 200), (120, 60), 0, 0, 360, 200, -1)
    elif what == "small":
        cv2.ellipse(infrared, (300, 200), (10, 20), 0, 0, 360, 200, -1)
    else:
        infrared[:] = 105
        person(infrared, visible, left=100, top=80, warmth=140)
    assert cut_out(visible, infrared) == []


def test_people_have_the_depth_of_the_ground_at_their_feet_and_its_perspective() -> None:
    visible, depth = ground()
    pasted = 0
    for seed in range(30):
        picture, changed = paste(visible, depth, [block()], 1, np.random.default_rng(seed))
        moved = changed != depth
        assert ((picture != visible).any(axis=2) <= cv2.dilate(moved.astype(np.uint8), np.ones((3, 3)))).all()
        if not moved.any():
            continue
        pasted += 1
        rows = np.flatnonzero(moved.any(axis=1))
        foot = rows[-1] + 1  # at the feet themselves nothing changes
        here = np.unique(changed[moved])
        assert len(here) == 1 and here[0] == depth[foot, 0]
        if rows[0] > 0:
            ratio = (foot - rows[0] + 1) / (foot - HORIZON)
            assert PERSON_TO_CAMERA[0] * 0.9 < ratio < PERSON_TO_CAMERA[1] * 1.1
    assert pasted > 20


def test_what_is_nearer_hides_them_and_their_absence_changes_nothing() -> None:
    visible, depth = ground()
    wall = depth.copy()
    wall[:, 100:200] = 1.0
    for seed in range(20):
        picture, changed = paste(visible, wall, [block()], 3, np.random.default_rng(seed))
        assert np.array_equal(changed[:, 100:200], wall[:, 100:200])
        assert np.array_equal(picture[:, 100:200], visible[:, 100:200])
    for nowhere in (np.ones_like(depth), depth[::-1], depth.T.copy()[:240, :240]):
        picture, changed = paste(
            visible[:, : nowhere.shape[1]], nowhere, [block()], 3, np.random.default_rng(0)
        )
        assert np.array_equal(changed, nowhere) and np.array_equal(picture, visible[:, : nowhere.shape[1]])


def test_pasting_follows_from_its_stream_and_leaves_its_input() -> None:
    visible, depth = ground()
    kept = visible.copy(), depth.copy()
    first, second, other = (
        paste(visible, depth, [block()], 4, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(visible, kept[0]) and np.array_equal(depth, kept[1])


def test_what_stands_is_more_than_what_is_cut_out() -> None:
    infrared, visible = pair()
    person(infrared, visible, left=-20, top=80)  # half of it beyond the border
    for left in (200, 250, 300):  # a group, wider than high
        person(infrared, visible, left=left, top=100)
    assert cut_out(visible, infrared) == []
    found = find_standing(infrared)
    assert len(found) == 2
    for box, mask in found:
        assert mask.shape == infrared[box].shape and (infrared[box][mask] > 100).mean() > 0.9
    person(infrared, visible, left=450, top=270)  # feet beyond the lower border
    assert len(find_standing(infrared)) == 2


def test_photographs_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PAIR, encoding="utf-8")
    infrared, visible = pair()
    _write(tmp_path, "1", visible, infrared)
    with pytest.raises(InputError, match=r"mine\.toml: no person"):
        read_photographs(tmp_path / "mine.toml", None, None)
    person(infrared, visible, left=100, top=80)
    _write(tmp_path, "2", visible, infrared)
    found = read_photographs(tmp_path / "mine.toml", None, None)
    assert len(found.cutouts) == 1 and [int(which.max()) for which in found.standing] == [0, 1]
    assert all(a.shape[:2] == b.shape for a, b in zip(found.frames, found.standing, strict=True))
    assert found.digest == read_photographs(tmp_path / "mine.toml", None, None).digest
    _write(tmp_path, "1", visible, infrared)
    assert found.digest != read_photographs(tmp_path / "mine.toml", None, None).digest
    _write(tmp_path, "3", visible, infrared[:-2])
    with pytest.raises(InputError, match=r"3\.png: not of the size"):
        read_photographs(tmp_path / "mine.toml", None, None)


def test_labels_are_the_networks_own_but_people_are_as_near_as_their_feet(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(PAIR, encoding="utf-8")
    infrared, visible = pair()
    person(infrared, visible, left=100, top=80)
    _write(tmp_path, "1", visible, infrared)
    photographs = read_photographs(tmp_path / "mine.toml", None, None)
    slope = np.repeat(np.linspace(-3, 0, 40, dtype=np.float32)[:, None], 50, axis=1)
    [label] = labelled(photographs, lambda frame: slope)
    someone = photographs.standing[0] > 0
    rows = np.flatnonzero(someone.any(axis=1))
    expected = np.linspace(-3, 0, len(label))
    assert np.ptp(label[someone].astype(np.float32)) == 0
    assert np.log(label[someone][0]) == pytest.approx(expected[rows[-1]], abs=0.1)
    beside = np.log(label[:, -1].astype(np.float64))
    np.testing.assert_allclose(beside, expected, atol=0.06)


def _write(root: Path, name: str, visible: np.ndarray, infrared: np.ndarray) -> None:
    for role, image in (("visible", visible[..., ::-1]), ("infrared", infrared)):
        (root / role).mkdir(exist_ok=True)
        assert cv2.imwrite(str(root / role / f"{name}.png"), image)
