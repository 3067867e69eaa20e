"""The oracle that proposes genotypes to any `keras_tuner.Tuner`."""

import dataclasses
import json
import numbers
import pathlib
import traceback
from collections.abc import Sequence
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from darts_tf.config.tuning import IN_FULL
from darts_tf.system.errors import UserError, some_of
from darts_tf.system.files import write_atomically
from darts_tf.tuner.halving import WAIT, Job, from_prior
from darts_tf.tuner.peers import SharedOracle, is_worker, watch_chief
from darts_tf.tuner.prior import kind_of, load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.rungs import Rungs, chains
from darts_tf.tuner.space import Space, genotype_from, values_from

TEMPERATURES = 1e-6, 1e6  # beyond these, logits overflow without any benefit: samples are the argmax, or uniform
LARGEST = 1e6


def _number(name, value, low, high):
    if isinstance(value, numbers.Real) and low <= value <= high:
        return float(value)
    raise UserError(f"{name} must be a number from {low:g} to {high:g}. Received: {name}={value!r}.")


def _integer(name, value, low):
    if isinstance(value, numbers.Integral) and value >= low:
        return int(value)  # NumPy integers cannot be written as JSON
    raise UserError(f"{name} must be an integer of at least {low}. Received: {name}={value!r}.")


def _objective_text(objective):
    each = getattr(objective, "objectives", [objective])
    return ", ".join(f"{one.name} ({one.direction})" for one in each)


class DartsOracle(SharedOracle):
    """Proposes the most probable genotype first, then samples of the prior, updated by finished trials' scores.

    No architecture is proposed twice; cells that differ only in the numbering of their nodes count as one. A proposal
    is a function of the seed, the number of trials started and the trials that have ended, so a tuning that is resumed
    after a kill makes the same proposals.

    With `algorithm="halving"`, `"hyperband"` or `"asha"` trials are trained for a few epochs first, and the best of
    them continue: a promotion is a separate trial, whose values `tuner/epochs`, `tuner/initial_epoch` and
    `tuner/trial_id` say how far it is trained, from where, and which trial it continues, as in `keras_tuner.Hyperband`.
    `TrainingTuner` follows them. With several workers, `"asha"` promotes without waiting for any of them.

    You can add your own hyperparameters: declared in `hyperparameters` or requested in `build`, they have their default
    in the first trial and are sampled at random afterwards.

    Args:
        prior: Anything that `prior.load_prior` takes: a search's work directory, a genotype, alphas by cell or as an
            `.npz` file, or None for uniform.
        objective: As in `keras_tuner.oracles.RandomSearchOracle`, like the following arguments up to `refine`.
        max_trials: Maximum number of architectures.
        seed: An integer, at least 0; None for a random one.
        temperature: Divisor of the alphas before the softmax, from 1e-6 to 1e6.
        hyperparameters: Your own hyperparameters.
        allow_new_entries: Whether `build` may request others.
        tune_new_entries: Whether those are sampled; otherwise they keep their default.
        max_retries_per_trial: How often a crashed trial is restarted.
        max_consecutive_failed_trials: How many in a row end the tuning: with a RuntimeError in a single process, and
            with no further trials if a chief serves workers. A reload restarts them.
        refine: Logits that a choice gains per standard deviation of its trial's score; 0 for samples of the prior.
        num_nodes: Nodes of a cell, if the prior does not determine it.
        primitives: Names of the operations, if the prior does not determine them.
        kind: `"conv"` or `"recurrent"` cells, if the prior does not determine it; otherwise the kind that the prior
            must have.
        algorithm: `"refine"`: all trials in full, and scores update the proposals; `"random"`: all in full, scores are
            ignored; `"halving"`, `"hyperband"` or `"asha"`, see `halving`.
        max_epochs: For these: epochs of the full training.
        reduction_factor: One trial in this many continues, for this many times the epochs, at least 2.
        rungs: How often trials are compared, the last time after `max_epochs`.
        random_share: Fraction of the architectures that are random instead of proposed from the prior.

    Raises:
        UserError: The prior is missing, damaged or of another space; a setting is out of its range; on `reload`, the
            project is damaged or has other settings.
    """

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
        algorithm: str = "refine",
        max_epochs: int | None = None,
        reduction_factor: int = 2,
        rungs: int = 3,
        random_share: float = 0.0,
    ):
        self.random_share = _number("random_share", random_share, 0, 1)
        if algorithm not in IN_FULL:
            _integer("max_trials", max_trials, 1)
            _integer("reduction_factor", reduction_factor, 2)
            _integer("rungs", rungs, 1)
        self.rungs = Rungs(algorithm, max_epochs, max_trials, reduction_factor, rungs)
        self.temperature = _number("temperature", temperature, TEMPERATURES[0], TEMPERATURES[1])
        self.refine = _number("refine", refine, 0, LARGEST)
        seed = None if seed is None else _integer("seed", seed, 0)
        _integer("max_retries_per_trial", max_retries_per_trial, 0)
        _integer("max_consecutive_failed_trials", max_consecutive_failed_trials, 1)
        space = None
        if num_nodes is not None or primitives is not None:
            space = Space.of(kind or kind_of(prior) or "conv", num_nodes, primitives)
        self.prior = load_prior(prior, space, kind)
        hyperparameters = keras_tuner.HyperParameters() if hyperparameters is None else hyperparameters.copy()
        self._own = {f"hyperparameter {hp.name}": json.dumps(hp.get_config()) for hp in hyperparameters.space}
        self.prior.space.declare(hyperparameters)
        super().__init__(
            objective=objective,
            max_trials=max_trials if self.rungs.in_full else None,  # otherwise promotions would count
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        if seed is not None:  # the base class treats 0 as none
            self.seed = self._seed_state = seed
        self._given_seed, self._given_objective = seed, _objective_text(self.objective)
        if is_worker():
            watch_chief()

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Proposes a trial, or promotes one; never raises, because the caller holds the lock.

        Args:
            trial_id: As given by the base class.

        Returns:
            `{"status": ..., "values": ...}`; IDLE while a rung is incomplete; STOPPED if there is nothing new, or for
            the reason in `stopped_because`.
        """
        try:
            self.stopped_because = self._too_many_failures()
            if not self.stopped_because:
                status, values = self._next(trial_id)
                if status != TrialStatus.STOPPED:
                    return {"status": status, "values": values}
        except Exception as error:
            traceback.print_exc()
            self.stopped_because = f"{type(error).__name__}: {error}"
        return {"status": TrialStatus.STOPPED, "values": None}

    def _next(self, trial_id):
        """Returns status and values of what is due; reports why if a new architecture is due but there is none."""
        own = chains(self.trials, self.start_order)
        sign = 1 if self.objective.direction == "max" else -1
        job = Job(len(own), 0) if self.rungs.in_full else self.rungs.job(self.trials, own, sign, self.rungs.max_trials)
        if job is not None and job.trial == len(own):
            if (values := self._propose(len(own), sign)) is not None:
                return TrialStatus.RUNNING, values | self.rungs.values(job, trial_id)
            self.stopped_because = "every architecture of the space has been proposed"
            job = self.rungs.job(self.trials, own, sign, len(own)) if own and not self.rungs.in_full else None
        if job is None or job == WAIT:
            return TrialStatus.IDLE if job == WAIT else TrialStatus.STOPPED, None
        before = self.trials[own[job.trial][-1]]
        return TrialStatus.RUNNING, before.hyperparameters.values | self.rungs.values(job, trial_id, before)

    def _propose(self, index, sign):
        random = np.random.default_rng([self.seed, index])
        genotypes = {name: genotype_from(self.trials[name].hyperparameters) for name in self.start_order}
        done = [name for name in self.end_order if self.trials[name].status == TrialStatus.COMPLETED]
        scored = [(genotypes[name], sign * self.trials[name].score) for name in done]
        prior, rate = self.prior, self.refine if self.rungs.algorithm == "refine" else 0.0
        if not from_prior(index, self.random_share):
            prior, rate = load_prior(None, prior.space), 0.0
        found = propose(prior, self.temperature, genotypes.values(), scored, rate, random)
        return None if found is None else self._with_others(values_from(found), index, random)

    def _with_others(self, chosen, index, random):
        """Adds values for the user's own hyperparameters."""
        all_values = keras_tuner.HyperParameters()
        for hp in self.hyperparameters.space:
            draw = int(random.integers(2**31))  # also for those that keep a value, so that later draws do not change
            all_values.merge([hp])  # gives an active one its default
            if not all_values.is_active(hp):
                continue
            if hp.name in chosen:
                all_values.values[hp.name] = chosen[hp.name]
            elif index:
                all_values.values[hp.name] = hp.random_sample(draw)
        return all_values.values

    def _settings(self):
        settings = {"prior": self.prior.digest(), "temperature": self.temperature, "refine": self.refine}
        if self.random_share or self.rungs.algorithm != "refine":  # projects of earlier versions have neither
            settings |= {"random_share": self.random_share, **dataclasses.asdict(self.rungs)}
        return {**settings, "objective": self._given_objective, **self._own}

    def get_state(self) -> dict[str, Any]:
        """The base class's state, and the settings that a reload must find again."""
        return {**super().get_state(), "darts": self._settings()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a saved state.

        Raises:
            UserError: The state belongs to a tuning with other settings.
        """
        own, saved = self._settings(), state["darts"]
        if self._given_seed is not None:
            own, saved = {**own, "seed": self._given_seed}, {**saved, "seed": state["seed"]}
        names = dict.fromkeys((*own, *saved))
        other = [f"{name}: {saved.get(name)} -> {own.get(name)}" for name in names if own.get(name) != saved.get(name)]
        if other:
            raise UserError(
                f"{self._project_dir} holds a tuning run with different settings. Expected the same. Received (there "
                f"-> now): {some_of(other, 5, '; ')}. Use the settings of that tuning run, or another project_name."
            )
        super().set_state(state)
        if self._too_many_failures():  # those that ended the tuning come first, since their cause may be fixed
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
            UserError: A file is damaged, or the settings differ.
        """
        try:
            super().reload()
            # Trials that had ended when the last state was written are not restarted.
            self._retry_queue = [name for name in self._retry_queue if name not in self.end_order]
            for name in {*self.trials} - {*self.start_order}:  # written just before a kill, but not started
                del self.trials[name]
        except UserError:
            raise
        except (RuntimeError, ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(
                f"The tuning run in {self._project_dir} cannot be read: {error}. Restore oracle.json and "
                "trial_*/trial.json from a copy, or start over: another project_name, or overwrite=True."
            ) from error
