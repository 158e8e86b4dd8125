"""Files of small over- and under-exposed pairs, and their manifest."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.images import write_image


def exposure_manifest(folder: Path, scenes: int = 4, size: tuple[int, int] = (40, 48)) -> Path:
    """Smooth random pictures, exposed twice."""
    rng = np.random.default_rng(0)
    for number in range(scenes):
        coarse = rng.random((5, 6, 3)).repeat(size[0] // 5, 0).repeat(size[1] // 6, 1)
        for role, factor in (("over", 1.6), ("under", 0.3)):
            exposed = np.clip(coarse * factor, 0, 1) ** (1 / 2.2)
            write_image(folder / role / f"{number}.png", np.rint(exposed * 255).astype(np.uint8))
    path = folder / "pairs.toml"
    path.write_text(
        'name = "pairs"\ntitle = "Pairs"\nhomepage = "https://example.org"\nlicence = "none"\n'
        'citation = "none"\n[roles]\nover = "over/{id}.png"\nunder = "under/{id}.png"\n'
    )
    return path
