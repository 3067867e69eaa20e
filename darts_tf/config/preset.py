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
        command: The command line that runs it.
        cost: Hardware and hours.
        expected: The result with its spread, and who measured it.
    """

    name: str
    about: str
    config: Config
    source: str
    command: str
    cost: str
    expected: str
