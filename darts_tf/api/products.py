"""Tunings, protocols, exports and reports as functions; each is what its command runs."""

import inspect
import os
import pathlib
from collections.abc import Sequence
from typing import Any, TextIO

from darts_tf.api.runs import PRINT, check_words, of_preset, say_to, stream_of
from darts_tf.config.protocol import ComparisonConfig, ProtocolConfig
from darts_tf.config.tuning import LanguageTuneConfig, TuneConfig
from darts_tf.system.types import Path

_OWN = {"workdir", "export_dir", "data", "say"}  # of the arguments of `exporting.export`


def tune(
    config: TuneConfig | LanguageTuneConfig | str,
    workdir: Path,
    data: Any = None,
    prior: Path | None = None,
    out: TextIO | None = PRINT,
    **settings: Any,
) -> dict[str, Any] | None:
    """Trains proposed genotypes and keeps the best; the same call resumes an interrupted tuning.

    Args:
        config: The settings, or the name of a preset such as `cifar10_tune_small`.
        workdir: Path of the work directory.
        data: See `train`.
        prior: Source of the proposals: the result of a search, or any value of `config.prior`, which it replaces.
        out: Stream for progress lines; standard output by default, None for no output.
        **settings: Settings to change.

    Returns:
        The contents of `summary.json`, see `tuner.tuning.tune`; None when it was interrupted.

    Raises:
        UserError: See `tuner.tuning.tune`.

    Example:
        >>> import darts_tf
        >>> small = dict(dataset="digits", max_train_examples=200, init_channels=4, num_cells=3, epochs=1)
        >>> tuned = darts_tf.tune("cifar10_tune_small", "runs/tuned", algorithm="random", trials=2, out=None, **small)
        >>> best = darts_tf.load("runs/tuned/" + tuned["best"]["workdir"])
        >>> best["valid_accuracy"] == tuned["best"]["valid_accuracy"]
        True
    """
    from darts_tf.tuner.tuning import tune as run  # keras-tuner takes seconds to import

    if prior is not None:
        settings["prior"] = prior
    return run(of_preset(config, (TuneConfig, LanguageTuneConfig), settings), workdir, stream_of(out), data)


def protocol(
    config: ProtocolConfig | ComparisonConfig | str, workdir: Path, out: TextIO | None = PRINT, **settings: Any
) -> dict[str, Any] | None:
    """Runs a protocol, the paper's or a comparison of methods; the same call resumes an interrupted one.

    Args:
        config: The settings, or the name of a preset such as `digits_protocol`.
        workdir: Path of the protocol's directory.
        out: As for `tune`.
        **settings: Settings to change.

    Returns:
        The contents of `protocol.json` or `comparison.json`; None when it was interrupted.

    Raises:
        UserError: See `protocol.protocol.run` and `protocol.comparison.run`.

    Example:
        >>> import darts_tf
        >>> small = dict(methods=("darts",), num_seeds=1, overrides=("dataset=digits", "epochs=1"))
        >>> compared = darts_tf.protocol("nasbench201_methods", "runs/methods", out=None, **small)
        >>> compared["benchmark"]
        'cifar10'
    """
    from darts_tf.protocol import comparison
    from darts_tf.protocol import protocol as paper

    own = of_preset(config, (ProtocolConfig, ComparisonConfig), settings)
    run: Any = comparison.run if isinstance(own, ComparisonConfig) else paper.run
    return run(own, workdir, say_to(out))


def export(workdir: Path, export_dir: Path, data: Any = None, out: TextIO | None = PRINT, **asked: Any) -> pathlib.Path:
    """Exports a trained network for TensorFlow Serving, and checks that the export computes the same.

    Args:
        workdir: Work directory of a training, or what `train` has returned.
        export_dir: Folder of models.
        data: The data that were passed to `train`, if any; a part of them suffices.
        out: As for `tune`.
        **asked: `name`, `version`, `keep`, `formats`, `weights`, `data_dir`, `operations_file`: see
            `export.exporting.export`.

    Returns:
        The published folder.

    Raises:
        UserError: See `export.exporting.export`.

    Example:
        >>> import darts_tf
        >>> trained = darts_tf.train("smoke_train", "runs/trained", genotype="DARTS_V1", epochs=1, out=None)
        >>> darts_tf.export(trained, "exports", name="digits", version=3, out=None).name
        '3'
    """
    from darts_tf.export import exporting

    check_words("export", asked, inspect.signature(exporting.export).parameters.keys() - _OWN)
    return exporting.export(workdir, export_dir, say=say_to(out), data=data, **asked)


def report(workdirs: Path | Sequence[Path], path: Path = "report.html", nasbench201: str = "") -> pathlib.Path:
    """Writes one self-contained page about runs of any kind, finished or not.

    Args:
        workdirs: Work directories, or results; one or several, which are compared.
        path: Path of the HTML file.
        nasbench201: Data set whose true accuracies are plotted, see `report.page.write_report`; empty for none.

    Returns:
        The path.

    Raises:
        UserError: See `report.page.write_report`.

    Example:
        >>> import darts_tf
        >>> found = darts_tf.search("smoke", "runs/found", order="first", epochs=1, out=None)
        >>> darts_tf.report(found, "report.html").name
        'report.html'
    """
    from darts_tf.report.page import write_report

    if isinstance(workdirs, str | os.PathLike) or not isinstance(workdirs, Sequence):
        workdirs = [workdirs]
    return write_report(workdirs, path, nasbench201)
