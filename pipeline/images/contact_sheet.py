"""Contact sheets: small pictures in labelled rows and columns, to judge many results at a glance."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.images import to_uint8

_GAP_PX = 4
_TITLE_PX = 22
_PAPER = 255
_INK = (32, 32, 32)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    titles: Sequence[str],
    labels: Sequence[str] | None = None,
    cell_width: int = 160,
) -> np.ndarray:
    """Lay pictures out as a table.

    Args:
        rows: rows of pictures, uint8 (H, W) or (H, W, 3) RGB, any sizes; each is scaled to ``cell_width``.
        titles: one for each column.
        labels: one line of text above each row.

    Returns:
        The sheet, (H, W, 3) uint8 RGB.
    """
    assert rows and all(len(row) == len(titles) for row in rows)
    strips = [_text_row(titles, cell_width)]
    for number, row in enumerate(rows):
        if labels is not None:
            strips.append(_text_row([labels[number]], cell_width * len(titles)))
        strips.append(_picture_row(row, cell_width))
    width = max(strip.shape[1] for strip in strips)
    return np.vstack(
        [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=_PAPER) for s in strips]
    )


def heat(values: np.ndarray) -> np.ndarray:
    """Colour float values in [0, 1], (H, W), for the eye: (H, W, 3) uint8 RGB, bright = high."""
    return cv2.cvtColor(
        cv2.applyColorMap(to_uint8(values.astype(np.float32)), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB
    )


def _picture_row(row: Sequence[np.ndarray], cell_width: int) -> np.ndarray:
    cells = []
    for picture in row:
        height = max(1, round(picture.shape[0] * cell_width / picture.shape[1]))
        shrink = cell_width < picture.shape[1]
        cell = cv2.resize(
            picture, (cell_width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
        )
        cells.append(cell if cell.ndim == 3 else np.repeat(cell[..., None], 3, axis=2))
    height = max(cell.shape[0] for cell in cells)
    return np.hstack(
        [
            np.pad(
                cell, ((0, height - cell.shape[0] + _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=_PAPER
            )
            for cell in cells
        ]
    )


def _text_row(texts: Sequence[str], cell_width: int) -> np.ndarray:
    row = np.full((_TITLE_PX, len(texts) * (cell_width + _GAP_PX), 3), _PAPER, np.uint8)
    for column, text in enumerate(texts):
        at = (column * (cell_width + _GAP_PX) + 2, _TITLE_PX - 7)
        cv2.putText(row, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA)
    return row
