"""A tuning from its settings to the best genotype: each trial is a training in its own directory."""

import contextlib
import gc
import logging
import sys
import time
import traceback
from typing import Any

import keras
import numpy as np

from darts_tf import genotypes, spaces
from darts_tf.config.tuning import IN_FULL, LanguageTuneConfig, TuneConfig
from darts_tf.engine.hparams import Entry, write_hparams
from darts_tf.engine.repeats import as_one_run, once
from darts_tf.runs import scores
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system import streams
from darts_tf.system.errors import UserError, one_line
from darts_tf.system.types import Path
from darts_tf.tasks import domains
from darts_tf.tasks.train import train
from darts_tf.tuner.halving import from_prior, next_job
from darts_tf.tuner.prior import load_prior
from darts_tf.tuner.proposals import propose
from darts_tf.tuner.space import Space, genotype_from, values_from
from darts_tf.tuner.trials import COMPLETED, FAILED, MAX_FAILURES, RUNNING, Trials


@contextlib.contextmanager
def _no_advice_on_retracing():
    """TensorFlow counts a method's graphs over all objects, and warns at the fifth; each trial has its own network."""
    logger, keep = logging.getLogger("tensorflow"), lambda record: "retracing" not in record.getMessage()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def tune(
    config: TuneConfig | LanguageTuneConfig, workdir: Path, out: Any = None, data: Any = None
) -> dict[str, Any] | None:
    """Trains proposed genotypes one after the other, or resumes an interrupted tuning in the same directory.

    If `config.algorithm` compares trials after a few epochs, promoted trials continue from their checkpoints, bit for
    bit as if they had never paused.

    Writes `trials/NNN/`, a training's work directory for each trial, `prior.npz`, `trials.json` (the state of the
    tuning), `summary.json` and, for the best trial, `genotype.json` and its drawings in `plots/`; `tensorboard/` has
    the trials for TensorBoard's HParams. The best trial is the one with the best accuracy or perplexity on validation
    data; test data are not used.

    Args:
        config: A `TuneConfig` or a `LanguageTuneConfig`.
        workdir: Path of the work directory.
        out: Stream for progress lines, by default standard output.
        data: Data to train on instead of the data that `config` names, see `domains.of`.

    Returns:
        The contents of `summary.json`: `metric` and `better`, how trials are compared; `trials` in the order of their
        starts, each with `trial`, `status`, `genotype`, `valid_accuracy` or `valid_perplexity` (of its best epoch so
        far), `parameters`, `macs` (for images), `seconds`, `workdir`, `epochs`, `rungs` (pairs of epochs and value at
        which it was compared) and, if it failed, `message`; `best`, one of those that were trained longest or None;
        `stopped_because`, None after all trials. Or None if the tuning was interrupted: the same call resumes it.

    Raises:
        UserError: Bad settings, prior, data or work directory, a file that cannot be written, or too many failed trials
            in a row; one line.
        OSError: The same, if the operating system's message is sufficient.
    """
    out = sys.stdout if out is None else out
    with as_one_run():
        return _tune(domains.given(config, data), workdir, out, data, once(lambda line: streams.say(line, out)))


def _tune(config, workdir, out, data, say):
    directory = WorkDir(workdir)
    domains.of(config, data).load(say)  # an error in the data is not a trial's fault
    saved = directory.path / "prior.npz"
    own = config.primitives and config.prior == "uniform"  # other priors bring their own
    space = Space.of(config.space, primitives=config.primitives) if own else None
    # The search may have continued or been removed since.
    prior = load_prior(saved if saved.exists() else config.prior, space, config.space, say)
    add_operations(getattr(config, "operations_file", ""))
    known = spaces.get(config.space).operations
    for name in prior.space.operations:
        if name not in known:
            raise UserError(
                f"The proposals have an unknown operation. Expected {', '.join(known)}. Received: {name!r}."
            )
    with directory:
        directory.open_for(config, say, ("plots",), lambda: _refuse_earlier_version(directory.path))
        prior.save(saved)
        state = Trials(config, prior.digest(), directory.path / "trials.json")
        state.read()
        try:
            with _no_advice_on_retracing():
                stopped_because = _run(config, prior, state, out, data)
        except KeyboardInterrupt:
            say("stopped; the same command or call resumes it")
            return None
        best = state.best()
        summary = {"metric": config.metric, "better": config.better}
        summary |= {"best": best, "trials": state.trials, "stopped_because": stopped_because}
        write_json(directory.path / "summary.json", summary)
        if config.tensorboard:
            write_hparams(directory.path, [_entry(trial, config.objective) for trial in state.trials])
        if best:
            genotype = genotypes.from_json(best["genotype"])
            genotypes.save(genotype, directory.path / "genotype.json")
            draw(genotype, directory.plots, say)
    if len(state.failed_last()) >= MAX_FAILURES:
        say(table(summary))
        raise UserError(
            f"{stopped_because.rstrip('.')}. Once that is fixed outside of the settings (a file, memory), the same "
            "command runs these trials again; other settings need another work directory."
        )
    return summary


def _entry(trial, objective):
    """A trial as TensorBoard shows it; the setting `epochs` is the number of epochs trained."""
    done = trial["status"] == COMPLETED
    results = {key: trial.get(key) for key in (objective, "parameters", "macs", "seconds")} if done else {}
    return Entry(trial["workdir"], results, {"epochs": trial["epochs"]})


def _refuse_earlier_version(path):
    if (path / "tuner" / "oracle.json").exists() and not (path / "trials.json").exists():
        raise UserError(
            f"{path} holds a tuning run started by an earlier version, which this version cannot resume. Expected "
            "trials.json. Received: tuner/oracle.json. Its trials are training runs in trials/; choose another "
            "work directory"
        )


def _run(config, prior, state, out, data):
    """Runs trials until a limit is reached; returns which, None after all trials."""
    begin, limit, used_up = time.monotonic(), config.trials, None
    earlier = sum(trial["seconds"] or 0 for trial in state.trials)
    while len(failed := state.failed_last()) < MAX_FAILURES:
        if not state.those(RUNNING):
            job = next_job(config.algorithm, limit, config.reduction_factor, config.rungs, state.scores())
            if job is None:
                return used_up
            epochs, is_new = config.rung_epochs[job.rung], job.trial == len(state.trials)
            more = epochs - (0 if is_new else state.trials[job.trial]["epochs"])
            if reason := _spent(config, state, earlier + time.monotonic() - begin, more):
                return reason
            if is_new:
                genotype = _proposal(config, prior, state)
                if genotype is None:
                    used_up, limit = "every architecture of the space has been proposed", len(state.trials)
                    if not limit:
                        return used_up
                    continue
                state.add(genotype)
            state.trials[job.trial] |= {"status": RUNNING, "epochs": epochs}
        trial = state.those(RUNNING)[0]
        state.write()
        trial |= _train(config, trial, state.path.parent, out, data)
        state.ended.append([trial["trial"], trial["status"]])
        state.write()
    return f"{len(failed)} trials in a row failed; the last one: {failed[0]['message']}"


def _spent(config, state, seconds, epochs):
    """Returns a line if a training of some more epochs would exceed a budget; otherwise None."""
    done = state.those(COMPLETED)
    total = sum(trial["epochs"] for trial in state.trials)
    if config.budget_epochs and total + epochs > config.budget_epochs:
        reason = f"{total} of {config.budget_epochs} epochs are spent"
    elif config.minutes and done:
        each = sum(trial["seconds"] for trial in done) / sum(trial["epochs"] for trial in done)
        if seconds + each * epochs <= 60 * config.minutes:
            return None
        reason = f"{seconds / 60:.1f} of {config.minutes:g} minutes are spent"
    else:
        return None
    best = state.best()
    if best and best["epochs"] < config.epochs:
        reason += f"; the best trial has been trained for {best['epochs']} of {config.epochs} epochs"
    return reason


def _proposal(config, prior, state):
    """Returns a proposal, a function of the settings and the trials, so a resumed tuning makes the same proposals."""
    sign = 1 if config.better == "higher" else -1
    tried = [genotypes.from_json(trial["genotype"]) for trial in state.trials]
    values = [trial[config.objective] for trial in state.trials]
    scored = [(each, sign * value) for each, value in zip(tried, values, strict=True) if value is not None]
    rate = config.refine if config.algorithm == "refine" else 0.0
    if not from_prior(len(tried), config.random_share):
        prior, rate = load_prior(None, prior.space), 0.0
    random = np.random.default_rng([config.seed, len(tried)])
    found = propose(prior, config.temperature, tried, scored, rate, random)
    return found and genotype_from(values_from(found))  # the edges of each node in the order of their inputs


def _train(config, trial, path, out, data):
    """Trains a trial's genotype for the epochs due, or resumes its training.

    Returns:
        Entries to add to the trial: its status, and its figures, or the reason of failure as `message`.

    Raises:
        KeyboardInterrupt: The training was stopped, and has saved.
        UserError, OSError: For example a full disk, which is not the trial's fault: the next start resumes it.
    """
    keras.backend.clear_session()
    gc.collect()  # frees the graph of the previous trial
    begin, epochs, earlier = time.monotonic(), trial["epochs"], trial["rungs"]
    genotype, part = genotypes.from_json(trial["genotype"]).to_text(), {}
    about = f"trial {trial['trial']} of {config.trials}"
    if config.algorithm not in IN_FULL:
        about += f", epochs {earlier[-1][0] + 1 if earlier else 1} to {epochs} of {config.epochs}"
        part = {"until": epochs} if epochs < config.epochs else {}
    streams.say(f"{about}: {genotype}", out)
    try:
        summary = train(config.training(genotype), path / trial["workdir"], out, data=data, **part)
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
    taken = (trial["seconds"] or 0) + time.monotonic() - begin
    value = summary[config.objective]
    figures = {config.objective: value, "parameters": summary["parameters"], "macs": summary.get("macs")}
    figures["seconds"] = max(taken, summary["seconds"])  # the latter if it was interrupted
    return {"status": COMPLETED, **figures, "rungs": [*earlier, [epochs, value]]}


def table(summary: dict[str, Any]) -> str:
    """Returns the trials as lines of text: the best one marked, and those on the Pareto fronts of value over cost."""
    metric, better, trials = summary["metric"], summary["better"], summary["trials"]
    done = [trial for trial in trials if trial["status"] == COMPLETED]
    columns = [(f"validation {metric}", 0, lambda trial: scores.shown(trial[f"valid_{metric}"], metric))]
    if len({trial.get("epochs") for trial in done}) > 1:
        columns.append(("epochs", 8, lambda trial: f"{trial['epochs']}"))
    columns.append(("parameters", 12, lambda trial: f"{trial['parameters']:,.0f}"))
    costs = {"parameters": "parameters"}
    if done and all(trial.get("macs") for trial in done):
        costs["macs"] = "multiply-adds"
        columns.append(("multiply-adds", 15, lambda trial: f"{trial['macs'] / 1e6:,.1f} M"))
    columns.append(("seconds", 9, lambda trial: f"{trial['seconds']:.0f}"))
    fronts: dict[int, list[str]] = {}
    for cost, name in costs.items():
        spent, reached = ([trial[key] for trial in done] for key in (cost, f"valid_{metric}"))
        for index in scores.front(spent, reached, better):
            fronts.setdefault(done[index]["trial"], []).append(name)
    widths = [max(width, len(heading)) for heading, width, _ in columns]
    headings = [heading.rjust(width) for (heading, _, _), width in zip(columns, widths, strict=True)]
    lines = ["trial  " + "".join(headings) + "  Pareto front for"]
    for trial in trials:
        start = f"{trial['trial']:5d}  "
        if trial["status"] != COMPLETED:
            lines.append(f"{start}{trial['status']}: {trial.get('message', '')}".rstrip(": "))
            continue
        cells = [value(trial).rjust(width) for (_, _, value), width in zip(columns, widths, strict=True)]
        front = ", ".join(fronts.get(trial["trial"], []))
        lines.append((start + "".join(cells) + f"  {front}").rstrip() + (" *" if trial == summary["best"] else ""))
    if summary["stopped_because"]:
        lines.append(f"no further trials: {summary['stopped_because']}")
    return "\n".join(lines)
