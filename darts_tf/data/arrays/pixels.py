"""Conversion of image arrays of any kind to bytes: their layout, and the values of black and white.

Ambiguous data are refused with one line that says what was found and how to resolve it. A wrong guess would train, and
give plausible but wrong numbers.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from darts_tf.system.errors import UserError

FEW = 4  # channels of common images, at most
SURE = 128  # a maximum between this and 255 means bytes: no other usual scale ends there
DARK = 0.1  # fraction of a range: images below it are more likely on another scale than that dark
USUAL = (  # ranges of images, in addition to 0..255
    *((0, 1), (-0.5, 0.5), (-1, 1), (0, 15), (0, 16), (0, 31), (0, 63), (0, 100), (0, 127), (-128, 127)),
    *((0, 255), (0, 1023), (0, 4095), (0, 16383), (0, 65535)),
)
_BLOCK = 1 << 20  # pixels that are converted at a time


class Measured(NamedTuple):
    """The values in an array of images.

    Attributes:
        dtype: Its dtype.
        low: Its smallest value.
        high: Its largest value.
    """

    dtype: np.dtype
    low: float
    high: float

    def within(self, low: float, high: float) -> bool:
        """Whether all values lie in a range, up to rounding: half a step of 255, which changes no byte."""
        slack = 0.5 / 255 * (high - low) if self.dtype.kind == "f" else 0
        return self.low >= low - slack and self.high <= high + slack

    def __str__(self) -> str:
        """Returns the form for messages."""
        return f"{self.dtype} from {self.low:.8g} to {self.high:.8g}"


def layout_problem(name: str, shape: tuple[int, ...], count: int) -> str | None:
    """Returns what is wrong with a layout other than `(N, H, W)` or `(N, H, W, C)`, and the conversion; or None.

    Args:
        name: The array's name, for the proposed conversion.
        shape: Shape of the array.
        count: Number of labels.
    """
    x = name if name.isidentifier() else "x"
    received = f"Received: shape {shape}."
    wanted = f"expected (N, H, W) or (N, H, W, C). {received}"
    if 0 in shape:
        return f"is empty: {wanted} Leave a part out that has no images."
    if len(shape) not in (3, 4):
        return f"has the wrong rank: {wanted}{_reshaping(shape, x)}"
    if shape[0] != count:
        axis = channel_axis(shape[:3]) if len(shape) == 4 else 2
        if shape[-1] != count or count <= FEW or axis is None:
            return None  # the number of labels is what is wrong
        axes = "-1, 0" if axis else "(3, 0), (0, 3)"
        return f"has its image axis last: {wanted} Convert it: numpy.moveaxis({x}, {axes})."
    if len(shape) == 3:
        return _grey_problem(shape, x, wanted)
    axis = channel_axis(shape[1:])
    if axis == 0:
        return f"has its channels first: {wanted} Convert it: numpy.moveaxis({x}, 1, -1)."
    if axis is None:
        return (
            f"has an ambiguous layout, with its channels first or last: {wanted} If they are first, convert it: "
            f"numpy.moveaxis({x}, 1, -1); otherwise pad or crop so that each side exceeds their number."
        )
    return f"has images with a side of one pixel: {wanted}" if 1 in shape[1:3] else None


def channel_axis(sides: tuple[int, ...]) -> int | None:
    """Returns which of three sides of an image is certainly its channel axis: 0, or 2 for last; None if ambiguous."""
    a, b, c = sides
    if a == b != c:  # square, with the channels last
        return 2
    if b == c != a:
        return 0 if a < b else None
    if len({a, b, c}) < 3 or b == min(sides) or max(a, c) <= FEW:
        return None
    if c < a:
        return 2
    return 0 if a <= FEW else None


def _grey_problem(shape: tuple[int, ...], x: str, wanted: str) -> str | None:
    """The problem with an array of rank 3, which should be grey images."""
    if min(shape[1:]) > FEW or shape[1] == shape[2] > 1:
        return None
    if max(shape[1:]) <= FEW and min(shape[1:]) > 1:
        return None  # tiny
    side = math.isqrt(max(shape[1:]))
    if side == 1 or side**2 != max(shape[1:]):
        return f"has an ambiguous layout, grey images {shape[1]} high and {shape[2]} wide or others: {wanted}"
    if shape[1] < shape[2]:
        convert = f"numpy.moveaxis({x}.reshape(-1, {shape[1]}, {side}, {side}), 1, -1)"
    else:
        convert = f"{x}.reshape(-1, {side}, {side}, {shape[2]})"
    return f"has the pixels of an image in a row: {wanted} Convert it: {convert}."


def _reshaping(shape: tuple[int, ...], x: str) -> str:
    """The conversion of a table of pixels, or an empty string."""
    if len(shape) != 2:
        return ""
    pixels = shape[1]
    if (side := math.isqrt(pixels)) ** 2 == pixels and side > 1:
        return f" If each row is an image, convert it: {x}.reshape(-1, {side}, {side})."
    side = math.isqrt(pixels // 3)
    if 3 * side**2 == pixels and side > 1:
        first = f"numpy.moveaxis({x}.reshape(-1, 3, {side}, {side}), 1, -1)"
        return (
            f" If each row is an image, convert it: {x}.reshape(-1, {side}, {side}, 3), or where all of its red comes "
            f"first {first}."
        )
    return f" If each row is an image, convert it: {x}.reshape(-1, H, W, C)."


def _blocks(values: np.ndarray) -> Iterator[slice]:
    step = max(1, _BLOCK * len(values) // values.size)
    return (slice(start, start + step) for start in range(0, len(values), step))


def measure(where: str, values: np.ndarray) -> Measured:
    """Finds the range of images.

    Args:
        where: The array and its file, for messages.
        values: `(N, ...)`, not empty.

    Raises:
        UserError: The values are not numbers, or some are not finite.
    """
    if values.dtype.kind not in "biuf":
        raise UserError(
            f"{where} has the wrong dtype: expected uint8, or real numbers as pixels. Received: {values.dtype}."
        )
    if values.dtype.kind == "f":
        bad = sum(int(np.count_nonzero(~np.isfinite(values[block]))) for block in _blocks(values))
        if bad:
            raise UserError(
                f"{where} has values out of range: expected finite numbers. Received: {bad:,} of {values.size:,} are "
                "nan or infinite. Remove those images, or replace the values, as numpy.nan_to_num does."
            )
    return Measured(values.dtype, values.min().item(), values.max().item())


def parse_range(value_range: str) -> tuple[float, float] | None:
    """Reads "LOW,HIGH"; None for "auto".

    Raises:
        UserError: It is neither.
    """
    if value_range == "auto":
        return None
    try:
        low, high = map(float, value_range.split(","))
        if -math.inf < low < high < math.inf:
            return low, high
    except ValueError:
        pass
    raise UserError(
        "value_range must be auto, or two numbers LOW,HIGH with LOW below HIGH: the values that are black and white. "
        f"Received: {value_range!r}."
    )


def choose_range(where: str, found: Measured, value_range: str = "auto") -> tuple[float, float]:
    """Returns the values of black and white.

    Unambiguous without `value_range`: uint8 is always 0..255; floating point within 0..1 is 0..1 if its maximum exceeds
    `DARK`; numbers within 0..255 are 0..255 if their maximum is at least `SURE`.

    Args:
        where: The array and its file, for messages.
        found: From `measure`.
        value_range: "auto", or "LOW,HIGH".

    Raises:
        UserError: The range is ambiguous, or a value lies outside of `value_range`.
    """
    if given := parse_range(value_range):
        if not found.within(*given):
            raise UserError(
                f"{where} has values outside of value_range={value_range}: expected those between black and white. "
                f"Received: {found}. Pass another value_range=LOW,HIGH."
            )
        return given
    if found.dtype == np.uint8:
        return 0.0, 255.0
    if found.dtype == np.bool_:
        raise UserError(
            f"{where} has the wrong dtype: expected uint8, or numbers. Received: bool. Convert it: "
            "255 * x.astype(numpy.uint8), or pass value_range=0,1."
        )
    if found.low < found.high:
        if found.dtype.kind == "f" and found.within(0, 1) and found.high > DARK:
            return 0.0, 1.0
        if found.within(0, 255) and found.high >= SURE:
            return 0.0, 255.0
    what = "values in an ambiguous range" if 0 <= found.low <= found.high <= 255 else "values out of range"
    raise UserError(
        f"{where} has {what}: expected uint8, or floating point in 0..1, or numbers in 0..255 with a maximum of at "
        f"least {SURE}. Received: {found}{', a constant' if found.low == found.high else ''}. {_settling(found)}"
    )


def _settling(found: Measured) -> str:
    """How a user can resolve an ambiguity."""
    said = "Specify which values are black and white: value_range=LOW,HIGH"
    if found.low == found.high:
        return f"{said}."
    for low, high in USUAL:
        if found.within(low, high) and found.high > 0.4 * high and (found.low < 0.4 * low or not low):
            dark = ", or 0,255 for dark bytes" if found.low >= 0 and 1 < found.high < SURE else ""
            return f"{said}, such as {low},{high}{dark}."
    if found.dtype.kind == "f" and found.low > -0.25 and 1 < found.high < 1.25:
        return f"{said}; if resizing has exceeded 0 to 1, convert it: numpy.clip(x, 0, 1)."
    if found.dtype.kind == "f" and found.low < 0:
        return f"{said}; standardised images must be converted back first: x * std + mean."
    return f"{said}, or convert the images to uint8."


def check_same_scale(where: str, found: Measured, other: str, of_other: Measured, scale: tuple[float, float]) -> None:
    """Refuses a part whose values are clearly on another scale than those of the training images.

    Args:
        where: The array and its file, for messages.
        found: Measured values of the part.
        other: The name of the training images.
        of_other: Measured values of the training images.
        scale: The result of `choose_range` for these with "auto".

    Raises:
        UserError: The scales differ.
    """
    low, high = scale
    within = found.within(low, high)
    same = within and found.dtype.kind != "b"
    if found.dtype == np.uint8 or high == 1:
        same &= (found.dtype.kind == "f") == (high == 1)
    if found.dtype != np.uint8 and found.low < found.high:
        same &= found.high - low > DARK * (of_other.high - low)
    if not same:
        hint = f"; or if they are on one, pass value_range={low:g},{high:g}" if within else ""
        raise UserError(
            f"{where} is on a different scale from {other!r}: expected the same, {of_other}. Received: {found}. "
            f"Convert both to one scale{hint}."
        )


def half_of(found: Measured, scale: tuple[float, float]) -> str:
    """Returns the half of a range in which all values lie, "darker" or "brighter", as on another scale; or nothing."""
    if found.low == found.high:
        return ""
    middle = sum(scale) / 2
    return "brighter" if found.low >= middle else "darker" if found.high <= middle else ""


def to_bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Maps `low` to 0 and `high` to 255, rounded; one block at a time, so that large arrays need little memory.

    Args:
        values: `(N, H, W)` or `(N, H, W, C)`, within the range up to rounding.
        low: The value that is black.
        high: The value that is white.

    Returns:
        `(N, H, W, C)` uint8; the array itself if nothing changes.
    """
    shaped = values if values.ndim == 4 else values[..., np.newaxis]
    if values.dtype == np.uint8 and (low, high) == (0, 255):
        return shaped
    found = np.empty(shaped.shape, np.uint8)
    for block in _blocks(shaped):
        scaled = (shaped[block].astype(np.float64) - low) * (255 / (high - low))
        found[block] = np.clip(np.rint(scaled), 0, 255)
    return found
