"""A tuning from its settings to the best genotype: each trial is a training in a directory of its own."""

import contextlib
import gc
import logging
import sys
import time

import keras
import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.errors import FatalError

from darts_tf import genotypes
from darts_tf.engine.repeats import as_one_run, once
from darts_tf.runs import scores
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.spaces.recurrent.cells import ACTIVATIONS
from darts_tf.system import streams
from darts_tf.system.errors import UserError
from darts_tf.tasks import domains
from darts_tf.tasks.train import train
from darts_tf.tuner.oracle import DartsOracle
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.space import genotype_from

DIRECTIONS = {"higher": "max", "lower": "min"}
KNOWN = {"conv": OPERATIONS, "recurrent": ACTIVATIONS}


@contextlib.contextmanager
def _no_advice_on_retracing():
    """TensorFlow counts a method's graphs over all objects, and warns of the fifth; each trial has its own network."""

    def keep(record):
        return "retracing" not in record.getMessage()

    logger = logging.getLogger("tensorflow")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


class _Oracle(DartsOracle):
    """Stops where a further trial would probably end after the budget, too.

    Args:
        minutes: The budget; 0 for none.
        **settings: As `DartsOracle`.
    """

    def __init__(self, minutes, **settings):
        super().__init__(**settings)
        self.minutes, self._started, self._earlier = minutes, time.monotonic(), 0.0

    def seconds(self):
        """Returns the seconds that each ended trial took."""
        ended = [self.trials[name].metrics for name in self.end_order]
        return [metrics.get_last_value("seconds") for metrics in ended if metrics.exists("seconds")]

    def reload(self):
        """Counts the earlier trials' time, too."""
        super().reload()
        self._earlier = sum(self.seconds())

    def populate_space(self, trial_id):
        """See `DartsOracle`."""
        taken = self.seconds()
        spent = self._earlier + time.monotonic() - self._started
        if self.minutes and taken and spent + sum(taken) / len(taken) > 60 * self.minutes:
            return self._stop(f"of {self.minutes:g} minutes {spent / 60:.1f} are spent")
        return super().populate_space(trial_id)


class _Failed(BaseException):
    """A training has failed by what a user may mend; of an `Exception` keras-tuner would print the traceback."""


class _Tuner(keras_tuner.Tuner):
    """Runs trials as trainings; all its state is the oracle's, which is reloaded where there is some."""

    def __init__(self, oracle, config, directory, out):
        self.config, self.trials_directory, self.out = config, directory / "trials", out
        super().__init__(oracle=oracle, directory=str(directory), project_name="tuner")

    def _populate_initial_space(self):
        if (self.trials_directory.parent / "tuner" / "oracle.json").exists():
            self.oracle.reload()

    def save(self):
        """Writes the oracle's state only: the base class would add a file that is not replaced at once."""
        self.oracle.save()

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        try:
            super()._try_run_and_update_trial(trial, *args, **kwargs)
        except _Failed as failed:
            trial.status, trial.message = TrialStatus.INVALID, str(failed)
            streams.say(f"trial {int(trial.trial_id) + 1} failed: {failed}", self.out)

    def run_trial(self, trial, *args, **kwargs):
        """Trains the trial's genotype, or goes on with its training."""
        keras.backend.clear_session()
        gc.collect()  # the graph of the trial before
        begin = time.monotonic()
        number = int(trial.trial_id)
        genotype = genotype_from(trial.hyperparameters)
        streams.say(f"trial {number + 1} of {self.config.trials}: {genotype.to_text()}", self.out)
        path = self.trials_directory / f"{number:03d}"
        try:
            summary = train(self.config.training(genotype.to_text()), path, self.out)
        except (UserError, OSError) as error:
            if isinstance(error, OSError) or isinstance(error.__cause__, OSError):
                # A full disk is not the trial's fault: as after a kill, it goes on at the next start.
                raise FatalError from error
            raise _Failed(str(error)) from error
        if summary is None:
            raise KeyboardInterrupt
        taken = max(time.monotonic() - begin, summary["seconds"])  # the latter where it was interrupted
        objective = self.config.objective
        return {objective: summary[objective], "parameters": summary["parameters"], "seconds": taken}


def tune(config, workdir, out=None):
    """Trains proposed genotypes one after the other, or goes on with an interrupted tuning in the same directory.

    Leaves `trials/NNN/`, a training's work directory for each trial, `prior.npz`, `tuner/` (keras-tuner's state),
    `summary.json` and, of the best trial, `genotype.json` and its drawings in `plots/`. The trial with the best
    accuracy or perplexity on validation data is the best; test data take no part.

    Args:
        config: A `TuneConfig` or a `LanguageTuneConfig`.
        workdir: Path of the work directory.
        out: Where progress goes, standard output unless given.

    Returns:
        What `summary.json` holds: `metric` and `better`, which way trials are compared; `trials` in the order of their
        starts, each with `trial`, `status`, `genotype`, `valid_accuracy` or `valid_perplexity`, `parameters`,
        `seconds`, `workdir` and, of a failed one, `message`; `best`, one of them or None; `stopped_because`, None after
        all trials. Or None when it was interrupted: the same call goes on.

    Raises:
        UserError: Bad settings, prior, data or work directory, a file that cannot be written, or too many trials in a
            row that failed; one line.
        OSError: As said there, where the operating system's words say it all.
    """
    out = sys.stdout if out is None else out
    with as_one_run():
        return _tune(config, workdir, out, once(lambda line: streams.say(line, out)))


def _tune(config, workdir, out, say):
    directory = WorkDir(workdir)
    domains.of(config).load(say)  # what is wrong with the data is not a trial's fault
    saved = directory.path / "prior.npz"
    # The search may have gone on since, or be gone.
    prior = load_prior(saved if saved.exists() else config.prior, kind=config.space, say=say)
    add_operations(getattr(config, "operations_file", ""))
    for name in prior.space.operations:
        if name not in KNOWN[config.space]:
            raise UserError(
                f"The prior has an operation that is not known. Expected {', '.join(KNOWN[config.space])}. "
                f"Received: {name!r}."
            )
    with directory:
        for change in directory.open_for(config, ("plots",)):  # the others are the trials'
            say(f"changed since the last start: {change}")
        prior.save(saved)
        oracle = _Oracle(
            config.minutes,
            prior=prior,
            objective=keras_tuner.Objective(config.objective, DIRECTIONS[config.better]),
            max_trials=config.trials,
            seed=config.seed,
            temperature=config.temperature,
            refine=config.refine,
        )
        oracle.verbose = 0
        tuner = _Tuner(oracle, config, directory.path, out)
        failure = None
        try:
            with _no_advice_on_retracing():
                tuner.search()
        except KeyboardInterrupt:
            say("stopped; the same command goes on")
            return None
        except FatalError as error:
            raise error.__cause__ from None
        except RuntimeError as error:
            if oracle.stopped_because is None:
                raise
            failure = error
        summary = _summary(oracle, config)
        write_json(directory.path / "summary.json", summary)
        if summary["best"]:
            best = genotypes.from_json(summary["best"]["genotype"])
            genotypes.save(best, directory.path / "genotype.json")
            draw(best, directory.plots, say)
    if failure is not None:
        say(table(summary))
        raise UserError(
            f"{str(failure).rstrip('.')}. Mended outside of the settings (a file, memory), the same command begins "
            "these trials again; other settings take another work directory."
        ) from failure
    return summary


def _summary(oracle, config):
    objective, trials = config.objective, []
    for name in oracle.start_order:
        trial = oracle.trials[name]
        lines = (trial.message or "").strip().splitlines()
        found = {
            each: trial.metrics.get_last_value(each) if trial.status == TrialStatus.COMPLETED else None
            for each in (objective, "parameters", "seconds")
        }
        if found["parameters"] is not None:
            found["parameters"] = int(found["parameters"])  # keras-tuner keeps floats
        trials.append(
            {"trial": int(name) + 1, "status": trial.status.lower(), **found}
            | {"genotype": genotype_from(trial.hyperparameters).to_json(), "workdir": f"trials/{int(name):03d}"}
            | ({"message": lines[-1]} if lines else {})
        )
    done = [trial for trial in trials if trial["status"] == "completed"]
    best = done[scores.best([trial[objective] for trial in done], config.better)] if done else None
    found = {"best": best, "trials": trials, "stopped_because": oracle.stopped_because}
    return {"metric": config.metric, "better": config.better, **found}


def table(summary) -> str:
    """Returns the trials as lines of text, the best one marked."""
    metric = summary["metric"]
    heading = f"validation {metric}"
    lines = [f"trial  {heading}     weights  seconds"]
    for trial in summary["trials"]:
        start = f"{trial['trial']:5d}  "
        if trial["status"] != "completed":
            lines.append(f"{start}{trial['status']}: {trial.get('message', '')}".rstrip(": "))
            continue
        value = scores.shown(trial[f"valid_{metric}"], metric).rjust(len(heading))
        mark = " *" if trial == summary["best"] else ""
        lines.append(f"{start}{value}{trial['parameters']:12,.0f}{trial['seconds']:9.0f}{mark}")
    if summary["stopped_because"]:
        lines.append(f"no further trials: {summary['stopped_because']}")
    return "\n".join(lines)
