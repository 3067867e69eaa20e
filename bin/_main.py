"""The common part of all commands around their library call: parsing flags, reporting user errors in one line."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from absl import flags

from darts_tf.bin import _help, _interrupt
from darts_tf.system import environment, streams
from darts_tf.system.errors import UserError, one_line


@dataclasses.dataclass(frozen=True)
class Command:
    """A console script: called, it parses the command line and calls `main`.

    Attributes:
        name: Its name, as the user types it; starts every message.
        main: `(flag_values) -> exit status or None`. Its docstring opens `--help`.
        define_flags: `(flag_values) -> None`; defines the command's own flags on this object.
        positional: Name of the flag that a positional argument sets, or all of them if it is a multi flag; None if
            positional arguments are an error.
        elsewhere: `(name of an unknown flag) -> str or None`, where to give such a setting instead.
        describe: `(flag_values) -> parts of the page` that follow its opening, see `_help.page`; None for a list of all
            flags.
    """

    name: str
    main: Callable[[flags.FlagValues], int | None]
    define_flags: Callable[[flags.FlagValues], None]
    positional: str | None = None
    elsewhere: Callable[[str], str | None] | None = None
    describe: Callable[[flags.FlagValues], Iterable[_help.Part]] | None = None

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command.

        Args:
            argv: Arguments without the program's name; None for those of the process.

        Returns:
            The exit status of `main`, or 0.

        Raises:
            SystemExit: 1 with one line on stderr for a `UserError`, a `MemoryError` or an `OSError`, and for results
                that cannot be printed, 2 with one line for wrong flags, 130 after Ctrl-C. Every other exception is a
                defect and is passed on with its traceback.
        """
        streams.occupy()
        environment.tolerate_warnings()
        try:
            _interrupt.working(True)
            return self._run(sys.argv[1:] if argv is None else argv)
        except KeyboardInterrupt:
            self._exit("interrupted", _interrupt.STATUS)
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                for stream in (sys.stdout, sys.stderr):
                    streams.flush(stream)  # output of libraries
                _interrupt.working(False)

    def defined(self) -> flags.FlagValues:
        """All flags of the command, on an object of its own.

        absl's global object would list the flags of every imported library and would refuse a second definition.
        """
        flag_values = flags.FlagValues()
        flag_values.set_gnu_getopt(True)  # flags may follow a positional argument
        self.define_flags(flag_values)
        flags.DEFINE_bool("help", False, "print this page and exit", short_name="h", flag_values=flag_values)
        return flag_values

    def parse(self, flag_values: flags.FlagValues, argv: Sequence[str]) -> None:
        """Parses the command line; raises the errors of absl."""
        bare = flag_values([self.name, *argv])[1:]
        if bare and self.positional and flag_values[self.positional].using_default_value:
            several = isinstance(flag_values[self.positional], flags.MultiFlag)
            flag_values[self.positional].parse(bare if several else bare[0])
            bare = [] if several else bare[1:]
        if bare:
            raise flags.Error(f"unexpected argument {bare[0]!r}")

    def page(self, flag_values: flags.FlagValues) -> list[_help.Part]:
        """The parts of the page that `--help` prints and the documentation shows."""
        several = self.positional and isinstance(flag_values[self.positional], flags.MultiFlag)
        positional = f" [{self.positional.upper()}]" if self.positional else ""
        usage = f"usage: {self.name} [flags]{positional}" + ("..." if several else "")
        return [usage, *(self.main.__doc__ or "").split("\n\n"), *(self.describe or _all_flags)(flag_values)]

    def _run(self, argv):
        flag_values = self.defined()
        failure = None
        try:
            self.parse(flag_values, argv)
        except flags.UnrecognizedFlagError as error:
            found = self.elsewhere(error.flagname) if self.elsewhere else None
            failure = f"{error}; {found}" if found else str(error)
        except flags.Error as error:
            failure = str(error)
        try:
            if flag_values["help"].value:  # even if a required flag is missing
                show(_help.page(self.page(flag_values)))
                return 0
            if failure is not None:
                raise flags.Error(failure)
            return self.main(flag_values) or 0
        except flags.Error as error:  # also a value that only the whole config can refuse
            self._exit(f"{error} (`{self.name} --help` lists the flags)", 2)
        except BrokenPipeError:  # from other output
            raise SystemExit(1) from None
        except _Unprinted as error:
            if isinstance(error.__cause__, BrokenPipeError):  # `... | head`: the reader has seen enough
                raise SystemExit(1) from None
            self._exit(f"cannot write the results to standard output: {error}", 1)
        except UserError as error:
            self._exit(error, 1)
        except MemoryError as error:  # outside a run, which reports what may help
            self._exit(f"out of memory ({one_line(error)})", 1)
        except OSError as error:
            self._exit(f"{error.strerror}: {error.filename}" if error.strerror and error.filename else error, 1)

    def _exit(self, message: object, status: int) -> NoReturn:
        line = " ".join(str(message).split())
        streams.err(f"{self.name}: {'' if status == _interrupt.STATUS else 'error: '}{line}")
        raise SystemExit(status) from None


class _Unprinted(Exception):
    """Standard output does not accept the results; the message says why."""


def show(text: str, end: str = "\n") -> None:
    """Prints results, for commands whose purpose is to print them; if they are in files, use `streams.out`.

    Raises:
        _Unprinted: They cannot be printed; handled by `run`.
    """
    try:
        streams.write(f"{text}{end}", sys.stdout)
    except OSError as error:
        raise _Unprinted(error.strerror or error) from error


def sayer(name: str) -> Callable[[str], None]:
    """Returns a function that prints progress lines on stderr, each prefixed with the command's name."""
    return lambda line: streams.err(f"{name}: {line}")


def _all_flags(flag_values):
    names = [name for name in flag_values if name != flag_values[name].short_name]
    rows = [_help.row(flag_values[name], None if name == "help" else flag_values[name].default) for name in names]
    return [("Flags", rows)]
