"""Sun, sky and air of the sample scenes: radiance and apparent temperature by direction."""

from __future__ import annotations

import numpy as np

from pipeline.scenes.surfaces.textures import fractal_noise
from pipeline.scenes.tracing.solids import dot
from pipeline.scenes.world import Weather


def sun_direction(weather: Weather) -> np.ndarray:
    """Unit vector towards the sun."""
    flat = np.cos(weather.sun_elevation)
    return np.array(
        [
            flat * np.sin(weather.sun_azimuth),
            np.sin(weather.sun_elevation),
            flat * np.cos(weather.sun_azimuth),
        ]
    )


def zenith(weather: Weather) -> np.ndarray:
    """Mean radiance of the sky above, (3,)."""
    if weather.night:
        return np.array([0.030, 0.027, 0.026])
    blue = np.array([0.30, 0.42, 0.62])
    return blue + weather.overcast * (np.array([0.85, 0.88, 0.92]) - blue)


def airlight(weather: Weather) -> np.ndarray:
    """Radiance that fog scatters towards the camera, and of the sky at the horizon, (3,)."""
    if weather.night:
        return np.array([0.045, 0.036, 0.028], np.float32)
    clear = np.array([0.80, 0.90, 1.05])
    return (clear + weather.overcast * (np.array([0.85, 0.87, 0.9]) - clear)).astype(np.float32)


def sky_gradient(direction: np.ndarray, weather: Weather, sun: np.ndarray) -> np.ndarray:
    """Radiance (3, N) of the cloudless sky, or of the street where a mirrored ray goes down."""
    rise = np.clip(direction[1], 0, 1) ** np.float32(0.55)
    horizon, overhead = airlight(weather)[:, None], (0.9 * zenith(weather)).astype(np.float32)[:, None]
    colour = horizon + (overhead - horizon) * rise
    if not weather.night:
        off_sun = 1 - dot(direction, sun.astype(np.float32))
        colour = colour + np.float32(1 - weather.overcast) * (
            0.5 * np.exp(-12 * off_sun) + 6.0 * np.exp(-600 * off_sun)
        )
    return np.where(direction[1] < 0, 0.3 * horizon, colour)


def sky(direction: np.ndarray, weather: Weather, sun: np.ndarray) -> np.ndarray:
    """The sky as seen: gradient, sun, and clouds on a plane overhead."""
    colour = sky_gradient(direction, weather, sun)
    share = np.clip(0.9 * _clouds(direction, weather) + 2.4 * weather.overcast - 0.6, 0, 1)
    u, v, pixel = _cloud_plane(direction)
    shift = np.float32(10 * weather.sun_azimuth)
    thickness = 0.85 + 0.15 * fractal_noise(u, v + shift, pixel, wavelength=0.9, octaves=4)
    cloud = (0.06 if weather.night else 1.15 - 0.25 * weather.overcast) * thickness
    tint = airlight(weather)[:, None] / airlight(weather).max()
    return np.maximum(colour + (cloud * tint - colour) * share, 0.0)


def sky_temperature(direction: np.ndarray, weather: Weather) -> np.ndarray:
    """Apparent temperature (N,) of the sky in degrees Celsius: cold overhead, warmer low and in cloud."""
    rise = np.clip(direction[1], 0, 1)
    clear = weather.air_c - 8 - 30 * rise**0.6
    return clear + weather.overcast * (weather.air_c - 7 - clear) + 2 * _clouds(direction, weather)


def _clouds(direction: np.ndarray, weather: Weather) -> np.ndarray:
    """How thick the clouds are in a direction, (N,), about -1 to 1."""
    u, v, pixel = _cloud_plane(direction)
    shift = np.float32(10 * weather.sun_azimuth)
    return fractal_noise(u + shift, v + shift, pixel, wavelength=1.6, octaves=6)


def _cloud_plane(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where directions (3, N) meet a plane overhead, and how wide a pixel is there, (N,) each."""
    rise = np.maximum(direction[1], 0.02)
    return direction[0] / (rise + 0.12), direction[2] / (rise + 0.12), 0.02 / rise
