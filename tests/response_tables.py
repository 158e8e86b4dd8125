"""Tables of camera response curves, in the layout of DoRF."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_gamma(path: Path, exponent: float) -> Path:
    """A table of one curve named camera: brightness = irradiance ** exponent."""
    light = np.linspace(0, 1, 16)
    irradiance, brightness = (
        " ".join(f"{value:.6f}" for value in values) for values in (light, light**exponent)
    )
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"camera\ngamma\nI =\n{irradiance}\nB =\n{brightness}\n")
    return path
