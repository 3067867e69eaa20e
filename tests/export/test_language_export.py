"""Exported language models: what the signatures compute, how a prompt is continued, what mistakes are told."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from darts_tf.bin import evaluate as evaluate_binary
from darts_tf.bin import export as export_binary
from darts_tf.bin import predict as predict_binary
from darts_tf.export import client, exporting, warmup, writing
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.tasks.evaluate import evaluate
from darts_tf.tasks.trained import load
from tests.helpers.language_runs import settings, train
from tests.helpers.serving import serving


class Exported:
    def __init__(self, root, folder):
        self.run, self.root, self.texts = root / "run", root / "exports", folder
        train(self.run, settings(folder, epochs=2))
        self.said = []
        self.path = exporting.export(self.run, self.root, "words", say=self.said.append)
        self.trained = load(self.run)
        self.signatures = tf.saved_model.load(str(self.path)).signatures


@pytest.fixture(scope="module")
def exported(tmp_path_factory, texts):
    return Exported(tmp_path_factory.mktemp("language_export"), texts)


@pytest.fixture(autouse=True)
def configured(monkeypatch):
    monkeypatch.setattr(runtime, "configure", lambda *arguments: None)  # TensorFlow is running already


def test_what_is_published(exported):
    files = {str(path.relative_to(exported.path)) for path in exported.path.rglob("*") if path.is_file()}
    assert {"assets/vocabulary.txt", "assets/model_card.json", "assets/genotype.json", str(warmup.PLACE)} <= files
    card = json.loads((exported.path / "assets" / "model_card.json").read_text())
    assert card["vocabulary"] == 14 and card["units"] == 6 and card["checks"]["warmup_requests"] == 6
    assert card["stored_numbers"] == card["parameters"] == exported.trained.network.parameters
    assert card["perplexity"]["perplexity"] > 1 and card["genotype"] == exported.trained.genotype.to_json()
    assert any("equal to the network on real text" in line for line in exported.said)


def test_a_text_in_pieces_is_the_whole_text(exported):
    """The state goes from answer to request; the logits are those of the word that follows."""
    network, rng = exported.trained.network, np.random.default_rng(0)
    tokens = rng.integers(14, size=(3, 8)).astype(np.int32)
    whole = network(tf.constant(tokens.T), network.initial_state(3)).logits.numpy()
    state = np.zeros((3, 6), np.float32)
    for start, stop in ((0, 1), (1, 5), (5, 8)):
        outputs = exported.signatures["step"](tokens=tf.constant(tokens[:, start:stop]), state=tf.constant(state))
        state = outputs["state"].numpy()
        np.testing.assert_allclose(outputs["logits"], whole[stop - 1], atol=1e-5)


def test_scores(exported):
    """Of each word after `<eos>` and the words before it; what fills up a row counts nothing."""
    network, words = exported.trained.network, exported.trained.facts.vocabulary
    tokens = words.encode("w1 w3 w5 w7".split())
    before = np.array([[words.index["<eos>"], *tokens[:-1]]])
    logits = network(tf.constant(before.T), network.initial_state(1)).logits[:, 0]
    expected = tf.nn.log_softmax(logits).numpy()[range(4), tokens]
    rows = np.stack([[*tokens, -1, -1], [*tokens[:2], -1, -1, -1, -1], [-1] * 6]).astype(np.int32)
    for name in ("score", "serving_default"):
        found = exported.signatures[name](tokens=tf.constant(rows))
        np.testing.assert_allclose(found["log_probabilities"][0], [*expected, 0, 0], atol=1e-5)
        np.testing.assert_allclose(found["log_probabilities"][1], [*expected[:2], 0, 0, 0, 0], atol=1e-5)
        perplexities = [np.exp(-expected.mean()), np.exp(-expected[:2].mean()), 1]
        np.testing.assert_allclose(found["perplexity"], perplexities, rtol=1e-5)
    for late in ([-1, -1, 3, 4], [3, -1, 4, -1]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="padded with -1 at their ends only"):
            exported.signatures["score"](tokens=tf.constant([[3, 4, 5, 6], late]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="tokens must be word indices from 0 to 13"):
        exported.signatures["step"](tokens=tf.constant([[14]]), state=tf.zeros((1, 6)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="state must have a row for each row of tokens"):
        exported.signatures["step"](tokens=tf.constant([[1], [2]]), state=tf.zeros((1, 6)))


@pytest.mark.parametrize(
    "damage",
    [{"training_config": value} for value in ([], None, "x", {}, {"data_dir": 5}, {"vocabulary_size": "a"})]
    + [{"units": value} for value in (None, "x", "6", -1, 6.5, 10**12)],
    ids=str,
)
def test_a_damaged_card_is_one_line(exported, tmp_path, damage):
    shutil.copytree(exported.path, tmp_path, dirs_exist_ok=True)
    card = tmp_path / "assets" / "model_card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | damage))
    if "units" in damage:
        with pytest.raises(UserError, match="is not an exported language model"):
            writing.units_of(tmp_path)
        assert evaluate(model=str(tmp_path))["perplexity"] > 1  # which the signature's shape is enough for
    else:
        with pytest.raises(UserError):
            evaluate(model=str(tmp_path))


def test_cut_weights_are_one_line(exported, tmp_path):
    shutil.copytree(exported.path, tmp_path / "words")
    weights = tmp_path / "words" / "variables" / "variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be loaded"):
        client.in_process(tmp_path / "words", "words")
    with pytest.raises(UserError, match="cannot be loaded"):
        evaluate(model=str(tmp_path / "words"))


def test_a_damaged_export_fails_its_check(exported, tmp_path, monkeypatch):
    before = exporting.language.cases_of

    def wrong(*arguments):
        step, *others = before(*arguments)
        return [step._replace(outputs=step.outputs | {"state": step.outputs["state"] + 0.01}), *others]

    monkeypatch.setattr(exporting.language, "cases_of", wrong)
    with pytest.raises(UserError, match="The exported model does not work: step at batch 1: state off by 0.01"):
        exporting.export(exported.run, tmp_path / "exports")
    assert not (tmp_path / "exports").exists()


# A prompt


@pytest.fixture(scope="module")
def server(exported):
    with serving(exported.root, "words") as addresses:
        yield addresses


def follow(ask, exported, prompt="w1 w3", count=6, **options):
    said = []
    vocabulary = exported.trained.facts.vocabulary
    return list(writing.continued(ask, vocabulary, 6, prompt, count, say=said.append, **options)), said


def test_a_prompt_is_continued_the_same_wherever_the_model_is(exported, server):
    asks = [client.connect(address, "words") for address in server] + [client.in_process(exported.root, "words")]
    found = [follow(ask, exported, seed=4) for ask in asks]
    assert found[0] == found[1] == found[2] and len(found[0][0]) == 6
    assert follow(asks[2], exported, seed=5) != found[2]
    assert follow(asks[2], exported, seed=5, temperature=0.0) == follow(asks[2], exported, seed=6, top_k=1)
    words, said = follow(asks[2], exported, "w1 zebra w3 yak", count=40)
    assert said == ["read as <unk>: zebra, yak"] and "<unk>" not in words
    strange = " ".join(f"x{number}" for number in range(25))
    _, said = follow(asks[2], exported, f"{strange}\nw1", count=1)
    assert len(said) == 1 and said[0].endswith("x8, x9 and 15 more")
    _, said = follow(asks[2], exported, "W1\nW3", count=1)
    assert said[0] == "read as <unk>: W1, W3" and said[1].startswith(
        "warning: the model knows none of the prompt's words"
    )
    known = follow(asks[2], exported, "w1 <unk> w3 <unk>", count=40)
    assert known == (words, [])
    assert follow(asks[2], exported, "w1\nw3") == follow(asks[2], exported, "w1 <eos> w3")
    with pytest.raises(UserError, match="The model returned an error: .*NOT_FOUND"):
        follow(client.connect(server[0], "other"), exported)


def test_words_are_drawn_by_their_chances():
    logits, random = np.log([0.5, 0.3, 0.2]), np.random.default_rng(0)
    drawn = np.bincount([writing.choose(logits, 0, 1.0, random) for _ in range(4000)]) / 4000
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.2], atol=0.03)
    drawn = np.bincount([writing.choose(logits, 2, 0.5, random) for _ in range(4000)]) / 4000
    np.testing.assert_allclose(drawn, [25 / 34, 9 / 34], atol=0.03)
    assert writing.choose(logits, 0, 0.0, random) == writing.choose(logits, 0, 1e-320, random) == 0


def test_a_text_is_printed_with_blanks_between_its_words():
    assert "".join(writing.spaced("a b", ["c", "<eos>", "d", "e", "<eos>"])) == "a b c\nd e\n"
    assert "".join(writing.spaced("", ["c", "d"])) == "c d"
    assert "".join(writing.spaced("a\n", ["b"])) == "a\nb"


# The binaries


def test_binaries(exported, server, capfd, tmp_path):
    asked = ["--name=words", "--text=w1 w3", "--words=5", "--seed=2"]
    assert predict_binary.main([f"--export_dir={exported.root}", *asked]) == 0
    local = capfd.readouterr().out
    assert local.startswith("w1 w3") and len(local.split()) <= 7
    assert predict_binary.main([f"--server={server[1]}", f"--vocabulary_dir={exported.root}", *asked]) == 0
    assert capfd.readouterr().out == local
    assert predict_binary.main([f"--export_dir={exported.root}", *asked, "--format=json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["words"]) == 5
    found = []
    for source in (str(exported.run), f"--model={exported.path.parent}"):  # the newest version
        for more in ([], ["--split=valid", "--bits_per_character"], ["--batch_size=3", "--max_examples=90"]):
            assert evaluate_binary.main([source, *more, "--format=json"]) == 0
            found.append(json.loads(capfd.readouterr().out.splitlines()[-1]))
    for one, other in zip(found[:3], found[3:], strict=True):
        assert one["perplexity"] == pytest.approx(other["perplexity"], rel=1e-4) and one["words"] == other["words"]
    assert found[0]["perplexity"] == pytest.approx(exported.trained.summary["test_perplexity"], rel=1e-5)
    assert found[1]["bits_per_character"] > 0 and found[2]["words"] == 87


def test_mistakes_are_one_line(exported, capfd, tmp_path):
    def refused(main, *arguments):
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        assert caught.value.code in (1, 2)
        lines = capfd.readouterr().err.strip().splitlines()
        assert "error" in lines[-1] and "Traceback" not in "".join(lines)
        return lines[-1]

    here = f"--export_dir={exported.root}"
    assert "expected either image files or --text" in refused(predict_binary.main, here, "--text=a", "cat.png")
    assert "expected --vocabulary_dir" in refused(predict_binary.main, "--server=localhost:1", "--text=a")
    assert "There is no exported model darts" in refused(predict_binary.main, here, "--text=a")
    image = tmp_path / "a.png"
    image.write_bytes(b"")
    assert "no signature serving_bytes" in refused(predict_binary.main, here, "--name=words", str(image))
    other = tmp_path / "other"
    shutil.copytree(exported.texts, other)
    (other / "train.txt").write_text("a b c\n" * 40)
    run = str(exported.run)
    assert "must have the vocabulary" in refused(evaluate_binary.main, run, f"--data_dir={other}")
    assert "cannot" not in refused(evaluate_binary.main, f"--model={exported.path}", "--weights=best")
    assert "holds another kind of model" in refused(
        evaluate_binary.main, f"--model={run}/best.keras", "--dataset=digits"
    )
    assert "expected a finite number" in refused(predict_binary.main, here, "--text=a", "--temperature=nan")
    assert "--vocabulary_dir with --server only" in refused(
        predict_binary.main, here, "--text=a", f"--vocabulary_dir={run}"
    )
    assert "dataset is for images" in refused(evaluate_binary.main, run, "--dataset=digits")
    assert "must have the vocabulary" in refused(export_binary.main, run, f"--data_dir={other}")
    assert "SavedModel only" in refused(export_binary.main, run, "--format=tflite", f"--export_dir={tmp_path / 'e'}")
    damaged = tmp_path / "run"
    shutil.copytree(exported.run, damaged)
    words = (damaged / "vocabulary.txt").read_text()
    (damaged / "vocabulary.txt").write_text(words.replace("w3\n", ""))
    assert "has 14 words, but vocabulary.txt has 13" in refused(evaluate_binary.main, str(damaged))
    (damaged / "vocabulary.txt").write_text(words.replace("w3\n", "w4\n"))
    assert "is damaged" in refused(evaluate_binary.main, str(damaged))
    assert not (tmp_path / "e").exists() and not (tmp_path / "exports").exists()
