"""A long text as rows that are read in parallel, one window of time steps at a time."""

import numpy as np
import tensorflow as tf

from darts_tf.data.pipeline import unconverted, untuned
from darts_tf.system.errors import UserError

START, LENGTH, DRAWN = range(3)  # columns of a plan
LONGEST = 20  # steps by which a drawn window may exceed the nominal length
SHORTEST = 5


def rows(tokens: np.ndarray, batch_size: int, bptt: int, what: str = "the text") -> np.ndarray:
    """Cuts a text into equal rows; the remainder is dropped.

    Args:
        tokens: `(n,)` word numbers.
        batch_size: Number of rows.
        bptt: Steps of a window: the minimum length of a row, which has one word more.
        what: Name of the text in messages.

    Returns:
        `(steps, batch_size)`: each column is a piece of the text.

    Raises:
        UserError: The text is too short.
    """
    steps = len(tokens) // batch_size
    if steps < bptt + 1:
        raise UserError(
            f"{what} is too short: expected at least batch_size x (bptt + 1) = {batch_size} x {bptt + 1} = "
            f"{batch_size * (bptt + 1)} words. Received: {len(tokens)}. Use a smaller batch_size or bptt, or more "
            "words."
        )
    return np.ascontiguousarray(tokens[: steps * batch_size].reshape(batch_size, steps).T)


def evaluation_rows(tokens: np.ndarray, batch_size: int, bptt: int, what: str = "the text") -> np.ndarray:
    """Cuts a text of any length into equal rows, like `rows`, but into fewer, down to one, if it is short.

    A row should have the words of a window and the one that follows. A text that is too short for `batch_size` such
    rows is read in fewer, so that most of its words are predicted, with their context.

    Deviation: the original always takes the given number of rows, and fails if they are empty.

    Args:
        tokens: `(n,)` word numbers, at least 2.
        batch_size: The largest number of rows.
        bptt: Steps of a window.
        what: Name of the text in messages.

    Returns:
        `(steps, rows)`: each column is a piece of the text.

    Raises:
        UserError: There is no word to predict.
    """
    if len(tokens) < 2:
        raise UserError(
            f"{what} is too short: expected at least 2 words, one to begin with and one to predict. "
            f"Received: {len(tokens)}. Use more words."
        )
    count = max(1, min(batch_size, len(tokens) // (bptt + 1)))
    return rows(tokens, count, 1, what)


def plan(steps: int, bptt: int, seed: int, epoch: int, *, half: float = 0.05, deviation: float = 0.0) -> np.ndarray:
    """Draws the windows of one pass over the rows; a pure function of its arguments.

    A window has the nominal length or, sometimes, half of it, so that the cuts differ in each epoch.

    Args:
        steps: Steps of the rows.
        bptt: Nominal length of a window.
        seed: Determines the lengths, together with the epoch.
        epoch: Number of the pass.
        half: Probability of half the length.
        deviation: Standard deviation of a normal distribution around this length, clipped to between 5 steps and
            `bptt + 20`; 0 for none, as in the original's search. The original's training uses 5.

    Returns:
        `(windows, 3)` int64: for each window its start, its length, and the drawn length, by which the original scales
        the learning rate. The two lengths differ in the last window only.

    Source: `rnn/train_search.py`, `rnn/train.py`.
    """
    shortest = min(SHORTEST, bptt) if deviation else max(2, bptt // 2)
    count = -(-steps // shortest)
    draw = np.random.default_rng([seed, epoch])
    lengths = np.where(draw.random(count) < half, bptt / 2, float(bptt))
    if deviation:
        lengths = np.minimum(draw.normal(lengths, deviation), bptt + LONGEST)
    drawn = np.maximum(lengths.astype(np.int64), shortest)
    # A window needs a word after it; the original leaves out a last window of a single step.
    return _cut(np.cumsum(drawn) - drawn, drawn, steps, 2)


def even_plan(steps: int, bptt: int, shortest: int = 1) -> np.ndarray:
    """Returns the windows of an evaluation, see `plan`: equal ones, then a shorter one; they cover everything.

    A last window of fewer than `shortest` steps is left out.
    """
    starts = np.arange(0, steps, bptt)
    return _cut(starts, np.full_like(starts, bptt), steps, shortest)


def _cut(starts, drawn, steps, shortest):
    lengths = np.minimum(drawn, steps - 1 - starts)
    return np.stack([starts, lengths, drawn], 1)[lengths >= shortest]


def batches(rows: np.ndarray, plan: np.ndarray) -> tf.data.Dataset:
    """Passes once over windows; `plan[n:]` continues after n of them.

    Args:
        rows: `(steps, batch_size)`, see `rows`.
        plan: See `plan`.

    Returns:
        A data set of `(tokens, targets, window)`: `(length, batch_size)` int32 each, the targets one step later, and
        the plan's row. A window that starts at 0 begins a text: its state is zero.
    """
    with tf.device("CPU:0"):
        rows = tf.constant(rows, tf.int32)

    def window(line):
        piece = rows[line[START] : line[START] + line[LENGTH] + 1]
        tokens, targets = piece[:-1], piece[1:]
        return tf.ensure_shape(tokens, (None, rows.shape[1])), tf.ensure_shape(targets, (None, rows.shape[1])), line

    return untuned(tf.data.Dataset.from_tensor_slices(plan).map(unconverted(window)).prefetch(2))
