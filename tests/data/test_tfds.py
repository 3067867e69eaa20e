"""Data sets of TensorFlow Datasets by name. All are made here; what TFDS itself reads of them is the oracle."""

import logging
import re

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.config import SearchConfig
from darts_tf.data import sources as images
from darts_tf.data.files import encoded_images
from darts_tf.data.images.split import divide
from darts_tf.data.images.stream import stream
from darts_tf.data.records import builders, shards
from darts_tf.system.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")

CLASSES = ["ant", "bee", "cat"]
SEED = tf.constant([3, 5], tf.int64)


def raises(message):
    return pytest.raises(UserError, match=f"(?-s:^{message}.*$)")  # on one line


def examples(count, shape=(6, 6, 3), seed=0, **others):
    rng = np.random.default_rng(seed)
    made = [rng.integers(0, 256, shape).astype(np.uint8) for _ in range(count)]
    return [(i, {"image": image, "label": CLASSES[i % 3]} | others) for i, image in enumerate(made)]


def store(root, splits, name="own", shape=(6, 6, 3), config=None, file_format=None, pieces=None, **others):
    """Writes a data set as TFDS does, without a network."""
    kinds = tfds.features
    features = {"image": kinds.Image(shape=shape), "label": kinds.ClassLabel(names=CLASSES)} | others
    features = {key: feature for key, feature in features.items() if feature is not None}
    return tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        features=kinds.FeaturesDict(features),
        split_datasets=splits,
        config=config,
        data_dir=root,
        file_format=file_format,
        download_config=tfds.download.DownloadConfig(num_shards=pieces),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def own(root):
    """In several files, whose order is not that of the records' numbers."""
    splits = {"train": examples(30), "validation": examples(9, seed=1), "extra": examples(4)}
    return store(root, splits, pieces=4)


def expected(builder, split):
    """What TFDS reads itself, in the order of the files: pixels and labels."""
    order = tfds.ReadConfig(interleave_cycle_length=1)
    found = list(builder.as_dataset(split, read_config=order).as_numpy_iterator())
    return np.stack([each["image"] for each in found]), [each["label"] for each in found]


def load(root, name="own", **settings):
    return images.load(f"tfds:{name}", str(root), **settings)


def test_images_and_labels_are_those_of_tfds(root, own):
    found = load(root)
    assert found.name == "tfds:own" and found.class_names == tuple(CLASSES) and found.image_shape == (6, 6, 3)
    assert len(own.info.splits["train"].filepaths) == 4 and found.test is None
    for split, name in ((found.train, "train"), (found.valid, "validation")):
        pixels, labels = expected(own, name)
        np.testing.assert_array_equal(split.labels, labels)
        np.testing.assert_array_equal(split.read(tf.range(len(labels))), pixels)
    pixels = expected(own, "train")[0] / 255
    np.testing.assert_allclose(found.mean, pixels.mean((0, 1, 2)))
    np.testing.assert_allclose(found.std, pixels.std((0, 1, 2)))
    where = f"own/1.0.0 in {root}/own/1.0.0: "
    counts = "train: 30 training images of 3 classes (ant 10, bee 10, cat 10); validation: 9 validation images"
    assert found.notes == (where + counts, "not used: extra (not training, validation or test by name)")


def test_versions_and_configs_are_named_as_tfds_does_or_with_slashes(root, own, tmp_path):
    for name in ("own", "own/1.0.0", "own:1.0.0", "own:1.*.*"):
        assert builders.prepared(name, str(root)).data_dir == own.data_dir
    made = store(tmp_path, {"train": examples(6)}, config=tfds.core.BuilderConfig(name="small"))
    for name in ("own/small", "own/small:1.0.0", "own/small/1.0.0"):
        assert builders.prepared(name, str(tmp_path)).data_dir == made.data_dir
    with raises("tfds:own/huge is not in .*: expected a config.*Received: own/huge, and in own: small"):
        load(tmp_path, "own/huge")


def test_a_search_trains_the_alphas_on_their_validation_images(root, own):
    config = SearchConfig(dataset="tfds:own", data_dir=str(root), image_size=4)
    found = images.load_for(config)
    division = divide(found, config, ("train the weights", "train the alphas"))
    assert found.image_shape == (4, 4, 3) and (len(division.train), len(division.held_out)) == (30, 9)


def test_images_that_stay_in_their_records(root, own, monkeypatch):
    held = load(root, image_size=4)
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    read = load(root, image_size=4)
    numbers = tf.constant([7, 0, 29, 7])
    np.testing.assert_array_equal(read.train.read(numbers), held.train.read(numbers))
    np.testing.assert_array_equal(read.train.read_crops(numbers, SEED), held.train.read_crops(numbers, SEED))
    assert (read.mean, read.std) == (held.mean, held.std)
    batches = stream(read.train, np.arange(30), 8, 0, mean=read.mean, std=read.std, resized_crop=True)
    assert next(iter(batches))[0].shape == (8, 4, 4, 3)
    with raises("30 images are too many to compare their sizes.*Pass image_size"):
        load(root)


def test_both_formats(tmp_path, root, own, monkeypatch):
    pytest.importorskip("array_record")
    store(tmp_path, {"train": examples(30)}, file_format="array_record")
    usual = load(root).train
    for limit in (encoded_images.MEMORY_LIMIT, 0):  # in memory, and read
        monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", limit)
        found = load(tmp_path, image_size=6).train
        np.testing.assert_array_equal(found.read(tf.range(30)), usual.read(tf.range(30)))
        assert (found.checksum == usual.checksum) == (limit > 0)  # of the images, whatever the files


def test_grey_images(tmp_path):
    builder = store(tmp_path, {"train": examples(6, (5, 5, 1))}, shape=(5, 5, 1))
    grey, colour = load(tmp_path), load(tmp_path, channels=3)
    assert grey.image_shape == (5, 5, 1) and colour.image_shape == (5, 5, 3)
    pixels = expected(builder, "train")[0]
    np.testing.assert_array_equal(grey.train.read(tf.range(6)), pixels)
    np.testing.assert_array_equal(colour.train.read(tf.range(6)), np.repeat(pixels, 3, -1))


def test_a_part_of_the_training_images(root, own):
    found = load(root, max_train_examples=7, seed=1).train
    assert sorted(np.bincount(found.labels)) == [2, 2, 3]
    whole = {image.tobytes() for image in load(root).train.read(tf.range(30)).numpy()}
    assert {image.tobytes() for image in found.read(tf.range(7)).numpy()} <= whole
    assert found.checksum != load(root, max_train_examples=7, seed=2).train.checksum


def test_images_of_several_sizes(tmp_path):
    mixed = [*examples(3), (3, {"image": np.zeros((5, 9, 3), np.uint8), "label": "ant"})]
    store(tmp_path, {"train": mixed}, shape=(None, None, 3))
    assert load(tmp_path, image_size=4).image_shape == (4, 4, 3)
    with raises("The images differ in size: expected .*Received: .* in record . of train in .*own/1.0.0. Pass image"):
        load(tmp_path)


class TwoLabels(tfds.core.GeneratorBasedBuilder):
    """As CIFAR-100: two labels, one of which it calls its own."""

    VERSION = tfds.core.Version("2.0.0")
    supervised = ("image", "label")

    def _info(self):
        label = tfds.features.ClassLabel(names=CLASSES)
        features = {"image": tfds.features.Image(shape=(6, 6, 3)), "label": label, "coarse": label}
        keys = self.supervised
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=keys)

    def _split_generators(self, dl_manager):
        return {"train": iter(examples(6, coarse="bee"))}

    def _generate_examples(self):
        raise NotImplementedError


def test_what_is_not_prepared_is_announced(tmp_path, caplog, capsys):
    (tmp_path / "other").mkdir()
    with caplog.at_level(logging.WARNING):
        assert set(load(tmp_path, "two_labels").train.labels) == {0, 1, 2}
    line = f"tfds:two_labels is not prepared in {tmp_path}, which holds other: downloading it .* once"
    said, *_ = [each.getMessage() for each in caplog.records if each.name.startswith("darts_tf")]
    assert re.match(line, said)
    assert not capsys.readouterr().out  # which is for results
    caplog.clear()
    load(tmp_path, "two_labels")
    assert not [each for each in caplog.records if each.name.startswith("darts_tf")]


def test_several_labels_none_of_which_is_the_own_one(tmp_path, monkeypatch):
    monkeypatch.setattr(TwoLabels, "supervised", None)
    with raises("two_labels/2.0.0 is not a data set of .*one feature of type ClassLabel.*Received: coarse, label"):
        load(tmp_path, "two_labels")


def test_features_that_do_not_fit(tmp_path):
    text = tfds.features.Text()
    plain = [(0, {"label": "ant", "caption": "an ant"})]
    store(tmp_path, {"train": plain}, name="captions", image=None, caption=text)
    with raises("captions/1.0.0 is not a .* type Image with whole.*Received: caption .Text., label .ClassLabel."):
        load(tmp_path, "captions")
    store(tmp_path, {"eval": examples(3)}, name="untrained")
    with raises("untrained/1.0.0 has no training split: expected one of train, training. Received: eval"):
        load(tmp_path, "untrained")
    store(tmp_path, {"train": examples(3), "val": examples(3), "dev": examples(3)}, name="twice")
    with raises("twice/1.0.0 has two splits for one purpose.*Received: val and dev"):
        load(tmp_path, "twice")


def test_a_test_without_labels_is_not_used(tmp_path):
    unknown = [(key, {**example, "label": -1}) for key, example in examples(3)]
    store(tmp_path, {"train": examples(6), "test": unknown})
    found = load(tmp_path)
    assert found.test is None and "not used: test (no labels)" in found.notes
    store(tmp_path, {"train": [*examples(3), (9, {**unknown[0][1]})]}, name="holes")
    with raises("A label is out of range: expected 0 to 2 in label. Received: -1 in record . of train"):
        load(tmp_path, "holes")


def test_what_is_not_there(tmp_path, root, own, monkeypatch):
    with raises("There is no folder .*absent"):
        load(tmp_path / "absent")
    with raises("There is no data set tfds:owm: expected a name .*Received: owm. Did you mean tfds:own?"):
        load(root, "owm")
    with raises("There is no data set tfds:cifar1000.*Did you mean tfds:cifar100?"):
        load(tmp_path, "cifar1000")
    with raises("tfds:own/2.0.0 is not in .*and in own: 1.0.0"):
        load(root, "own/2.0.0")
    with raises("tfds:cifar10/grey cannot be opened: .*Received: BuilderConfig grey not found"):
        load(tmp_path, "cifar10/grey")

    def offline(self, **_):
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    monkeypatch.setattr(builders, "_offline", lambda: False)
    with raises(
        "tfds:svhn_cropped can be neither read nor downloaded.*Received: ConnectionError: no route to host. Pa"
    ):
        load(tmp_path, "svhn_cropped")


def test_damaged_records(tmp_path, monkeypatch):
    store(tmp_path, {"train": examples(6)})
    (shard,) = tmp_path.glob("own/1.0.0/*train*")
    content = shard.read_bytes()
    shard.write_bytes(content[:-20])
    with raises("Records are missing: expected 6 of the split train.*Received: 5"):
        load(tmp_path)
    start, size = shards._spans(str(shard))[3].tolist()
    place = content.index(b"IHDR", start)
    shard.write_bytes(content[:place] + b"XXXX" + content[place + 4 :])
    with raises("An image cannot be read: expected .* Received: record 3 of train in .*Prepare the data set again"):
        load(tmp_path)
    shard.write_bytes(content)
    monkeypatch.setattr(encoded_images, "MEMORY_LIMIT", 0)
    split = load(tmp_path, image_size=6).train
    assert split.unreadable() is None
    shard.unlink()
    assert "record 0 of train" in split.unreadable()
    info = tmp_path / "own" / "1.0.0" / "features.json"
    info.write_text("{")
    with raises("tfds:own cannot be opened"):
        load(tmp_path)


def test_the_checksum_is_that_of_the_images(tmp_path, root, own):
    splits = {"train": examples(30), "test": examples(9, seed=2)}  # of validation it was seed 1
    store(tmp_path, splits, name="other")
    found, known = load(tmp_path, "other"), load(root)
    assert found.train.checksum == known.train.checksum and found.test.checksum != known.valid.checksum


@pytest.mark.parametrize("name", ["cifar100", "svhn_cropped", "own/1.0.0", "own/small:1.0.0", "own:1.*.*", "a/b-1.5"])
def test_names_that_a_config_takes(name):
    assert SearchConfig(dataset=f"tfds:{name}").dataset == f"tfds:{name}"


@pytest.mark.parametrize("name", ["", "../own", "own/", "own/a/b/c", "hub:own/x", "own/1.0.0 ", "own,a=1", "/own"])
def test_names_that_it_does_not(name):
    with raises("dataset must be one of cifar10, .*, or tfds:NAME.*Received: dataset="):
        SearchConfig(dataset=f"tfds:{name}")


@pytest.mark.parametrize(
    ("answer", "proxies", "offline"),
    [(OSError("no name server"), {}, True), ([("address",)], {}, False), (OSError(), {"https": "proxy:3128"}, False)],
)
def test_a_missing_network_is_reported_at_once(monkeypatch, caplog, tmp_path, root, own, answer, proxies, offline):
    def lookup(*_):
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("socket.getaddrinfo", lookup)
    monkeypatch.setattr("urllib.request.getproxies", lambda: proxies)
    builders._announce(own, str(root), "tfds:own")
    assert ("no network" in caplog.text) == offline

    def tried(self, **_):
        raise ConnectionError("tried")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", tried)
    with raises(
        f"tfds:cifar100 can be neither.*{'no network' if offline else 'ConnectionError: tried'}. Pass data_dir"
    ):
        builders.prepared("cifar100", str(tmp_path))
    (tmp_path / "downloads" / "python.tar.gz.tmp.1").mkdir(parents=True)  # what a failed download leaves
    (tmp_path / "downloads" / "python.tar.gz.tmp.1" / "part").touch()
    with raises(
        f"tfds:cifar100 can be neither.*{'no network' if offline else 'ConnectionError: tried'}. Pass data_dir"
    ):
        builders.prepared("cifar100", str(tmp_path))
    (tmp_path / "downloads" / "python.tar.gz").touch()  # the files may be there
    with raises("tfds:cifar100 can be neither.*ConnectionError: tried. Pass data_dir"):
        builders.prepared("cifar100", str(tmp_path))
