"""Labels of any kind: numbers, names or one-hot rows, converted to the classes 0..K-1 that all parts share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from darts_tf.system.errors import UserError

SHOWN = 5  # number of labels in a message
_EXACT = 2**53  # beyond it floating point cannot represent every whole number


class Labels(NamedTuple):
    """Labels as stored in an archive.

    Attributes:
        values: `(N,)` int64 or strings.
        width: Number of columns of one-hot rows, whose indices are `values`; otherwise 0.
        is_bool: Whether they were Booleans.
    """

    values: np.ndarray
    width: int = 0
    is_bool: bool = False


class Classes(NamedTuple):
    """The classes of a data set.

    Attributes:
        values: `(K,)`, the label of each class as in `Labels.values`; of a trained network, empty if unknown.
        names: K distinct names.
        note: A line for the user if the labels are not the class numbers, otherwise empty.
    """

    values: np.ndarray
    names: tuple[str, ...]
    note: str = ""


def plain(where: str, values: np.ndarray) -> Labels:
    """Reads an array of labels.

    Args:
        where: The array and its file, for messages.
        values: `(N,)`, `(N, 1)` or `(1, N)`: integers, whole numbers in floating point, Booleans, or strings; or
            `(N, K)`, one-hot.

    Raises:
        UserError: They are something else.
    """
    if 0 in values.shape:
        raise UserError(f"{where} is empty: expected one label per image. Received: shape {values.shape}.")
    if values.dtype.kind not in "biufUS":
        raise UserError(
            f"{where} has the wrong dtype: expected labels as integers, strings or one-hot rows. "
            f"Received: {values.dtype}."
        )
    if values.ndim == 2 and min(values.shape) == 1:
        values = values.reshape(-1)
    if values.ndim == 2 and values.dtype.kind in "biuf":
        return Labels(_from_one_hot(where, values), values.shape[1])
    if values.ndim != 1:
        raise UserError(
            f"{where} has the wrong rank: expected (N,), one label per image, or (N, K), one-hot. "
            f"Received: shape {values.shape}, dtype {values.dtype}."
        )
    if values.dtype.kind in "US":
        return Labels(_strings(where, values))
    return Labels(_whole(where, values), is_bool=values.dtype.kind == "b")


def _from_one_hot(where: str, rows: np.ndarray) -> np.ndarray:
    """Returns `(N,)`, the column of the one in each row of `(N, K)`."""
    ones = np.count_nonzero(rows == 1, axis=1)
    wrong = np.flatnonzero((ones != 1) | (np.count_nonzero(rows, axis=1) != 1))
    if len(wrong):
        row = ", ".join(f"{value:g}" for value in rows[wrong[0]][:8].tolist()) + (", ..." if rows.shape[1] > 8 else "")
        raise UserError(
            f"{where} is not one-hot: expected exactly one 1 in each row and 0 elsewhere, or (N,), one label per "
            f"image. Received: {len(wrong):,} other rows, such as row {wrong[0]}: {row}. Several labels per image, "
            "and soft ones, cannot be trained on; numpy.argmax(y, axis=1) takes the largest."
        )
    return np.argmax(rows == 1, axis=1).astype(np.int64)


def _whole(where: str, values: np.ndarray) -> np.ndarray:
    """Returns numbers as int64."""
    if values.dtype.kind == "f":
        values = values.astype(np.float64)
        wrong = ~np.isfinite(values)
        wrong |= ~wrong & ((values != np.floor(np.where(wrong, 0, values))) | (np.abs(values) > _EXACT))
        if wrong.any():
            raise UserError(
                f"{where} holds labels that are not whole numbers: expected classes, such as 0, 1, 2. Received: "
                f"{np.count_nonzero(wrong):,} others, such as {values[wrong][0]:g}. Measured numbers (regression) are "
                "not classes."
            )
    elif values.dtype.kind == "u" and values.max() > np.iinfo(np.int64).max:
        raise UserError(f"{where} holds labels beyond int64: expected classes, such as 0, 1. Received: {values.max()}.")
    return values.astype(np.int64)


def _strings(where: str, values: np.ndarray) -> np.ndarray:
    """Returns strings; bytes are decoded as UTF-8."""
    if values.dtype.kind == "S":
        try:
            values = np.array([value.decode() for value in values.tolist()])
        except UnicodeDecodeError as error:
            raise UserError(f"{where} holds bytes that are not UTF-8. Received: {error.object[:40]!r}.") from error
    if empty := np.count_nonzero(values == ""):
        raise UserError(f"{where} holds empty labels: expected a name for each image. Received: {empty:,} empty ones.")
    return values


def classes_of(where: str, labels: Labels, names: np.ndarray | None, names_where: str) -> Classes:
    """Finds the classes.

    Without names the classes are the labels that occur, ascending (the columns of one-hot rows); a class is named by
    its label. With K names the labels are the names, or `0..K-1`, or `1..K`.

    Args:
        where: The array of the training labels and its file, for messages.
        labels: The training labels.
        names: `(K,)` names of the classes, or None.
        names_where: The array of the names and its file.

    Raises:
        UserError: There is only one class, the labels do not look like classes, or the names do not determine which
            label each belongs to.
    """
    found = np.unique(labels.values)
    if len(found) < 2:
        raise UserError(f"{where} holds only one class: expected at least two. Received: {found[0]}.")
    if names is not None:
        return _named(where, found, _checked_names(names_where, names), labels.width)
    if labels.width:
        values = np.arange(labels.width)
        return Classes(values, tuple(map(str, range(labels.width))), f"one-hot rows became classes {_few(values)}")
    if len(found) == len(labels.values):
        raise UserError(
            f"{where} gives every image its own label: expected classes with several images. Received: "
            f"{len(found):,} different labels, such as {_few(found)}. Measured numbers and image numbers are not "
            "classes."
        )
    if found.dtype.kind != "U":
        if found[0] == -1 and found.tolist() != [-1, 1]:
            raise UserError(
                f"{where} holds the label -1: expected classes. Received: {_few(found)}, where -1 may mark images "
                "without a label. Remove those, or number the classes from 0: numpy.unique(y, return_inverse=True)[1]."
            )
        if np.array_equal(found, np.arange(len(found))) and not labels.is_bool:
            return Classes(found, tuple(map(str, found.tolist())))
    elif all(value.isascii() and value.isdigit() and str(int(value)) == value for value in found.tolist()):
        found = np.array(sorted(found.tolist(), key=int))  # "10" after "9"
    shown = found.astype(bool) if labels.is_bool else found
    return Classes(
        found, tuple(map(str, shown.tolist())), f"labels {_few(shown)} became classes {_few(range(len(found)))}"
    )


def _named(where: str, found: np.ndarray, names: tuple[str, ...], width: int) -> Classes:
    """Finds which label belongs to which name."""
    number = {name: index for index, name in enumerate(names)}
    count, own = len(names), [str(value) for value in found.tolist()]
    by_name = all(value in number for value in own)
    if found.dtype.kind == "U":
        if by_name:
            return Classes(np.array(names), names)
        wrong = [value for value in own if value not in number]
        raise _misnamed(where, names, f"{_few(wrong)}, not among the names")
    if width:
        if width != count:
            raise _misnamed(where, names, f"one-hot rows of {width}")
        return Classes(np.arange(count), names)
    from_zero, from_one = 0 <= found[0] and found[-1] < count, 1 <= found[0] and found[-1] <= count
    if by_name:  # names that are numbers
        if from_zero and [number[value] for value in own] != found.tolist():
            raise _misnamed(where, names, f"{_few(found)}, which name other classes than their positions")
        return Classes(np.array([_value(name, index) for index, name in enumerate(names)]), names)
    if from_zero and from_one:
        raise _misnamed(where, names, f"{_few(found)}, which may count from 0 or from 1")
    if from_zero:
        return Classes(np.arange(count), names)
    if from_one:
        note = f"labels 1 to {count} became classes 0 to {count - 1}, in the order of the names"
        return Classes(np.arange(1, count + 1), names, note)
    raise _misnamed(where, names, _few(found))


def _value(name: str, index: int) -> int:
    """The number that a name represents, or one that no label has."""
    try:
        return int(name) if len(name) <= 15 and str(int(name)) == name else _EXACT + index
    except ValueError:
        return _EXACT + index


def _misnamed(where: str, names: Sequence[str], received: str) -> UserError:
    return UserError(
        f"{where} holds labels out of range for the {len(names)} class names, or ambiguous: expected 0 to "
        f"{len(names) - 1} or 1 to {len(names)}, in the order of the names, or the names themselves ({_few(names)}). "
        f"Received: {received}."
    )


def _checked_names(where: str, names: np.ndarray) -> tuple[str, ...]:
    found = names.tolist() if names.ndim == 1 and names.dtype.kind in "US" else []
    try:
        found = [name.decode() if isinstance(name, bytes) else str(name) for name in found]
    except UnicodeDecodeError:
        found = []
    if not found or len(set(found)) != len(found) or not all(name.strip() for name in found):
        raise UserError(
            f"{where} must be a list of distinct, non-blank strings. Received: shape {names.shape}, dtype "
            f"{names.dtype}."
        )
    return tuple(found)


def of_network(where: str, labels: Labels, known: Classes) -> Classes:
    """Returns a trained network's classes with the values that these labels, of any number of its classes, have.

    Raises:
        UserError: The values are unknown, and the names do not determine which label each belongs to.
    """
    if labels.values.dtype.kind == "U":
        return known._replace(values=np.array(known.names))
    if labels.width:
        return known._replace(values=np.arange(len(known.names)))
    if known.values.size:
        return known
    return _named(where, np.unique(labels.values), known.names, 0)


def numbers(where: str, labels: Labels, classes: Classes, training: str) -> np.ndarray:
    """Returns the classes `(N,)` int32 of labels.

    Args:
        where: The array and its file, for messages.
        labels: Labels of any part.
        classes: From `classes_of`.
        training: What has the classes: the array of training labels, or the network.

    Raises:
        UserError: A label belongs to no class.
    """
    found, inverse = np.unique(labels.values, return_inverse=True)
    same_kind = (found.dtype.kind == "U") == (classes.values.dtype.kind == "U")
    number = {value: index for index, value in enumerate(classes.values.tolist())} if same_kind else {}
    unknown = [value for value in found.tolist() if value not in number]
    if unknown or labels.width not in (0, len(classes.names)):
        expected = _few(classes.values)
        if classes.values.tolist() == list(range(len(classes.names))):
            expected = f"0 to {len(classes.names) - 1}"
        received = _few(unknown) if unknown else f"one-hot rows of {labels.width}"
        raise UserError(
            f"{where} holds labels that {training} does not have: expected {expected}. Received: {received}."
        )
    return np.array([number[value] for value in found.tolist()], np.int32)[inverse.reshape(-1)]


def _few(values: np.ndarray | Sequence) -> str:
    values = [str(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
    values = [value if len(value) <= 40 else f"{value[:40]}..." for value in values]
    if len(values) <= SHOWN + 1:
        return ", ".join(values)
    return f"{', '.join(values[:SHOWN])} ... {values[-1]} ({len(values)})"
