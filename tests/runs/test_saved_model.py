"""Whatever a path holds instead of an exported model is one line, the same for all that load one."""

import pytest
import tensorflow as tf

from darts_tf.bin import evaluate as binary
from darts_tf.export import client
from darts_tf.runs.saved_model import load_saved_model, signature_of
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.tasks import exported


def save(path, **signatures):
    """Writes a SavedModel with a variable, and signatures `name=(input specs, function)`."""
    module = tf.Module()
    module.weight = tf.Variable(tf.random.stateless_normal((50,), (0, 0)))

    def trace(specs, made):
        return tf.function(lambda **inputs: made(module.weight, **inputs)).get_concrete_function(**specs)

    traced = {name: trace(*signature) for name, signature in signatures.items()}
    module.kept = list(traced.values())
    tf.saved_model.save(module, str(path), signatures=traced or None)
    return path


IMAGE = {"image": tf.TensorSpec((None, 2, 2, 1), name="image")}


def logits(weight, image):
    return {"logits": tf.reshape(image, (-1, 4)) + weight[:4]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save(tmp_path_factory.mktemp("whole") / "1", serving_default=(IMAGE, logits))


def damaged(whole, path, name, change):
    for file in whole.rglob("*"):
        if file.is_file():
            target = path / file.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (victim,) = path.rglob(name)
    if change is None:
        victim.unlink()
    else:
        victim.write_bytes(change(victim.read_bytes()))
    return path


CASES = {
    "nothing": (lambda path, whole: path / "none", "Received: a path that does not exist"),
    "an empty folder": (lambda path, whole: path, "Received: an empty folder"),
    "other files": (
        lambda path, whole: [(path / name).write_text("") for name in "cab"] and path,
        "Received: a folder with a, b, c.",
    ),
    "a folder of that name": (lambda path, whole: (path / "saved_model.pb").mkdir() or path, "Received: a folder with"),
    "an empty saved_model.pb": (
        lambda path, whole: damaged(whole, path / "x", "saved_model.pb", lambda data: b""),
        "cannot be loaded",
    ),
    "a cut saved_model.pb": (
        lambda path, whole: damaged(whole, path / "x", "saved_model.pb", lambda data: data[: len(data) // 2]),
        "cannot be loaded.*saved_model.pb is damaged",
    ),
    "text for saved_model.pb": (
        lambda path, whole: damaged(whole, path / "x", "saved_model.pb", lambda data: b"damaged"),
        "cannot be loaded.*saved_model.pb is damaged",
    ),
    "no index": (lambda path, whole: damaged(whole, path / "x", "variables.index", None), "cannot be loaded"),
    "no variables": (lambda path, whole: damaged(whole, path / "x", "variables.data*", None), "cannot be loaded"),
    "cut variables": (
        lambda path, whole: damaged(whole, path / "x", "variables.data*", lambda data: data[:10]),
        "cannot be loaded",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_folder_that_is_none_is_one_line(case, whole, tmp_path):
    make, words = CASES[case]
    path, said = make(tmp_path, whole), set()
    for load in (
        load_saved_model,
        exported.of_images,
        exported.of_text,
    ):
        with pytest.raises(UserError, match=words) as caught:
            load(path)
        said.add(str(caught.value))
        assert "Expected the folder of a version that darts-export wrote" in str(caught.value)
    assert len(said) == 1 and "\n" not in said.pop()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"\0\0\0\0TFL3")
    with pytest.raises(UserError, match="Received: a path that is a file"):
        load_saved_model(tmp_path / "model.tflite")
    with pytest.raises(UserError, match="There is no exported model"):
        client.in_process(tmp_path / "model.tflite", "darts")


def test_a_whole_one_is_loaded(whole):
    loaded = load_saved_model(whole)
    assert signature_of(loaded, whole, "serving_default", ["image"], ["logits"])(image=tf.zeros((3, 2, 2, 1)))
    forward, shape, classes, _ = exported.of_images(exported.newest_version(whole.parent))
    assert (shape, classes) == ((2, 2, 1), 4) and forward(tf.zeros((3, 2, 2, 1))).shape == (3, 4)


OTHERS = {
    "no signatures": {},
    "another signature": {"predict": (IMAGE, logits)},
    "another input": {"serving_default": ({"x": tf.TensorSpec((None, 4), name="x")}, lambda w, x: {"logits": x})},
    "another output": {"serving_default": (IMAGE, lambda w, image: {"scores": image})},
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_model_of_others_is_one_line(other, tmp_path):
    path = save(tmp_path / "1", **OTHERS[other])
    with pytest.raises(UserError, match=r"no signature serving_default \(image -> logits\)") as caught:
        exported.of_images(path)
    assert "Received: " in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"no signature step \(tokens, state -> logits, state\)"):
        exported.of_text(path)
    with pytest.raises(UserError, match=r"no signature serving_bytes \(image_bytes\)"):
        client.in_process(path, "x")("serving_bytes", {"image_bytes": [b""]})


@pytest.mark.parametrize("shape", [(None, None, None, 3), (None, 4), None])
def test_a_model_of_others_with_the_same_names_is_one_line(shape, tmp_path):
    image = {"image": tf.TensorSpec(shape, name="image")}
    path = save(tmp_path / "1", serving_default=(image, lambda w, image: {"logits": image}))
    with pytest.raises(UserError, match="expected images of a known size"):
        exported.of_images(path)


@pytest.mark.parametrize("case", ["an empty folder", "a cut saved_model.pb", "no variables"])
def test_the_binary_says_it_in_one_line(case, whole, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(runtime, "configure", lambda *arguments: None)
    make, words = CASES[case]
    with pytest.raises(SystemExit) as caught:
        binary.main([f"--model={make(tmp_path, whole)}", "--dataset=digits"])
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.endswith("...")]
    assert caught.value.code == 1 and len(lines) == 1 and lines[0].startswith("darts-evaluate: error: ")
