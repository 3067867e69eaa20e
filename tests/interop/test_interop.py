"""Weights under the original's names: round trips, what does not fit, files."""

import importlib.util
import re
import zipfile

import keras
import numpy as np
import pytest

from darts_tf.interop.conv import load, load_arrays, to_arrays
from darts_tf.interop.state_dicts import read as read_state_dict
from darts_tf.spaces.conv.networks import ConvSupernet
from darts_tf.system.errors import UserError


def supernet(seed, **settings):
    keras.utils.set_random_seed(seed)
    net = ConvSupernet(3, (8, 8, 3), 4, 3, 2, **settings)
    rng = np.random.default_rng(seed)
    for variable in net.state_variables:
        variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return net


def snapshot(net):
    return [v.numpy().tobytes() for v in net.variables]


X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def one():
    return supernet(1)


@pytest.fixture
def arrays(one):
    return to_arrays(one)


def refused(call, *args):
    with pytest.raises(UserError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip(one, arrays):
    other = supernet(2)
    assert snapshot(other) != snapshot(one)
    alphas = {v.name: np.array(v.numpy()) for v in one.arch_variables}
    assert set(alphas) == {"alphas_normal", "alphas_reduce"}
    load_arrays(other, arrays | alphas)
    assert snapshot(other) == snapshot(one)
    assert np.array_equal(other(X), one(X))
    again = to_arrays(other)
    assert again.keys() == arrays.keys() and all(np.array_equal(again[k], arrays[k]) for k in arrays)


def test_round_trip_of_distinct_numbers(one, arrays):
    """Every element has one place: all different numbers come back where they were."""
    other, start, numbered = supernet(2), 0, {}
    for name, array in arrays.items():
        numbered[name] = np.arange(start, start + array.size, dtype="float32").reshape(array.shape)
        start += array.size
    load_arrays(other, numbered)
    own = [*other.weight_variables, *other.state_variables]
    assert np.array_equal(np.sort(np.concatenate([np.ravel(v) for v in own])), np.arange(start))
    again = to_arrays(other)
    assert all(np.array_equal(again[name], numbered[name]) for name in numbered)


def test_alphas_may_be_absent_and_counters_are_ignored(arrays):
    other = supernet(2)
    before = [np.array(v.numpy()) for v in other.arch_variables]
    load_arrays(other, arrays | {"stem.1.num_batches_tracked": np.array(7)})
    assert all(np.array_equal(a, b) for a, b in zip(other.arch_variables, before, strict=True))


def test_values_of_some_variables(one):
    gradient = np.ones(one.classifier.shape)
    found = to_arrays(one, [(one.classifier, gradient)])
    assert list(found) == ["classifier.weight"] and found["classifier.weight"].shape == gradient.T.shape


def test_what_does_not_fit_is_named(arrays):
    other = supernet(2)
    before = snapshot(other)
    names = list(arrays)
    missing = [name for name in names if "preprocess" in name][:3]
    wrong = [name for name in names if "_ops.1._ops" in name and name.endswith("weight")][:2]
    given = {name: a for name, a in arrays.items() if name not in missing}
    given |= {
        name: a[..., :1, :1] if a.ndim > 1 and a.shape[-1] > 1 else a[:-1] for name, a in given.items() if name in wrong
    }
    given |= {"cells.9.extra": np.zeros(3), "auxiliary_head.classifier.bias": np.zeros(3)}
    given["classifier.bias"] = np.array(["a", "b", "c"])
    message = refused(load_arrays, other, given)
    assert f"missing: {', '.join(missing)}" in message
    assert "unexpected: cells.9.extra, auxiliary_head.classifier.bias" in message
    for name in wrong:
        assert f"{name} has shape {given[name].shape}, expected {arrays[name].shape}" in message
    assert "classifier.bias has dtype <U1, expected numbers" in message
    assert snapshot(other) == before


def test_alphas_of_another_shape(arrays):
    other = supernet(2)
    before = snapshot(other)
    message = refused(load_arrays, other, arrays | {"alphas_reduce": np.zeros((14, 8))})
    assert "alphas_reduce has shape (14, 8), expected (5, 8)" in message
    assert snapshot(other) == before


def test_another_network(arrays):
    wider = ConvSupernet(3, (8, 8, 3), 6, 3, 2)
    assert "stem.0.weight has shape (12, 3, 3, 3), expected (18, 3, 3, 3)" in refused(load_arrays, wider, arrays)
    fewer = ConvSupernet(3, (8, 8, 3), 4, 3, 2, primitives=("none", "skip_connect", "sep_conv_3x3"))
    assert "unexpected: " in refused(load_arrays, fewer, arrays)


WRAPS = {
    "DataParallel": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "a compiled part": lambda name: name.replace("cells.1.", "cells.1._orig_mod."),
    "a part of another module": lambda name: f"model.{name}",
    "a part of a part, on several devices": lambda name: f"trainer.net.module.{name}",
    "no name in common": lambda name: f"cells.{name}",  # the first part of some of the original's own names
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_prefixes_of_wrappers_are_taken_off(one, arrays, wrap):
    other = supernet(2)
    alphas = {v.name: np.array(v.numpy()) for v in one.arch_variables}
    load_arrays(other, {WRAPS[wrap](name): a for name, a in arrays.items()} | alphas)
    assert snapshot(other) == snapshot(one)


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "weights", "model_state_dict"])
def test_checkpoints_that_hold_the_weights_under_a_key(one, arrays, key):
    other = supernet(2)
    load_arrays(other, {"epoch": 3, "best_acc1": 97.2, key: {"state_dict": arrays}})
    assert all(np.array_equal(a, b) for a, b in zip(other.weight_variables, one.weight_variables, strict=True))


def test_tensors(one, arrays):
    class Tensor:  # what is asked of those of PyTorch
        def __init__(self, array, dtype):
            self.array, self.dtype = array, dtype

        def detach(self):
            return self

        cpu = detach

        def float(self):
            return Tensor(self.array, "torch.float32")

        def numpy(self):
            assert self.dtype == "torch.float32", "NumPy has no bfloat16"
            return self.array

    other = supernet(2)
    load_arrays(other, {name: Tensor(a, "torch.bfloat16") for name, a in arrays.items()})
    assert all(np.array_equal(a, b) for a, b in zip(other.weight_variables, one.weight_variables, strict=True))


def test_state_dicts_that_are_refused(arrays):
    other = supernet(2)
    before = snapshot(other)
    message = refused(load_arrays, other, {"encoder": arrays, "decoder": arrays})
    assert "under one of the keys state_dict, model_state_dict" in message and "the keys encoder, decoder" in message
    assert "maps names to arrays. Received: a list" in refused(load_arrays, other, [1])
    assert "classifier.bias is not an array" in refused(load_arrays, other, arrays | {"classifier.bias": [[1], [1, 2]]})
    message = refused(load_arrays, other, arrays | {"module.stem.0.weight": arrays["stem.0.weight"]})
    assert "Received: stem.0.weight and module.stem.0.weight" in message
    assert snapshot(other) == before


def test_a_message_about_hundreds_of_arrays_is_short(arrays):
    """DataParallel's prefix alone once made a line of 13,972 characters."""
    other = supernet(2)
    message = refused(load_arrays, other, {f"x{index}.{name}": a for index, (name, a) in enumerate(arrays.items())})
    assert f"missing: {', '.join(list(arrays)[:3])} and {len(arrays) - 3} more; unexpected: x0." in message
    assert len(message) < 700
    message = refused(load_arrays, other, {name: np.zeros((9, 9)) for name in arrays})
    assert f"and {len(arrays) - 3} more" in message and len(message) < 700


# Files


def test_npz(one, arrays, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)
    other = supernet(2)
    load(other, path)
    assert all(np.array_equal(a, b) for a, b in zip(other.weight_variables, one.weight_variables, strict=True))


def test_missing_file(tmp_path):
    assert "There is no file of weights" in refused(read_state_dict, tmp_path / "nothing.npz")
    assert "There is no file of weights" in refused(read_state_dict, tmp_path)


@pytest.mark.parametrize("damage", ["empty", "text", "short", "flipped"])
def test_damaged_file(arrays, tmp_path, damage):
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as stored:
        info = max(stored.infolist(), key=lambda info: info.file_size)
    content[info.header_offset + 400] ^= 0xFF
    contents = {"empty": b"", "text": b"not weights", "short": content[: len(content) // 2], "flipped": content}
    path.write_bytes(bytes(contents[damage]))
    assert re.search("weights.npz cannot be read|is damaged", refused(read_state_dict, path))


def test_pickled_objects_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"stem.0.weight": np.array([{"a": 1}], dtype=object)})
    assert "holds Python objects" in refused(read_state_dict, path)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_pt_without_torch(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"anything")
    message = refused(read_state_dict, path)
    assert "weights.pt needs PyTorch" in message and ".npz" in message


def test_pt(one, arrays, tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    tensors = {name: torch.tensor(np.array(a)) for name, a in arrays.items()}
    for state in (tensors, {"state_dict": {f"module.{name}": each for name, each in tensors.items()}, "epoch": 3}):
        for zipped in (True, False):
            torch.save(state, path, _use_new_zipfile_serialization=zipped)
            other = supernet(2)
            load(other, path)
            assert all(np.array_equal(a, b) for a, b in zip(other.weight_variables, one.weight_variables, strict=True))
    torch.save({name: each.bfloat16() for name, each in tensors.items()}, path)
    assert all(np.allclose(a, arrays[name], rtol=2**-8) for name, a in read_state_dict(path).items())
    torch.save(torch.nn.Linear(2, 3), path)
    assert "other than tensors" in refused(read_state_dict, path)
    path.write_bytes(b"damaged")
    assert re.search("Cannot read the weights|other than tensors", refused(read_state_dict, path))
