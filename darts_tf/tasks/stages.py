"""P-DARTS' stages: a driver above the search, which runs each stage in a folder and drops candidates in between."""

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from darts_tf import genotypes
from darts_tf.cluster.distribution import Distribution, same
from darts_tf.config import Search
from darts_tf.genotypes import Genotype
from darts_tf.methods.p_darts import NAME, pruned
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.scratch import scratch
from darts_tf.system.streams import silent
from darts_tf.system.types import Path

One = Callable[[Any, Path], tuple[Genotype, Mapping[str, np.ndarray]] | None]


def staged(config: Search) -> bool:
    """Whether a search consists of several stages, all of which are to run."""
    return NAME in config.method.split(",") and not config.p_darts_stage


def run(
    config: Search, workdir: Path, one: One, say: Callable[[str], None], distribution: Distribution | None = None
) -> Genotype | None:
    """Runs the stages, each in `stage_N` of the work directory; the last one's genotype is the result.

    A stage begins with new weights and new alphas. A completed stage does not run again, and an interrupted one
    resumes: its result is a function of its settings, and so are the candidates of the next.

    Args:
        config: The settings of the search, with the method `p_darts`.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        one: Runs one stage in a folder; returns its genotype and the strength of each operation, or None if
            interrupted.
        say: Called with lines for the user.
        distribution: Of several processes only the chief uses the work directory, and decides what is dropped.

    Raises:
        UserError: As in a search.
    """
    with contextlib.ExitStack() as stack:
        if distribution is not None and distribution.worker:
            workdir, say = stack.enter_context(scratch()), silent
        directory = stack.enter_context(WorkDir(workdir))
        directory.open_for(config, say, ("plots",))
        stages, candidates = config.p_darts_stages, config.candidates
        for stage, (cells, keep) in enumerate(stages, 1):
            # Before the last stage an edge may have few candidates other than skip connections.
            limits = {} if stage == len(stages) else {"max_skips": -1, "max_parameter_free": -1}
            own = config.replace(p_darts_stage=stage, num_cells=cells, candidates=candidates, **limits)
            say(f"stage {stage} of {len(stages)}: {cells} cells, at most {keep} candidates per edge")
            found = one(own, directory.path / f"stage_{stage}")
            if found is None:
                return None
            genotype, strength = found
            if stage < len(stages):
                left = following(own, strength, stages[stage][1])
                candidates = same(distribution, {"candidates": left})["candidates"]
        genotypes.save(genotype, directory.path / "genotype.json")
        draw(genotype, directory.plots, say)
    return genotype


def following(config: Search, strength: Mapping[str, np.ndarray], keep: int) -> str:
    """Returns the `candidates` of the next stage, given the settings of a stage and the strength of its operations."""
    alive = config.masks or {cell: np.ones(rows.shape, bool) for cell, rows in strength.items()}
    left = pruned(strength, alive, keep)
    names = {cell: [[*np.array(config.primitives)[own]] for own in rows] for cell, rows in left.items()}
    return json.dumps(names)
