"""The config, the presets and the flags that are made from them."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st

from darts_tf.bin import _flags
from darts_tf.config import SearchConfig, TrainConfig, presets
from darts_tf.config.language import LanguageSearchConfig, LanguageTrainConfig
from darts_tf.config.protocol import ProtocolConfig
from darts_tf.genotypes import CONV_PRIMITIVES as PRIMITIVES
from darts_tf.system.errors import UserError


def parse(*arguments, default_preset="cifar10_search", config_class=SearchConfig):
    values = flags.FlagValues()
    settings = _flags.Settings(default_preset, (config_class,))
    settings.define(values)
    values(["darts-search", *arguments])
    return settings.config(values)


def test_defaults_are_the_original_recurrent_runs():
    """Read from section 2 of the reference facts, not from the config."""
    c, t = LanguageSearchConfig(), LanguageTrainConfig()
    assert (c.num_units, c.epochs, c.batch_size, c.bptt, c.seed, c.num_nodes) == (300, 50, 256, 35, 3, 8)
    assert (c.learning_rate, c.weight_decay, c.grad_clip, c.order) == (20.0, 5e-7, 0.25, "second")
    assert (c.arch_learning_rate, c.arch_beta1, c.arch_beta2, c.arch_weight_decay) == (3e-3, 0.9, 0.999, 1e-3)
    assert (c.dropout, c.dropout_hidden, c.dropout_x, c.dropout_input, c.dropout_embedding) == (
        0.75,
        0.25,
        0.75,
        0.2,
        0,
    )
    assert (c.activation_penalty, c.slowness_penalty, c.valid_batch_size) == (0, 1e-3, 10)
    assert (t.num_units, t.epochs, t.batch_size, t.bptt, t.bptt_deviation, t.seed) == (850, 8000, 64, 35, 5.0, 1267)
    assert (t.learning_rate, t.weight_decay, t.grad_clip, t.nonmono) == (20.0, 8e-7, 0.25, 5)
    assert (t.dropout, t.dropout_hidden, t.dropout_x, t.dropout_input, t.dropout_embedding) == (
        0.75,
        0.25,
        0.75,
        0.2,
        0.1,
    )
    assert (t.activation_penalty, t.slowness_penalty, t.valid_batch_size, t.test_batch_size) == (0, 1e-3, 10, 1)
    w = presets.get("wikitext2_train").config
    assert t.differences(w) == ["weight_decay: 8e-07 -> 5e-07", "num_units: 850 -> 700", "dropout_hidden: 0.25 -> 0.15"]


def test_defaults_are_the_original_search():
    """Read from section 2 of the reference facts, not from the config."""
    config = SearchConfig()
    assert (config.epochs, config.batch_size, config.init_channels, config.num_cells) == (50, 64, 16, 8)
    assert (config.learning_rate, config.learning_rate_min, config.momentum, config.weight_decay) == (
        0.025,
        0.001,
        0.9,
        3e-4,
    )
    assert (config.arch_learning_rate, config.arch_beta1, config.arch_beta2) == (3e-4, 0.5, 0.999)
    assert (config.arch_weight_decay, config.arch_epsilon, config.grad_clip, config.seed) == (1e-3, 1e-8, 5.0, 2)
    assert (config.order, config.hvp, config.hvp_radius, config.train_portion) == (
        "second",
        "finite_difference",
        0.01,
        0.5,
    )
    assert config.cutout == 0 and config.crop_padding == 4 and config.flip
    assert config.primitives == PRIMITIVES and len(PRIMITIVES) == 8


@pytest.mark.parametrize(
    "config_class", [SearchConfig, TrainConfig, LanguageSearchConfig, LanguageTrainConfig, ProtocolConfig]
)
def test_every_field_has_a_one_line_help_and_a_supported_type(config_class):
    for field in dataclasses.fields(config_class):
        text = field.metadata["help"]
        assert text and "\n" not in text and len(text) < 120, field.name
        assert field.type in (bool, int, float, str, tuple), field.name
        assert isinstance(field.default, field.type), field.name


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epochs", 0, "epochs must be at least 1 and at most 100000. Received: epochs=0"),
        ("epochs", 2.0, "epochs must be an int. Received: epochs=2.0"),
        ("epochs", True, "epochs must be an int. Received: epochs=True (bool)"),
        ("epochs", "5", "epochs must be an int. Received: epochs='5' (str)"),
        ("flip", 1, "flip must be a bool. Received: flip=1 (int)"),
        ("num_cells", 2, "num_cells must be at least 3 and at most 1000. Received: num_cells=2"),
        ("learning_rate", math.nan, "learning_rate must be a finite number. Received: learning_rate=nan"),
        ("learning_rate", math.inf, "learning_rate must be a finite number. Received: learning_rate=inf"),
        ("learning_rate", 10**400, "learning_rate must be a finite number. Received: learning_rate=1000"),
        ("learning_rate", False, "learning_rate must be a finite number. Received: learning_rate=False (bool)"),
        ("learning_rate", 0, "learning_rate must be above 0. Received: learning_rate=0"),
        ("momentum", 1.0, "momentum must be at least 0 and below 1. Received: momentum=1.0"),
        ("train_portion", 1.0, "train_portion must be above 0 and below 1. Received: train_portion=1.0"),
        ("order", "secnd", "order must be one of first, second. Received: order='secnd'. Did you mean second?"),
        ("dataset", 3, "dataset must be a string. Received: dataset=3 (int)"),
        ("primitives", ["none", "skip_connect"], "primitives must be a tuple of strings. Received:"),
        ("primitives", ("skip_connect",), "primitives must be at least 2 different names of operations. Received:"),
        ("primitives", ("none", "none"), "primitives must be at least 2 different names of operations. Received:"),
        ("primitives", ("none", ""), "primitives must be at least 2 different names of operations. Received:"),
        ("concat", 5, "concat must be at most num_nodes=4, or 0 for all nodes. Received: concat=5"),
        ("learning_rate_min", 1, "learning_rate_min must be at most learning_rate=0.025. Received:"),
        ("warmup_epochs", 51, "warmup_epochs must be at most epochs=50. Received: warmup_epochs=51"),
        ("dataset", "npz", "data_dir must name the location of the data when dataset=npz. Received: data_dir=''"),
        ("seed", 2**31, "seed must be at least 0 and at most 2147483647. Received: seed=2147483648"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_by_name(field, value, expected):
    with pytest.raises(UserError) as caught:
        SearchConfig(**{field: value})
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@given(
    st.sampled_from([(c, f.name) for c in (SearchConfig, TrainConfig) for f in dataclasses.fields(c)]),
    st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.booleans(), st.lists(st.text())),
)
def test_any_value_is_either_kept_as_it_is_or_refused_by_name(field, value):
    config_class, name = field
    try:
        config = config_class(**{name: value})
    except UserError as error:
        # The fields that depend on others are refused under the name of either.
        assert name in str(error) and "\n" not in str(error)
    else:
        assert getattr(config, name) is value
        assert config_class.from_json(json.loads(json.dumps(config.to_json(), allow_nan=False))) == config


def test_an_int_may_stand_for_a_float_and_is_the_same_config():
    assert SearchConfig(grad_clip=5) == SearchConfig(grad_clip=5.0)
    assert SearchConfig(grad_clip=5).differences(SearchConfig(grad_clip=5.0)) == []


def test_json_names_the_unknown_field_and_the_closest():
    with pytest.raises(UserError, match=r"lerning_rate is not a field of SearchConfig. .*Did you mean learning_rate\?"):
        SearchConfig.from_json({"lerning_rate": 0.1})
    with pytest.raises(UserError, match="must be a JSON object. Received: list"):
        SearchConfig.from_json([1])
    assert SearchConfig.from_json({}) == SearchConfig()


def test_replace_checks_again():
    assert SearchConfig().replace(epochs=3).epochs == 3
    with pytest.raises(UserError, match="epochs must be at least 1"):
        SearchConfig().replace(epochs=0)
    with pytest.raises(UserError, match="epoch is not a field"):
        SearchConfig().replace(epoch=1)


def test_differences_tell_both_values_and_can_leave_out_what_may_change():
    old, new = SearchConfig(), SearchConfig(epochs=3, threads=1, primitives=("none", "skip_connect"), data_dir="/d")
    assert old.differences(new) == [
        "epochs: 50 -> 3",
        "threads: 0 -> 1",
        "primitives: " + ",".join(PRIMITIVES) + " -> none,skip_connect",
        "data_dir: '' -> /d",
    ]
    assert [d.split(":")[0] for d in old.differences(new, include_resumable=False)] == ["epochs", "primitives"]


def test_resumable_fields_are_those_that_change_no_number():
    assert {each.name for each in dataclasses.fields(SearchConfig) if each.metadata["resumable"]} == {
        "data_dir",
        "threads",
        "steps_per_loop",
        "checkpoint_minutes",
        "keep_checkpoints",
        "tensorboard",
        "eigenvalue",
        "strategy",
        "replicas",  # but for rounding
        "recompute",  # but for rounding, see `test_a_step_is_the_same` in test_recomputation.py
        "early_stop",  # which epoch is the result, and no number of an epoch
    }


def test_flags_of_two_kinds_of_run():
    values = flags.FlagValues()
    settings = _flags.Settings("digits_search", (SearchConfig, LanguageSearchConfig))
    settings.define(values)
    values(["darts-search", "--preset=text_search", "--num_units=7", "--dataset=folder"])
    found = settings.config(values)
    assert isinstance(found, LanguageSearchConfig) and (found.num_units, found.dataset) == (7, "folder")
    values["preset"].value = "digits_search"
    with pytest.raises(flags.IllegalFlagValueError, match="--num_units is not a flag of searches on images"):
        settings.config(values)


def test_a_folder_of_texts_is_read_whatever_the_preset_reads():
    """`--preset=text_search --data_dir=texts` once trained on the embedded text, and said nothing."""
    for preset in ("text_search", "text_train", "ptb_search", "wikitext2_train"):
        config = presets.get(preset).config.replace(data_dir="texts", epochs=2)
        assert (config.dataset, config.data_dir, config.replace(seed=1).dataset) == ("folder", "texts", "folder")
    config = presets.get("text_search").config
    assert config.replace(data_dir="").dataset == "english"
    with pytest.raises(UserError, match="data_dir must be empty when dataset=english.*Received: data_dir=texts"):
        config.replace(data_dir="texts", dataset="english")
    with pytest.raises(flags.IllegalFlagValueError, match="--data_dir must be empty when dataset=digits"):
        parse("--data_dir=photos", default_preset="digits_search")


def test_presets_are_complete_and_their_commands_parse():
    for name, preset in presets.PRESETS.items():
        assert preset.name == name
        for field in dataclasses.fields(preset):
            assert getattr(preset, field.name) or field.name == "arguments", (name, field.name)
        binary, *flags_given = preset.command.split()
        assert binary == preset.config.binary
        parsed = parse(*flags_given, config_class=type(preset.config))
        data = "overrides" if binary == "darts-protocol" else "data_dir"
        free = {data: getattr(preset.config, data)} | (
            {"genotype": preset.config.genotype} if binary == "darts-train" else {}
        )
        assert parsed.replace(**free) == preset.config
    assert presets.get("cifar10_search").config == SearchConfig()
    first = presets.get("cifar10_search_first_order").config
    assert SearchConfig().differences(first) == ["order: second -> first"]
    with pytest.raises(
        UserError, match=r"no such preset.*Received: preset='digit_search'. Did you mean digits_search\?"
    ):
        presets.get("digit_search")
    with pytest.raises(UserError, match=r"cifar10_train is a preset of darts-train; those of darts-search are digits"):
        parse("--preset=cifar10_train")


def test_training_has_the_settings_of_the_paper():
    """`cnn/train.py` and `cnn/train_imagenet.py`, reference tables of the original."""
    small, large = (presets.get(f"{name}_train", TrainConfig).config for name in ("cifar10", "imagenet"))
    assert small == TrainConfig()
    assert (small.epochs, small.batch_size, small.init_channels, small.num_cells) == (600, 96, 36, 20)
    assert (small.learning_rate, small.learning_rate_min, small.momentum, small.weight_decay) == (0.025, 0, 0.9, 3e-4)
    assert (small.grad_clip, small.drop_path, small.cutout, small.auxiliary_weight) == (5, 0.2, 16, 0.4)
    assert (large.epochs, large.batch_size, large.init_channels, large.num_cells) == (250, 128, 48, 14)
    assert (large.learning_rate, large.learning_rate_decay, large.schedule) == (0.1, 0.97, "exponential")
    assert (large.weight_decay, large.label_smoothing, large.drop_path, large.cutout) == (3e-5, 0.1, 0, 0)
    assert (large.resized_crop, large.color_jitter, large.eval_crop, large.image_size) == (True, 0.4, 0.875, 224)


def test_a_data_set_is_one_of_some_words_or_named_by_a_pattern():
    assert parse("--dataset=tfds:svhn_cropped").dataset == "tfds:svhn_cropped"
    with pytest.raises(flags.IllegalFlagValueError, match="or tfds:NAME.*Received: dataset='cifar'. Did you mean cif"):
        parse("--dataset=cifar")


def test_the_successors_train_other_data_in_small_networks():
    """`src/evaluation/args.py` of RobustDARTS: its defaults, and flips, crops and cutout as of CIFAR-10."""
    for name, dataset in (("cifar100", "cifar100"), ("svhn", "svhn_cropped"), ("fashion_mnist", "fashion_mnist")):
        found = TrainConfig().differences(presets.get(f"{name}_train").config)
        changed = ["init_channels: 36 -> 16", "num_cells: 20 -> 8"]
        assert found == [f"dataset: cifar10 -> tfds:{dataset}", *changed]


def test_a_config_of_another_kind_is_refused():
    with pytest.raises(UserError, match="another kind of run: expected search. Received: kind=train"):
        SearchConfig.from_json(TrainConfig().to_json())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"init_channels": 7}, "init_channels must be even, .* Received: init_channels=7"),
        ({"resized_crop": True}, "crop_padding must be 0 with resized_crop, .* Received: crop_padding=4"),
        ({"eval_crop": 0.875}, "eval_crop must be 1 unless .* Received: eval_crop=0.875, image_size=0"),
        ({"train_portion": 1.1}, "train_portion must be above 0 and at most 1. Received: train_portion=1.1"),
        ({"color_jitter": 2}, "color_jitter must be at least 0 and at most 1. Received: color_jitter=2"),
        ({"schedule": "cosin"}, r"schedule must be one of cosine, exponential. .* Did you mean cosine\?"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_one_line(changes, expected):
    """Before a work directory holds it: from there on another setting would be another run."""
    with pytest.raises(UserError, match=f"^{expected}") as caught:
        TrainConfig(**changes)
    assert "\n" not in str(caught.value)


def test_settings_that_need_each_other_are_accepted_together():
    config = TrainConfig(resized_crop=True, crop_padding=0, eval_crop=0.875, image_size=32)
    assert TrainConfig.from_json(config.to_json()) == config


def test_flags_override_the_preset_and_only_what_was_given():
    config = parse(
        "--preset=digits_search", "--epochs=3", "--noflip", "--primitives=none,skip_connect", "--grad_clip=1"
    )
    expected = presets.get("digits_search").config.replace(
        epochs=3, flip=False, primitives=("none", "skip_connect"), grad_clip=1.0
    )
    assert config == expected
    assert parse(default_preset="smoke") == presets.get("smoke").config
    assert parse("--flip", default_preset="smoke").flip is True
    assert parse("--data_dir=", default_preset="smoke").data_dir == ""


def test_unrolled_is_an_alias_of_order():
    assert parse("--unrolled", default_preset="cifar10_search_first_order").order == "second"
    assert parse("--nounrolled").order == "first"
    assert parse("--nounrolled", "--order=first").order == "first"
    with pytest.raises(flags.IllegalFlagValueError, match="--nounrolled means --order=first. Received: --order=second"):
        parse("--nounrolled", "--order=second")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=0", "--epochs must be at least 1"),
        ("--epochs=x", "epochs"),
        ("--order=third", "order"),
        ("--learning_rate=nan", "--learning_rate must be a finite number"),
        ("--primitives=none", "--primitives must be at least 2 different names"),
        ("--primitives=", "--primitives must be at least 2 different names"),
        ("--preset", "preset"),
        ("--epoch=3", "epoch"),
    ],
)
def test_a_wrong_flag_is_a_flag_error_in_one_line(argument, message):
    with pytest.raises(flags.Error, match=message) as caught:
        parse(argument)
    assert "\n" not in str(caught.value)


def test_an_unknown_preset_is_a_user_error():
    with pytest.raises(UserError, match="no such preset"):
        parse("--preset=nothing")


def test_configs_presets_and_flags_import_no_tensorflow():
    code = "import sys, darts_tf.bin._flags, darts_tf.runs.workdir; print('tensorflow' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False"]
