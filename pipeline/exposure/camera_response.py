"""Exposure pairs by the physics of a camera: inverse response, exposure, noise, full well, response.

The response function of a camera maps relative irradiance in [0, 1] (1 = full well) to relative brightness
in [0, 1]. Curves are drawn from a parametric family or read from the tables of Columbia University (Grossberg
and Nayar, "Modeling the space of camera response functions", TPAMI 2004): DoRF (``dorfCurves.txt``) and EMoR
(``emor.txt``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.files import InputError, one_line, sha256_file
from pipeline.images import to_uint8

#: Name of the built-in family; anything else is the path of a table.
PARAMETRIC = "parametric"
_SAMPLES = 4097  # of a parametric curve
#: A full well of fewer times the read noise gives noise and no picture.
_LEAST_RANGE = 10
#: With fewer electrons the noise of light would leave what is twice beyond full well below it.
_LEAST_WELL_E = 50


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Exposure steps and the camera of the mode ``camera-response``."""

    curves: str = PARAMETRIC  # or the path of a DoRF or EMoR table
    over_ev: tuple[float, float] = (1.0, 2.0)  # stops above the source; SICE goes up to about +2
    under_ev: tuple[float, float] = (-4.0, -1.0)  # stops below it; SICE goes down to about -4
    full_well_e: float = 10_000.0  # electrons at irradiance 1: shot noise; 0 = no noise at all
    read_noise_e: float = 5.0  # standard deviation, electrons

    def __post_init__(self) -> None:
        if not self.curves:
            raise InputError(f"curves: empty; give {PARAMETRIC}, or the path of a DoRF or EMoR table")
        low, high = self.over_ev
        if not 0 <= low <= high <= 10:
            raise InputError(f"over_ev {low}..{high}: give 0 <= least <= largest <= 10")
        low, high = self.under_ev
        if not -10 <= low <= high <= 0:
            raise InputError(f"under_ev {low}..{high}: give -10 <= least <= largest <= 0")
        least = max(_LEAST_WELL_E, _LEAST_RANGE * self.read_noise_e)
        holds = self.full_well_e == 0 or least <= self.full_well_e <= 1e7
        if not (holds and 0 <= self.read_noise_e <= 1e4):
            raise InputError(
                f"full well {self.full_well_e} and read noise {self.read_noise_e} electrons: give a read "
                f"noise of 0 to 1e4, a full well of 0 (no noise) or {_LEAST_RANGE} times that, "
                f"{_LEAST_WELL_E} to 1e7"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class ResponseCurve:
    """Brightness over irradiance, both from 0 to 1, neither falling."""

    name: str
    irradiance: np.ndarray  # (N,) float64
    brightness: np.ndarray  # (N,) float64

    def respond(self, irradiance: np.ndarray) -> np.ndarray:
        """Brightness of any irradiance; below 0 and above 1 it is clipped."""
        return np.interp(irradiance, self.irradiance, self.brightness)

    def invert(self, brightness: np.ndarray) -> np.ndarray:
        """An irradiance with this brightness; for full brightness the least, amid a plateau its upper end."""
        full = int(np.searchsorted(self.brightness, self.brightness[-1])) + 1
        return np.interp(brightness, self.brightness[:full], self.irradiance[:full])


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraDraw:
    """What chance decides for one sample, apart from the noise; it is stored beside the sample."""

    camera: CameraConfig
    curve: ResponseCurve
    over_ev: float  # a float32 value, the type of its shard field; likewise under_ev
    under_ev: float


def draw_camera(config: CameraConfig, rng: np.random.Generator) -> CameraDraw:
    """Draw the response curve and the exposure steps of one sample.

    Args:
        rng: the sample's own stream for this purpose; :func:`camera_pair` goes on with it.
    """
    curve = draw_curve(config.curves, rng)
    over_ev, under_ev = (
        float(np.float32(rng.uniform(*bounds))) for bounds in (config.over_ev, config.under_ev)
    )
    return CameraDraw(camera=config, curve=curve, over_ev=over_ev, under_ev=under_ev)


def camera_pair(
    visible: np.ndarray, draw: CameraDraw, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Over- and under-exposed picture of the same camera, each of the shape of ``visible``, uint8.

    Noise never carries a value across its source: the pair brackets the source at every pixel and channel.

    Args:
        visible: (H, W, 3) or (H, W) uint8. What is 255 there had an irradiance of at least 1; it counts as 1.
        draw: of :func:`draw_camera`.
        rng: the stream that ``draw`` was drawn from; it decides the noise.
    """
    over = expose(visible, draw.curve, ev=draw.over_ev, config=draw.camera, rng=rng)
    under = expose(visible, draw.curve, ev=draw.under_ev, config=draw.camera, rng=rng)
    return np.maximum(over, visible), np.minimum(under, visible)


def expose(
    visible: np.ndarray, curve: ResponseCurve, *, ev: float, config: CameraConfig, rng: np.random.Generator
) -> np.ndarray:
    """The picture that the camera would have taken with ``ev`` stops more exposure, uint8.

    Shot noise is Poisson in electrons, read noise normal; the sum is clipped at 0 and at full well.
    """
    irradiance = curve.invert(np.arange(256) / 255) * 2.0**ev  # of each code
    if config.full_well_e == 0:
        return to_uint8(curve.respond(irradiance))[visible]
    # Beyond full well noise makes no difference, and huge means take the sampler long.
    electrons = np.minimum(irradiance, 2.0)[visible] * config.full_well_e
    signal = rng.poisson(electrons) + rng.normal(0, config.read_noise_e, visible.shape)
    return to_uint8(curve.respond(signal / config.full_well_e))


def draw_curve(curves: str, rng: np.random.Generator) -> ResponseCurve:
    """One curve of the parametric family, or one of those in a table.

    Raises:
        InputError: the table is missing, damaged or holds no curve that can be inverted.
    """
    if curves != PARAMETRIC:
        table = read_curves(curves)
        return table[int(rng.integers(len(table)))]
    exponent, sigma = np.clip(rng.normal((0.9, 0.6), 0.1), 0.3, 1.5)
    return sigmoid_curve(exponent=float(exponent), sigma=float(sigma))


def sigmoid_curve(*, exponent: float, sigma: float) -> ResponseCurve:
    """(1 + sigma) E^n / (E^n + sigma); n = 0.9, sigma = 0.6 fit the mean of DoRF (Eilertsen et al., 2017)."""
    # Knots are denser near black, where the curve is steep.
    irradiance = np.linspace(0, 1, _SAMPLES) ** 2
    power = irradiance**exponent
    name = f"sigmoid n={exponent:.3f} sigma={sigma:.3f}"
    return ResponseCurve(name=name, irradiance=irradiance, brightness=(1 + sigma) * power / (power + sigma))


def curves_identity(curves: str) -> str:
    """What a plan holds of ``CameraConfig.curves``: the family's name, or the digest of the table's bytes.

    Raises:
        InputError: there is no such table, or it cannot be used.
    """
    if curves == PARAMETRIC:
        return PARAMETRIC
    read_curves(curves)
    return f"sha256:{sha256_file(curves)}"


def read_curves(path: str) -> tuple[ResponseCurve, ...]:
    """Read a DoRF or an EMoR table, told apart by content.

    DoRF has six lines for each curve: name, kind, ``I =``, irradiances, ``B =``, brightnesses. EMoR has
    blocks of a heading (``E =``, ``f0 =``, ``h(1)=``, ...) and 1024 numbers on 256 lines; its mean curve f0
    is returned, since the file does not say how far cameras stray from it along each h.

    Raises:
        InputError: the table is missing, in another format, damaged, or a curve falls or leaves [0, 1].
    """
    try:
        state = Path(path).stat()
        return _read_table(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise InputError(f"{path}: response curves cannot be read ({error.strerror})") from None


@lru_cache(maxsize=4)
def _read_table(path: str, mtime_ns: int, size: int) -> tuple[ResponseCurve, ...]:
    """Time and size are there for the cache: a table that was replaced is read again."""
    lines = [line.strip() for line in Path(path).read_text(encoding="latin-1").splitlines()]
    lines = [line for line in lines if line]
    blocks = _blocks(lines)
    names = [heading for heading, _, _ in blocks]
    if names[:2] == ["E", "f0"]:
        return (_checked("EMoR f0", blocks[0][1], blocks[1][1], path),)
    if len(names) >= 2 and names == ["I", "B"] * (len(names) // 2):
        return tuple(
            _checked(one_line(lines[line - 2]) if line >= 2 else "curve", irradiance, brightness, path)
            for (_, irradiance, line), (_, brightness, _) in zip(blocks[::2], blocks[1::2], strict=True)
        )
    raise InputError(f"{path}: neither a DoRF nor an EMoR table; give dorfCurves.txt or emor.txt")


def _blocks(lines: list[str]) -> list[tuple[str, np.ndarray, int]]:
    """Headings ``NAME =`` with the numbers that follow them and the heading's line."""
    blocks: list[tuple[str, list[float], int]] = []
    numeric = False
    for position, line in enumerate(lines):
        heading = re.fullmatch(r"([A-Za-z]\w*(?:\(\d+\))?)\s*=", line)
        if heading:
            blocks.append((heading[1], [], position))
            numeric = True
        elif numeric:
            try:
                blocks[-1][1].extend([float(word) for word in line.split()])
            except ValueError:  # the name of the next curve
                numeric = False
    return [(name, np.array(values), position) for name, values, position in blocks]


def _checked(name: str, irradiance: np.ndarray, brightness: np.ndarray, path: str) -> ResponseCurve:
    if irradiance.size != brightness.size or irradiance.size < 2:
        raise InputError(
            f"{path}: curve {name}: {irradiance.size} irradiances, {brightness.size} brightnesses"
        )
    if not (np.isfinite(irradiance).all() and np.isfinite(brightness).all()):
        raise InputError(f"{path}: curve {name}: a number is not finite")
    # Published tables stray from 0 and 1, and from rising, by rounding only.
    rises = bool((np.diff(irradiance) > 0).all()) and bool((np.diff(brightness) > -1e-3).all())
    ends = np.array([irradiance[0], brightness[0], 1 - irradiance[-1], 1 - brightness[-1]])
    if not rises or np.abs(ends).max() > 0.05:
        raise InputError(f"{path}: curve {name}: does not rise from (0, 0) to (1, 1)")
    brightness = np.maximum.accumulate(np.clip(brightness, 0, 1))
    brightness = (brightness - brightness[0]) / (brightness[-1] - brightness[0])
    irradiance = (irradiance - irradiance[0]) / (irradiance[-1] - irradiance[0])
    return ResponseCurve(name=name, irradiance=irradiance, brightness=brightness)
