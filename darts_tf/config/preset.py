"""What a preset is. No TensorFlow here."""

import dataclasses

from darts_tf.config import Config


@dataclasses.dataclass(frozen=True)
class Preset:
    """One experiment, written down so that others can repeat it.

    Attributes:
        name: What `--preset` takes.
        about: One line for `--help`.
        config: Every setting.
        source: Where the settings come from: a table of the paper, a flag of the original, quark0/darts.
        expected: The result with its spread, and who measured it.
        cost: Hardware and hours.
        arguments: What the command line needs in addition to the preset and a work directory.
    """

    name: str
    about: str
    config: Config
    source: str
    expected: str
    cost: str = "not measured here"
    arguments: str = ""

    @property
    def command(self) -> str:
        """The command line that runs it."""
        words = (self.config.binary, f"--preset={self.name}", self.arguments, f"--workdir=runs/{self.name}")
        return " ".join(filter(None, words))
