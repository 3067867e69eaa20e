"""The search for a cell, from a config to a genotype."""

import numpy as np

from darts_tf.system.keras_settings import keras, tf
from darts_tf import genotypes
from darts_tf.bilevel import optimizers
from darts_tf.bilevel.step import SearchStep
from darts_tf.cluster import agreement, distribution
from darts_tf.data import sources as images
from darts_tf.engine import memory
from darts_tf.engine.console import printer
from darts_tf.engine.loop import steps_in_graph
from darts_tf.engine.session import run, session
from darts_tf.passes.loss_scale import reported
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.conv.operations import OPERATIONS
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system.errors import UserError
from darts_tf.tasks.evaluation import Evaluator
from darts_tf.tasks.image_facts import check_data_facts, save_data_facts
from darts_tf.tasks.searching import Searching, order_of

TRAIN_SEED, VALID_SEED = 0, 1  # distinct streams of one run's seed


def build_supernet(config, image_shape, num_classes: int) -> ConvSupernet:
    """Builds the supernet of a config; its start values are a function of `config.seed`."""
    add_operations(config.operations_file)
    keras.utils.set_random_seed(config.seed)
    return ConvSupernet(
        num_classes,
        image_shape,
        config.init_channels,
        config.num_cells,
        config.num_nodes,
        config.concat,
        config.stem_multiplier,
        config.primitives,
        config.alpha_init,
        config.alpha_init_scale,
    )


def load_data(config):
    """Loads a config's images; returns `(dataset, division)`, an `ImageDataset` and a `split.Division`.

    Raises:
        UserError: The data are missing or bad, or a part has fewer examples than a batch.
    """
    dataset = images.load_for(config)
    division = images.divide(dataset, config, ("train the weights", "train the alphas"))
    for part, name in ((division.train, "weights"), (division.held_out, "alphas")):
        if len(part) < config.batch_size:
            own = name == "alphas" and division.of == "valid"
            raise UserError(
                f"The batch is larger than the part of the data that trains the {name}, {len(part)} examples. "
                f"Received: batch_size={config.batch_size}. Use a smaller --batch_size or more examples"
                + (", or --validation=train, which takes a part of the training images instead." if own else ".")
            )
    return dataset, division


class SearchTask(Searching):
    """One search on images as the loop sees it, see `loop.Task`.

    Args:
        config: A `SearchConfig`.
        data: What `load_data` returns.
        workdir: An opened `WorkDir`.
        reporter: A `Reporter`.
        distribution: See `step.passes`.
    """

    cells, inputs, first_label = ("normal", "reduction"), ("c_{k-2}", "c_{k-1}"), 0

    def __init__(self, config, data, workdir, reporter, distribution=None):
        super().__init__(config, workdir, reporter, distribution)
        self.dataset, self.division = data
        self.epoch_steps = [len(self.division.train) // config.batch_size] * config.epochs
        # In random order: batch norm may take the statistics of the batches, which must not be those of single classes.
        held_out = np.random.default_rng(config.seed).permutation(self.division.held_out)
        self._watched = images.sample(self.division.split.labels, held_out, config.valid_examples, config.seed)
        self.supernet = build_supernet(config, self.dataset.image_shape, len(self.dataset.class_names))
        self.step = SearchStep(self.supernet, config, distribution=distribution)
        self.variables = self.step.variables
        self._loops, self._evaluator = {}, Evaluator(self._forward)

    def rate(self, epoch: int) -> float:
        """Returns the learning rate of the weights in an epoch (from 0)."""
        c = self.config
        return optimizers.cosine_rate(epoch, c.epochs, c.learning_rate, c.learning_rate_min)

    def describe_data(self) -> dict:
        """See `agreement.of_images`."""
        return agreement.of_images(self.dataset, self.division.train, self.division.split, self.division.held_out)

    def start(self, step: int) -> None:
        """Opens the two streams, each a pure function of (seed, step)."""
        c, d = self.config, self.dataset
        self.iterators = [
            iter(
                images.stream(
                    split,
                    indices,
                    c.batch_size,
                    2 * c.seed + stream,
                    step,
                    mean=d.mean,
                    std=d.std,
                    crop_padding=c.crop_padding,
                    flip=c.flip,
                    cutout=c.cutout,
                )
            )
            for split, indices, stream in (
                (d.train, self.division.train, TRAIN_SEED),
                (self.division.split, self.division.held_out, VALID_SEED),
            )
        ]

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes steps; the first call builds the graph, and says so."""
        moves = epoch >= self.config.warmup_epochs
        rate = tf.constant(self.rate(epoch), self.supernet.compute_dtype)
        if moves not in self._loops:
            self._loops[moves] = self._build(moves, rate)
        report = self._loops[moves](self.iterators, tf.constant(count), rate)
        return {name: value.numpy() for name, value in report.items()}

    def _build(self, moves, rate):
        def step(train_batch, valid_batch, rate):
            return self.step(train_batch, valid_batch, rate, moves)

        names = ["loss", "correct", "gradient_norm"] + (["valid_loss"] if moves else [])
        names += reported(self.config.precision)
        run = steps_in_graph(step, names, self.config.jit_compile)
        with self.reporter.working("building the graph", "graph built"):
            built = run.get_concrete_function(self.iterators, tf.constant(1), rate)
        memory.tell(self.reporter.message, built, self.variables, self.config, distribution=self.distribution)
        return run

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """Means over steps and examples."""
        steps = sums["steps"]
        metrics = {
            "train_loss": sums["loss"] / steps,
            "train_accuracy": sums["correct"] / (steps * self.config.batch_size),
            "gradient_norm": sums["gradient_norm"] / steps,
        }
        if "valid_loss" in sums:
            metrics["arch_loss"] = sums["valid_loss"] / steps
        return metrics

    def _forward(self, batch):
        net = self.supernet
        if self.config.bn_eval == "batch":
            return net.stateless(*[[v.value for v in g] for g in (net.weight_variables, net.arch_variables)], batch)[0]
        return net(batch, training=False)

    def evaluate(self) -> dict[str, float]:
        """Returns loss and accuracy of the supernet on the part that trains the alphas, without augmentation.

        Deviation: the original augments here too. It is no estimate of what a derived network reaches.
        """
        c, d = self.config, self.dataset
        batches = images.evaluation_batches(self.division.split, self._watched, c.batch_size, mean=d.mean, std=d.std)
        found = self._evaluator(batches)
        return {"valid_loss": found["loss"], "valid_accuracy": found["accuracy"]}

    def curvature_batch(self):
        """Returns a batch from all over the part, whose order may be that of the classes."""
        c, d, indices = self.config, self.dataset, self.division.held_out
        chosen = indices[np.arange(c.batch_size) * len(indices) // c.batch_size]
        (batch,) = images.evaluation_batches(self.division.split, chosen, c.batch_size, mean=d.mean, std=d.std)
        return batch

    def derive(self):
        """Returns the genotype of the present alphas."""
        return genotypes.derive_conv(*self.alphas, self.config.primitives, self.config.num_nodes, self.concat)


def search(config, workdir, out=None, tensorboard=None):
    """Searches a cell, or goes on with an interrupted search in the same work directory.

    Args:
        config: A `SearchConfig`.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Returns:
        The genotype, or None when it was interrupted: the same call goes on.

    Raises:
        UserError: Bad settings, data or work directory, a full disk, or a loss that is not finite; one line.
    """
    shared = distribution.of(config)
    add_operations(config.operations_file)
    for name in config.primitives:
        if name not in OPERATIONS:
            raise UserError(f"Unknown primitive. Expected some of: {', '.join(OPERATIONS)}. Received: {name!r}.")
    printer(out)(f"reading the images of {config.data_dir or config.dataset} ...")
    data = load_data(config)
    dataset, division = data
    total = config.epochs * (len(division.train) // config.batch_size)

    def build(directory, reporter):
        return SearchTask(config, data, directory, reporter, shared)

    def check(directory):
        check_data_facts(directory.path, dataset, division)

    opened = session(config, workdir, total, "supernet", build, "supernet validation", out, tensorboard, shared, check)
    with opened as (task, directory, reporter):
        save_data_facts(directory.path, dataset, division)
        for line in dataset.notes + division.warnings:
            reporter.message(line)
        size = sum(int(np.prod(v.shape)) for v in task.supernet.weight_variables)
        reporter.message(
            f"{dataset.name}: {len(division.train)} examples train the weights, {len(division.held_out)} the alphas; "
            f"{len(dataset.class_names)} classes of {'x'.join(map(str, dataset.image_shape))} images; supernet of "
            f"{size:,} weights; {total} steps, {order_of(config)}"
        )
        if run(task, directory, config, reporter, shared) is None:
            return None
        return task.finish()
