"""EXIF orientation: pictures of every kind are turned upright, and malformed tags turn nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import encoded, exif, pixels, png_chunk, tiff
from PIL import Image
from tifffile import imwrite

from pipeline.images import read_image

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Pillow's transposition, channel by channel."""
    if orientation == 1:
        return image
    if image.ndim == 3:
        return np.stack([upright(channel, orientation) for channel in np.moveaxis(image, 2, 0)], axis=2)
    return np.asarray(Image.fromarray(image).transpose(TRANSPOSITIONS[orientation]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_eight_bit_files(tmp_path: Path, orientation: int) -> None:
    for channels in (1, 3):
        image = pixels("uint8", channels, 16, 24)
        picture = Image.fromarray(image)
        for kind in ("PNG", "TIFF"):
            (tmp_path / "x").write_bytes(encoded(picture, kind, exif=exif(orientation)))
            np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(image, orientation))
        flat = encoded(picture, "JPEG", quality=95)
        turned = encoded(picture, "JPEG", quality=95, exif=exif(orientation))
        (tmp_path / "flat.jpg").write_bytes(flat)
        (tmp_path / "turned.jpg").write_bytes(turned)
        expected = upright(read_image(tmp_path / "flat.jpg"), orientation)
        np.testing.assert_array_equal(read_image(tmp_path / "turned.jpg"), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bit_files(tmp_path: Path, orientation: int) -> None:
    grey, colour = pixels("uint16", 1), pixels("uint16", 3)
    for kind in ("PNG", "TIFF"):
        (tmp_path / "x").write_bytes(encoded(Image.fromarray(grey), kind, exif=exif(orientation)))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(grey, orientation))
    for order in "<>":
        (tmp_path / "x").write_bytes(tiff(colour, order=order, orientation=orientation))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(colour, orientation))
    tag = (274, 3, 1, orientation, True)
    for planes in ("contig", "separate"):
        values = np.moveaxis(colour, 2, 0) if planes == "separate" else colour
        for compression in (None, "lzw", "zstd"):
            imwrite(
                tmp_path / "x.tif",
                values,
                photometric="rgb",
                planarconfig=planes,
                compression=compression,
                extratags=[tag],
                metadata=None,
            )
            np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), upright(colour, orientation))
    # A 16-bit RGB PNG with an eXIf chunk after its header.
    plain = cv2.imencode(".png", np.ascontiguousarray(colour[..., ::-1]))[1].tobytes()
    body = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "x").write_bytes(plain[:33] + png_chunk(b"eXIf", body) + plain[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(colour, orientation))


def test_a_malformed_tag_beside_the_orientation_does_not_matter(tmp_path: Path) -> None:
    """ResolutionUnit as text where it is a number: such tags cannot be written again, but need not be."""
    entries = ((274, 3, 1, struct.pack(">HH", 6, 0)), (296, 2, 2, b"2\0\0\0"))
    tags = b"MM\0*" + struct.pack(">IH", 8, len(entries))
    tags += b"".join(struct.pack(">HHI4s", *entry) for entry in entries) + bytes(4)
    image = pixels("uint8", 3, 16, 24)
    for kind in ("PNG", "JPEG"):
        for name, options in (("flat", {}), ("turned", {"exif": b"Exif\0\0" + tags})):
            (tmp_path / name).write_bytes(encoded(Image.fromarray(image), kind, **options))
        expected = upright(read_image(tmp_path / "flat"), 6)
        np.testing.assert_array_equal(read_image(tmp_path / "turned"), expected)


def test_malformed_exif_is_none(tmp_path: Path) -> None:
    image = pixels("uint8", 3)
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(image), "PNG", exif=b"Exif\0\0junk"))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)


def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path) -> None:
    for orientation in (0, 9, 77):
        for image in (pixels("uint8", 3), pixels("uint16", 1)):
            data = encoded(Image.fromarray(image), "PNG", exif=exif(orientation))
            (tmp_path / "x.png").write_bytes(data)
            np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)
