"""Report: one HTML file of an evaluation, a training run or a network's features, with everything in it.

The page needs no network and no other file: pictures are embedded, plots are drawn by its own script. Names
from folders and files enter the page as text alone.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import InputError, read_json, write_bytes

_PAGE = Path(__file__).resolve().parent / "page"
#: In the order in which they are loaded.
_SCRIPTS = ("page.js", "table.js", "plots.js", "gallery.js", "compare.js", "training.js", "start.js")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How large the page may become."""

    picture_side_px: int = 800  # longer side of an embedded picture; larger ones are scaled down
    pictures_limit_mb: float = 32.0  # all pictures together; pairs beyond it are left out of the gallery

    def __post_init__(self) -> None:
        if not 64 <= self.picture_side_px <= 4096:
            raise InputError(f"--picture-side-px {self.picture_side_px}: use 64 to 4096")
        if not 0 < self.pictures_limit_mb <= 512:
            raise InputError(f"--pictures-limit-mb {self.pictures_limit_mb}: use more than 0, up to 512")


def report(source: Path, out: Path, config: ReportConfig | None = None) -> Path:
    """Write the page of a training run (its folder) or of an evaluation (its summary); return ``out``.

    Raises:
        InputError: ``out`` is no page, or ``source`` is neither, is damaged, or its images have moved or
            changed.
    """
    source, config = Path(source), config or ReportConfig()
    check_page(out)
    if (source / "metrics.jsonl").is_file():
        from model.report.training import training_content

        return write_page(training_content(source, config), out)
    if source.is_dir():
        raise InputError(f"{source}: no metrics.jsonl, so no training run; or give an evaluation's .json")
    from model.report.evaluation import evaluation_content

    return write_page(evaluation_content(source, read_json(source), config), out)


def write_page(content: Mapping[str, Any], out: Path) -> Path:
    """Write a page for what its scripts find in ``content``; see the ``*_content`` functions."""
    check_page(out)
    try:
        data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise InputError(f"{content['title']}: a number of it is not finite; make it again") from None
    parts = {
        "title": html.escape(content["title"]),
        "style": _part("page.css"),
        "script": "\n".join(_part(name) for name in _SCRIPTS),
        # No "<" means no tag, so nothing in the data can end the element that holds it.
        "data": data.replace("<", "\\u003c"),
    }
    page = _part("page.html")
    for name, text in parts.items():
        before, marker, after = page.partition(f"<!-- {name} -->")
        assert marker, name
        page = before + text + after
    # Names of files that are no UTF-8 are escaped, as JSON does it.
    return write_bytes(out, page.encode(errors="backslashreplace"))


def check_page(out: Path) -> None:
    """Refuse a page's path that does not end in .html, before anything is computed for it."""
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o {out}: give the page's path, ending in .html")


def _part(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")
