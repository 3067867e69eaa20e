"""The settings of every run, and of every search; see `fields` for the properties of a field."""

import dataclasses
import functools
import json

import numpy as np

from darts_tf.config.fields import FRACTION, SEED, Check, Config, above, at_least, between, in_group, one_of
from darts_tf.config.methods import MethodSettings
from darts_tf.genotypes import CONV_PRIMITIVES, KINDS
from darts_tf.genotypes import candidates as candidates_of

# Upper bounds of sizes are far beyond practical use, but low enough that lists of that length do no harm.
_weights, _architecture, _method = in_group("weights"), in_group("architecture"), in_group("method")
_devices, _run = in_group("memory and devices"), in_group("run")
_NAMES = Check(
    "at least 2 different names of operations",
    lambda value: len(value) >= 2 and len(set(value)) == len(value) and all(name.isidentifier() for name in value),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Config):
    """The settings of every run."""

    epochs: int = _weights(50, "passes over the training examples", between(1, 100_000))
    batch_size: int = _weights(64, "examples per batch", between(1, 1_000_000))
    learning_rate: float = _weights(0.025, "learning rate of the weights in the first epoch", above(0))
    accumulate: int = _devices(
        1,
        "micro-batches per batch, processed in turn to save memory; batch norm sees each on its own",
        at_least(1),
    )
    recompute: bool = _devices(
        False,
        "gradient checkpointing: recompute each cell, or time step, in the backward pass, to save memory",
        None,
        True,
    )
    precision: str = _devices(
        "float32",
        "type of activations and products: float32, bfloat16 or float16; variables, loss, optimisers stay float32",
        one_of("float32", "bfloat16", "float16"),
    )
    strategy: str = _devices(
        "none",
        "devices that share each batch: none = one, mirrored = all on this machine, multi_worker = all in TF_CONFIG",
        one_of("none", "mirrored", "multi_worker"),
        True,
    )
    replicas: int = _devices(
        0,
        "mirrored: number of devices; 0 = all GPUs; without a GPU the CPU is split into that many",
        between(0, 1024),
        True,
    )
    weight_decay: float = _weights(3e-4, "L2 decay of the weights, added to the clipped gradient", at_least(0))
    grad_clip: float = _weights(5.0, "global norm at which the weights' gradient is clipped; 0 = off", at_least(0))
    seed: int = _run(0, "seed for initial values, order of examples and augmentation", SEED)
    threads: int = _devices(0, "CPU threads for TensorFlow; 0 = all cores", between(0, 4096), True)
    steps_per_loop: int = _run(
        0, "steps between updates of the metrics; 0 = about one second's worth", at_least(0), True
    )
    jit_compile: bool = _devices(False, "compile the step with XLA: faster on some GPUs, slower on CPUs")
    checkpoint_minutes: float = _run(10.0, "minutes between checkpoints; each epoch also ends with one", above(0), True)
    keep_checkpoints: int = _run(2, "number of newest checkpoints to keep", at_least(1), True)
    tensorboard: bool = _run(True, "write TensorBoard files to the work directory", None, True)

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.batch_size % self.accumulate != 0,
            f"accumulate must divide batch_size={self.batch_size}, so that micro-batches are equal. "
            f"Received: accumulate={self.accumulate}",
        )
        self._refuse(
            self.jit_compile and self.strategy != "none",
            f"jit_compile must be off with strategy={self.strategy}, since XLA compiles for one device. "
            "Received: jit_compile=True",
        )
        self._refuse(
            self.replicas > 0 and self.strategy != "mirrored",
            f"replicas must be 0 unless strategy=mirrored; strategy={self.strategy} uses "
            f"{'one device' if self.strategy == 'none' else 'the devices of TF_CONFIG'}. "
            f"Received: replicas={self.replicas}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Run, MethodSettings):
    """The settings of every search: its cell, and how the alphas are trained."""

    num_nodes: int = _architecture(4, "intermediate nodes of a cell", between(1, 100))
    concat: int = _architecture(0, "number of last nodes that form the cell's output; 0 = all", at_least(0))
    primitives: tuple = _architecture(CONV_PRIMITIVES, "candidate operations, comma separated", _NAMES)
    candidates: str = _architecture(
        "all",
        "operations of each edge: all, or s1, s2, s3, s4 of RobustDARTS, or JSON {cell: [[names], ...]} or its file",
        is_path=True,
    )
    order: str = _method(
        "second",
        "order of the alphas' gradient: second = through one virtual step of the weights, first = without it",
        one_of("first", "second"),
    )
    hvp: str = _method(
        "finite_difference",
        "second order: Hessian-vector product by finite_difference, as in the paper, or exact",
        one_of("finite_difference", "exact"),
    )
    hvp_radius: float = _method(0.01, "radius of the finite difference, divided by the vector's norm", above(0))
    arch_learning_rate: float = _architecture(3e-4, "learning rate of the alphas' Adam", above(0))
    arch_beta1: float = _architecture(0.5, "decay of the first moment of the alphas' Adam", FRACTION)
    arch_beta2: float = _architecture(0.999, "decay of the second moment of the alphas' Adam", FRACTION)
    arch_epsilon: float = _architecture(1e-8, "epsilon of the alphas' Adam", above(0))
    arch_weight_decay: float = _architecture(1e-3, "L2 decay of the alphas, added to their gradient", at_least(0))
    alpha_init: str = _architecture(
        "normal",
        "initial alphas: normal, as in quark0/darts, or zeros, as in the paper",
        one_of("normal", "zeros"),
    )
    alpha_init_scale: float = _architecture(1e-3, "standard deviation of the initial alphas", at_least(0))
    warmup_epochs: int = _architecture(0, "epochs at the start in which the alphas are frozen", at_least(0))
    arch_bn_updates: bool = _method(
        False, "let the passes for the alphas update batch norm's running statistics, as quark0/darts does"
    )

    # Monitoring the alphas.
    eigenvalue: bool = _architecture(
        True, "log the dominant eigenvalue of the validation loss in alpha after every second epoch", None, True
    )
    early_stop: str = _architecture(
        "none",
        "eigenvalue = stop when it rises and return the earlier genotype, as RobustDARTS does; none = never",
        one_of("none", "eigenvalue"),
        True,
    )

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.concat > self.num_nodes,
            f"concat must be at most num_nodes={self.num_nodes}, or 0 for all nodes. Received: concat={self.concat}",
        )
        self._refuse(
            self.warmup_epochs > self.epochs,
            f"warmup_epochs must be at most epochs={self.epochs}. Received: warmup_epochs={self.warmup_epochs}",
        )
        self._settle_candidates()

    def _settle_candidates(self):
        """Replaces a file in `candidates` by its content, and limits `primitives` to those that some edge may have."""
        if (found := self._candidates()) is None:
            return
        if self.candidates not in candidates_of.NAMED:
            object.__setattr__(self, "candidates", json.dumps(found, separators=(",", ":")))
        object.__setattr__(self, "primitives", candidates_of.columns(found, self.primitives))

    def _candidates(self):
        space = getattr(self, "space", "")
        # An unknown space is refused on lookup.
        return candidates_of.read(self.candidates, KINDS[space], self.num_nodes) if space in KINDS else None

    @functools.cached_property
    def masks(self) -> dict[str, np.ndarray] | None:
        """Which operations each edge may have, by cell: `(num_edges, num_primitives)`; None for all."""
        found = self._candidates()
        return None if found is None else candidates_of.masks(found, self.primitives)
