"""Pages for tests: what they are made of, and what they hold."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from metric_pictures import picture

from model.evaluate import evaluate
from model.evaluation.scoring import EvaluateConfig
from pipeline.files import write_json
from pipeline.images import write_image

EVIL = "</script><img src=x onerror=alert(1)>&\"'"


class Page(HTMLParser):
    """Tags of a page and the text of its data element."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.data = self._inside = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self._inside = "data" if ("id", "content") in attrs else ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.data += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def content_of(path: Path) -> dict[str, Any]:
    return json.loads(Page(path).data)


def evaluation(root: Path, name: str = "copy", pairs: int = 3, ground_truth: bool = False) -> Path:
    for index in range(pairs):
        for role, seed in (("a", 0), ("b", 50), ("copy", 50)):
            write_image(root / role / f"{index:02}.png", picture(seed + index, (64, 80)))
    config = EvaluateConfig(metrics=("EN", "SCD", "Qabf"), jobs=1)
    return evaluate(
        config,
        root / "a",
        root / "b",
        {name: root / "copy"},
        root / "results.json",
        ground_truth=root / "b" if ground_truth else None,
    )


def training_run(root: Path, steps: int = 30, finished: bool = True) -> Path:
    lines = []
    for step in range(1, steps + 1):
        record = {"step": step, "lr": 1e-3, "lambda_mm": 0.5 - step / 100, "lambda_dp": 0.5 - step / 70}
        record |= dict.fromkeys(("mm_task", "mm_public", "dp_task", "dp_public"), 1 / step)
        record |= {"mm_gradient_norm": None if step == 3 else 0.5, "something_new": float(step)}
        if step % 10 == 0:
            record["validation_mm_task"] = 0.8 / step
        lines.append(json.dumps(record))
    root.mkdir(parents=True)
    (root / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 31, "lr"')
    write_json(root / "config.json", {"config": {"steps": steps, "note": EVIL}, "versions": {"torch": "2"}})
    for step in (10, 20, 30):
        write_image(root / "pictures" / f"step-{step:08d}.png", picture(step))
    if finished:
        write_json(
            root / "summary.json", {"best_validation": {"step": 20, "total": 0.1}, "training_seconds": 5000}
        )
    return root


def decoded(uri: str) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(uri.partition("base64,")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
