"""Manifests and trees of empty files for tests."""

from __future__ import annotations

from pathlib import Path

from pipeline.sources.listing import SampleListing
from pipeline.sources.manifest import Manifest, load_manifest

PAIR = 'name = "mine"\n\n[roles]\nvisible = "visible/{id}.png"\ninfrared = "infrared/{id}.png"\n'


def write(folder: Path, text: str) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return load_manifest(folder / "mine.toml")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def ids(listing: SampleListing) -> list[str]:
    return [sample.id for sample in listing.samples]
