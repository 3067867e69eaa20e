"""Language models from a config to a trained network: steps, averaging, roll-backs, exact resume, perplexity."""

import itertools
import json
import math
import signal

import numpy as np
import pytest
import tensorflow as tf

from darts_tf import genotypes
from darts_tf.bilevel.optimizers import clip_by_global_norm
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.data.text import windows
from darts_tf.data.text.corpus import Vocabulary
from darts_tf.engine.loop import Diverged
from darts_tf.spaces.recurrent import masks
from darts_tf.spaces.recurrent.networks import Inputs, RecurrentNetwork, RecurrentSupernet
from darts_tf.system.errors import UserError
from darts_tf.system.streams import silent
from darts_tf.tasks import domains, language
from darts_tf.tasks import search as search_task
from darts_tf.tasks.evaluate import evaluate
from darts_tf.tasks.evaluators import LanguageEvaluator, bits_per_character, language_forward
from darts_tf.tasks.language import triggers
from darts_tf.tasks.language_data import load_vocabulary
from darts_tf.tasks.trained import ImageFacts, TextFacts, load_network
from tests.helpers.language_runs import CELL, SMALL, STRONG, settings, train
from tests.helpers.runs import LINE, Console, metrics, newest
from tests.helpers.steps import SequenceLoss, pieces, search_step, stateless, train_step


@pytest.fixture(scope="module")
def whole(texts, tmp_path_factory):
    """An uninterrupted run that begins to average: its directory, its summary, what it printed."""
    path = tmp_path_factory.mktemp("language") / "run"
    return path, *train(path, settings(texts, nonmono=1, epochs=6, learning_rate=60.0, bits_per_character=True))


# Steps


def test_a_training_step_is_the_rule_by_hand(float64):
    """Loss with penalties and masks, clipping, rate scaled by the length that was drawn, decay; then the mean."""
    config = LanguageTrainConfig(
        num_units=5,
        batch_size=3,
        bptt=10,
        grad_clip=0.3,
        weight_decay=0.1,
        activation_penalty=0.4,
        slowness_penalty=0.5,
    )
    net = RecurrentNetwork(CELL, 9, 5)
    rng = np.random.default_rng(1)
    for v in net.weight_variables:
        v.assign(rng.normal(size=v.shape))
    step = train_step(net, config)
    step.domain.carried[0].assign(rng.normal(size=(3, 5)))
    rates = masks.Masks(0.1, 0.2, 0.75, 0.25, 0.75)
    expected, state, seen = [v.numpy() for v in net.weight_variables], step.domain.carried[0].numpy(), []
    for number, averaging in enumerate([False, False, True, True, True]):
        piece, seed = pieces(3, start=number), tf.constant([7, number], tf.int64)
        report = step(piece, seed[1], tf.constant(2.0, tf.float64), 0.0, seed[0], averaging)
        state = np.zeros_like(state) if number == 0 else state  # a window at 0 begins a text
        weights = [tf.constant(w) for w in expected]
        with tf.GradientTape() as tape:
            tape.watch(weights)
            inputs = Inputs(piece[0], tf.constant(state), masks.draw(seed, rates, 3, 5, 9, "float64"))
            outputs, _ = stateless(net, weights, [], inputs)
            entropy = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(piece[1], outputs.logits))
            loss = entropy + SequenceLoss(0.4, 0.5).penalty(outputs)
        gradients, norm = clip_by_global_norm(tape.gradient(loss, weights), 0.3)
        expected = [w - 2.0 * 0.8 * (g + 0.1 * w) for w, g in zip(expected, gradients, strict=True)]
        state = outputs.state.numpy()
        np.testing.assert_allclose(step.domain.carried[0], state, rtol=1e-10)
        for name, value in (("loss", loss), ("gradient_norm", norm), ("nats", 5 * entropy), ("length", 5)):
            np.testing.assert_allclose(report[name], value, rtol=1e-10)
        for v, w in zip(net.weight_variables, expected, strict=True):
            np.testing.assert_allclose(v, w, rtol=1e-9, atol=1e-12)
        seen += [[np.array(w) for w in expected]] if averaging else []
    assert norm > 0.3  # it was clipped
    for mean, *parts in zip(step.averages, *seen[1:], strict=True):  # the mean begins at the second step, as in torch
        np.testing.assert_allclose(mean, np.mean(parts, 0), rtol=1e-9, atol=1e-12)


def searched(**changes):
    """A search's step on given weights, taken once; returns the alphas, the weights and the report."""
    config = LanguageSearchConfig(
        **{"num_units": 5, "batch_size": 3, "bptt": 10, "num_nodes": 2, "arch_learning_rate": 0.1, **changes}
    )
    net = RecurrentSupernet(9, 5, 2)
    rng = np.random.default_rng(2)
    for v in [*net.weight_variables, *net.arch_variables]:
        v.assign(0.5 * rng.normal(size=v.shape))
    step = search_step(net, config)
    seen = []

    def recorded(train, valid, *others):
        seen.extend([train, valid])
        return type(step.architect).gradient(step.architect, train, valid, *others)

    step.architect.gradient = recorded
    report = step(pieces(3, 4), pieces(3, 5), tf.constant(3, tf.int64), tf.constant(2.0, tf.float64))
    return net.arch_variables[0].numpy(), net.weight_variables[1].numpy(), report, seen


def test_a_search_step_and_its_switches(float64):
    alphas, weights, report, (train, valid) = searched()
    again, *_ = searched()
    np.testing.assert_array_equal(alphas, again)
    assert set(report) == {"valid_loss", "loss", "nats", "length", "gradient_norm"}
    assert float(train[1][1]) == 1.0 and float(valid[1][1]) == 0.0  # penalties count on the training text
    assert {float(x) for x in np.unique(train[0].masks.hidden)} == {0.0, 1 / 0.75}
    assert not np.array_equal(train[0].masks.output, valid[0].masks.output)
    (plain, _), (redrawn, _) = (searched(reproduce=(name,))[3] for name in ("plain_virtual_step", "redrawn_masks"))
    assert float(plain[1][1]) == 0.0
    first, second = redrawn(0), redrawn(1)
    assert not np.array_equal(first[0].masks.hidden, second[0].masks.hidden)
    np.testing.assert_array_equal(first[0].tokens, second[0].tokens)
    own, *_ = searched(slowness_penalty=0.5, grad_clip=10.0)
    for name in ("clip_coefficient", "still_embedding", "redrawn_masks", "plain_virtual_step"):
        other, _, found, _ = searched(reproduce=(name,), slowness_penalty=0.5, grad_clip=10.0)
        assert np.abs(other - own).max() > 1e-9, name
        assert found["gradient_norm"] < 10
    with pytest.raises(UserError, match="reproduce must be some of clip_coefficient"):
        LanguageSearchConfig(reproduce=("everything",))


def test_frozen_alphas_do_not_move(float64):
    net = RecurrentSupernet(9, 5, 2)
    step = search_step(net, LanguageSearchConfig(num_units=5, batch_size=3, num_nodes=2))
    before = net.arch_variables[0].numpy()
    report = step(pieces(3), pieces(3), tf.constant(0, tf.int64), tf.constant(1.0, tf.float64), move_alphas=False)
    np.testing.assert_array_equal(net.arch_variables[0].numpy(), before)
    assert "valid_loss" not in report and np.array_equal(step.domain.carried[1], np.zeros((3, 5)))


def test_when_averaging_starts():
    """The rule of `rnn/train.py` by hand: above the least of all losses but the last five before this one."""
    assert not triggers([], 5) and not triggers([9, 8, 7, 6, 5, 4], 5)
    assert not triggers([1, 2, 3, 4, 5], 5)  # five before are not more than five
    assert triggers([1, 2, 3, 4, 5, 6, 7], 5)
    assert not triggers([5, 9, 9, 9, 9, 9, 4], 5)
    assert triggers([5, 4, 9, 9, 9, 9, 9, 4.5], 5)
    assert not triggers([1, 2, 3, 4, 5, 6, 7], 0)


# Evaluation


def test_perplexity_is_that_of_the_whole_text(float64):
    net, rng = RecurrentNetwork(CELL, 9, 5), np.random.default_rng(5)
    for v in net.weight_variables:
        v.assign(rng.normal(size=v.shape))
    rows = rng.integers(9, size=(41, 2))
    logits = net(tf.constant(rows[:-1]), net.initial_state(2)).logits.numpy()
    likely = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -np.mean([likely[i, j, rows[i + 1, j]] for i, j in itertools.product(range(40), range(2))])
    for bptt in (7, 20, 100):
        found = LanguageEvaluator(language_forward(net), net.initial_state)(rows, bptt)
        np.testing.assert_allclose([found["loss"], found["perplexity"]], [loss, math.exp(loss)], rtol=1e-6)
        assert found["words"] == 80
    evaluator = LanguageEvaluator(language_forward(net), net.initial_state)
    evaluator(rows, 7)
    assert evaluator._step.experimental_get_tracing_count() == 1  # though the last window is shorter
    net.bias.assign(np.full(9, np.nan))
    with pytest.raises(UserError, match="is not finite"):
        LanguageEvaluator(language_forward(net), net.initial_state)(rows, 7)


def test_bits_per_character():
    words = Vocabulary(("<eos>", "<unk>", "seven", "it"))
    rows = np.array([[0], [2], [3], [0]])  # "seven it\n": 6 + 3 + 1 characters, 3 words
    assert bits_per_character(math.log(2), rows, words) == pytest.approx(3 / 10)
    spelled = Vocabulary(("<eos>", "<unk>", "a", "b", "_"))
    assert bits_per_character(math.log(2), rows, spelled) == pytest.approx(1.0)


# Runs


def test_what_a_run_leaves(whole, texts):
    workdir, summary, printed = whole
    assert json.loads((workdir / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert summary["metric"] == "perplexity" and summary["better"] == "lower"
    history = metrics(workdir)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
    assert history[0]["train_perplexity"] == pytest.approx(math.exp(history[0]["train_loss"]))
    best = min(history, key=lambda record: record["valid_loss"])
    assert summary["valid_perplexity"] == best["valid_perplexity"]
    assert 0 < summary["test_bits_per_character"] == summary["best"]["test_bits_per_character"] < 2
    assert summary["rollbacks"] == 0
    assert "validation perplexity" in printed and "from epoch" in printed
    vocabulary = load_vocabulary(workdir)
    assert len(vocabulary) == 14 and summary["vocabulary"] == 14
    network = load_network(workdir / "best.keras", TextFacts)
    assert network.genotype.to_json() == summary["genotype"] and network.parameters == summary["parameters"]
    with pytest.raises(UserError, match="another kind of model"):
        load_network(workdir / "best.keras", ImageFacts)
    assert not [path for path in workdir.rglob(".*") if path.name != ".lock"]


def test_averaged_weights_are_what_is_validated_and_kept(whole):
    workdir, summary, printed = whole
    start = summary["averaged_from"]
    assert start and f"averaging the weights from epoch {start} on" in printed
    averages = [v for name, v in newest(workdir).arrays.items() if name.startswith("averages/")][0]
    kept = load_network(workdir / "last.keras")
    np.testing.assert_array_equal(np.concatenate([v.numpy().ravel() for v in kept.weight_variables]), averages)
    own = [v for name, v in newest(workdir).arrays.items() if name.startswith("weights/")]
    assert any(not np.array_equal(a, v.numpy()) for a, v in zip(own, kept.weight_variables, strict=True))


@pytest.mark.parametrize("epoch", [2, 5])
def test_a_stopped_run_goes_on_as_if_it_had_not(whole, texts, tmp_path, epoch):
    """Before and after averaging has begun."""
    config = settings(texts, nonmono=1, epochs=6, learning_rate=60.0, bits_per_character=True, steps_per_loop=3)
    found, printed = train(tmp_path, config, Console(f"epoch {epoch} done", signal.SIGTERM))
    assert found is None and LINE in printed.splitlines()[-1]
    found, printed = train(tmp_path, config)
    assert "resuming at step" in printed and {**found, "seconds": 0} == {**whole[1], "seconds": 0}
    a, b = newest(whole[0]), newest(tmp_path)
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name, strict=True)
    assert metrics(tmp_path) == metrics(whole[0])


def search_settings(texts, **changes):
    return LanguageSearchConfig(
        data_dir=str(texts), num_nodes=2, **{**SMALL, **STRONG, "learning_rate": 5.0, **changes}
    )


def search(workdir, config, console=None):
    console = console or Console()
    return search_task.search(config, workdir, out=console), console.getvalue()


def test_a_search_stopped_goes_on_as_if_it_had_not(texts, tmp_path):
    """The validation text is shorter than the training text, so that it wraps around within an epoch."""
    config = search_settings(texts)
    found, printed = search(tmp_path / "whole", config)
    assert found.kind == "recurrent" and all(name != "none" for name, _ in found.recurrent)
    assert "supernet validation perplexity" in printed
    stopped, _ = search(tmp_path / "parts", config, Console("epoch 1 done", signal.SIGTERM))
    assert stopped is None
    again, printed = search(tmp_path / "parts", config)
    assert again == found and "resuming" in printed
    a, b = newest(tmp_path / "whole"), newest(tmp_path / "parts")
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name], err_msg=name, strict=True)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    for name in ("genotype.json", "genotypes/epoch_003.json", "plots/recurrent.gv", "vocabulary.txt"):
        assert (tmp_path / "parts" / name).exists(), name


def test_first_order_frozen_alphas_and_the_monitor(texts, tmp_path):
    config = search_settings(
        texts, order="first", warmup_epochs=1, epochs=2, reproduce=("shared_norm",), eigenvalue=True
    )
    found, _ = search(tmp_path, config)
    first, second = metrics(tmp_path)
    assert found and "arch_loss" not in first and "arch_loss" in second
    assert "eigenvalue" not in first and math.isfinite(second["eigenvalue"])
    assert 0 < second["entropy_recurrent"] <= math.log(5) and "pool_recurrent" not in second


def test_a_supernet_that_cannot_be_evaluated_goes_on(texts, tmp_path, monkeypatch):
    def broken(*arguments, **more):
        raise Diverged("The loss on held-out text is not finite (nan). Expected a number.")

    monkeypatch.setattr(language.LanguageEvaluator, "__call__", broken)
    found, printed = search(tmp_path, search_settings(texts, epochs=1, order="first"))
    assert found and printed.count("the supernet has no validation perplexity: ") == 1
    assert metrics(tmp_path)[0]["valid_perplexity"] is None


def test_batch_norm_of_a_single_row_is_refused():
    for sizes in ({"batch_size": 1}, {"batch_size": 4, "accumulate": 4}):
        with pytest.raises(UserError, match="batch_size must give each micro-batch at least two rows"):
            LanguageSearchConfig(**sizes)
    assert LanguageTrainConfig(batch_size=1).batch_size == 1  # no batch norm


def test_another_vocabulary_is_refused(texts, tmp_path):
    config = settings(texts, epochs=1)
    train(tmp_path / "run", config)
    other = tmp_path / "other"
    other.mkdir()
    for path in texts.iterdir():
        (other / path.name).write_text(path.read_text().replace("w3", "three"))
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(UserError, match="must have the vocabulary that the network was trained with"):
        train(tmp_path / "run", config.replace(data_dir=str(other)))
    for path in texts.iterdir():
        (other / path.name).write_text(path.read_text() * 2)
    with pytest.raises(UserError, match="The train text is not that of the run .*: expected 540 words. Received: 1080"):
        train(tmp_path / "run", config.replace(data_dir=str(other)))
    for path in texts.iterdir():
        (other / path.name).write_text(path.read_text())
    lines = (texts / "valid.txt").read_text().splitlines(keepends=True)
    (other / "valid.txt").write_text("".join(reversed(lines)))
    with pytest.raises(UserError, match="The text is not that of the run .*, although it has the same length"):
        train(tmp_path / "run", config.replace(data_dir=str(other)))
    assert before == {path: path.read_bytes() for path in before}


def test_a_stall_in_the_last_epoch_averages_nothing(texts, tmp_path, monkeypatch):
    """There are no steps after it: what is kept and tested are the weights, not an average of none."""
    monkeypatch.setattr(language, "triggers", lambda losses, nonmono: len(losses) == 2)
    config = settings(texts, nonmono=1, epochs=2)
    summary, printed = train(tmp_path / "run", config)
    assert summary["averaged_from"] is None and "averaging the weights" not in printed
    last = load_network(tmp_path / "run" / "last.keras")
    assert np.abs(last.embedding.numpy()).max() > 0
    again, _ = train(tmp_path / "run", config)
    assert again == summary
    with_bits, _ = train(tmp_path / "run", config.replace(bits_per_character=True))
    assert with_bits["test_bits_per_character"] > 0 and with_bits["valid_bits_per_character"] is None
    assert with_bits["test_perplexity"] == summary["test_perplexity"]


def test_bad_texts_are_one_line(texts, tmp_path):
    with pytest.raises(UserError, match="data_dir must name the folder of the text"):
        train(tmp_path / "a", LanguageTrainConfig())
    with pytest.raises(UserError, match="the training text is too short"):
        train(tmp_path / "b", settings(texts, batch_size=200))
    with pytest.raises(UserError, match="the validation text is too short"):
        search(tmp_path / "c", search_settings(texts, batch_size=60))
    with pytest.raises(UserError, match="expected a recurrent genotype"):
        train(tmp_path / "d", settings(texts, genotype="PDARTS"))
    genotypes.save(genotypes.load("PDARTS"), tmp_path / "cell.json")
    with pytest.raises(UserError, match="expected a recurrent genotype"):
        train(tmp_path / "d", settings(texts, genotype=str(tmp_path / "cell.json")))
    (tmp_path / "cell.json").unlink()
    with pytest.raises(UserError, match="Unknown primitive"):
        search(tmp_path / "e", search_settings(texts, primitives=("none", "sine")))
    assert not list(tmp_path.iterdir())


def by_hand(network, tokens):
    """Nats per word of a text read as one row, from a zero state, without any window."""
    outputs = network(tf.constant(tokens[:-1, None]), network.initial_state(1))
    nats = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens[1:], outputs.logits[:, 0])
    return float(tf.reduce_mean(nats))


@pytest.mark.parametrize("words", [2, 3, 5, 7, 11])
@pytest.mark.parametrize("split", ["test", "valid"])
def test_short_texts_are_evaluated_to_their_last_word(whole, split, words):
    """Shorter than bptt + 1 = 7 words in each of the run's 2 rows: they are read as one."""
    path, _, _ = whole
    config, said = settings(json.loads((path / "config.json").read_text())["data_dir"]), []
    found = evaluate(str(path), split=split, max_examples=words, say=said.append)
    tokens = getattr(domains.of(config).load(silent).corpus, split)[:words]
    network = load_network(path / "best.keras")
    assert found["words"] == words - 1
    assert found["loss"] == pytest.approx(by_hand(network, tokens), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert f"evaluating {words} words in 1 row ..." in said


def test_rows_that_are_asked_for_may_be_short(whole):
    path, _, _ = whole
    found = evaluate(str(path), max_examples=9, batch_size=3)
    tokens = domains.of(settings(json.loads((path / "config.json").read_text())["data_dir"])).load(silent).corpus.test
    network = load_network(path / "best.keras")
    mean = np.mean([by_hand(network, row) for row in tokens[:9].reshape(3, 3)])
    assert found["words"] == 6 and found["loss"] == pytest.approx(mean, rel=1e-5)
    assert evaluate(str(path), max_examples=9, batch_size=100)["words"] == 4  # four rows of two


def test_a_text_without_a_word_to_predict_is_one_line(whole):
    with pytest.raises(UserError, match="the test text is too short: expected at least 2 words"):
        evaluate(str(whole[0]), max_examples=1)


def test_a_training_watches_short_texts(texts, tmp_path):
    (tmp_path / "train.txt").write_text((texts / "train.txt").read_text())
    for split in ("valid", "test"):
        (tmp_path / f"{split}.txt").write_text("w1 w3 w5\n")
    summary, printed = train(tmp_path / "run", settings(tmp_path, epochs=1))
    assert "4 validation words" in printed
    for split in ("valid", "test"):
        found = evaluate(str(tmp_path / "run"), split=split)
        assert found["words"] == 3 and found["perplexity"] == pytest.approx(summary[f"{split}_perplexity"], rel=1e-5)


def test_unknown_words_are_told_and_warned_of(texts, tmp_path):
    """A text of other words than the trained ones has a fine perplexity: nearly all of it is `<unk>`."""
    (tmp_path / "train.txt").write_text((texts / "train.txt").read_text().replace("w11", "<unk>"))
    (tmp_path / "valid.txt").write_text((texts / "valid.txt").read_text())
    (tmp_path / "test.txt").write_text((texts / "test.txt").read_text().upper())
    summary, printed = train(tmp_path / "run", settings(tmp_path, epochs=2))
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    for shares in (summary["unknown_words"], data["unknown_words"]):
        assert shares["test"] == 1 and 0.02 < shares["train"] < 0.2 and 0.02 < shares["valid"] < 0.2
    lines = printed.splitlines()
    (line,) = [line for line in lines if line.startswith("unknown words (<unk>): ")]
    assert line.endswith(", 100.0 % of the test text") and lines.index(line) < 10
    (warning,) = [line for line in lines if line.startswith("warning: unknown words are ")]
    assert "100.0 % of the test text" in warning
    said = []
    found = evaluate(str(tmp_path / "run"), say=said.append)
    assert found["unknown_words"] == 1
    assert sum(line.startswith("warning: ") and "100.0 % of the test text" in line for line in said) == 1
    said = []
    assert evaluate(str(tmp_path / "run"), split="valid", say=said.append)["unknown_words"] < 0.2
    assert any("of the validation text" in line for line in said)


def test_plan_of_a_run_is_the_text(texts):
    """Every epoch's windows follow one another and end where the text does."""
    data = domains.of(settings(texts)).load(silent)
    for epoch, count in enumerate(data.epoch_steps):
        plan = data._plan(epoch)
        assert len(plan) == count
        ends = plan[:, windows.START] + plan[:, windows.LENGTH]
        np.testing.assert_array_equal(plan[1:, windows.START], ends[:-1])


def test_no_sum_depends_on_timing():
    """`AddN` of three begins with whichever input it may overwrite; runs would differ in their last bits."""
    small = {"num_units": 5, "batch_size": 4, "activation_penalty": 0.1}
    tokens = tf.zeros((6, 4), tf.int32)
    piece = tokens, tokens, tf.constant([0, 6, 6], tf.int64)
    cell = "Genotype(recurrent=[('tanh', 0), ('relu', 1), ('sigmoid', 1), ('identity', 1)], concat=range(1, 5))"
    training = train_step(RecurrentNetwork(cell, 9, 5), LanguageTrainConfig(**small))
    searching = search_step(RecurrentSupernet(9, 5, 4), LanguageSearchConfig(**small, num_nodes=4))
    steps = [
        lambda: training(piece, tf.constant(2, tf.int64), tf.constant(1.0), 0.0, tf.constant(1, tf.int64)),
        lambda: searching(piece, piece, tf.constant(1, tf.int64), tf.constant(1.0)),
    ]
    for step in steps:
        graph = tf.function(step, autograph=False).get_concrete_function().graph.as_graph_def()
        sums = [node for function in graph.library.function for node in function.node_def if node.op == "AddN"]
        assert sums and all(len(node.input) <= 2 for node in sums)
