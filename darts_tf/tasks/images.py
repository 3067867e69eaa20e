"""Images as a domain, in one file because a domain is one unit: what runs read, how steps use it, what is measured."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from darts_tf.system.keras_settings import tf
from darts_tf.bilevel import optimizers
from darts_tf.bilevel.domain import TRAIN, VALID, Domain, Show
from darts_tf.bilevel.objective import Told, count_correct, cross_entropy
from darts_tf.cluster.agreement import checksum
from darts_tf.data import sources as images
from darts_tf.data.images import augment
from darts_tf.data.images.dataset import ImageDataset, Split
from darts_tf.data.images.split import Division, divide, sample
from darts_tf.data.images.stream import evaluation_batches, stream
from darts_tf.methods.schedules import cosine
from darts_tf.passes.context import within
from darts_tf.spaces.conv.draws import draw_keys
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system.errors import UserError
from darts_tf.system.types import Tensors
from darts_tf.tasks.evaluators import Evaluator, Evaluators, SupernetEvaluator
from darts_tf.tasks.image_facts import check_data_facts, save_data_facts


class _Images(Domain):
    """The common part of searches and trainings on images.

    Attributes:
        dataset: An `ImageDataset`.
        division: A `split.Division`, or None if no images are held out.
        train_indices: Indices into `dataset.train`.
        watched: `(split, indices)` of the images that train the alphas, or that a training is measured on: those held
            out, or the test images if there are none, as in the original.
    """

    dataset: ImageDataset
    division: Division | None
    train_indices: np.ndarray
    watched: tuple[Split, np.ndarray]

    _draws = False
    reported = ("loss", "correct", "gradient_norm")
    figure, measures = "accuracy", ("accuracy",)

    def __init__(self, config: Any, data: Any = None):
        add_operations(config.operations_file)
        super().__init__(config, data)
        self.evaluators = Evaluators(Evaluator)

    def attach(self, network: Any) -> None:
        """Stores the network, which draws what drop path drops."""
        self._network, self._draws = network, getattr(network, "draws", False)

    def batch_axes(self, network: Any) -> Any:
        """Of images, drop path factors and, if the network draws, keys."""
        return ((0, 1, 0) if getattr(network, "draws", False) else (0, 1)), 0

    def _inputs(self, pixels, drop_path, seed):
        """Returns images with drop path factors (None without drop path), and keys if the network draws."""
        size = pixels.shape[0] or tf.shape(pixels)[0]
        drop = None if drop_path is None else self._network.drop_factors(size, drop_path, seed)
        return (pixels, drop, *([draw_keys(size, seed)] if self._draws else []))

    def _read(self, say: Callable[[str], None]) -> ImageDataset:
        where = "passed in" if self._data is not None else f"of {self.config.data_dir or self.config.dataset}"
        say(f"reading the images {where} ...")
        self.dataset = found = images.load_for(self.config, self._data, say)
        self._data = None  # a task lives as long as its network; the data passed in need not
        self.splits, self.sizes = found.splits, (found.image_shape, len(found.class_names))
        return found

    def check(self, directory: pathlib.Path) -> None:
        """See `check_data_facts`."""
        check_data_facts(directory, self.dataset, self.division)

    def save(self, directory: pathlib.Path) -> None:
        """Writes `data.json` and `split.json`."""
        save_data_facts(directory, self.dataset, self.division)

    def describe(self) -> dict:
        """Numbers of images, their shape and mean colours, and their labels in order."""
        d, (split, indices) = self.dataset, self.watched
        return {
            "training_examples": len(self.train_indices),
            "held_out_examples": len(indices),
            "image_shape": list(d.image_shape),
            "classes": len(d.class_names),
            "mean": [round(each, 3) for each in d.mean],  # decoders may differ in the last digit
            "labels": checksum(d.train.labels[self.train_indices], split.labels[indices]),
        }

    def optimizers(self, weights: Tensors) -> dict[bool, Any]:
        """Momentum SGD."""
        return {False: optimizers.SGD(weights, self.config.momentum, self.config.weight_decay)}

    def means(self, sums: dict[str, float]) -> dict[str, float]:
        """Means over steps and examples; in a training the loss includes the auxiliary head's part."""
        steps = sums["steps"]
        return {
            "train_loss": sums["loss"] / steps,
            "train_accuracy": sums["correct"] / (steps * self.config.batch_size),
            "gradient_norm": sums["gradient_norm"] / steps,
        }

    def _stream(self, split, indices, seed, step, **augmentation):
        c, d = self.config, self.dataset
        batches = stream(
            split,
            indices,
            c.batch_size,
            seed,
            step,
            mean=d.mean,
            std=d.std,
            crop_padding=c.crop_padding,
            flip=c.flip,
            cutout=c.cutout,
            **augmentation,
        )
        return iter(batches)

    def _evaluated(self, network, forward, split, indices, show):
        """Returns the results of `Evaluator`, without augmentation."""
        d, evaluator = self.dataset, self.evaluators.of(network, forward)
        return evaluator(evaluation_batches(split, indices, self.config.batch_size, mean=d.mean, std=d.std), show)


class SearchImages(_Images):
    """The images of a search: one part trains the weights, the other the alphas.

    Raises:
        UserError: An operation is unknown, the data are missing or bad, or a part has fewer examples than a batch.
    """

    division: Division
    held_out, output_axes = "supernet validation", 0

    def __init__(self, config: Any, data: Any = None):
        super().__init__(config, data)
        self.space.check(config.primitives)
        self._judges: dict[bool, SupernetEvaluator] = {}

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads and divides the images."""
        c, d = self.config, self._read(say)
        self.division = division = divide(d, c, ("train the weights", "train the alphas"))
        for part, name in ((division.train, "weights"), (division.held_out, "alphas")):
            if len(part) < c.batch_size:
                own = name == "alphas" and division.of == "valid"
                raise UserError(
                    f"The batch is larger than the part of the data that trains the {name}, {len(part)} examples. "
                    f"Received: batch_size={c.batch_size}. Use a smaller batch_size or more examples"
                    + (", or validation=train, which uses a part of the training images instead." if own else ".")
                )
        self.train_indices, self.watched = division.train, (division.split, division.held_out)
        self.epoch_steps = [len(division.train) // c.batch_size] * c.epochs
        # In random order: batch norm may use the statistics of batches, which must not be those of single classes.
        held_out = np.random.default_rng(c.seed).permutation(division.held_out)
        self._evaluated_on = division.split, sample(division.split.labels, held_out, c.valid_examples, c.seed)
        return self

    def lines(self, network: Any) -> list[str]:
        """Notes on the data, and sizes."""
        d, division = self.dataset, self.division
        weights = sum(int(np.prod(v.shape)) for v in network.weight_variables)
        return [
            *d.notes,
            *division.warnings,
            f"{d.name}: {len(division.train)} examples train the weights, {len(division.held_out)} the alphas; "
            f"{len(d.class_names)} classes of {'x'.join(map(str, d.image_shape))} images; supernet of {weights:,} "
            "weights",
        ]

    def batch_axes(self, network: Any) -> Any:
        """Without drop path and draws, of images alone."""
        alone = not (self.config.edge_drop_path or getattr(network, "draws", False))
        return (0, 0) if alone else super().batch_axes(network)

    def loss(self, outputs: Any, labels: Any) -> tf.Tensor:
        """Cross-entropy of logits."""
        return cross_entropy(outputs, labels)

    def batch(self, piece: Any, seed: tf.Tensor, drop_path: tf.Tensor | None = None, held_out: bool = False) -> tuple:
        """The stream's element, `(images, labels)`; with drop path or draws more than images, see `_inputs`."""
        if not (self.config.edge_drop_path or self._draws):
            return piece
        pixels, labels = piece
        return self._inputs(pixels, drop_path if self.config.edge_drop_path else None, seed), labels

    def drop_path(self, epoch: Any) -> Any:
        """Rises linearly, from 0 in the first epoch to the setting in the last."""
        return self.config.edge_drop_path * epoch / max(1, self.config.epochs - 1)

    def report(self, told: Told, norm: tf.Tensor, piece: Any) -> dict:
        """`loss`, `correct` (examples that were classified rightly), `gradient_norm` before clipping; the `logits`."""
        correct = count_correct(told.outputs, piece[1])
        return {"loss": told.loss, "gradient_norm": norm, "correct": correct, "logits": told.outputs}

    def open(self, step: int) -> None:
        """Opens the two streams."""
        seed, parts = 2 * self.config.seed, self.division
        rising = {"cutout_rise": (self.config.epochs, self.epoch_steps[0]) if self.config.cutout_rises else None}
        self._streams = [
            self._stream(self.dataset.train, parts.train, seed + TRAIN, step, **rising),
            self._stream(parts.split, parts.held_out, seed + VALID, step, **rising),
        ]

    def steps_in(self, epoch: int) -> int:
        """The same for every epoch."""
        return self.epoch_steps[0]

    def streams(self, epoch: int) -> list:
        """The two streams."""
        return self._streams

    def rate(self, epoch: int, rollbacks: int = 0) -> float:
        """Annealed along a cosine."""
        c = self.config
        return cosine(c.learning_rate, c.learning_rate_min, epoch, c.epochs)

    def evaluate_supernet(
        self, supernet: Any, mixing: Callable[[], Mapping[str, Any]], say: Callable[[str], None], show: Show = None
    ) -> dict:
        """Loss and accuracy on the part that trains the alphas. Deviation: the original augments here, too."""

        def forward(batch):
            if self.config.bn_eval == "batch":
                return supernet.stateless([v.value for v in supernet.weight_variables], mixing(), batch)[0]
            return supernet(batch, training=False, mixing=mixing())

        found = self._evaluated(supernet, forward, *self._evaluated_on, show)
        return {"valid_loss": found["loss"], "valid_accuracy": found["accuracy"]}

    def judge(self, supernet: Any, mixing: Mapping[str, Any], batches: int = 0) -> tuple[float, float]:
        """Loss and error on the part that trains the alphas, without augmentation or an incomplete last batch."""
        # Cells with one operation for each edge leave most of them unused.
        sampled = all(np.mean(np.equal(rows, 0)) > 0.5 for rows in mixing.values())

        def forward(mixing, pixels, state):
            with within(sparse=sampled):
                return supernet.stateless([v.value for v in supernet.weight_variables], mixing, pixels)[0], state

        def data(count):
            c, d, part = self.config, self.dataset, self.division
            order = np.random.default_rng(c.seed).permutation(part.held_out)  # batches of all classes, see `load`
            count = min(count or len(order), len(order) // c.batch_size)
            chosen = order[: count * c.batch_size]
            return evaluation_batches(part.split, chosen, c.batch_size, mean=d.mean, std=d.std)

        if sampled not in self._judges:
            self._judges[sampled] = SupernetEvaluator(forward, data)
        return self._judges[sampled](mixing, batches)

    def curvature_batch(self) -> tuple:
        """A batch from the whole part, which may be ordered by class."""
        c, d, indices = self.config, self.dataset, self.division.held_out
        chosen = indices[np.arange(c.batch_size) * len(indices) // c.batch_size]
        (batch,) = evaluation_batches(self.division.split, chosen, c.batch_size, mean=d.mean, std=d.std)
        if not (c.edge_drop_path or self._draws):
            return batch
        return self._inputs(batch[0], None, tf.constant([c.seed, VALID], tf.int64)), batch[1]


class TrainImages(_Images):
    """The images of a training: for training, for measuring after each epoch, and for the final test.

    Attributes:
        notes: Lines for the user.

    Raises:
        UserError: The data are missing or bad, or there are no images to measure on.
    """

    output_axes = 0, 0

    def load(self, say: Callable[[str], None]) -> Self:
        """Reads and divides the images."""
        config, d = self.config, self._read(say)
        augment.check_jitter(d.image_shape[-1], config.color_jitter)
        self.division, self.train_indices, self.notes = None, np.arange(len(d.train)), list(d.notes)
        test = None if d.test is None else (d.test, np.arange(len(d.test)))
        if config.train_portion < 1 or (d.valid is not None and config.validation == "auto"):
            self.division = found = divide(d, config, ("train", "validate"))
            self.train_indices = found.train
            self.held_out, self.watched = "validation", (found.split, found.held_out)
            self.notes += found.warnings
            if found.of == "valid" and config.train_portion < 1:
                self.notes.append(
                    f"train_portion={config.train_portion:g} has no effect, since the data have their own validation "
                    "images; validation=train uses a part of the training images instead"
                )
        elif test is None:
            raise UserError(
                f"{d.name} has no {'test' if d.valid else 'validation and no test'} images, so there is nothing to "
                "evaluate the network on. Expected train_portion below 1, which holds out some training "
                f"images{', or validation=auto' if d.valid else ''}. Received: train_portion=1.0."
            )
        else:
            self.held_out, self.watched = "test", test
        split, indices = self.watched
        self.watched = split, sample(split.labels, indices, config.valid_examples, config.seed)
        if len(self.train_indices) < config.batch_size:
            raise UserError(
                f"The batch is larger than the training part of the data, {len(self.train_indices)} examples. "
                f"Received: batch_size={config.batch_size}. Use a smaller batch_size or more examples."
            )
        self.epoch_steps = [len(self.train_indices) // config.batch_size] * config.epochs
        self._parts: dict[bool, Any] = {False: self.watched, True: test}
        measured = self.held_out == "test" and len(self.watched[1]) == len(indices)
        self.tests_at_the_end = test is not None and not measured
        return self

    def lines(self, network: Any) -> list[str]:
        """Notes on the data, and sizes."""
        d, watched, measured = self.dataset, self.held_out, len(self.watched[1])
        size = "x".join(map(str, d.image_shape))
        about = (
            f"{d.name}: {len(self.train_indices)} training and {measured} {watched} images, {len(d.class_names)} "
            f"classes, {size}; network of {network.parameters:,} weights and {network.macs() / 1e6:,.1f} million "
            f"multiply-adds per image at {size}, without the auxiliary head; {sum(self.epoch_steps)} steps"
        )
        warning = "validating on the test images, as in the original; train_portion=0.9 holds out others instead"
        return [*self.notes, about, *([warning] if watched == "test" else [])]

    def loss(self, outputs: Any, labels: Any) -> tf.Tensor:
        """Cross-entropy of the classifier's logits, plus that of the auxiliary head's logits, if there is one."""
        (logits, auxiliary), c = outputs, self.config
        loss = cross_entropy(logits, labels, c.label_smoothing)
        if auxiliary is None:
            return loss
        return loss + c.auxiliary_weight * cross_entropy(auxiliary, labels, c.label_smoothing)

    def batch(self, piece: Any, seed: tf.Tensor, drop_path: tf.Tensor | None = None, held_out: bool = False) -> tuple:
        """`((images, drop path factors or None), labels)`, and keys, see `_inputs`."""
        pixels, labels = piece
        return self._inputs(pixels, drop_path if self.config.drop_path else None, seed), labels

    def report(self, told: Told, norm: tf.Tensor, piece: Any) -> dict:
        """`loss`, `correct` (examples that were classified rightly), `gradient_norm` before clipping."""
        return {"loss": told.loss, "gradient_norm": norm, "correct": count_correct(told.outputs[0], piece[1])}

    def open(self, step: int) -> None:
        """Opens the stream."""
        c = self.config
        own = {"resized_crop": c.resized_crop, "color_jitter": c.color_jitter}
        self._streams = [self._stream(self.dataset.train, self.train_indices, c.seed, step, **own)]

    def streams(self, epoch: int) -> list:
        """The one stream."""
        return self._streams

    def rate(self, epoch: int, rollbacks: int = 0) -> float:
        """Follows the schedule in the settings."""
        c = self.config
        if c.schedule == "exponential":
            return c.learning_rate * c.learning_rate_decay**epoch
        return cosine(c.learning_rate, c.learning_rate_min, epoch, c.epochs)

    def drop_path(self, epoch: int) -> float:
        """Rises linearly, as in `cnn/train.py`."""
        return self.config.drop_path * epoch / self.config.epochs

    def evaluate(self, network: Any, test: bool = False, show: Show = None) -> dict[str, float]:
        """Loss, top-1 and (with more than five classes) top-5 accuracy, without augmentation."""
        split, indices = self._parts[test]
        found = self._evaluated(network, lambda batch: network(batch, training=False), split, indices, show)
        return {name: found[name] for name in ("loss", "accuracy", "top5_accuracy") if name in found}

    def epoch_facts(self, epoch: int, averaging: bool) -> dict[str, float]:
        """The probability of drop path."""
        return {"drop_path": self.drop_path(epoch)}

    def facts(self, network: Any, history: list[dict], rollbacks: int) -> dict:
        """Multiply-adds (without the auxiliary head, at the shape of the images), shape, number of classes."""
        shape, classes = self.sizes
        return {"macs": network.macs(), "image_shape": list(shape), "classes": classes}
