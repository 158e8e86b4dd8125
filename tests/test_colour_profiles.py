"""Colour profiles (ICC): they go with the values that they are of, and what no profile can say is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fusing import on_cpu, picture, tiny_weights
from picture_files import pixels
from PIL import Image
from PIL.ImageCms import ImageCmsProfile, createProfile
from pretended_gpu import pretended_gpu

from model.fuse import fuse
from model.fusing.fuse_config import FuseConfig
from pipeline.images import read_picture, write_image
from pipeline.images.colour_profiles import profile_name, usable_profile

#: Two versions of sRGB, one that is called otherwise, and one for grey.
SRGB = ImageCmsProfile(createProfile("sRGB")).tobytes()
OTHER_SRGB = SRGB.replace("built-in".encode("utf-16-be"), "version2".encode("utf-16-be"))
WIDE = SRGB.replace("sRGB".encode("utf-16-be"), "Wide".encode("utf-16-be"))
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]

pytestmark = pytest.mark.usefixtures("one_thread")


def profile_by_pillow(path: Path) -> bytes | None:
    with Image.open(path) as opened:
        return opened.info.get("icc_profile")


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        *((suffix, "uint8") for suffix in (".png", ".jpg", ".tif", ".bmp")),
        (".png", "uint16"),
        (".tif", "uint16"),
    ],
)
@pytest.mark.parametrize(
    ("channels", "profile"), [(3, WIDE), (1, GREY), (3, WIDE + bytes(150_000))], ids=["wide", "grey", "large"]
)
def test_a_profile_goes_along_and_changes_no_value(
    tmp_path: Path, suffix: str, dtype: str, channels: int, profile: bytes
) -> None:
    image = pixels(dtype, channels)
    plain = write_image(tmp_path / f"plain{suffix}", image)
    path = write_image(tmp_path / f"x{suffix}", image, profile=profile)
    held = None if suffix == ".bmp" else profile
    assert profile_by_pillow(plain) is None and profile_by_pillow(path) == held
    np.testing.assert_array_equal(read_picture(path).image, read_picture(plain).image)
    assert read_picture(path).profile == held


def test_what_is_no_whole_profile_for_the_values_is_none() -> None:
    assert usable_profile(WIDE, colour=True) == WIDE and usable_profile(GREY, colour=False) == GREY
    assert usable_profile(WIDE, colour=False) is None and usable_profile(GREY, colour=True) is None
    for broken in (None, 7, "text", b"", WIDE[:127], WIDE[:-1], WIDE[:36] + b"none" + WIDE[40:]):
        assert usable_profile(broken, colour=True) is None


def test_names() -> None:
    assert profile_name(WIDE) == "Wide built-in"
    assert profile_name(None) == profile_name(SRGB) == profile_name(OTHER_SRGB) == "sRGB"
    damaged = WIDE[:128] + bytes([255]) * (len(WIDE) - 128)
    assert profile_name(damaged) == "without a name"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("task", "profiles", "channels", "expected"),
    [
        ("ivif", (None, WIDE), (1, 3), WIDE),  # b gives the colour
        ("ivif", (GREY, None), (1, 3), None),
        ("medical", (WIDE, SRGB), (3, 3), WIDE),
        ("mfif", (WIDE, WIDE), (3, 3), WIDE),
        ("auto", (GREY, WIDE), (1, 3), WIDE),  # the only one in colour
        ("auto", (GREY, GREY), (1, 1), GREY),
        ("ivif", (WIDE, None), (3, 1), None),  # a grey result
    ],
    # A profile holds the second in which it was made: in a name it would differ from worker to worker.
    ids=["b", "b without", "a", "both", "the coloured", "both grey", "grey result"],
)
def test_a_result_has_the_profile_of_what_gives_its_colour(
    tmp_path: Path,
    task: str,
    profiles: tuple[bytes | None, bytes | None],
    channels: tuple[int, int],
    expected: bytes | None,
    device: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for role, profile, count in zip("ab", profiles, channels, strict=True):
        write_image(tmp_path / f"{role}.png", pixels("uint8", count, 20, 24), profile=profile)
    config = FuseConfig(weights=tiny_weights(tmp_path), task=task, device=device, precision="fp32")
    with pretended_gpu():
        fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out.png")
    assert profile_by_pillow(tmp_path / "out.png") == expected
    assert "profile" not in capsys.readouterr().err


def test_profiles_that_differ_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("1", "2"):
        write_image(tmp_path / f"a/{name}.png", pixels("uint8", 3, 20, 24), profile=WIDE)
        picture(tmp_path / f"b/{name}.png", 1, channels=3)
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu", jobs=1)
    fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    told = (
        "1: sources have the colour profiles Wide built-in and sRGB, the result has the first; "
        "convert them to one for true colours"
    )
    said = capsys.readouterr().err
    assert told in said and said.count("profile") == 1
    assert profile_by_pillow(tmp_path / "out/2.png") == WIDE


def test_profiles_of_grey_sources_that_differ_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for role, profile in (("a", GREY), ("b", WIDE[:16] + GREY[16:20] + WIDE[20:])):
        write_image(tmp_path / f"{role}.png", pixels("uint8", 1, 20, 24), profile=profile)
    config = on_cpu(tiny_weights(tmp_path))
    assert fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out.png").complete
    assert "profiles sRGB and Wide built-in, the result has the first" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_grey_in_three_channels_does_not_give_the_profile(tmp_path: Path, device: str) -> None:
    colour = pixels("uint8", 3, 20, 24)
    write_image(tmp_path / "a.png", np.repeat(colour[..., :1], 3, axis=2), profile=SRGB)
    write_image(tmp_path / "b.png", colour, profile=WIDE)
    config = FuseConfig(weights=tiny_weights(tmp_path), device=device, precision="fp32")
    with pretended_gpu():
        fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out.png")
    assert profile_by_pillow(tmp_path / "out.png") == WIDE


@pytest.mark.parametrize(("profile", "tells"), [(WIDE, 1), (SRGB, 0)], ids=["wide", "sRGB"])
def test_a_format_without_profiles_is_told(
    tmp_path: Path, profile: bytes, tells: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "a.png", pixels("uint8", 3, 20, 24), profile=profile)
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu")
    fuse(config, [tmp_path / "a.png"], tmp_path / "out.bmp")
    assert capsys.readouterr().err.count("a BMP holds no colour profile") == tells
