"""Damage that leaves a file as long as it was."""

from __future__ import annotations

from pathlib import Path


def flip_a_bit(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
