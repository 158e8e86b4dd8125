"""Random streams that depend on what they are for, never on order, worker or clock."""

from __future__ import annotations

import hashlib

import numpy as np

from pipeline.files import canonical_json


def random_stream(seed: int, stage: str, sample_id: str, purpose: str) -> np.random.Generator:
    """Return the generator of one purpose of one sample.

    Equal arguments give equal streams on any machine; any different argument gives an independent
    one. Example: ``random_stream(0, "synth", "010001#0", "focus")``.
    """
    key = canonical_json([seed, stage, sample_id, purpose])
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
