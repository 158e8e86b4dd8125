"""Looking inside a network: feature maps of the shared encoder and of both branches, and both main tasks.

For each pair the page compares the fused image with DP and with MM as main task (the supplement's Figure 3)
and shows the encoder's and both branches' strongest channels (its Figure 5). Beside the page, every channel
is written into one PNG for each part.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from model.blocks.transformer import Task
from model.inputs.folders import FolderPairs
from model.network import GIFNet, NetworkConfig
from model.report import ReportConfig, write_page
from model.report.pictures import ERROR_RANGE_LEVELS, coloured_error, data_uri
from pipeline.files import InputError
from pipeline.images import read_grey, to_uint8, write_image
from pipeline.images.contact_sheet import heat
from pipeline.images.resampling import shrunk
from pipeline.runtime.progress import Progress

#: Tiles of a page under one title.
Group = dict[str, Any]
#: Planes that the encoder puts before its own channels.
_INPUTS = 2
#: Channels of each part on the page, those that vary most.
_CHANNELS = 11
#: Width of one channel in the sheets of all of them.
_SHEET_SIDE_PX = 192
_BRANCHES: dict[str, Task] = {"DP branch": "dp", "MM branch": "mm"}


def feature_report(network: GIFNet, pairs: FolderPairs, out: Path, config: ReportConfig) -> Path:
    """Write the page ``out`` and, in ``NAME-features/``, sheets of all channels; return ``out``.

    Args:
        network: on the device where it is to run.
        pairs: with the roles a and b; larger images are scaled down to the pictures' size before the
            network sees them. Pairs beyond the limit of the page's pictures get their sheets alone.

    Raises:
        InputError: an image cannot be read, the two of a pair differ in size, one is too small or, scaled
            down, too thin for the network, or ``out`` is no .html.
    """
    content: dict[str, Any] = {
        "kind": "features",
        "title": "Feature maps",
        "facts": [
            ["pairs", len(pairs.stems)],
            ["channels", network.config.channels],
            ["λ of MM", f"{network.transformer.lambda_mm.item():.3f}"],
            ["λ of DP", f"{network.transformer.lambda_dp.item():.3f}"],
        ],
        "pairs": [],
    }
    used = 0
    with Progress("features", total=len(pairs.stems), unit="pair") as progress:
        for stem in pairs.stems:
            a, b = _read_pair(pairs, stem, config.picture_side_px, network.config)
            groups, parts = _look_inside(network, a, b, config.picture_side_px)
            used += sum(len(tile["picture"]) for group in groups for tile in group["tiles"])
            if used <= config.pictures_limit_mb * 2**20 or not content["pairs"]:
                content["pairs"].append({"name": stem, "groups": groups})
            for name, maps in parts.items():
                folder = out.with_name(f"{out.stem}-features") / stem
                write_image(folder / f"{name.lower().replace(' ', '-')}.png", _sheet(maps))
            progress.advance()
    left_out = len(pairs.stems) - len(content["pairs"])
    if left_out:
        content["facts"].append(["not shown, over the limit", left_out])
    return write_page(content, out)


def _read_pair(
    pairs: FolderPairs, stem: str, side_px: int, config: NetworkConfig
) -> tuple[np.ndarray, np.ndarray]:
    a, b = (read_grey(pairs.paths[stem][role]) for role in ("a", "b"))
    if a.shape != b.shape:
        raise InputError(f"{stem}: a and b differ in size; resize or register them first")
    a, b = (shrunk(plane, side_px) for plane in (a, b))
    config.check_size(a.shape[0], a.shape[1], stem)
    return a, b


def _look_inside(
    network: GIFNet, a: np.ndarray, b: np.ndarray, side_px: int
) -> tuple[list[Group], dict[str, np.ndarray]]:
    """Groups of tiles for the page, and name -> maps (C, H, W) for the sheets."""
    device = next(network.parameters()).device
    planes = [torch.from_numpy(plane).to(device)[None, None].float() / 255 for plane in (a, b)]
    with torch.inference_mode():
        encoded = network.encode(*planes)
        refined = {name: network.transformer(encoded, encoded, main=main) for name, main in _BRANCHES.items()}
        fused = {main: network.fuse_features(encoded, encoded, main=main) for main in _BRANCHES.values()}
    dp, mm = (to_uint8(_maps(fused[main])[0]) for main in ("dp", "mm"))
    # The encoder passes its two inputs on as its first channels; they are shown above.
    parts = {"Shared encoder": _maps(encoded)[_INPUTS:]} | {name: _maps(x) for name, x in refined.items()}
    firsts = {"Shared encoder": _INPUTS}
    groups = [_main_task_group({"a": a, "b": b}, dp, mm, side_px)]
    groups += [_part_group(name, maps, firsts.get(name, 0), side_px) for name, maps in parts.items()]
    return groups, parts


def _main_task_group(sources: dict[str, np.ndarray], dp: np.ndarray, mm: np.ndarray, side_px: int) -> Group:
    """What either main task makes of a pair, planes (H, W) uint8, and where the two differ."""
    difference = cv2.absdiff(dp, mm)
    pictures = {**sources, "fused, DP is main": dp, "fused, MM is main": mm}
    pictures[f"difference (0 to {ERROR_RANGE_LEVELS} levels)"] = coloured_error(difference)
    return {
        "title": "Main task",
        "note": f"The same pair with either task as main task; they differ by {difference.mean():.1f} "
        "grey levels on average.",
        "tiles": [{"label": name, "picture": data_uri(image, side_px)} for name, image in pictures.items()],
    }


def _part_group(name: str, maps: np.ndarray, first: int, side_px: int) -> Group:
    """The maps (C, H, W) of one part that vary most; ``first`` is the number of the first of them."""
    strongest = np.argsort(-maps.std((1, 2)), kind="stable")[:_CHANNELS]
    mean = {"label": "mean over channels", "picture": data_uri(_coloured(maps.mean(0)), side_px)}
    return {
        "title": name,
        "note": f"The {len(strongest)} of {len(maps)} channels that vary most, each from its 1st to "
        "its 99th percentile.",
        "tiles": [
            mean,
            *(
                {
                    "label": f"channel {channel + first}",
                    "picture": data_uri(_coloured(maps[channel]), side_px // 2),
                    "detail": f"σ {maps[channel].std():.3g}",
                }
                for channel in strongest
            ),
        ],
    }


def _maps(features: Tensor) -> np.ndarray:
    """(1, C, H, W) -> (C, H, W) float32."""
    return features[0].float().cpu().numpy()


def _coloured(channel: np.ndarray) -> np.ndarray:
    """One map as (H, W, 3) RGB, dark at its 1st and bright at its 99th percentile; a flat map is dark."""
    low, high = np.percentile(channel, (1, 99))
    return heat((channel - low) / (high - low) if high > low else np.zeros_like(channel))


def _sheet(maps: np.ndarray) -> np.ndarray:
    """All channels row by row, (rows * h, columns * w, 3) RGB."""
    height, width = maps.shape[1:]
    scale = min(1.0, _SHEET_SIDE_PX / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tiles = [cv2.resize(_coloured(channel), size, interpolation=cv2.INTER_AREA) for channel in maps]
    columns = int(np.ceil(np.sqrt(len(tiles) * size[1] / size[0])))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])
