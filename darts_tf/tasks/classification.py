"""Training a derived network on images, from a genotype to a network that can be evaluated and exported."""

import contextlib
import math
import time

import numpy as np

from darts_tf.system.keras_settings import keras, tf
from darts_tf import genotypes
from darts_tf.bilevel import optimizers
from darts_tf.bilevel.step import TrainStep
from darts_tf.cluster import agreement, distribution
from darts_tf.cluster.distribution import same
from darts_tf.data import sources as images
from darts_tf.data.images import augment
from darts_tf.engine import memory
from darts_tf.engine.console import printer
from darts_tf.engine.loop import steps_in_graph
from darts_tf.engine.session import run, session
from darts_tf.passes.loss_scale import reported
from darts_tf.runs.drawing import draw
from darts_tf.runs.workdir import write_json
from darts_tf.spaces.conv.derived import CifarNetwork, ImageNetNetwork
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system.errors import UserError
from darts_tf.tasks.evaluation import Evaluator
from darts_tf.tasks.image_facts import check_data_facts, save_data_facts
from darts_tf.tasks.trained import load_network, save_network

NETWORKS = {"cifar": CifarNetwork, "imagenet": ImageNetNetwork}


def build_network(config, image_shape, num_classes: int):
    """Builds the derived network of a config; its start values are a function of `config.seed`."""
    add_operations(config.operations_file)
    keras.utils.set_random_seed(config.seed)
    return NETWORKS[config.network](
        config.genotype, num_classes, image_shape, config.init_channels, config.num_cells, config.auxiliary
    )


class Data:
    """The images of a run: what it trains on, what it watches, what it is tested on in the end.

    Args:
        config: A `TrainConfig`.

    Attributes:
        dataset: An `ImageDataset`.
        train_indices: Into `dataset.train`.
        division: A `split.Division`, or None where no images validate.
        watched: `(name, split, indices)`: "validation" images, which the data bring or which are kept apart from the
            training images; or the "test" images where there are none, as in the original.
        notes: Lines for the user.

    Raises:
        UserError: The data are missing or bad, or there is nothing to watch.
    """

    def __init__(self, config):
        self.dataset = d = images.load_for(config)
        augment.check_jitter(d.image_shape[-1], config.color_jitter)
        self.division, self.train_indices, self.notes = None, np.arange(len(d.train)), list(d.notes)
        if config.train_portion < 1 or (d.valid is not None and config.validation == "auto"):
            self.division = found = images.divide(d, config, ("train", "validate"))
            self.train_indices = found.train
            self.watched = "validation", found.split, found.held_out
            self.notes += found.warnings
            if found.of == "valid" and config.train_portion < 1:
                self.notes.append(
                    f"train_portion={config.train_portion:g} has no effect, since the data bring validation images; "
                    "--validation=train takes a part of the training images instead"
                )
        elif d.test is None:
            raise UserError(
                f"{d.name} has no {'test' if d.valid else 'validation and no test'} images, so that nothing would tell "
                "how good the network is. Expected --train_portion below 1, which keeps some training images apart"
                f"{', or --validation=auto' if d.valid else ''}. Received: train_portion=1.0."
            )
        else:
            self.watched = "test", d.test, np.arange(len(d.test))
        name, split, indices = self.watched
        self.watched = name, split, images.sample(split.labels, indices, config.valid_examples, config.seed)
        if len(self.train_indices) < config.batch_size:
            raise UserError(
                f"The batch is larger than the training part of the data, {len(self.train_indices)} examples. "
                f"Received: batch_size={config.batch_size}. Use a smaller --batch_size or more examples."
            )


class TrainTask:
    """One training as the loop sees it, see `loop.Task`.

    Args:
        config: A `TrainConfig`.
        data: A `Data`.
        workdir: An opened `WorkDir`.
        reporter: A `Reporter`.
        distribution: See `step.passes`.
    """

    max_rollbacks = rollbacks = 0
    finished = False

    def __init__(self, config, data, workdir, reporter, distribution=None):
        self.config, self.data, self.workdir, self.reporter = config, data, workdir, reporter
        self.distribution = distribution
        self.epoch_steps = [len(data.train_indices) // config.batch_size] * config.epochs
        self.dataset = dataset = data.dataset
        self.network = build_network(config, dataset.image_shape, len(dataset.class_names))
        self.step = TrainStep(self.network, config, distribution=distribution)
        self.variables = self.step.variables
        self.best = None  # the best epoch's watched accuracy
        self.evaluator = Evaluator(lambda batch: self.network(batch, training=False))
        self._loop, self._epoch_start = None, time.monotonic()

    def rate(self, epoch: int) -> float:
        """Returns the learning rate in an epoch (from 0)."""
        c = self.config
        if c.schedule == "exponential":
            return c.learning_rate * c.learning_rate_decay**epoch
        return optimizers.cosine_rate(epoch, c.epochs, c.learning_rate, c.learning_rate_min)

    def drop_probability(self, epoch: int) -> float:
        """Returns the probability of drop path in an epoch (from 0): it rises linearly, as in `cnn/train.py`."""
        return self.config.drop_path * epoch / self.config.epochs

    def describe_data(self) -> dict:
        """See `agreement.of_images`."""
        return agreement.of_images(self.data.dataset, self.data.train_indices, *self.data.watched[1:])

    def start(self, step: int) -> None:
        """Opens the stream of batches and that of step numbers, which seed drop path."""
        c, d = self.config, self.data.dataset
        batches = images.stream(
            d.train,
            self.data.train_indices,
            c.batch_size,
            c.seed,
            step,
            mean=d.mean,
            std=d.std,
            crop_padding=c.crop_padding,
            flip=c.flip,
            cutout=c.cutout,
            resized_crop=c.resized_crop,
            color_jitter=c.color_jitter,
        )
        self.iterators = [iter(batches), iter(tf.data.Dataset.range(step, tf.int64.max))]

    def run(self, epoch: int, count: int) -> dict[str, np.ndarray]:
        """Takes steps; the first call builds the graph, and says so."""
        dtype = self.network.compute_dtype
        now = tf.constant(self.rate(epoch), dtype), tf.constant(self.drop_probability(epoch), dtype)
        if self._loop is None:
            self._loop = self._build(now)
        report = self._loop(self.iterators, tf.constant(count), now)
        return {name: value.numpy() for name, value in report.items()}

    def _build(self, now):
        def step(batch, number, now):
            return self.step(batch, *now, tf.stack([tf.constant(self.config.seed, tf.int64), number]))

        names = ["loss", "correct", "gradient_norm", *reported(self.config.precision)]
        run = steps_in_graph(step, names, self.config.jit_compile)
        with self.reporter.working("building the graph", "graph built"):
            built = run.get_concrete_function(self.iterators, tf.constant(1), now)
        memory.tell(self.reporter.message, built, self.variables, self.config, distribution=self.distribution)
        return run

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """Means over steps and examples; the loss has the auxiliary head's part in it."""
        steps = sums["steps"]
        return {
            "train_loss": sums["loss"] / steps,
            "train_accuracy": sums["correct"] / (steps * self.config.batch_size),
            "gradient_norm": sums["gradient_norm"] / steps,
        }

    def evaluate(self, split, indices, evaluator=None) -> dict[str, float]:
        """Returns loss, top-1 and (of more than five classes) top-5 accuracy, without augmentation.

        The network is the present one, unless an `Evaluator` of another is given.
        """
        d = self.data.dataset
        found = (evaluator or self.evaluator)(
            images.evaluation_batches(split, indices, self.config.batch_size, mean=d.mean, std=d.std)
        )
        names = ("loss", "accuracy", "top5_accuracy")[: 2 if len(d.class_names) <= 5 else 3]
        return {name: found[name] for name in names}

    def resumed(self, history: list[dict]) -> None:
        """Learns from the records of earlier epochs which was the best."""
        self.best = max((record["valid_accuracy"] for record in history), default=None)

    def end_epoch(self, epoch: int, record: dict) -> dict:
        """Evaluates; keeps the network if it is the best so far."""
        _, split, indices = self.data.watched
        found = same(self.distribution, self.evaluate(split, indices))
        added = {"learning_rate": self.rate(epoch), "drop_path": self.drop_probability(epoch)}
        added |= {f"valid_{name}": value for name, value in found.items()}
        if self.best is None or added["valid_accuracy"] > self.best:
            self.best = added["valid_accuracy"]
            save_network(self.network, self.workdir.path / "best.keras")
        added["seconds"] = round(time.monotonic() - self._epoch_start, 3)
        self._epoch_start = time.monotonic()
        return added


def train(config, workdir, out=None, tensorboard=None):
    """Trains a derived network, or goes on with an interrupted training in the same work directory.

    Leaves `best.keras` and `last.keras`, `genotype.json`, `data.json` (what inference has to know of the images),
    `summary.json`, and what `workdir` describes.

    Args:
        config: A `TrainConfig`.
        workdir: Path of the work directory, see `workdir.WorkDir`.
        out: Where progress goes, standard output unless given.
        tensorboard: Overrides `config.tensorboard`.

    Returns:
        What `summary.json` holds, see `summary_of`; or None when it was interrupted: the same call goes on.

    Raises:
        UserError: Bad settings, genotype, data or work directory, a full disk, or a loss that is not finite; one line.
    """
    shared = distribution.of(config)
    genotype = genotypes.load(config.genotype, config.cell)
    config = config.replace(genotype=genotype.to_text())  # a file may be gone, or another, when the run is resumed
    printer(out)(f"reading the images of {config.data_dir or config.dataset} ...")
    data = Data(config)
    watched = data.watched[0]
    total = config.epochs * (len(data.train_indices) // config.batch_size)

    def build(directory, reporter):
        return TrainTask(config, data, directory, reporter, shared)

    def check(directory):
        check_data_facts(directory.path, data.dataset, data.division)

    opened = session(config, workdir, total, "network", build, watched, out, tensorboard, shared, check)
    with opened as (task, directory, reporter):
        genotypes.save(genotype, directory.path / "genotype.json")
        draw(genotype, directory.plots, reporter.message)
        save_data_facts(directory.path, data.dataset, data.division)
        for line in data.notes:
            reporter.message(line)
        reporter.message(_introduction(task, data, total))
        if watched == "test":
            reporter.message("the test images are watched, as in the original; --train_portion=0.9 keeps some apart")
        loop = run(task, directory, config, reporter, shared)
        if loop is None:
            return None
        save_network(task.network, directory.path / "last.keras")
        with reporter.working("testing", "tested") if _tests_at_the_end(data) else contextlib.nullcontext():
            summary = summary_of(task, loop.history)
        write_json(directory.path / "summary.json", summary)
    return summary


def _tests_at_the_end(data) -> bool:
    """Whether there are test images that were not all watched."""
    watched, _, indices = data.watched
    return data.dataset.test is not None and (watched == "validation" or len(indices) < len(data.dataset.test))


def _introduction(task, data, total):
    d, net = data.dataset, task.network
    size = "x".join(map(str, d.image_shape))
    watched, _, indices = data.watched
    return (
        f"{d.name}: {len(data.train_indices)} training and {len(indices)} {watched} images, {len(d.class_names)} "
        f"classes, {size}; network of {net.parameters:,} weights and {net.macs() / 1e6:,.1f} million multiply-adds "
        f"an image at {size}, without the auxiliary head; {total} steps"
    )


def summary_of(task, history) -> dict:
    """Says what a finished run found.

    Returns:
        `metric` and `better`: which way it is compared; `parameters` and `macs` (without the auxiliary head; at
        `image_shape`), `seconds` of all epochs, `genotype`, `selected_on` and `recommended_weights`: the best epoch
        where validation images told which it is, else the last, because the best one on test images is chosen too
        well. `best` and `last` hold `epoch`, `accuracy` (of the watched images) and, where there are test images that
        were not all watched, `test_accuracy`;
        `valid_accuracy` and `test_accuracy` are those of the recommended weights, None where nothing measured them.
    """
    data, dataset = task.data, task.data.dataset
    watched = data.watched[0]
    found = {"best": max(history, key=lambda record: record["valid_accuracy"]), "last": history[-1]}
    found = {
        which: {name.removeprefix("valid_"): value for name, value in record.items() if name.startswith("valid_")}
        | {"epoch": record["epoch"]}
        for which, record in found.items()
    }
    recommended = "best" if watched == "validation" else "last"
    if _tests_at_the_end(data):
        everything = np.arange(len(dataset.test))
        last = best = task.evaluate(dataset.test, everything)
        if found["best"]["epoch"] != found["last"]["epoch"]:
            network = load_network(task.workdir.path / "best.keras")
            best = task.evaluate(dataset.test, everything, Evaluator(lambda batch: network(batch, training=False)))
        for which, tested in (("best", best), ("last", last)):
            found[which] |= {f"test_{name}": value for name, value in tested.items()}
    chosen = found[recommended]
    test = chosen.get("test_accuracy", chosen["accuracy"] if watched == "test" else None)
    return {
        "metric": task.config.metric,
        "better": task.config.better,
        "parameters": task.network.parameters,
        "macs": task.network.macs(),
        "image_shape": list(dataset.image_shape),
        "classes": len(dataset.class_names),
        "epochs": task.config.epochs,
        "seconds": round(math.fsum(record["seconds"] for record in history), 1),
        "selected_on": watched,
        "recommended_weights": recommended,
        "valid_accuracy": chosen["accuracy"] if watched == "validation" else None,
        "test_accuracy": test,
        **found,
        "genotype": task.network.genotype.to_json(),
    }
