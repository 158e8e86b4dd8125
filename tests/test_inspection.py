"""What ``inspect`` shows and exports, and what it refuses."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import run
from tiny_source import FRAMES

from pipeline.files import InputError, read_json, write_json
from pipeline.images import read_image, read_rgb, write_image
from pipeline.images.contact_sheet import heat
from pipeline.shards import inspection
from pipeline.shards.dataset import INDEX_NAME, read_index, shard_name
from pipeline.shards.inspection import describe, describe_draws, export_folders, iterate_samples, preview


def _with_index(dataset: Path, folder: Path, **changes: object) -> Path:
    """The same shards beside a changed index; what is None there is left out."""
    for path in dataset.glob("*.h5"):
        (folder / path.name).symlink_to(path)
    index = {**read_index(dataset), **changes}
    write_json(folder / INDEX_NAME, {key: value for key, value in index.items() if value is not None})
    return folder


def test_preview_and_export(dataset: Path, tmp_path: Path) -> None:
    sheet = read_rgb(preview(dataset, tmp_path / "sheet.png", num_samples=3))
    assert sheet.shape[1] > 8 * 160
    assert export_folders(dataset, tmp_path / "export") == 2 * FRAMES
    names = (
        "infrared",
        "visible",
        "visible_focus_near",
        "visible_focus_far",
        "visible_over",
        "visible_under",
    )
    for name in names:
        files = sorted((tmp_path / "export" / name / "train").iterdir(), key=lambda path: int(path.stem))
        assert [path.name for path in files] == [f"{number}.jpg" for number in range(1, 2 * FRAMES + 1)]
        for path, sample in zip(files, iterate_samples(dataset), strict=True):
            picture = read_image(path).astype(int)
            alike = [one for one in names if sample[one].ndim == picture.ndim]
            errors = {one: np.abs(picture - sample[one]).mean() for one in alike}
            assert min(errors, key=lambda one: errors[one]) == name, errors


def test_depth_is_shown_from_black_by_red_to_white() -> None:
    black, red, white = heat(np.array([[0, 0.5, 1]]))[0].astype(int)
    assert black.max() < 10 and red[0] > 2 * red[2] and white.min() > 150


def test_chosen_samples_are_those_of_all(dataset: Path) -> None:
    everything = list(iterate_samples(dataset))
    chosen = list(iterate_samples(dataset, {0, 5, 2 * FRAMES - 1}))
    for sample, number in zip(chosen, (0, 5, 2 * FRAMES - 1), strict=True):
        assert sample["id"] == everything[number]["id"]
        np.testing.assert_array_equal(sample["visible"], everything[number]["visible"])


def test_a_preview_reads_the_shards_of_its_samples_alone(dataset: Path, tmp_path: Path) -> None:
    folder = _with_index(dataset, tmp_path)
    (folder / shard_name(1, 4)).unlink()  # two samples are the first and the last
    assert read_rgb(preview(folder, tmp_path / "sheet.png", num_samples=2)).std() > 5
    with pytest.raises(InputError, match="no such shard"):
        preview(folder, tmp_path / "sheet.png")
    (folder / shard_name(3, 4)).unlink()
    with pytest.raises(InputError, match="no such shard"):
        preview(folder, tmp_path / "sheet.png", num_samples=2)


@pytest.mark.parametrize("name", ["sheet.gif", "file/sheet.png"])
def test_a_preview_that_cannot_be_written_is_told_first(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(inspection, "describe", lambda _: pytest.fail("the dataset was read"))
    result = run("inspect", dataset, "--preview", tmp_path / name)
    assert result.exit_code == 2 and result.stderr.startswith(f"error: {tmp_path}"), result.output


def test_samples_of_a_larger_dataset_are_not_mixed_in(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "export"
    assert export_folders(dataset, out) == export_folders(dataset, out) == 2 * FRAMES
    (out / "visible_over/train" / f"{2 * FRAMES + 1}.jpg").touch()
    with pytest.raises(InputError, match=r"15\.jpg: left by another, larger run") as error:
        export_folders(dataset, out)
    assert "\n" not in str(error.value)


def test_pictures_that_no_export_wrote_are_kept(dataset: Path, tmp_path: Path) -> None:
    mine = tmp_path / "visible_under/train/1.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    says = r"visible_under/train: holds pictures that are not of an export; choose an empty folder$"
    for _ in range(2):
        with pytest.raises(InputError, match=says):
            export_folders(dataset, tmp_path)
    assert mine.read_bytes() == b"mine" and list(tmp_path.rglob("*.*")) == [mine]


def test_an_export_says_of_which_dataset_it_is(dataset: Path, tmp_path: Path) -> None:
    export_folders(dataset, tmp_path)
    assert read_json(tmp_path / inspection.EXPORT_MARKER) == {"digest": read_index(dataset)["digest"]}


def test_a_stopped_export_mixes_nothing_and_is_not_taken_for_a_finished_one(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files() -> list[int]:
        return [len(list((tmp_path / name / "train").glob("*.jpg"))) for name in inspection.EXPORTED]

    def until(last: int) -> Callable[..., None]:
        numbers = itertools.count(1)

        def write(*arguments: Any, **options: Any) -> None:
            if next(numbers) > last:
                raise KeyboardInterrupt
            write_image(*arguments, **options)

        return write

    export_folders(dataset, tmp_path)
    (tmp_path / "infrared/train/mine.jpg").touch()
    for last in (0, 33, 82):
        monkeypatch.setattr(inspection, "write_image", until(last))
        with pytest.raises(KeyboardInterrupt):
            export_folders(dataset, tmp_path)
        assert sum(files()) == last + 1 and files()[-1] == max(0, last - 5 * 2 * FRAMES)
    monkeypatch.undo()
    export_folders(dataset, tmp_path)
    assert files() == [2 * FRAMES + 1] + [2 * FRAMES] * 5, "a file of another name stays"


@pytest.mark.parametrize("key", ["seen", "config", "given", "source", "versions", "skipped_frames"])
def test_an_index_that_lacks_something_is_one_line(dataset: Path, tmp_path: Path, key: str) -> None:
    folder = _with_index(dataset, tmp_path, **{key: None})
    with pytest.raises(InputError, match=rf"index\.json: damaged index \(.*{key}.*\); run synth again$"):
        describe(folder)


def test_what_an_index_says_is_printed_without_controls(dataset: Path, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\n"
    folder = _with_index(
        dataset,
        tmp_path,
        versions={evil: evil},
        source={"manifest": evil, "split": evil},
        skipped_frames=[{"id": evil, "reason": evil}] * 20,
        num_samples=evil,
    )
    result = run("inspect", folder, "--verify")
    assert result.exit_code == 1 and r"\x1b]0;owned" in result.stdout and r"says \x1b]" in result.stderr
    assert not {"\x1b", "\x07"} & set(result.output)


def test_an_index_with_another_number_of_samples_is_no_traceback(dataset: Path, tmp_path: Path) -> None:
    shards = read_index(dataset)["shards"]
    shards[0]["samples"] = 9
    folder = _with_index(dataset, tmp_path, shards=shards)
    with pytest.raises(InputError, match="4 samples, the index says 9; run synth again"):
        list(iterate_samples(folder))


def test_draws_of_no_samples_are_none(dataset: Path, tmp_path: Path) -> None:
    assert "no samples" in describe_draws(_with_index(dataset, tmp_path, shards=[]))
