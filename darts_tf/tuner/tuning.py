"""A tuning from its settings to the best genotype: each trial is a training in a directory of its own."""

import contextlib
import gc
import itertools
import logging
import math
import sys
import time
import traceback
from typing import Any

import keras
import numpy as np

from darts_tf import genotypes, spaces
from darts_tf.config.tuning import LanguageTuneConfig, TuneConfig
from darts_tf.engine.repeats import as_one_run, once
from darts_tf.runs import scores
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system import streams
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.files import parse_json
from darts_tf.system.types import Path
from darts_tf.tasks import domains
from darts_tf.tasks.train import train
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.space import genotype_from, values_from

MAX_FAILURES = 3  # as many failed trials in a row end a tuning
RUNNING, COMPLETED, FAILED = "running", "completed", "failed"


@contextlib.contextmanager
def _no_advice_on_retracing():
    """TensorFlow counts a method's graphs over all objects, and warns of the fifth; each trial has its own network."""
    logger, keep = logging.getLogger("tensorflow"), lambda record: "retracing" not in record.getMessage()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def tune(config: TuneConfig | LanguageTuneConfig, workdir: Path, out: Any = None) -> dict[str, Any] | None:
    """Trains proposed genotypes one after the other, or resumes an interrupted tuning in the same directory.

    Leaves `trials/NNN/`, a training's work directory for each trial, `prior.npz`, `trials.json` (the state of the
    tuning), `summary.json` and, of the best trial, `genotype.json` and its drawings in `plots/`. The trial with the
    best accuracy or perplexity on validation data is the best; test data take no part.

    Args:
        config: A `TuneConfig` or a `LanguageTuneConfig`.
        workdir: Path of the work directory.
        out: Where progress goes, standard output unless given.

    Returns:
        What `summary.json` holds: `metric` and `better`, which way trials are compared; `trials` in the order of their
        starts, each with `trial`, `status`, `genotype`, `valid_accuracy` or `valid_perplexity`, `parameters`,
        `seconds`, `workdir` and, of a failed one, `message`; `best`, one of them or None; `stopped_because`, None after
        all trials. Or None when it was interrupted: the same call resumes it.

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
    # The search may have continued since, or be gone.
    prior = load_prior(saved if saved.exists() else config.prior, kind=config.space, say=say)
    add_operations(getattr(config, "operations_file", ""))
    known = spaces.get(config.space).operations
    for name in prior.space.operations:
        if name not in known:
            raise UserError(
                f"The prior has an operation that is not known. Expected {', '.join(known)}. Received: {name!r}."
            )
    with directory:
        for change in directory.open_for(config, ("plots",), lambda: _refuse_earlier_version(directory.path)):
            say(f"changed since the last start: {change}")
        prior.save(saved)
        state = directory.path / "trials.json"
        trials = _read(state, prior.digest(), config.objective) if state.exists() else []
        try:
            with _no_advice_on_retracing():
                stopped_because = _run(config, prior, trials, state, out)
        except KeyboardInterrupt:
            say("stopped; the same command resumes it")
            return None
        done = _those(trials, COMPLETED)
        best = done[scores.best([trial[config.objective] for trial in done], config.better)] if done else None
        summary = {"metric": config.metric, "better": config.better}
        summary |= {"best": best, "trials": trials, "stopped_because": stopped_because}
        write_json(directory.path / "summary.json", summary)
        if best:
            genotype = genotypes.from_json(best["genotype"])
            genotypes.save(genotype, directory.path / "genotype.json")
            draw(genotype, directory.plots, say)
    if len(_failed_last(trials)) >= MAX_FAILURES:
        say(table(summary))
        raise UserError(
            f"{stopped_because.rstrip('.')}. Once that is fixed outside of the settings (a file, memory), the same "
            "command runs these trials again; other settings take another work directory."
        )
    return summary


def _refuse_earlier_version(path):
    if (path / "tuner" / "oracle.json").exists() and not (path / "trials.json").exists():
        raise UserError(
            f"{path} holds a tuning that an earlier version began, which this version cannot resume. Expected "
            "trials.json. Received: tuner/oracle.json. Its trials are trainings in trials/; choose another --workdir"
        )


def _read(path, digest, objective):
    """Returns the trials of a state; those whose failures ended the tuning run again, since their cause may be fixed.

    Raises:
        UserError: It is damaged, or its trials were proposed from another prior; one line.
    """
    try:
        state = parse_json(path.read_bytes())
        trials = state["trials"]
        for number, trial in enumerate(trials):
            genotypes.from_json(trial["genotype"])
            figures = (objective, "parameters", "seconds") if trial["status"] == COMPLETED else ()
            if (
                trial["trial"] != number + 1
                or trial["workdir"] != f"trials/{number:03d}"
                or trial["status"] not in (RUNNING, COMPLETED, FAILED)
                or not all(math.isfinite(trial[name]) for name in figures)
            ):
                raise ValueError(f"trial {number + 1} of it is damaged")
        wrong = None if state["prior"] == digest else "its trials were proposed from another prior than prior.npz"
    except (ValueError, KeyError, TypeError) as error:
        wrong = one_line(error)
    if wrong:
        raise UserError(
            f"{path} cannot be resumed: {wrong}. Expected what darts-tune has written. Restore both files from a copy, "
            "or choose another --workdir"
        )
    if len(failed := _failed_last(trials)) >= MAX_FAILURES:
        for trial in failed:
            trial["status"] = RUNNING
            trial.pop("message", None)
    return trials


def _those(trials, status):
    return [trial for trial in trials if trial["status"] == status]


def _failed_last(trials):
    """Those that failed in a row and ended last, the last one first."""
    ended = (trial for trial in reversed(trials) if trial["status"] != RUNNING)
    return list(itertools.takewhile(lambda trial: trial["status"] == FAILED, ended))


def _run(config, prior, trials, path, out):
    """Runs trials until one of the limits; returns which, None after all trials. `path` is that of the state."""
    begin = time.monotonic()
    earlier = sum(trial["seconds"] for trial in _those(trials, COMPLETED))
    while len(failed := _failed_last(trials)) < MAX_FAILURES:
        if not (waiting := _those(trials, RUNNING)):
            if len(trials) >= config.trials:
                return None
            taken = [trial["seconds"] for trial in _those(trials, COMPLETED)]
            spent = earlier + time.monotonic() - begin
            if config.minutes and taken and spent + sum(taken) / len(taken) > 60 * config.minutes:
                return f"of {config.minutes:g} minutes {spent / 60:.1f} are spent"
            genotype = _proposal(config, prior, trials)
            if genotype is None:
                return "every architecture of the space has been proposed"
            number, figures = len(trials), dict.fromkeys((config.objective, "parameters", "seconds"))
            trial = {"trial": number + 1, "status": RUNNING, **figures}
            trials.append(trial | {"genotype": genotype.to_json(), "workdir": f"trials/{number:03d}"})
            waiting = trials[-1:]
        # In the file a trial is running from its start to its end, and so it is after a kill.
        write_json(path, {"prior": prior.digest(), "trials": trials})
        waiting[0] |= _train(config, waiting[0], path.parent, out)
        write_json(path, {"prior": prior.digest(), "trials": trials})
    return f"{len(failed)} trials in a row failed; the last one: {failed[0]['message']}"


def _proposal(config, prior, trials):
    """A function of the settings and the trials, so that a resumed tuning proposes what it would have proposed."""
    sign = 1 if config.better == "higher" else -1
    tried = [genotypes.from_json(trial["genotype"]) for trial in trials]
    values = [trial[config.objective] for trial in trials]
    scored = [(each, sign * value) for each, value in zip(tried, values, strict=True) if value is not None]
    random = np.random.default_rng([config.seed, len(tried)])
    found = propose(prior, config.temperature, tried, scored, config.refine, random)
    return found and genotype_from(values_from(found))  # the edges of each node in the order of their inputs


def _train(config, trial, path, out):
    """Trains a trial's genotype, or resumes its training.

    Returns:
        What the trial gains: its status, and its figures or why it failed as `message`.

    Raises:
        KeyboardInterrupt: The training was stopped, and has saved.
        UserError, OSError: A full disk, for example, which is not the trial's fault: the next start resumes it.
    """
    keras.backend.clear_session()
    gc.collect()  # the graph of the trial before
    begin = time.monotonic()
    genotype = genotypes.from_json(trial["genotype"]).to_text()
    streams.say(f"trial {trial['trial']} of {config.trials}: {genotype}", out)
    try:
        summary = train(config.training(genotype), path / trial["workdir"], out)
    except Exception as error:
        if isinstance(error, OSError) or (isinstance(error, UserError) and isinstance(error.__cause__, OSError)):
            raise
        message = str(error)
        if not isinstance(error, UserError):
            traceback.print_exc()
            message = one_line(error)
        streams.say(f"trial {trial['trial']} failed: {message}", out)
        return {"status": FAILED, "message": message}
    if summary is None:
        raise KeyboardInterrupt
    taken = max(time.monotonic() - begin, summary["seconds"])  # the latter where it was interrupted
    figures = {config.objective: summary[config.objective], "parameters": summary["parameters"], "seconds": taken}
    return {"status": COMPLETED, **figures}


def table(summary: dict[str, Any]) -> str:
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
