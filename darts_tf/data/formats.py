"""Formats of image files: the content decides, not the ending. Pillow converts what TensorFlow cannot decode."""

import io
import os
import warnings

import numpy as np
from PIL import Image, ImageOps

from darts_tf.data import headers
from darts_tf.errors import UserError, one_line

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif")
"""What promises an image: a file with such a name that is none is an error, any other is left out."""
BY_TENSORFLOW, BY_PILLOW = "tensorflow", "pillow"
_OTHERS = ("TIFF", "WEBP", "AVIF", "JPEG2000", "PPM", "BMP")  # nothing that runs another program, as EPS does


def kind_of(path: str | bytes) -> str:
    """Returns what decodes a file: `BY_TENSORFLOW`, `BY_PILLOW`, or "" where it is no image; reads its first bytes."""
    try:
        with open(path, "rb") as file:
            head = file.read(40)
    except OSError:
        return ""
    if _for_tensorflow(head):
        return BY_TENSORFLOW
    try:
        return BY_PILLOW if _opened(path) else ""
    except Image.DecompressionBombError:
        return BY_PILLOW  # refused when it is checked


def _for_tensorflow(head: bytes) -> bool:
    """Whether `encoded.decode` reads what begins so; of BMP and WebP it does not read all."""
    if head.startswith(b"BM"):
        # A palette or compression it does not understand.
        size, bits, compression = (int.from_bytes(head[at : at + n], "little") for at, n in ((14, 4), (28, 2), (30, 4)))
        return size >= 40 and bits in (24, 32) and compression == 0
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return not (head[12:16] == b"VP8X" and head[20:21] and head[20] & 2)  # an animation
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8"))


def promises_image(path: str | bytes) -> bool:
    """Whether a file's name ends as that of an image."""
    return os.fsdecode(path).lower().endswith(ENDINGS)


def check(path: str | bytes) -> None:
    """Refuses what is no image, or too large, by the first bytes of its file.

    Raises:
        UserError: Names the file.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(12)
        if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")):
            headers.check(path)
            return
        try:
            found = _opened(path)
        except Image.DecompressionBombError:
            raise headers.too_large(path) from None
        if found is None:
            raise ValueError("unknown format" if head else "it is empty")
        if found[0] * found[1] > headers.MAX_PIXELS:
            raise headers.too_large(path, found)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(unreadable(path, error)) from error


def unreadable(path: str | bytes, error: Exception) -> str:
    """Returns the message about a file that is no image, or a damaged one."""
    return (
        f"An image cannot be read: expected a whole JPEG, PNG, GIF, BMP, WebP, TIFF or AVIF file. Received: "
        f"{shown(path)} ({one_line(error)}). Replace or remove it."
    )


def shown(path) -> str:
    """Returns a path or name as text that can be printed: bytes that are not UTF-8, and line breaks, are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _opened(file) -> tuple[int, int] | None:
    """Returns the height and width of an image in one of `_OTHERS`, or None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which are checked here
            with Image.open(os.fsdecode(file), formats=_OTHERS) as image:
                return image.height, image.width
    except Image.DecompressionBombError:
        raise
    except Exception:  # whatever its parsers raise on files that are none
        return None


def as_png(content: bytes) -> bytes:
    """Converts an image of a format that TensorFlow does not decode; of several frames the first, upright, 8 bits.

    Raises:
        ValueError: It is damaged, or its pixels are no colours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=_OTHERS) as image:
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I;16"):  # Pillow would cut off what exceeds 255
                    upright = Image.fromarray((np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8))
                if upright.mode in ("I", "F"):
                    raise ValueError(f"its pixels are numbers of mode {upright.mode}, not colours")
                written = io.BytesIO()
                upright.convert("RGB").save(written, "PNG", compress_level=1)
    except ValueError:
        raise
    except Exception as error:  # whatever its decoders raise on damaged files
        raise ValueError(one_line(error)) from error
    return written.getvalue()


def contents(path: bytes) -> bytes:
    """Reads a file as `encoded.decode` takes it: as it is, or converted."""
    with open(path, "rb") as file:
        content = file.read()
    return content if _for_tensorflow(content[:40]) else as_png(content)
