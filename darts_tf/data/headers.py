"""How large an image is, read from its first bytes: a few kilobytes can decode to gigabytes."""

import os
import struct
from typing import BinaryIO

from darts_tf.errors import UserError

MAX_PIXELS = 2**26  # of one image, 8192 x 8192; decoded it takes 200 MB, and four times that while it is resized
FRAMES = 4  # times as many may be in all frames of a GIF: its decoder reads them all, a byte for each pixel
_SIGNATURES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"BM": "bmp", b"GIF8": "gif"}
_MAX_STRAY = 2**16  # bytes between the segments of a JPEG, which decoders pass over


def check(path: str | bytes) -> None:
    """Checks that a file begins as an image does, and is not too large to decode.

    Raises:
        UserError: The image has more than `MAX_PIXELS` pixels, or a GIF `FRAMES` times as many in all its frames.
        ValueError: It is no JPEG, PNG, GIF or BMP, or is cut off in its header.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        height, width = size(file)
        frames = in_all_frames(file)
    if height * width > MAX_PIXELS or frames > FRAMES * MAX_PIXELS:
        raise too_large(path, (height, width), frames)


def too_large(path: str | bytes, size: tuple[int, int] | None = None, frames: int = 0) -> UserError:
    """Returns the error about an image of too many pixels, in all its frames or in one."""
    times = f", and {FRAMES} times that in all frames" if frames else ""
    of_those = f" with {frames / 1e6:.0f} million in its frames" if frames else ""
    claimed = f"{size[0]}x{size[1]}" if size else "more"
    return UserError(
        f"An image is too large: expected at most {MAX_PIXELS / 1e6:.0f} million pixels{times}. "
        f"Received: {claimed}{of_those} in {os.fsdecode(path)!r}. Make it smaller, or remove it."
    )


def size(file: BinaryIO) -> tuple[int, int]:
    """Returns the height and width that an image claims; raises ValueError where there is no such claim."""
    head = file.read(32)
    kind = next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), None)
    try:
        if kind == "png":
            width, height = struct.unpack_from(">II", head, 16)
        elif kind == "gif":
            width, height = struct.unpack_from("<HH", head, 6)
        elif kind == "bmp":
            width, height = struct.unpack_from("<ii", head, 18)  # a negative height: the first row is the topmost
        elif kind == "jpeg":
            file.seek(2)
            height, width = _frame(file)
        else:
            raise ValueError("unknown format")
    except (struct.error, IndexError):
        raise ValueError("its header is cut off") from None
    return abs(height), abs(width)


def _frame(file):
    """Returns height and width from the frame header of a JPEG, past whatever stands before it."""
    stray = 0
    while stray < _MAX_STRAY:
        marker = file.read(1)[0]
        if marker != 0xFF:
            stray += 1
            continue
        while marker == 0xFF:
            marker = file.read(1)[0]
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # these stand alone
            continue
        if marker in (0xD9, 0xDA):
            break
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return struct.unpack(">xHH", file.read(5))
        file.seek(max(length - 2, 0), 1)
    raise ValueError("it has no frame header")


def in_all_frames(file: BinaryIO) -> int:
    """Returns how many pixels all frames of a GIF claim, up to where it is cut off; 0 for other images."""
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
