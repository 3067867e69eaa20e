"""Keras callbacks at the end of epochs: the user's own loggers and early stopping."""

import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from darts_tf.system.errors import UserError, one_line

_BETTER = {"accuracy": "max", "loss": "min", "perplexity": "min"}


class CallbackFailed(UserError):
    """A user's callback raised an error; a notebook shows where."""

    def _render_traceback_(self) -> list[str]:
        """The lines that a notebook shows: the callback's own traceback, and the message."""
        cause = [] if self.__cause__ is None else traceback.format_exception(self.__cause__)
        return [*"".join(cause).splitlines(), *super()._render_traceback_()]


class Callbacks:
    """The callbacks of one run, which see its epochs, not its batches.

    They are called as in `fit`: `set_params`, `set_model`, `on_train_begin`, `on_epoch_begin` and `on_epoch_end` with
    the epoch from 0 and the numbers of its record as logs, `on_train_end`. As in `fit`, the logs `loss` and `accuracy`
    refer to the training data, `val_loss` and `val_accuracy` to the held-out data. What is better, callbacks that
    monitor one with `mode="auto"` are told. A resumed run replays earlier epochs to them, so that early stopping
    decides as if there had been no interruption.

    Unlike in `fit`, `on_train_end` comes after the results are written, so weights that `restore_best_weights` restores
    do not reach them: a resumed run could not restore those of earlier epochs. A training keeps its best network.

    Args:
        callbacks: As returned by `listed`.
        model: The network, or the supernet; a callback that sets its `stop_training` ends the run after the epoch.
        epochs: Number of epochs of the run.

    Raises:
        CallbackFailed: One fails.
    """

    def __init__(self, callbacks: Sequence[Any] = (), model: Any = None, epochs: int = 0):
        self._callbacks, self._model = callbacks, model
        for callback in callbacks:  # Keras would look for the metric in the model's own, which has none
            better = _BETTER.get(str(getattr(callback, "monitor", "")).rpartition("_")[2])
            if better and getattr(callback, "mode", "") == "auto":
                callback.mode = better
        if self._callbacks:
            model.stop_training = False
        self._tell("set_params", {"epochs": epochs, "verbose": 0})
        self._tell("set_model", model)
        self._tell("on_train_begin", {})

    def __len__(self) -> int:
        """Returns their number."""
        return len(self._callbacks)

    @property
    def stopped(self) -> bool:
        """Whether a callback has ended the run."""
        return bool(self._callbacks) and bool(self._model.stop_training)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Notifies them of the end of an epoch; `record` is its line of `metrics.jsonl`."""
        epoch = record["epoch"] - 1
        logs = {_keras_name(name): v for name, v in record.items() if name != "epoch" and type(v) in (int, float)}
        self._tell("on_epoch_begin", epoch, {})
        self._tell("on_epoch_end", epoch, logs)

    def replay(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Notifies them of earlier epochs."""
        for record in history:
            self.epoch(record)

    def end(self) -> None:
        """Notifies them of the end of the run, after which nothing reads the model again."""
        self._tell("on_train_end", {})

    def _tell(self, what: str, *values: Any) -> None:
        for callback in self._callbacks:
            try:
                if callable(method := getattr(callback, what, None)):
                    method(*values)
            except Exception as error:  # a callback may raise anything
                raise CallbackFailed(
                    f"The callback {type(callback).__name__} failed in {what}: {one_line(error, 400)}. Nothing "
                    "is lost: once that is mended, the same call continues the run."
                ) from error


def listed(callbacks: Any, strategy: str) -> tuple:
    """Returns what `fit` takes, callbacks, a single one or None, as a tuple.

    Args:
        callbacks: What the user has given.
        strategy: The run's, see `config.run.Run`.

    Raises:
        UserError: One is something else, or the run has several processes.
    """
    several = callbacks if isinstance(callbacks, Iterable) else () if callbacks is None else (callbacks,)
    found = tuple(several)
    for each in found:
        if isinstance(each, type) or not callable(getattr(each, "on_epoch_end", None)):
            raise UserError(
                "callbacks must be instances of keras.callbacks.Callback. "
                f"Received: {each!r:.100}, a {type(each).__name__}."
            )
    if found and strategy == "multi_worker":
        raise UserError(
            "callbacks must be empty with strategy=multi_worker, since each process would decide for itself. "
            f"Received: {len(found)}."
        )
    return found


def _keras_name(name: str) -> str:
    return re.sub("^train_|^valid_", lambda found: {"train_": "", "valid_": "val_"}[found[0]], name)
