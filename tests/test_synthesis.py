"""Stage one: what the supplement says, identical wherever it is run, and finished work is not done again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from synthesis_runs import bytes_of
from tiny_source import FRAMES, SIZE, make_config, make_source, run

from pipeline.files import WEIGHTS_DIR, InputError
from pipeline.focus import FocusConfig, gaussian_blur
from pipeline.images import read_rgb
from pipeline.shards.dataset import load_arrays, read_index, shard_name, verify
from pipeline.shards.file import open_shard
from pipeline.shards.inspection import iterate_samples


def test_every_sample_is_written_and_verified(dataset: Path) -> None:
    index = read_index(dataset)
    assert (index["seen"], index["written"], index["skipped"], index["failed"]) == (2 * FRAMES,) * 2 + (0, 0)
    assert [entry["samples"] for entry in index["shards"]] == [4, 4, 4, 2]
    assert verify(dataset) == []


def test_versions_lie_in_every_shard_and_in_the_index(dataset: Path) -> None:
    told = [read_index(dataset)["versions"]]
    for path in dataset.glob("*.h5"):
        with open_shard(path) as shard:
            told.append(shard.attributes["versions"])
    assert len(told) == 5
    for versions in told:
        assert versions["torch"].startswith(torch.__version__.partition("+")[0])
        assert versions["numpy"] == np.__version__


def test_samples_are_what_the_supplement_says(dataset: Path, source: Path) -> None:
    """Eq. 1-3, recomputed from what the shard holds and from the whole source frame."""
    for sample in iterate_samples(dataset):
        near_mask = sample["inverse_depth"].astype(np.float32) > sample["focus_threshold"]
        share = near_mask.mean()
        assert 0.05 <= share <= 0.95
        assert (sample["frame_height"], sample["frame_width"]) == SIZE
        frame = read_rgb(source.parent / "visible" / f"{sample['id'].split('#')[0]}.png")
        inside = np.s_[
            sample["tile_row"] : sample["tile_row"] + 32, sample["tile_col"] : sample["tile_col"] + 32
        ]
        np.testing.assert_array_equal(sample["visible"], frame[inside])
        blurred = gaussian_blur(frame, float(sample["blur_sigma_px"]))[inside]
        for name, sharp in (("near", near_mask), ("far", ~near_mask)):
            expected = np.where(sharp[..., None], sample["visible"], blurred)
            np.testing.assert_array_equal(sample[f"visible_focus_{name}"], expected)


def test_other_roles_take_the_places_of_infrared_and_visible(source: Path, tmp_path: Path) -> None:
    config = make_config(source)
    run(source, tmp_path / "usual", config)
    run(source, tmp_path / "swapped", replace(config, roles=("visible", "infrared")))
    usual, swapped = (load_arrays(tmp_path / name, ("infrared", "visible")) for name in ("usual", "swapped"))
    for channel in range(3):
        np.testing.assert_array_equal(swapped["visible"][..., channel], usual["infrared"])
    with pytest.raises(InputError, match="no role 'over'"):
        run(source, tmp_path / "absent", replace(config, roles=("over", "infrared")))
    with pytest.raises(InputError, match="two different roles"):
        replace(config, roles=("visible", "visible"))


def test_over_is_brighter_and_under_is_darker(dataset: Path) -> None:
    for sample in iterate_samples(dataset):
        assert sample["visible_over"].mean() > sample["visible"].mean() > sample["visible_under"].mean()


def test_another_place_does_not_change_a_byte(source: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "moved")
    moved = tmp_path / "moved" / "manifest.toml"
    run(moved, tmp_path / "out")
    assert bytes_of(tmp_path / "out") == bytes_of(dataset)


def test_a_new_frame_leaves_the_samples_of_the_others(source: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "more")
    for name in ("visible", "infrared", "depth"):
        shutil.copy(tmp_path / f"more/{name}/3.png", tmp_path / f"more/{name}/0-first.png")
    run(tmp_path / "more" / "manifest.toml", tmp_path / "out")
    before = {sample["id"]: sample for sample in iterate_samples(dataset)}
    after = {sample["id"]: sample for sample in iterate_samples(tmp_path / "out")}
    assert set(before) < set(after)
    for sample_id, sample in before.items():
        np.testing.assert_array_equal(sample["visible_focus_near"], after[sample_id]["visible_focus_near"])


def test_finished_work_is_not_done_again(source: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    (tmp_path / shard_name(2, 4)).unlink()
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    run(source, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(dataset)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in times} == times


def test_another_config_stops_with_the_keys_that_differ(source: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    config = replace(make_config(source), seed=1, focus=FocusConfig(blur_sigma_max_px=4.0))
    with pytest.raises(InputError) as caught:
        run(source, tmp_path, config)
    message = str(caught.value)
    assert "seed: 0 then, 1 now" in message
    assert "focus.blur_sigma_max_px: 5.0 then, 4.0 now" in message
    assert "tile" not in message and "\n" not in message
    assert bytes_of(tmp_path) == bytes_of(dataset)


def test_a_replaced_source_makes_its_shard_again(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "source")
    manifest = tmp_path / "source" / "manifest.toml"
    run(manifest, tmp_path / "out", make_config(manifest))
    shutil.copy(tmp_path / "source/visible/1.png", tmp_path / "source/visible/0.png")
    run(manifest, tmp_path / "out", make_config(manifest))
    arrays = load_arrays(tmp_path / "out", ["visible"])
    first = next(iterate_samples(tmp_path / "out"))
    frame = read_rgb(tmp_path / "source/visible/1.png")
    row, col = first["tile_row"], first["tile_col"]
    np.testing.assert_array_equal(arrays["visible"][0], frame[row : row + 32, col : col + 32])


def test_a_dataset_of_which_shards_are_made_again_is_unfinished(tmp_path: Path) -> None:
    manifest, out = make_source(tmp_path / "source"), tmp_path / "out"
    run(manifest, out)
    for path in (tmp_path / "source/visible").iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    run(manifest, out, part=(1, 2))
    with pytest.raises(InputError, match=r"no index\.json; run synth again to finish it"):
        read_index(out)
    run(manifest, out, part=(2, 2))
    assert verify(out) == []


def test_weights_that_were_replaced_are_loaded_again(tmp_path: Path) -> None:
    manifest, probe = make_source(tmp_path / "source"), tmp_path / "p.safetensors"
    config = replace(make_config(manifest), probe=str(probe))
    digests = []
    with safe_open(WEIGHTS_DIR / "probe.safetensors", "pt") as file:
        state, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    for number in range(2):
        save_file({key: (1 + number) * value for key, value in state.items()}, probe, metadata)
        run(manifest, tmp_path / str(number), config)
        digests.append(read_index(tmp_path / str(number))["digest"])
    assert digests[0] != digests[1]
