"""The kinds of runs that are hurt, each at the smallest size that passes through all of its code."""

import sys
from collections.abc import Callable
from typing import NamedTuple

from .results import found

_STEPWISE = ("--steps_per_loop=1", "--checkpoint_minutes=1e-9", "--threads=1")  # a checkpoint after every step
_SMALL = ("--order=first", "--noeigenvalue", *_STEPWISE)
_TEXT = ("--num_units=8", "--max_train_words=2500", "--vocabulary_size=200", "--valid_words=500")


class Kind(NamedTuple):
    """A kind of run.

    Attributes:
        name: What it is called in the table.
        flags: Its module and flags, but for where it writes.
        place: The flag that says where.
        goes_on: Whether a second start goes on with what the first one has left, or begins anew beside it.
        result: What is compared: of the folder that was written.
    """

    name: str
    flags: tuple
    place: str = "--workdir=run"
    goes_on: bool = True
    result: Callable = found

    def command(self, *more):
        """The command line of a process, to be started in a `Place`."""
        module, *flags = self.flags
        return [sys.executable, "-m", f"darts_tf.bin.{module}", *flags, self.place, *more]


def versions(folder):
    """What the versions in a folder of exports hold: one mapping where all are equal, as they have to be."""
    contents = [found(path) for path in (folder / "darts").iterdir() if path.name.isdigit()]
    return contents[0] if all(content == contents[0] for content in contents) else dict(enumerate(contents))


_CELL = ("--num_nodes=1", "--primitives=none,skip_connect,sep_conv_3x3")
SEARCH = Kind("search", ("search", "--preset=smoke", "--epochs=3", *_CELL, *_SMALL))
TRAINING = Kind("training", ("train", "--preset=smoke_train", "--epochs=3", *_STEPWISE))
RECURRENT = Kind("recurrent", ("search", "--preset=text_search", "--epochs=2", "--num_nodes=2", *_TEXT, *_SMALL))
LANGUAGE = Kind("language", ("train", "--preset=text_train", "--epochs=3", "--genotype=DARTS_V2", *_TEXT, *_STEPWISE))
TUNER = Kind("tuner", ("tune", "--preset=smoke_train", "--prior=uniform", "--trials=3", "--epochs=2", *_STEPWISE))


def export(trained):
    """The kind that exports a trained network."""
    flags = ("export", f"--workdir={trained}", "--threads=1")
    return Kind("export", flags, "--export_dir=run", goes_on=False, result=versions)


RUNS = (SEARCH, TRAINING, RECURRENT, LANGUAGE, TUNER)
