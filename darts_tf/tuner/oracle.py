"""The oracle that proposes genotypes to any `keras_tuner.Tuner`."""

import itertools
import json
import numbers
import os
import pathlib
import traceback
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import write_atomically
from darts_tf.tuner.peers import is_chief, is_worker, releasing, say, watch_chief
from darts_tf.tuner.prior import kind_of, load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.space import Space, genotype_from, values_from

TEMPERATURES = 1e-6, 1e6  # beyond, logits overflow and add nothing: samples are the argmax, or uniform
LARGEST = 1e6


def _number(name, value, low, high):
    if isinstance(value, numbers.Real) and low <= value <= high:
        return float(value)
    raise UserError(f"{name} must be a number from {low:g} to {high:g}. Received: {name}={value!r}.")


def _integer(name, value, low):
    if isinstance(value, numbers.Integral) and value >= low:
        return int(value)  # NumPy's cannot be written as JSON
    raise UserError(f"{name} must be an integer of at least {low}. Received: {name}={value!r}.")


def _objective_text(objective):
    each = getattr(objective, "objectives", [objective])
    return ", ".join(f"{one.name} ({one.direction})" for one in each)


class DartsOracle(keras_tuner.Oracle):
    """Proposes the most probable genotype first, then samples of the prior, which finished trials' scores move.

    No architecture is proposed twice; cells that differ in the numbering of their nodes only count as one. A proposal
    is a function of the seed, of how many trials have been started and of those that have ended, so that a tuning that
    is resumed after a kill proposes what it would have proposed.

    Hyperparameters of your own ride along: declared in `hyperparameters` or asked for in `build`, they take their
    default in the first trial and are sampled at random afterwards.

    Args:
        prior: What `prior.load_prior` takes: a search's work directory, a genotype, alphas by cell or as an `.npz`
            file, or None for uniform.
        objective: As in `keras_tuner.oracles.RandomSearchOracle`, and so are those below but the last three.
        max_trials: Trials at most.
        seed: An integer from 0 on, 0 too; None for one at random.
        temperature: What the alphas are divided by before the softmax, from 1e-6 to 1e6.
        hyperparameters: Your own.
        allow_new_entries: Whether `build` may ask for others.
        tune_new_entries: Whether those are sampled; else they keep their default.
        max_retries_per_trial: How often a trial that died is begun again.
        max_consecutive_failed_trials: How many in a row end the tuning: with a RuntimeError in a single process, and
            with no further trials where a chief serves workers. A reload begins them again.
        refine: Logits that a choice gains for one standard deviation of its trial's score; 0 for samples of the prior.
        num_nodes: Nodes of a cell, where the prior does not say.
        primitives: Names of the operations, where the prior does not say.
        kind: `"conv"` or `"recurrent"` cells, where the prior does not say; where it does, that it has to be these.

    Raises:
        UserError: A prior that is missing, damaged or of another space; a setting out of its range; on `reload` a
            damaged project, or one with other settings.
    """

    _retry_queue: list[str]
    ongoing_trials: dict[str, Trial]

    def __init__(
        self,
        prior: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        seed: int | None = None,
        temperature: float = 1.0,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        refine: float = 0.3,
        num_nodes: int | None = None,
        primitives: Sequence[str] | None = None,
        kind: str | None = None,
    ):
        self.temperature = _number("temperature", temperature, TEMPERATURES[0], TEMPERATURES[1])
        self.refine = _number("refine", refine, 0, LARGEST)
        seed = None if seed is None else _integer("seed", seed, 0)
        for name, value, low in (
            ("max_retries_per_trial", max_retries_per_trial, 0),
            ("max_consecutive_failed_trials", max_consecutive_failed_trials, 1),
        ):
            _integer(name, value, low)
        space = None
        if num_nodes is not None or primitives is not None:
            space = Space.of(kind or kind_of(prior) or "conv", num_nodes, primitives)
        self.prior = load_prior(prior, space, kind)
        hyperparameters = keras_tuner.HyperParameters() if hyperparameters is None else hyperparameters.copy()
        self._own = {f"hyperparameter {hp.name}": json.dumps(hp.get_config()) for hp in hyperparameters.space}
        self.prior.space.declare(hyperparameters)
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if seed is not None:  # the base class takes 0 for none
            self.seed = self._seed_state = seed
        self._given_seed, self._given_objective = seed, _objective_text(self.objective)
        self.stopped_because: str | None = None
        self._awaited: tuple[str, ...] = ()
        if is_worker():
            watch_chief()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes a trial; never raises, because the caller holds the lock.

        Args:
            trial_id: As the base class gives it; not used.

        Returns:
            `{"status": ..., "values": ...}`; STOPPED where there is nothing new, or `stopped_because` says why.
        """
        try:
            self.stopped_because = self._too_many_failures()
            values = None if self.stopped_because else self._propose()
            if values is not None:
                return {"status": TrialStatus.RUNNING, "values": values}
            self.stopped_because = self.stopped_because or "every architecture of the space has been proposed"
        except Exception as error:
            traceback.print_exc()
            self.stopped_because = f"{type(error).__name__}: {error}"
        return {"status": TrialStatus.STOPPED, "values": None}

    def _propose(self):
        index = len(self.start_order)
        random = np.random.default_rng([self.seed, index])
        genotypes = {name: genotype_from(self.trials[name].hyperparameters) for name in self.start_order}
        sign = 1 if self.objective.direction == "max" else -1
        scored = [
            (genotypes[name], sign * self.trials[name].score)
            for name in self.end_order
            if self.trials[name].status == TrialStatus.COMPLETED
        ]
        found = propose(self.prior, self.temperature, genotypes.values(), scored, self.refine, random)
        return None if found is None else self._with_others(values_from(found), index, random)

    def _with_others(self, chosen, index, random):
        """Adds values for the user's own hyperparameters."""
        all_values = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            draw = int(random.integers(2**31))  # also for those that keep a value, so that all draws stay in place
            all_values.merge([hp])  # gives an active one its default
            if not all_values.is_active(hp):
                continue
            if hp.name in chosen:
                all_values.values[hp.name] = chosen[hp.name]
            elif index:
                all_values.values[hp.name] = hp.random_sample(draw)
        return all_values.values

    @releasing
    def create_trial(self, tuner_id: str) -> Trial:
        """See the base class; the lock is free afterwards whatever happens."""
        trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and is_chief():
            self._tell_who_is_awaited()
        return trial

    def _tell_who_is_awaited(self):
        awaited = tuple(f"trial {t.trial_id} of {name}" for name, t in sorted(self.ongoing_trials.items()))
        if awaited and awaited != self._awaited:
            say(
                f"no further trials; waiting for {some_of(awaited)}. If that process has died, start it again with "
                "the same KERASTUNER_TUNER_ID, or stop this one too and restart all of them"
            )
        self._awaited = awaited

    @releasing
    def update_trial(self, trial_id: str, metrics: dict[str, Any], step: int = 0) -> Trial:
        """See the base class; the lock is free afterwards whatever happens."""
        return super().update_trial(trial_id, metrics, step)

    @releasing
    def end_trial(self, trial: Trial) -> None:
        """See the base class. A trial whose end raises is not ongoing any more: a chief would wait for it for ever.

        A trial that has ended already counts once: a chief that was started again had given it to another worker, too.
        """
        name = trial.trial_id
        try:
            if name not in self.end_order:
                super().end_trial(trial)
        finally:
            self._save_trial(self.trials[name])
            if name in self.end_order:
                self._retry_queue = [each for each in self._retry_queue if each != name]
            self.ongoing_trials = {k: t for k, t in self.ongoing_trials.items() if t.trial_id != name}
            self.save()  # the base class saves before it is no longer ongoing

    def _failed_last(self):
        """The names of the trials that failed in a row and ended last."""
        failed = itertools.takewhile(lambda n: self.trials[n].status == TrialStatus.FAILED, reversed(self.end_order))
        return [*failed][::-1]

    def _too_many_failures(self):
        """Says so, or returns None."""
        failed = self._failed_last()
        if len(failed) < self.max_consecutive_failed_trials:
            return None
        lines = (self.trials[failed[-1]].message or "no message; see the worker's output").strip().splitlines()
        return f"{len(failed)} trials in a row failed; the last one: {lines[-1]}"

    def _check_consecutive_failures(self):
        # A chief must not raise: its worker would die of the reply, and the chief would wait for it for ever.
        if "KERASTUNER_ORACLE_IP" not in os.environ and (reason := self._too_many_failures()):
            self.stopped_because = reason
            raise RuntimeError(reason)

    def _settings(self):
        settings = {"prior": self.prior.digest(), "temperature": self.temperature, "refine": self.refine}
        return {**settings, "objective": self._given_objective, **self._own}

    def get_state(self) -> dict[str, Any]:
        """The base class's state, and the settings that a reload must find again."""
        return {**super().get_state(), "darts": self._settings()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes a saved state over.

        Raises:
            UserError: It is that of a tuning with other settings.
        """
        own, saved = self._settings(), state["darts"]
        if self._given_seed is not None:
            own, saved = {**own, "seed": self._given_seed}, {**saved, "seed": state["seed"]}
        names = dict.fromkeys((*own, *saved))
        other = [f"{name}: {saved.get(name)} -> {own.get(name)}" for name in names if own.get(name) != saved.get(name)]
        if other:
            raise UserError(
                f"{self._project_dir} holds a tuning with other settings. Expected the same. Received (there -> now): "
                f"{some_of(other, 5, '; ')}. Give the settings of that tuning, or another project_name."
            )
        super().set_state(state)
        if self._too_many_failures():  # those that ended the tuning come first: their cause may be fixed
            for name in reversed(self._failed_last()):  # the queue's last one is the first
                self.end_order.remove(name)
                self.trials[name] = Trial(self.trials[name].hyperparameters, name)
                self._run_times[name] = 0
                self._retry_queue.append(name)

    def save(self) -> None:
        """Writes the state; after a crash the file is the old one or the new one."""
        write_atomically(self._get_oracle_fname(), json.dumps(self.get_state()))

    def _save_trial(self, trial):
        path = pathlib.Path(self._get_trial_dir(trial.trial_id)) / "trial.json"
        write_atomically(path, json.dumps(trial.get_state()))

    def reload(self) -> None:
        """Resumes the project in the tuner's directory; see the base class.

        Raises:
            UserError: A file is damaged, or the settings are others.
        """
        try:
            super().reload()
            # What had ended when its last state was written is not begun again.
            self._retry_queue = [name for name in self._retry_queue if name not in self.end_order]
            for name in {*self.trials} - {*self.start_order}:  # written just before a kill, and not begun
                del self.trials[name]
        except UserError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(
                f"The tuning in {self._project_dir} cannot be read: {error}. Restore oracle.json and "
                "trial_*/trial.json from a copy, or start over: another project_name, or overwrite=True."
            ) from error
