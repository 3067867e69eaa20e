"""The page: a comparison of several runs, then each of them."""

import pathlib
from collections.abc import Sequence

from darts_tf.report import runs, sections, truth
from darts_tf.report.film import SCRIPT
from darts_tf.report.markup import Html, tag
from darts_tf.report.style import STYLE
from darts_tf.system.errors import UserError
from darts_tf.system.files import user_path, write_atomically
from darts_tf.system.types import Path
from darts_tf.system.version import __version__


def write_report(workdirs: Sequence[Path], path: Path, nasbench201: str = "") -> pathlib.Path:
    """Writes one self-contained page about runs of any kind, finished or not; it needs no network and no script.

    A script, `film.SCRIPT`, steps through the cells of a search; without it the last ones are shown.

    Args:
        workdirs: Work directories of searches, trainings, tunings and protocols; several are compared.
        path: Path of the HTML file.
        nasbench201: A data set of `genotypes.benchmark` whose true accuracies are plotted; empty for none.

    Returns:
        The path.

    Raises:
        UserError: A directory is missing or not a work directory, a file is damaged, `path` is a directory, or no run
            has a true accuracy; one line.
        OSError: The file cannot be written.

    Example:
        >>> import darts_tf
        >>> found = darts_tf.search("smoke", "runs/found", order="first", epochs=1, out=None)
        >>> darts_tf.report.write_report([found], "page.html").name
        'page.html'
    """
    folders, file = [user_path(each, "workdir") for each in workdirs], user_path(path, "output")
    if not folders:
        raise UserError("No work directory. Expected one or more, such as runs/digits_search. Received: none")
    if file.is_dir():
        raise UserError(f"The output must be a file. Expected one such as report.html. Received: the directory {file}")
    found = [runs.read(each, name) for each, name in zip(folders, runs.names(folders), strict=True)]
    truth.check(found, nasbench201)
    return write_atomically(file, page(found, nasbench201))


def page(found: Sequence[runs.Run], nasbench201: str = "") -> str:
    """Returns the page about runs as HTML, see `write_report`."""
    title = " · ".join(run.name for run in found) if len(found) > 1 else f"{found[0].name}: {found[0].kind}"
    body = [tag("h1", title)]
    if len(found) > 1:
        body.append(sections.comparison(found, nasbench201))
    body += [tag("section", sections.run(each, len(found) > 1, nasbench201)) for each in found]
    if any('class="film"' in part for part in body):
        body.append(tag("script", SCRIPT))
    body.append(tag("p", f"Written by darts_tf {__version__}.", class_="note"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", *body), lang="en") + "\n"
