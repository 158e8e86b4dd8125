"""What is in a dataset, how it was made, how it looks; and the published trainer's folder layout."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import InputError, one_line, write_json
from pipeline.images import write_image
from pipeline.images.contact_sheet import contact_sheet, heat
from pipeline.runtime.progress import Progress
from pipeline.shards.dataset import damaged_index, dataset_digest, load_arrays, open_listed, read_index
from pipeline.shards.schema import FAILURES_NAME, FIELDS, INDEX_NAME
from pipeline.sources.file_tree import refuse_numbers_beyond

#: Folders of the published trainer, which counts its files 1.jpg, 2.jpg, ...
EXPORTED = (
    "infrared",
    "visible",
    "visible_focus_near",
    "visible_focus_far",
    "visible_over",
    "visible_under",
)
#: Written first of all into the folder of an export: from then on the pictures there are of exports.
EXPORT_MARKER = ".gifnet-export.json"
#: What chance decided for each sample, where a dataset has it.
_DRAWN = tuple(name for name, field in FIELDS.items() if field.dtype == "f4")
#: Frames that cannot be used of which a command tells singly.
_TOLD_FRAMES = 10
_PREVIEW_TITLES = ("visible", "infrared", "inverse depth", "near mask", "near", "far", "over", "under")


def describe(folder: Path | str) -> str:
    """A dataset in a few lines: counts, provenance, settings and digests.

    Raises:
        InputError: there is no index, or it lacks one of these.
    """
    index = read_index(folder)
    try:
        return _describe(folder, index)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged_index(folder, error) from None


def describe_draws(folder: Path | str) -> str:
    """Least, median and largest value of what was drawn for each sample, a line each; reads the shards.

    Raises:
        InputError: a shard is missing or damaged.
    """
    shards = read_index(folder)["shards"]
    if not _num_samples(shards):
        return "drawn: nothing, there are no samples"
    arrays = load_arrays(folder, [name for name in _DRAWN if name in shards[0]["arrays"]])
    lines = ["drawn for each sample (least, median, largest):"]
    for name, values in arrays.items():
        low, middle, high = np.percentile(values, [0, 50, 100])
        lines.append(f"  {name} = {low:.4g}, {middle:.4g}, {high:.4g}")
    return "\n".join(lines)


def first_few(lines: Sequence[str], folder: Path) -> list[str]:
    """The first of some lines about frames of a dataset that are not used, and one that counts the others."""
    if len(lines) <= _TOLD_FRAMES + 1:
        return list(map(one_line, lines))
    where = f", all in {folder / FAILURES_NAME}" if (folder / INDEX_NAME).is_file() else ""
    return [*map(one_line, lines[:_TOLD_FRAMES]), f"and {len(lines) - _TOLD_FRAMES} more{where}"]


def iterate_samples(
    folder: Path | str, numbers: Container[int] | None = None, fields: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the samples of a finished dataset in order, each a mapping from field name to value.

    Args:
        numbers: the samples of these numbers alone, counted from 0.
        fields: these alone; what is not asked for is not read.

    Raises:
        InputError: a shard is missing or damaged, or holds another number of samples than the index says.
    """
    folder, first = Path(folder), 0
    for entry in read_index(folder)["shards"]:
        wanted = [n for n in range(entry["samples"]) if numbers is None or first + n in numbers]
        first += entry["samples"]
        if not wanted:
            continue
        with open_listed(folder, entry) as shard:
            for number in wanted:
                yield {name: shard.read(name, number, number + 1)[0] for name in fields or shard.fields}


def preview(folder: Path | str, path: Path | str, *, num_samples: int = 12) -> Path:
    """Write a contact sheet of samples spread over the dataset, and read no others; returns its path.

    Raises:
        InputError: the dataset is damaged or empty, or ``path`` has no suffix of a picture.
    """
    total = _num_samples(read_index(folder)["shards"])
    if not total:
        raise InputError(f"{folder}: the dataset holds no samples to show")
    chosen = set(np.linspace(0, total - 1, min(num_samples, total)).round().astype(int).tolist())
    samples = list(iterate_samples(folder, chosen))
    rows = [_preview_row(sample) for sample in samples]
    labels = [_preview_label(sample) for sample in samples]
    return write_image(path, contact_sheet(rows, titles=_PREVIEW_TITLES, labels=labels))


def export_folders(folder: Path | str, out: Path | str) -> int:
    """Write ``<field>/train/1.jpg ...`` for the published trainer; returns the number of samples.

    Files of an older export go first, and the last folder comes last: what a stopped export leaves has no
    samples of two datasets, and too few files there to be taken for a finished one.

    Raises:
        InputError: the dataset is damaged, or ``out`` holds pictures that are not of an export, or more
            samples of another dataset.
    """
    out, shards = Path(out), read_index(folder)["shards"]
    total = _num_samples(shards)
    folders = {name: out / name / "train" for name in EXPORTED}
    for place in folders.values():
        if not (out / EXPORT_MARKER).exists() and any(place.glob("*")):
            raise InputError(f"{place}: holds pictures that are not of an export; choose an empty folder")
        refuse_numbers_beyond(place, total)
    write_json(out / EXPORT_MARKER, {"digest": dataset_digest(shards)})
    for place, number in itertools.product(folders.values(), range(1, total + 1)):
        (place / f"{number}.jpg").unlink(missing_ok=True)
    with Progress("export", total=total * len(EXPORTED), unit="picture") as progress:
        for names in (EXPORTED[:-1], EXPORTED[-1:]):
            for number, sample in enumerate(iterate_samples(folder, fields=names), start=1):
                for name, image in sample.items():
                    write_image(folders[name] / f"{number}.jpg", image, jpeg_quality=98)
                progress.advance(len(names))
    return total


def _num_samples(shards: Sequence[Mapping[str, Any]]) -> int:
    return sum(entry["samples"] for entry in shards)


def _describe(folder: Path | str, index: Mapping[str, Any]) -> str:
    shards = index["shards"]
    megabytes = sum(entry["bytes"] for entry in shards) / 1e6
    account = " + ".join(f"{what} {index[what]}" for what in ("written", "skipped", "failed"))
    lines = [
        f"{folder}: {index['num_samples']} samples in {len(shards)} shards, {megabytes:.1f} MB",
        f"seen {index['seen']} = {account}",
        f"source: {' '.join(index['source'][key] for key in ('manifest', 'split') if index['source'][key])}",
        f"data digest: {index['digest']}",
        f"plan digest: {index['plan_digest']}",
        "given as: " + ", ".join(f"{what} {name}" for what, name in sorted(index["given"].items())),
        "settings:",
        *(f"  {key} = {value}" for key, value in _flatten(index["config"])),
        "versions: " + ", ".join(f"{name} {number}" for name, number in sorted(index["versions"].items())),
    ]
    unused = [f"skipped {item['id']}: {item['reason']}" for item in index["skipped_frames"]]
    unused += [f"failed {item['id']}: {item['reason']}" for item in index["failures"]]
    return "\n".join([*map(one_line, lines), *first_few(unused, Path(folder))])


def _preview_row(sample: Mapping[str, Any]) -> list[np.ndarray]:
    depth = sample["inverse_depth"].astype(np.float32)
    mask = (depth > sample["focus_threshold"]).astype(np.uint8) * 255
    pictures = [sample[f"visible_{name}"] for name in ("focus_near", "focus_far", "over", "under")]
    return [sample["visible"], sample["infrared"], heat(depth), mask, *pictures]


def _preview_label(sample: Mapping[str, Any]) -> str:
    alpha, sigma = sample["focus_threshold"], sample["blur_sigma_px"]
    parts = [sample["id"], f"alpha {alpha:.2f}", f"sigma {sigma:.1f} px"]
    if "f_number" in sample:
        lens, near, far = (sample[name] for name in ("f_number", "near_focus_m", "far_focus_m"))
        parts.append(f"f/{lens:.1f} at {near:.1f} and {far:.1f} m")
    if "over_ev" in sample:
        parts.append(f"EV {sample['over_ev']:+.1f} and {sample['under_ev']:+.1f}")
    return "  ".join(parts)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in sorted(settings.items()):
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
