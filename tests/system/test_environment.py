"""Whatever variables, keras.json and global settings say: the binaries work, the library works or refuses."""

import gc
import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from darts_tf.export import verify
from darts_tf.spaces.conv.derived import CifarNetwork
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.spaces.recurrent.networks import RecurrentNetwork
from darts_tf.system import environment, keras_settings, runtime
from darts_tf.system.errors import UserError
from darts_tf.system.runtime import module_command
from darts_tf.tasks import trained
from darts_tf.tasks.search import search
from tests.helpers import searches

HOSTILE = {
    "KERAS_BACKEND": "theano",
    "KERAS_MAX_EPOCHS": "many",
    "KERAS_NNX_ENABLED": "true",
    "TF_USE_LEGACY_KERAS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_DETERMINISTIC_OPS": "maybe",
    "TF_XLA_FLAGS": "nonsense",
    "XLA_FLAGS": "nonsense",
    "TF_CONFIG": "nonsense",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "nonsense",
    "CUDA_VISIBLE_DEVICES": "nonsense",
    "OMP_NUM_THREADS": "nonsense",
    "MPLBACKEND": "nonsense",
    "TMPDIR": "/nonsense",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "LC_ALL": "C",
}
SETTINGS = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.5}
KERAS_JSON = {
    "others": json.dumps(SETTINGS),
    "half": '{"backend": ',
    "a list": "[1]",
    "nonsense": '{"floatx": "x"}',
}
SMOKE = ["--epochs=1", "--workdir=run", "--notensorboard"]


@pytest.fixture
def variables(tmp_path):
    """Of a user whose home has a `.keras` folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS_", "TF_", "XLA_"))}
    (tmp_path / ".keras").mkdir()
    return kept | {"HOME": str(tmp_path)}


def write_settings(tmp_path, text):
    (tmp_path / ".keras" / "keras.json").write_text(text)


def call(words, variables, folder):
    return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)


def test_a_binary_in_a_hostile_environment(tmp_path, variables):
    write_settings(tmp_path, KERAS_JSON["others"])
    words = [*module_command("darts_tf.bin.train"), "--preset=smoke_train", *SMOKE]
    done = call(words, variables | HOSTILE, tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    network = trained.load_network(tmp_path / "run" / "last.keras")
    assert {v.dtype for v in network.variables} == {"float32"} and network.compute_dtype == "float32"
    assert (tmp_path / ".keras" / "keras.json").read_text() == KERAS_JSON["others"]


@pytest.mark.parametrize("name", ["a list", "half"])
def test_a_binary_with_a_damaged_keras_json(tmp_path, variables, name):
    write_settings(tmp_path, KERAS_JSON[name])
    done = call([sys.executable, "-c", "from darts_tf.system import runtime; runtime.configure()"], variables, tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_the_check_of_an_export_has_its_own_settings(tmp_path, variables, monkeypatch):
    write_settings(tmp_path, KERAS_JSON["nonsense"])
    for name, value in {**HOSTILE, "HOME": str(tmp_path), "TMPDIR": "/tmp"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="is not an exported model"):
        verify.in_fresh_process(tmp_path, [])


IMPORTS = [
    "darts_tf; darts_tf.search",
    "darts_tf.spaces.conv.derived",
    "darts_tf.spaces.recurrent.cells",
    "darts_tf.tasks.search",
]
IMPORTS += ["darts_tf.tuner; darts_tf.tuner.DartsOracle", "darts_tf.interop", "darts_tf.tasks.evaluate"]
IMPORTS += ["darts_tf.export.exporting", "darts_tf.data.sources", "darts_tf; darts_tf.bilevel"]


@pytest.mark.parametrize("what", IMPORTS)
def test_the_library_refuses_another_backend(tmp_path, variables, what):
    done = call([sys.executable, "-c", f"import {what}"], variables | {"KERAS_BACKEND": "theano"}, tmp_path)
    assert done.stderr.splitlines()[-1].startswith(
        "darts_tf.system.errors.UserError: darts_tf works with Keras on TensorFlow"
    )
    assert "'theano'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", KERAS_JSON)
def test_the_library_names_what_is_wrong_with_keras_json(tmp_path, variables, name):
    write_settings(tmp_path, KERAS_JSON[name])
    program = "import darts_tf.spaces.conv" + ("; raise SystemExit('fine')" if name == "half" else "")
    last = call([sys.executable, "-c", program], variables, tmp_path).stderr.splitlines()[-1]
    assert {"others": "'jax'", "half": "fine"}.get(name, "keras.json") in last, last
    assert name == "half" or last.startswith("darts_tf.system.errors.UserError: ")


def test_genotypes_need_no_keras(tmp_path, variables):
    program = "import darts_tf; print(darts_tf.genotype.load('DARTS_V2').to_text())"
    done = call([sys.executable, "-c", program], variables | {"KERAS_BACKEND": "theano"}, tmp_path)
    assert done.stdout.startswith("Genotype(") and done.stderr == ""


@pytest.fixture
def keras_as_before():
    """Keras' settings are put back."""
    before = keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy()
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_image_data_format(before[1])
    keras.config.set_dtype_policy(before[2])


def set_globally(policy=None, floatx=None, layout=None):
    if floatx:
        keras.config.set_floatx(floatx)
    if layout:
        keras.config.set_image_data_format(layout)
    if policy:
        keras.config.set_dtype_policy(policy)


NETWORKS = {
    "supernet": lambda **kw: ConvSupernet(3, (8, 8, 3), 4, 3, primitives=("skip_connect", "sep_conv_3x3"), **kw),
    "derived": lambda **kw: CifarNetwork("DARTS_V2", 3, (8, 8, 3), 4, 3, **kw),
    "recurrent": lambda **kw: RecurrentNetwork("DARTS_V1", 9, 4, **kw),
}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_keras_floatx_whatever_the_policy_is(keras_as_before, name, policy):
    set_globally(policy)
    network = NETWORKS[name]()
    layers = [network, *network._flatten_layers(include_self=False)]
    assert {layer.compute_dtype for layer in layers} == {v.dtype for v in network.variables} == {"float32"}
    assert keras.config.dtype_policy().name == policy and keras.config.floatx() == "float32"


def test_a_network_computes_the_same_under_any_policy(keras_as_before, tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    network = NETWORKS["derived"]()
    expected = network(images).numpy()
    trained.save_network(network, tmp_path / "n.keras")
    set_globally("mixed_float16", layout="channels_first")
    for again in (trained.load_network(tmp_path / "n.keras"), keras.models.load_model(tmp_path / "n.keras")):
        assert np.array_equal(again(images).numpy(), expected)
        assert np.array_equal(again.predict(images, verbose=0), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_narrow_networks_are_refused(keras_as_before, name):
    with pytest.raises(UserError, match="one type.*mixed_float16.*precision"):
        NETWORKS[name](dtype="mixed_float16")
    keras.config.set_floatx("float16")
    with pytest.raises(UserError, match="one type.*float16"):
        NETWORKS[name]()
    assert NETWORKS[name](dtype="float64").compute_dtype == "float64"


def test_float64_is_for_networks_as_before(keras_as_before):
    set_globally(floatx="float64")
    assert {v.dtype for v in NETWORKS["derived"]().variables} == {"float64"}


def test_runs_have_their_own_settings(keras_as_before, tmp_path):
    """A search of the first order, whose evaluation a global policy made narrow."""
    config = searches.SMOKE.replace(order="first", epochs=1, eigenvalue=False, tensorboard=False)
    found = []
    others = {"policy": "mixed_float16", "floatx": "float64", "layout": "channels_first"}
    for name, settings in (("a", {}), ("b", others)):
        set_globally(**settings)
        search(config, tmp_path / name, out=io.StringIO())
        found.append(json.loads((tmp_path / name / "metrics.jsonl").read_text()) | {"seconds": 0})
    one, other = ({key: value for key, value in each.items() if key != "genotype"} for each in found)
    assert one == pytest.approx(other, rel=1e-4)  # threads round differently now and then; half precision is 1e-3
    assert found[0]["genotype"] == found[1]["genotype"]
    assert (keras.config.dtype_policy().name, keras.config.floatx()) == ("mixed_float16", "float64")
    assert keras.config.image_data_format() == "channels_first"


def test_a_run_inside_a_graph_is_refused(tmp_path):
    with tf.Graph().as_default(), pytest.raises(UserError, match="eager execution"):
        search(searches.SMOKE, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_variables_are_put_back_after_the_import(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.delenv("KERAS_HOME", raising=False)
    with environment.importing():
        assert os.environ["KERAS_BACKEND"] == "tensorflow" and not os.path.exists(os.environ["KERAS_HOME"])
    assert os.environ["KERAS_BACKEND"] == "jax" and "KERAS_HOME" not in os.environ


def test_the_collector_is_as_it_was_after_the_import():
    with runtime.uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with runtime.uncollected():
            pass
        assert not gc.isenabled()  # as the caller had it
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "name, value, kept",
    [
        ("XLA_FLAGS", "--xla_gpu_cuda_data_dir=/usr --xla_dump_to=x", True),
        ("XLA_FLAGS", __file__, True),
        ("XLA_FLAGS", "--garbage", False),
        ("XLA_FLAGS", "no/file", False),
        ("TF_DETERMINISTIC_OPS", "1", True),
        ("TF_DETERMINISTIC_OPS", "True", True),
        ("TF_DETERMINISTIC_OPS", "on", False),
        ("TF_XLA_FLAGS", "--tf_xla_auto_jit=2", False),
        ("TF_CPP_MIN_LOG_LEVEL", "0", True),
    ],
)
def test_what_tensorflow_may_read(monkeypatch, name, value, kept):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv(name, value)
    environment.settle()
    assert os.environ.get(name) == (value if kept else None) and os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="nothing"):
        keras_settings.nothing  # noqa: B018
