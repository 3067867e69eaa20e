"""Which examples train and which are held out: whatever the order of the data, every class is in both parts."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from darts_tf.config import presets
from darts_tf.data import sources as images
from darts_tf.data.images.split import chosen_method, load_split, sample, save_split, search_split, stratified
from darts_tf.system.errors import UserError
from darts_tf.tasks import domains, search
from darts_tf.tasks.evaluate import evaluate
from darts_tf.tasks.image_facts import check_data_facts, save_data_facts
from darts_tf.tasks.train import train
from tests.helpers import searches, trainings

SEARCH, TRAIN = (presets.get(f"cifar10_{kind}").config for kind in ("search", "train"))
PURPOSES = ("train the weights", "train the alphas")


def divided(config):
    data = loaded(config)
    return data.dataset, data.division


def loaded(config):
    return domains.of(config).load(lambda line: None)


def raises(message):
    return pytest.raises(UserError, match=message)


def class_folders(root, sizes, side=8, seed=0):
    """Writes class folders `c0`, `c1`, ... of noise."""
    rng = np.random.default_rng(seed)
    for label, size in enumerate(sizes):
        (root / f"c{label}").mkdir(parents=True)
        for i in range(size):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(root / f"c{label}" / f"{i}.png")
    return root


def sorted_archive(path, sizes, **parts):
    """Writes an archive whose examples come class by class; each image tells its number by its first two pixels."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 1)).astype(np.uint8)
    np.savez(path, x=pixels, y=labels, **parts)
    return path


def counts(labels, classes):
    return np.bincount(labels, minlength=classes).tolist()


@pytest.mark.parametrize("portion", [0.5, 0.3, 0.29, 0.9])
@pytest.mark.parametrize("method", ["index", "stratified"])
def test_search_split(portion, method):
    labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    train, valid = search_split(labels, portion, method, 5)
    assert train.dtype == valid.dtype == np.int64
    assert len(train) == int(np.floor(portion * 100))
    assert sorted([*train, *valid]) == list(range(100))
    if method == "index":
        np.testing.assert_array_equal(train, np.arange(len(train)))
    else:
        counts = np.bincount(labels[train], minlength=4)
        assert np.all(np.abs(counts - portion * np.array([10, 20, 30, 40])) < 1)
        np.testing.assert_array_equal(train, search_split(labels, portion, method, 5)[0])
        assert not np.array_equal(train, search_split(labels, portion, method, 6)[0])


def test_search_split_errors():
    labels = np.arange(10) % 2
    with raises("part empty.*Received: 10 examples and train_portion=0.05"):
        search_split(labels, 0.05, "stratified", 0)
    with raises("part empty"):
        search_split(labels[:1], 0.5, "index", 0)


def test_saved_split(tmp_path):
    path = tmp_path / "split.json"
    halves = search_split(np.arange(20) % 4, 0.4, "stratified", 0)
    save_split(path, *halves[::-1])
    save_split(path, *halves)
    for saved, half in zip(load_split(path)[:2], halves, strict=True):
        assert saved.dtype == np.int64
        np.testing.assert_array_equal(saved, half)
    assert os.listdir(tmp_path) == ["split.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"train_indices": [1], "valid_indices": []}',
        '{"train_indices": [1, 2], "valid_indices": [2]}',
        '{"train_indices": [1.5], "valid_indices": [2]}',
        '{"train_indices": [-1], "valid_indices": [2]}',
        '{"train_indices": [[1], [1, 2]], "valid_indices": [2]}',
    ],
)
def test_damaged_split(tmp_path, content):
    path = tmp_path / "split.json"
    with raises("cannot be read: .*split.json"):
        load_split(path)
    path.write_text(content)
    with raises("split.json is not a search split"):
        load_split(path)


# --- classes that come one after the other


@pytest.mark.parametrize("source", ["folder", "npz"])
def test_presets_of_the_paper_split_sorted_data_in_proportion(tmp_path, source):
    sizes = [12, 20, 8, 40]
    if source == "folder":
        path = class_folders(tmp_path / "photos", sizes)
    else:
        path = sorted_archive(tmp_path / "photos.npz", sizes)
    config = SEARCH.replace(dataset=source, data_dir=str(path), batch_size=8)
    dataset, division = divided(config)
    for part in (division.train, division.held_out):
        assert counts(dataset.train.labels[part], 4) == [6, 10, 4, 20]
    data = loaded(TRAIN.replace(dataset=source, data_dir=str(path), batch_size=8, train_portion=0.75))
    assert counts(data.dataset.train.labels[data.train_indices], 4) == [9, 15, 6, 30]
    split, indices = data.watched
    assert data.held_out == "validation" and counts(split.labels[indices], 4) == [3, 5, 2, 10]

    few = config.replace(max_train_examples=20, batch_size=2, valid_examples=4)
    dataset, division = divided(few)
    assert counts(dataset.train.labels, 4) == [3, 5, 2, 10]
    watched = sample(dataset.train.labels, division.held_out, few.valid_examples, 0)
    assert counts(dataset.train.labels[watched], 4) == [1, 1, 1, 1]


def test_examples_that_are_watched_are_of_all_classes(tmp_path):
    path = class_folders(tmp_path / "train", [6, 6, 6]).parent
    class_folders(tmp_path / "test", [10, 5, 5])
    changes = dict(dataset="folder", data_dir=str(path), batch_size=4, valid_examples=4)
    data = loaded(TRAIN.replace(**changes))
    split, indices = data.watched
    assert data.held_out == "test" and counts(split.labels[indices], 3) == [2, 1, 1]


def test_a_split_by_order_that_leaves_a_class_out_is_refused_by_name(tmp_path):
    path = str(sorted_archive(tmp_path / "sorted.npz", [6, 6, 6, 6]))
    config = SEARCH.replace(dataset="npz", data_dir=path, batch_size=2, split="index")
    with raises("No example of classes '2', '3' is among those that train the weights.*split=index.*stratified"):
        loaded(config)
    dataset, division = divided(config.replace(split="stratified"))
    assert counts(dataset.train.labels[division.train], 4) == [3, 3, 3, 3]


def test_a_class_of_one_example_trains_the_weights_and_is_warned_of(tmp_path):
    path = str(class_folders(tmp_path / "photos", [9, 1, 10]))
    dataset, division = divided(SEARCH.replace(dataset="folder", data_dir=path, batch_size=2))
    assert counts(dataset.train.labels[division.train], 3) == [4, 1, 5]
    (warning,) = division.warnings
    assert warning == "warning: too few examples of class 'c1': none is among those that train the alphas"
    data = loaded(TRAIN.replace(dataset="folder", data_dir=path, batch_size=2, train_portion=0.9))
    assert "none is among those that validate" in data.notes[-1]


@pytest.mark.parametrize("count", range(41))
def test_stratified_keeps_every_class_where_it_can(count):
    labels = np.repeat(np.arange(4), [30, 1, 2, 7])
    for leave in (0, 1):
        chosen = stratified(labels, count, np.random.default_rng(3), leave)
        assert len(chosen) == len(np.unique(chosen)) == min(count, 40)
        found = np.bincount(labels[chosen], minlength=4)
        if count >= 4:
            assert (found >= 1).all()
        if leave and 4 <= count <= 37:
            assert (found <= [29, 1, 1, 6]).all()


def test_only_cifar10_in_its_own_order_is_split_by_index_unasked():
    assert chosen_method("auto", "cifar10") == "index"
    for other in set(images.DATASETS) - {"cifar10"}:
        assert chosen_method("auto", other) == "stratified"
    assert chosen_method("index", "folder") == "index"


# --- validation images that the data bring


def test_validation_images_of_the_data_are_held_out_whole(tmp_path):
    path = class_folders(tmp_path / "train", [6, 4]).parent
    class_folders(tmp_path / "val", [3, 4], seed=1)
    class_folders(tmp_path / "test", [2, 5], seed=2)
    changes = dict(dataset="folder", data_dir=str(path), batch_size=2)
    dataset, division = divided(SEARCH.replace(**changes))
    assert len(division.train) == 10 and division.split is dataset.valid and len(division.held_out) == 7
    dataset, division = divided(SEARCH.replace(validation="train", **changes))
    assert (len(division.train), len(division.held_out)) == (5, 5) and division.split is dataset.train

    data = loaded(TRAIN.replace(train_portion=0.9, **changes))
    assert data.held_out == "validation" and data.watched[0] is data.dataset.valid and len(data.train_indices) == 10
    assert any("train_portion=0.9 has no effect" in note for note in data.notes)
    assert len(data.dataset.test) == 7
    data = loaded(TRAIN.replace(train_portion=0.8, validation="train", **changes))
    assert data.watched[0] is data.dataset.train and len(data.watched[1]) == 2
    with raises("part of the data that trains the alphas, 7 examples.*validation=train"):
        loaded(SEARCH.replace(**changes | {"batch_size": 8}))


# --- evaluation


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network trained on class folders with images for validation and test; its work directory and the folders."""
    root = tmp_path_factory.mktemp("evaluated")
    for seed, (name, sizes) in enumerate({"train": [8, 4, 6], "val": [2, 3, 4], "test": [5, 1, 2]}.items()):
        class_folders(root / "photos" / name, sizes, seed=seed)
    config = trainings.SMOKE.replace(
        dataset="folder", data_dir=str(root / "photos"), batch_size=4, max_train_examples=0, epochs=1
    )
    summary = train(config, root / "run", out=io.StringIO())
    return root / "run", root / "photos", summary


def test_the_parts_of_a_trained_run_are_evaluated_as_what_they_are(trained):
    run, photos, summary = trained
    found = {split: evaluate(workdir=str(run), split=split) for split in ("", "test", "valid", "train")}
    assert {split: (each["split"], each["examples"]) for split, each in found.items()} == {
        "": ("test", 8), "test": ("test", 8), "valid": ("valid", 9), "train": ("train", 18)
    }  # fmt: skip
    assert summary["selected_on"] == "validation"
    assert (found["test"]["accuracy"], found["valid"]["accuracy"]) == (
        summary["test_accuracy"],
        summary["valid_accuracy"],
    )
    assert evaluate(workdir=str(run), max_examples=4)["examples"] == 4


def test_other_data_are_evaluated_only_with_the_same_classes(trained, tmp_path):
    run, photos, _ = trained
    class_folders(tmp_path / "more", [3, 3, 3])
    evaluated = evaluate(workdir=str(run), data_dir=str(tmp_path / "more"), split="train")
    assert evaluated["examples"] == 9
    with raises("no test images"):
        evaluate(workdir=str(run), data_dir=str(tmp_path / "more"), split="test")
    with raises("The training images are not those of the run"):
        evaluate(workdir=str(run), data_dir=str(tmp_path / "more"), split="valid")
    os.rename(tmp_path / "more" / "c1", tmp_path / "more" / "cat")
    with raises("classes of folder are not those of the network: expected 'c1' as class 1. Received: 'c2'"):
        evaluate(workdir=str(run), data_dir=str(tmp_path / "more"), split="train")
    lines = []
    numbered = sorted_archive(tmp_path / "numbered.npz", [2, 2, 2])
    with np.load(numbered) as archive:
        np.savez(numbered, x=np.repeat(archive["x"], 3, axis=-1), y=archive["y"])
    evaluate(workdir=str(run), dataset="npz", data_dir=str(numbered), split="train", say=lines.append)
    assert any("matched by their numbers" in line for line in lines)


# --- images that have changed


def test_a_search_whose_images_changed_is_not_resumed(tmp_path):
    root, run = class_folders(tmp_path / "photos", [8, 12, 8]), tmp_path / "run"
    config = searches.SMOKE.replace(dataset="folder", data_dir=str(root), batch_size=4, max_train_examples=0, epochs=1)
    output = io.StringIO()
    search.search(config, run, out=output)
    assert "14 examples train the weights, 14 the alphas; 3 classes of 8x8x3 images" in output.getvalue()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    os.remove(root / "c1" / "3.png")
    with raises("The training images are not those of the run.*expected 28 images.*Received: 27 images"):
        search.search(config, run, out=io.StringIO())
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_changed_images_are_refused_before_anything_is_written(tmp_path):
    root, run = tmp_path / "photos", tmp_path / "run"
    class_folders(root, [6, 6, 6])
    run.mkdir()
    config = SEARCH.replace(dataset="folder", data_dir=str(root), batch_size=2)
    save_data_facts(run, *divided(config))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert set(before) == {"data.json", "split.json"}

    def refused(message):
        with raises(message + ".*another work directory"):
            check_data_facts(run, *divided(config))
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before

    check_data_facts(run, *divided(config))
    Image.new("RGB", (8, 8)).save(root / "c1" / "new.png")
    refused("The training images are not those of the run in .*: expected 18 images.*Received: 19 images")
    os.remove(root / "c1" / "new.png")
    pixels = (root / "c0" / "0.png").read_bytes()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(root / "c0" / "0.png")
    refused("The training images are not those of the run.*Received: 18 images")
    (root / "c0" / "0.png").write_bytes(pixels)
    os.rename(root / "c0", root / "renamed")
    refused("The classes are not those of the run in .*Received: 3, no 'c0', also 'renamed'")
    os.rename(root / "renamed", root / "c0")
    os.rename(root / "c0" / "1.png", root / "c1" / "1b.png")
    refused("The training images are not those")
    os.rename(root / "c1" / "1b.png", root / "c0" / "1.png")
    (root / "train").mkdir()
    for label in range(3):
        os.rename(root / f"c{label}", root / "train" / f"c{label}")
    class_folders(root / "val", [1, 1, 1])
    refused("The validation images are not those of the run in .*: expected none. Received: 3 images")


def test_a_run_of_version_0_1_is_known_by_its_split(tmp_path):
    config = SEARCH.replace(dataset="npz", data_dir=str(sorted_archive(tmp_path / "a.npz", [8, 8])), batch_size=2)
    dataset, division = divided(config)
    (tmp_path / "split.json").write_text(
        json.dumps({"train_indices": list(range(8)), "valid_indices": list(range(8, 16))})
    )
    with raises("The images are not split as in the run.*expected 8 and 8"):
        check_data_facts(tmp_path, dataset, division)
