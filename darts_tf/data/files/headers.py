"""The format and size of an image, from its content and not its name: kilobytes can decode to gigabytes."""

import io
import os
import struct
import warnings
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from darts_tf.system.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
READ = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PPM"
MAX_PIXELS = 2**26  # of one image, 8192 x 8192; it decodes to 200 MB, and takes four times that while it is resized
FRAMES = 4  # a GIF may have this many times more in all frames: its decoder reads them all, one byte per pixel
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
_HEIF = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1")  # written by phones; needs a decoder that is not free
_TAIL = 64  # bytes at the end of a file that are searched for its format's end marker


class Header(NamedTuple):
    """The header of an image.

    Attributes:
        height: Rows.
        width: Columns.
        native: Whether TensorFlow decodes it correctly; other formats go through `as_png`.
        whole: Whether the file ends as its format requires; otherwise it may be truncated.
    """

    height: int
    width: int
    native: bool
    whole: bool = True


def check(path: str | os.PathLike) -> Header:
    """Checks that a file begins like an image, and is not too large to decode.

    Raises:
        UserError: The image has more than `MAX_PIXELS` pixels, or a GIF `FRAMES` times as many in all its frames.
        ValueError: It is not an image of a known format, or is truncated within its header.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        return _checked(file, path)


def readable(content: bytes, path: str | os.PathLike) -> bytes:
    """Returns an image file's content in a form that TensorFlow decodes: a PNG for formats that it does not read.

    Args:
        content: Content of the file. Anything that is not an image is returned unchanged; the decoder will refuse it.
        path: Path for error messages.

    Raises:
        UserError: The image is too large, or damaged.
    """
    try:
        native = _checked(io.BytesIO(content), path).native
    except UserError:
        raise
    except ValueError:
        return content
    try:
        return content if native else as_png(content)
    except ValueError as error:
        raise UserError(
            f"The image {shown(path)} cannot be read ({error}). Expected a complete JPEG or PNG."
        ) from error


def _checked(file, path):
    header = read(file, path)
    frames = in_all_frames(file)
    if header.height * header.width > MAX_PIXELS or frames > FRAMES * MAX_PIXELS:
        times = f", and {FRAMES} times that in all frames" if frames else ""
        of_those = f" with {frames / 1e6:.0f} million in its frames" if frames else ""
        raise UserError(
            f"An image is too large: expected at most {MAX_PIXELS / 1e6:.0f} million pixels{times}. "
            f"Received: {header.height}x{header.width}{of_those} in {shown(path)}. Make it smaller, or remove it."
        )
    return header


def read(file: BinaryIO, path: str | os.PathLike = "") -> Header:
    """Reads a file's header; raises the errors of `check`."""
    try:
        with _opened(file) as image:
            width, height = image.size
            native, whole = _native(image, file), _whole(image.format, file)
    except Image.DecompressionBombError as error:
        raise UserError(
            f"An image is too large: expected at most {MAX_PIXELS / 1e6:.0f} million pixels. "
            f"Received: {shown(path)} ({str(error).split(' exceeds')[0]}). Make it smaller, or remove it."
        ) from None
    return Header(height, width, native, whole)


def as_png(content: bytes) -> bytes:
    """Converts an image of any supported format to an 8-bit RGB PNG, rotated by its EXIF orientation.

    Of several frames or pages, the first is used. Transparency is dropped; of 16 bits, the upper 8 are kept.

    Raises:
        ValueError: It is damaged, or of a kind that has no meaning as bytes, such as 32-bit numbers.
    """
    try:
        with _opened(io.BytesIO(content)) as image:
            image.load()
            upright = _upright(image)
            if upright.mode.startswith("I;16") or (image.format, upright.mode) == ("PPM", "I"):
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            elif upright.mode in ("I", "F"):
                raise ValueError("its pixels have 32 bits, whose black and white are not known")
            file = io.BytesIO()
            upright.convert("RGB").save(file, "PNG", compress_level=1)
    except UserError:
        raise
    except Exception as error:  # Pillow passes on whatever its decoders raise
        raise ValueError(str(error) or type(error).__name__) from error
    return file.getvalue()


def _upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF counts as none, as in `exif.orientations`
        return image


def _opened(file):
    """Opens an image without decoding it."""
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which are checked here, and damaged metadata
            return Image.open(file, formats=_FORMATS)
    except (OSError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is None:  # UnidentifiedImageError
            raise ValueError(_reason(file)) from None
        raise
    except Exception as error:  # Pillow passes on whatever its plug-ins raise on damaged headers
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error


def _reason(file):
    file.seek(0)
    head = file.read(12)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp" and head[8:] in _HEIF:
        return "it is HEIF; convert it to JPEG"
    return "it is not an image, its format is unknown, or its header is cut off"


def _native(image, file):
    """Whether `encoded.decode` reads an image with the right colours."""
    if image.format in ("WEBP", "GIF", "BMP"):
        file.seek(0)
        head = file.read(1078)
        if image.format == "WEBP":
            return not (head[12:16] == b"VP8X" and head[20] & 2)  # that is: not animated
        if image.format == "BMP":
            return _plain_bmp(head)
    return image.format in ("JPEG", "MPO", "PNG", "GIF")


def _plain_bmp(head):
    """Whether a BMP is uncompressed, of 24 or 32 bits, or of 8 bits and a grey palette: see `encoded.decode`."""
    size, bits, compression = head[14], int.from_bytes(head[28:30], "little"), head[30]
    return size >= 40 and not compression and (bits in (24, 32) or (bits == 8 and size == 40 and head[54:] == GREY))


GREY = b"".join(bytes([value, value, value, 0]) for value in range(256))  # a BMP's palette


def _whole(kind, file):
    end = file.seek(0, os.SEEK_END)
    if kind in ("WEBP", "BMP"):
        file.seek(2 if kind == "BMP" else 4)
        return int.from_bytes(file.read(4), "little") <= end
    file.seek(max(0, end - _TAIL))
    marks = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND", "GIF": b";"}
    return kind in marks and marks[kind] in file.read(_TAIL)


def in_all_frames(file: BinaryIO) -> int:
    """Returns how many pixels all frames of a GIF claim, up to any truncation; 0 for other images."""
    file.seek(0)
    head = file.read(13)
    if not head.startswith(b"GIF8") or len(head) < 13:
        return 0
    file.seek(_colours(head[10]), 1)
    found = 0
    try:
        while (kind := file.read(1)) in (b"!", b","):  # an extension with its label, or a frame
            if kind == b",":
                width, height, flags = struct.unpack("<4xHHB", file.read(9))
                found += height * width
                file.seek(_colours(flags), 1)
            file.read(1)
            while length := file.read(1)[0]:
                file.seek(length, 1)
    except (struct.error, IndexError):
        pass
    return found


def _colours(flags):
    """Returns the bytes of a colour table."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def shown(path: str | bytes | os.PathLike) -> str:
    """Returns a path as one line that can be printed: line breaks and bytes that are not UTF-8 are escaped."""
    text = os.fsdecode(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
