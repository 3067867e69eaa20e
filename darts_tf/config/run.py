"""What every experiment has, and what every search has; see `fields` for what a field carries."""

import dataclasses

from darts_tf.config.fields import Check, Config, above, at_least, between, field, fraction, one_of
from darts_tf.genotypes import CONV_PRIMITIVES

# Upper bounds of sizes are far beyond what anybody has trained, and low enough that lists as long as that are no harm.
_MAX_SEED = 2**31 - 1


def _distinct_names() -> Check:
    return Check(
        "at least 2 names of operations, none twice",
        lambda value: len(value) >= 2 and len(set(value)) == len(value) and all(name.isidentifier() for name in value),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Config):
    """What every run has."""

    epochs: int = field(50, "passes over the training examples", between(1, 100_000))
    batch_size: int = field(64, "examples in a batch", between(1, 1_000_000))
    learning_rate: float = field(0.025, "learning rate of the weights in epoch 0", above(0))
    accumulate: int = field(
        1,
        "parts that a batch is computed in, one after the other, for want of memory; batch norm sees the parts",
        at_least(1),
    )
    recompute: bool = field(
        False,
        "compute each cell, or time step, again in the backward pass, for want of memory; may change on resume",
        None,
        True,
    )
    precision: str = field(
        "float32",
        "type of activations and products; variables, statistics, loss and optimisers stay float32",
        one_of("float32", "bfloat16", "float16"),
    )
    strategy: str = field(
        "none",
        "devices that share each batch: none = one; mirrored = all of this machine; multi_worker = of the machines in "
        "TF_CONFIG",
        one_of("none", "mirrored", "multi_worker"),
        True,
    )
    replicas: int = field(
        0,
        "how many devices mirrored takes; 0 = all GPUs; without a GPU so many pieces of the CPU",
        between(0, 1024),
        True,
    )
    weight_decay: float = field(3e-4, "L2 decay of the weights, added to the clipped gradient", at_least(0))
    grad_clip: float = field(5.0, "global norm at which the weights' gradient is clipped; 0 = off", at_least(0))
    seed: int = field(0, "seed of initial values, order of examples and augmentation", between(0, _MAX_SEED))
    threads: int = field(0, "CPU threads that TensorFlow may use; 0 = all cores", between(0, 4096), True)
    steps_per_loop: int = field(
        0, "steps between two looks at the metrics; 0 = chosen to take about a second", at_least(0), True
    )
    jit_compile: bool = field(False, "compile the step with XLA; pays on some GPUs, is slower on CPUs")
    checkpoint_minutes: float = field(
        10.0, "minutes between checkpoints within an epoch; there is one at each epoch's end", above(0), True
    )
    keep_checkpoints: int = field(2, "how many of the newest checkpoints are kept", at_least(1), True)
    tensorboard: bool = field(True, "write TensorBoard files into the work directory", None, True)

    def _check_together(self) -> None:
        super()._check_together()
        self._refuse(
            self.batch_size % self.accumulate != 0,
            f"accumulate must divide batch_size={self.batch_size}, so that the parts are equal. "
            f"Received: accumulate={self.accumulate}",
        )
        self._refuse(
            self.jit_compile and self.strategy != "none",
            f"jit_compile must be off with strategy={self.strategy}, since XLA compiles for one device. "
            "Received: jit_compile=True",
        )
        self._refuse(
            self.replicas > 0 and self.strategy != "mirrored",
            f"replicas is for strategy=mirrored; {self.strategy} has "
            f"{'one' if self.strategy == 'none' else 'what TF_CONFIG says'}. Received: replicas={self.replicas}",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Run):
    """What every search has: its cell, and how the alphas are trained."""

    num_nodes: int = field(4, "intermediate nodes of a cell", between(1, 100))
    concat: int = field(0, "how many of the last nodes form the cell's output; 0 = all", at_least(0))
    primitives: tuple = field(CONV_PRIMITIVES, "names of the candidate operations, comma separated", _distinct_names())
    order: str = field(
        "second",
        "gradient of the alphas: second = through one virtual step of the weights, first = without",
        one_of("first", "second"),
    )
    hvp: str = field(
        "finite_difference",
        "second order: the Hessian-vector product as in the paper, or exact by differentiating twice",
        one_of("finite_difference", "exact"),
    )
    hvp_radius: float = field(0.01, "radius of the finite difference, before division by the vector's norm", above(0))
    arch_learning_rate: float = field(3e-4, "learning rate of the alphas' Adam", above(0))
    arch_beta1: float = field(0.5, "decay of the first moment of the alphas' Adam", fraction())
    arch_beta2: float = field(0.999, "decay of the second moment of the alphas' Adam", fraction())
    arch_epsilon: float = field(1e-8, "epsilon of the alphas' Adam", above(0))
    arch_weight_decay: float = field(1e-3, "L2 decay of the alphas, added to their gradient", at_least(0))
    alpha_init: str = field(
        "normal",
        "alphas at the start: normal as in the original code, zeros as in the paper",
        one_of("normal", "zeros"),
    )
    alpha_init_scale: float = field(1e-3, "standard deviation of the alphas at the start", at_least(0))
    warmup_epochs: int = field(0, "epochs at the start in which the alphas are frozen", at_least(0))
    arch_bn_updates: bool = field(
        False, "let the passes for the alphas move batch norm's running statistics, as the original code does"
    )

    method: str = field(
        "darts", "search method: darts, or one that Python code has added", Check("a name", str.isidentifier)
    )

    # Watching over them.
    eigenvalue: bool = field(
        True, "log the dominant eigenvalue of the validation loss in alpha after every second epoch", None, True
    )
    early_stop: str = field(
        "none",
        "eigenvalue = stop when the dominant eigenvalue rises, with the genotype from before, as RobustDARTS does",
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
