"""Paths as people write them: `~`, URLs, objects, nonsense; and file systems that cannot sync."""

import errno
import os
import pathlib
import stat

import numpy as np
import pytest
import tensorflow as tf

import darts_tf
from darts_tf import interop
from darts_tf.bin import evaluate, export, predict, protocol, report, search, train, tune, visualize
from darts_tf.config import SearchConfig, TrainConfig, presets
from darts_tf.data import sources as images
from darts_tf.export.client import version_folder
from darts_tf.export.publish import Publication
from darts_tf.interop import state_dicts
from darts_tf.protocol.overrides import changed
from darts_tf.report import write_report
from darts_tf.runs.workdir import WorkDir, write_json
from darts_tf.spaces.conv.own_operations import add_operations
from darts_tf.system import files, runtime
from darts_tf.system.errors import UserError
from darts_tf.system.files import sync_directory, user_path, write_atomically
from darts_tf.tasks.language_data import load as load_text
from darts_tf.tasks.trained import kind_of, load_network
from darts_tf.tuner.prior import load_prior


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder, and another folder to be in."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


class Like:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


@pytest.mark.parametrize("kind", [str, pathlib.Path, Like, os.fsencode, lambda path: Like(os.fsencode(path))])
def test_what_is_a_path(home, kind):
    assert user_path(kind("a/b"), "x") == pathlib.Path("a/b")
    assert user_path(kind("~/a"), "x") == home / "a"
    assert user_path(kind("~"), "x") == home
    assert user_path(kind("~root/a"), "x") == pathlib.Path(os.path.expanduser("~root/a"))


@pytest.mark.parametrize(
    "path, words",
    [
        ("gs://bucket/a", ["gs://", "bucket"]),
        (pathlib.Path("gs://bucket/a"), ["gs://"]),  # with one slash left
        ("S3://b", ["S3://"]),
        ("s3a://b", ["s3a://"]),
        ("hdfs://host:9000/x", ["hdfs://"]),
        ("https://host/x.npz", ["https://"]),
        ("file:///tmp/x", ["file://"]),
        ("dbfs:/mnt/x", ["dbfs:/"]),
        ("~nobodyhere/x", ["user", "~nobodyhere/x"]),
        ("~nobodyhere", ["user"]),
        ("", ["Received: ''"]),
        ("a\0b", [r"a\x00b"]),
        (None, ["None"]),
        (7, ["7"]),
        (True, ["True"]),
    ],
)
def test_what_is_none(home, path, words):
    with pytest.raises(UserError, match="^The data ") as caught:
        user_path(path, "The data")
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words)
    assert not list(pathlib.Path().iterdir())


@pytest.mark.parametrize("path", ["./~x", "./gs:/x", "C:/x", "a:b", "a/gs://b", "~/~x"])
def test_names_that_only_look_so_pass_as_often_as_one_likes(home, path):
    once = user_path(path, "x")
    assert user_path(once, "x") == once
    assert once.absolute() == pathlib.Path(str(home) + path[1:] if path[0] == "~" else path).absolute()


def test_without_a_home_folder_nothing_is_made_in_this_one(home, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as for a user number without a name
    with pytest.raises(UserError, match="home folder"):
        WorkDir("~/x")


def refusing_calls(path):
    network = interop.slots
    return {
        "WorkDir": lambda: WorkDir(path),
        "search": lambda: darts_tf.search(presets.get("smoke").config, path),
        "train": lambda: darts_tf.train(presets.get("smoke_train").config, path),
        "kind_of": lambda: kind_of(path),
        "load_network": lambda: load_network(path),
        "images": lambda: images.load("folder", path),
        "npz": lambda: images.load("npz", path),
        "cifar10": lambda: images.load("cifar10", path),
        "imagenet": lambda: images.load("imagenet2012", path),
        "text": lambda: load_text("folder", path),
        "operations": lambda: add_operations(path),
        "genotype": lambda: darts_tf.genotype.load(path),
        "genotype, path": lambda: darts_tf.genotype.load(Like(path)),
        "genotype.save": lambda: darts_tf.genotype.save(darts_tf.genotype.load("DARTS_V2"), path),
        "draw": lambda: darts_tf.genotypes.drawing.draw(darts_tf.genotype.load("DARTS_V2"), path, []),
        "report": lambda: write_report([path], "x.html"),
        "report, output": lambda: write_report(["x"], path),
        "prior": lambda: load_prior(path),
        "export": lambda: Publication(path, "m"),
        "client": lambda: version_folder(path, "m"),
        "weights": lambda: interop.load(network, path),
    }


@pytest.mark.parametrize(
    "path, word", [("gs://bucket/a", "gs://"), ("~nobodyhere/a", "home folder of an unknown user")]
)
@pytest.mark.parametrize("name", refusing_calls(""))
def test_every_argument_refuses(home, name, path, word):
    with pytest.raises(UserError, match=word) as caught:
        refusing_calls(path)[name]()
    assert "\n" not in str(caught.value)
    assert not list(pathlib.Path().iterdir())


@pytest.mark.parametrize(
    "path, word", [("s3://bucket/a", "s3://"), ("~nobodyhere/a", "home folder of an unknown user")]
)
@pytest.mark.parametrize(
    "main, flags",
    [
        (search.main, ["--preset=smoke", "--workdir=PATH"]),
        (search.main, ["--preset=smoke", "--dataset=npz", "--data_dir=PATH", "--workdir=w"]),
        (search.main, ["--preset=smoke", "--operations_file=PATH", "--workdir=w"]),
        (search.main, ["--preset=text_search", "--data_dir=PATH", "--workdir=w"]),
        (train.main, ["--preset=smoke_train", "--genotype=PATH", "--workdir=w"]),
        (tune.main, ["--search=PATH", "--workdir=w", "--preset=smoke_train", "--train_portion=0.5"]),
        (tune.main, ["--prior=uniform", "--workdir=PATH"]),
        (protocol.main, ["--workdir=PATH"]),
        (evaluate.main, ["PATH"]),
        (evaluate.main, ["--model=PATH", "--dataset=digits"]),
        (export.main, ["PATH"]),
        (export.main, ["w", "--export_dir=PATH"]),
        (predict.main, ["--export_dir=PATH", "x.png"]),
        (predict.main, ["--server=localhost:1", "PATH"]),
        (predict.main, ["--server=localhost:1", "--text=a", "--vocabulary_dir=PATH"]),
        (visualize.main, ["DARTS_V2", "--output_dir=PATH"]),
        (visualize.main, ["PATH"]),
        (report.main, ["PATH"]),
        (report.main, ["w", "--output=PATH"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.__module__.rpartition(".")[2],
)
def test_every_flag_refuses(home, monkeypatch, capfd, main, flags, path, word):
    tf.zeros(1)  # says what it has to say
    capfd.readouterr()
    monkeypatch.setattr(runtime, "configure", lambda *args: None)
    with pytest.raises(SystemExit) as caught:
        main([flag.replace("PATH", path) for flag in flags])
    errors = [line for line in capfd.readouterr().err.splitlines() if "error" in line]
    assert caught.value.code in (1, 2) and len(errors) == 1 and word in errors[0], errors
    assert not list(pathlib.Path().iterdir())


def test_settings_take_path_objects_and_keep_what_was_written():
    config = SearchConfig(dataset="npz", data_dir=pathlib.Path("~/x.npz"), operations_file=Like("~/o.py"))
    assert (config.data_dir, config.operations_file) == ("~/x.npz", "~/o.py")
    assert SearchConfig.from_json(config.to_json()) == config
    assert TrainConfig(genotype=pathlib.Path("a")).genotype == "a"
    assert config.replace(data_dir=pathlib.Path("y")).data_dir == "y"
    with pytest.raises(UserError, match="gs://"):
        config.replace(data_dir="gs://b/x.npz")
    with pytest.raises(UserError, match="gs://"):
        changed(config, "overrides", ("data_dir=gs://b/x",), {})


def test_home_is_understood(home, capfd):
    genotype = darts_tf.genotype.load("DARTS_V2")
    darts_tf.genotype.save(genotype, "~/g.json")
    assert darts_tf.genotype.load("~/g.json") == genotype == darts_tf.genotype.load(Like("~/g.json"))
    darts_tf.genotypes.drawing.draw(genotype, "~/pictures", [])
    assert visualize.main(["~/g.json", "--output_dir=~/more", "--formats="]) == 0
    np.savez(home / "w.npz", a=np.zeros(3))
    assert list(state_dicts.read("~/w.npz")) == ["a"]
    np.savez(home / "i.npz", x=np.zeros((8, 8, 8, 1), np.uint8), y=np.arange(8) % 2)
    assert len(images.load("npz", "~/i.npz").train) == 8
    load_prior("~/g.json").save("~/prior.npz")
    assert load_prior("~/prior.npz").first == genotype
    with WorkDir("~/run") as directory:
        directory.open_for(SearchConfig())
    assert kind_of("~/run") == "search"
    assert report.main(["~/run", "--output=~/report.html"]) == 0
    (home / "o.py").write_text("1")
    add_operations("~/o.py")
    assert Publication("~/models", "m").export_dir == home / "models"
    names = {entry.name for entry in home.iterdir()}
    assert {"g.json", "pictures", "more", "prior.npz", "run", "report.html"} <= names
    assert not list(pathlib.Path().iterdir())


@pytest.mark.parametrize("call", [load_network, state_dicts.read, add_operations])
def test_a_folder_is_no_file(tmp_path, call):
    with pytest.raises(UserError, match="There is no file"):
        call(tmp_path)


def fsync_that_fails(monkeypatch, number, of_folders):
    """Lets it fail for files or for folders."""
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    "number",
    [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.ENOSYS],
    ids=errno.errorcode.get,
)
def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, number):
    fsync_that_fails(monkeypatch, number, True)
    write_json(tmp_path / "a.json", {})
    with WorkDir(tmp_path / "run") as directory:
        directory.open_for(SearchConfig())
    monkeypatch.setattr(os, "open", lambda *arguments: (_ for _ in ()).throw(OSError(number, "")))
    sync_directory(tmp_path)  # where it cannot even be opened


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_files_that_cannot_be_synced(tmp_path, monkeypatch, number):
    fsync_that_fails(monkeypatch, number, False)
    assert write_atomically(tmp_path / "a", "text").read_text() == "text"


def test_errors_of_the_disk_are_not_forgiven(tmp_path, monkeypatch):
    fsync_that_fails(monkeypatch, errno.EIO, True)
    with pytest.raises(OSError, match="Input/output"):
        files.sync_directory(tmp_path)
    for number in (errno.EIO, errno.ENOSPC, errno.EACCES):
        fsync_that_fails(monkeypatch, number, False)
        with pytest.raises(OSError):
            write_atomically(tmp_path / "a", "text")
    assert not list(tmp_path.iterdir())
