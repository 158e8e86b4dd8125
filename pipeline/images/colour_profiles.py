"""Colour profiles (ICC.1): which colours the values of a picture are. Values are never converted by them."""

from __future__ import annotations

import io

from PIL.ImageCms import ImageCmsProfile, PyCMSError, getProfileDescription

#: ICC.1:2022, 7.2: the header's length, its colour space and its signature.
_HEADER, _SPACE, _SIGNATURE = 128, slice(16, 20), slice(36, 40)
#: What a profile is for where none is given (of web pages and of most programs), as it calls itself.
DEFAULT = "sRGB"


def usable_profile(profile: object, *, colour: bool) -> bytes | None:
    """The profile of a file if it is a whole one for pictures in colour, or in grey; else None.

    Of a malformed tag Pillow gives a number or a text.
    """
    if not isinstance(profile, bytes) or len(profile) < _HEADER or profile[_SIGNATURE] != b"acsp":
        return None
    whole = int.from_bytes(profile[:4], "big") <= len(profile)
    return profile if whole and profile[_SPACE] == (b"RGB " if colour else b"GRAY") else None


def profile_name(profile: bytes | None) -> str:
    """What a profile calls itself, all versions of sRGB as one; sRGB where there is none."""
    if profile is None:
        return DEFAULT
    try:
        name = getProfileDescription(ImageCmsProfile(io.BytesIO(profile))).strip()
    except (PyCMSError, OSError):
        return "without a name"
    return DEFAULT if name.startswith(DEFAULT) else name
