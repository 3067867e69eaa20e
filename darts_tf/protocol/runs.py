"""The runs of a protocol as data: each a preset with changes, a directory, and the file that exists when it is done."""

import dataclasses
import pathlib

from darts_tf import genotypes
from darts_tf.config import Run as RunConfig
from darts_tf.config import TrainConfig, presets
from darts_tf.config.fields import named
from darts_tf.config.protocol import ProtocolConfig
from darts_tf.genotypes import Genotype
from darts_tf.protocol.overrides import changed
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.runtime import module_command

# Settings that no override may change -> their source.
RESERVED = {"seed": "seed", "threads": "threads", "genotype": "the searches"}
named(RESERVED, TrainConfig)


@dataclasses.dataclass(frozen=True)
class Run:
    """One search or training.

    Attributes:
        name: Its work directory, relative to the protocol's.
        preset: The preset on which its settings are based.
        config: Its settings.
        result: The file in its work directory that exists once it has ended.
    """

    name: str
    preset: str
    config: RunConfig
    result: str

    def command(self, directory: pathlib.Path) -> list[str]:
        """The command line that runs or resumes it."""
        module = self.config.binary.replace("darts-", "darts_tf.bin.")
        base = presets.get(self.preset).config
        different = [f for f in dataclasses.fields(base) if getattr(base, f.name) != getattr(self.config, f.name)]
        flags = [_flag(each.name, getattr(self.config, each.name)) for each in different]
        settings = [f"--preset={self.preset}", *flags, f"--workdir={directory / self.name}"]
        return module_command(module) + settings

    def begun(self, directory: pathlib.Path, any_cell: bool = False) -> bool:
        """Returns whether its directory contains a run.

        Args:
            directory: The protocol's.
            any_cell: Whether to compare all settings except the genotype, which is not known yet.

        Raises:
            UserError: That run has other settings, for example because a preset has changed.
        """
        path = directory / self.name
        earlier = WorkDir(path).read_config(type(self.config))
        if earlier is None:
            return False
        planned = self.config.replace(genotype=earlier.to_json()["genotype"]) if any_cell else self.config
        if other := earlier.differences(planned, include_resumable=False):
            raise UserError(
                f"{path} holds a run with different settings. Expected those of this protocol. Received (there -> "
                f"now): {some_of(other, 5, '; ')}. Use its settings, remove that directory, or choose another "
                "work directory"
            )
        return True

    def done(self, directory: pathlib.Path) -> bool:
        """Returns whether it has ended; raises the errors of `begun`."""
        return self.begun(directory) and (directory / self.name / self.result).exists()


def _flag(name, value):
    if isinstance(value, bool):
        return f"--{'' if value else 'no'}{name}"
    return f"--{name}={','.join(value) if isinstance(value, tuple) else value}"


class Plan:
    """The runs defined by a protocol's settings.

    Args:
        config: The protocol's settings.

    Raises:
        UserError: A preset is missing or belongs to another command, searches and trainings are for different kinds of
            cell, a change fits no run, or short trainings hold out no images; one line.
    """

    def __init__(self, config: ProtocolConfig):
        self.config = config
        search = self._preset("search_preset", "darts-search")
        train = self._preset("train_preset", "darts-train")
        if search.space != train.space:  # fails now, not after all searches
            trainings = [each for each in presets.PRESETS.values() if each.config.binary == train.binary]
            fitting = (each for each in trainings if getattr(each.config, "space", None) == search.space)
            example = next((f", such as {each.name}" for each in fitting), "")
            raise UserError(
                "search_preset and train_preset must be for one kind of cell. Expected a train_preset for "
                f"{search.space} cells{example}. Received: search_preset={config.search_preset}, "
                f"train_preset={config.train_preset}, which is for {train.space} cells"
            )
        self._search = self._changed(search, "search_overrides")
        self._retrain = self._changed(train, "retrain_overrides").replace(epochs=config.retrain_epochs)
        self._evaluation = self._changed(train, "evaluation_overrides")
        if "multi_worker" in (self._search.strategy, self._retrain.strategy, self._evaluation.strategy):
            raise UserError(
                "strategy must be none or mirrored in a protocol, whose runs are processes on one machine. "
                "Received: strategy=multi_worker"
            )
        if getattr(self._retrain, "train_portion", 0.5) == 1:
            raise UserError(
                "retrain_overrides must hold out images, since cells are selected on them and never on test images. "
                "Expected train_portion below 1, as in retrain_overrides=train_portion=0.9. Received: "
                "train_portion=1.0"
            )
        self.metric, self.better, self.primitives = train.metric, train.better, self._search.primitives
        self.searches = [self.search(i) for i in range(config.num_searches)]

    def _preset(self, preset, binary):
        name = getattr(self.config, preset)
        base = presets.get(name).config
        if base.binary != binary:
            raise UserError(
                f"{preset} must be a preset of {binary}. Received: {preset}={name}, which is of {base.binary}"
            )
        return base

    def _changed(self, base, overrides):
        reserved = RESERVED | ({"epochs": "retrain_epochs"} if overrides == "retrain_overrides" else {})
        for field in ("overrides", overrides):
            base = changed(base, field, getattr(self.config, field), reserved)
        return base.replace(threads=self.config.threads)

    def search(self, index: int) -> Run:
        """The search number `index`, from 0."""
        seed = self.config.seed + index
        config = self._search.replace(seed=seed)
        return Run(f"searches/seed_{seed}", self.config.search_preset, config, "genotype.json")

    def retrain(self, name: str, genotype: Genotype | None) -> Run:
        """The short training of a cell, None for a future one; `name` is that of its directory in `retrain/`."""
        return self._training(f"retrain/{name}", self._retrain, self.config.retrain_seed, genotype)

    def evaluations(self, method: str, genotype: Genotype | None) -> list[Run]:
        """The full trainings of the cell selected for a method, None for a future one."""
        return [
            self._training(f"evaluate/{method}/seed_{seed}", self._evaluation, seed, genotype)
            for seed in range(self.config.seed, self.config.seed + self.config.eval_seeds)
        ]

    def _training(self, name, settings, seed, genotype):
        cell = {"genotype": genotype.to_text()} if genotype else {}
        return Run(name, self.config.train_preset, settings.replace(seed=seed, **cell), "summary.json")

    def check(self, directory: pathlib.Path) -> None:
        """Compares all started runs with their plans, so that none is refused only after hours of other runs.

        Anything that depends on later runs is not known yet: which cells are selected, and the cells of unfinished
        searches.

        Raises:
            UserError: A run has other settings; the message names it.
        """
        for index, search in enumerate(self.searches):
            cell = genotypes.load(directory / search.name) if search.done(directory) else None
            self.retrain(f"search_{index}", cell).begun(directory, any_cell=cell is None)
        count = self.config.num_random or sum(1 for _ in directory.glob("retrain/random_*"))
        randoms = [self.retrain(f"random_{index}", None) for index in range(count)]
        full = [run for method in ("search", "random") for run in self.evaluations(method, None)]
        for run in (*randoms, *full):
            run.begun(directory, any_cell=True)
