"""The exported model on consumers that this package did not write, and the client against a server's protocols.

The real server is asked where DARTS_TF_SERVER names its binary. The independent runtimes are looked for in this Python,
and in those that DARTS_TF_OPENVINO and DARTS_TF_LITERT name, which need have no TensorFlow.
"""

import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from darts_tf.bin import predict as predict_binary
from darts_tf.data import sources as images
from darts_tf.export import client, exporting, samples, warmup
from darts_tf.export.images import network_logits
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.tasks.trained import load
from tests.helpers import trained_runs
from tests.helpers.paths import HELPERS, PHOTOGRAPHS
from tests.helpers.serving import QUIET, serving


class Exported:
    """An export with images, the files that hold them, and what the network says of them."""

    def __init__(self, root):
        trained_runs.write(root / "run", init_channels=8)
        self.root = root / "exports"
        self.path = exporting.export(root / "run", self.root, "digits", formats=["tflite"])
        trained = load(root / "run")
        self.images = samples.load(trained, count=7).images
        self.logits = network_logits(trained.network, trained.facts, self.images)
        self.classes = self.logits.argmax(-1)
        self.files = []
        for index, image in enumerate(self.images):
            self.files.append(root / f"{index}.png")
            self.files[-1].write_bytes(tf.io.encode_png(image.astype(np.uint8)).numpy())
        np.save(root / "images.npy", self.images)
        self.array = root / "images.npy"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("serving"))


@pytest.fixture
def close(exported):
    """Asserts that logits are those of the network."""

    def check(logits, count=7):
        expected = exported.logits[:count]
        np.testing.assert_allclose(np.reshape(logits, expected.shape), expected, atol=1e-5 * np.abs(expected).max())

    return check


def run(command, **arguments):
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=QUIET, timeout=300, **arguments
    )


def python_with(module, variable):
    """A Python that has a module, or skips."""
    for python in filter(None, (os.environ.get(variable), sys.executable)):
        if run([python, "-c", f"import {module}"]).returncode == 0:
            return python
    pytest.skip(f"{module} is not installed; {variable} may name a Python that has it")


def last_json(done):
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_a_process_that_knows_neither_us_nor_keras(exported, close, tmp_path):
    code = f"""
import json, sys
import numpy as np, tensorflow as tf
assert "darts_tf" not in sys.modules
for name in {{"darts_tf", "keras", *(n for n in sys.modules if n.startswith("keras."))}}:
    sys.modules[name] = None  # TensorFlow imports Keras by itself; from here on it cannot be reached
f = tf.saved_model.load({str(exported.path)!r}).signatures["serving_default"]
images = np.load({str(exported.array)!r})
print(json.dumps([f(image=tf.constant(images[:n]))["logits"].numpy().tolist() for n in (1, 7)]))
"""
    one, seven = last_json(run([sys.executable, "-c", code], cwd=tmp_path))
    close(one, 1)
    close(seven)
    assert b"keras" not in (exported.path / "saved_model.pb").read_bytes().lower()


def test_saved_model_cli(exported, close, tmp_path):
    cli = shutil.which("saved_model_cli", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    common = ["--dir", exported.path, "--tag_set", "serve", "--signature_def", "serving_default"]
    done = run(
        [cli, "run", *common, "--inputs", f"image={exported.array}", "--outdir", tmp_path, "--overwrite"], cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    close(np.load(tmp_path / "logits.npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "classes.npy"), exported.classes)
    shown = run([cli, "show", *common], cwd=tmp_path).stdout
    assert "inputs['image'] tensor_info:\n    dtype: DT_FLOAT\n    shape: (-1, 8, 8, 1)" in re.sub(
        " {4,}", "    ", shown
    )


@pytest.fixture(scope="module")
def c_program(tmp_path_factory):
    """The C program, and the names of the tensors that the signatures use, from the file."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    program = tmp_path_factory.mktemp("c") / "serve_c"
    library = pathlib.Path(tf.sysconfig.get_lib())
    done = run(
        ["gcc", "-O1", HELPERS / "serve_c.c", "-o", program, f"-I{tf.sysconfig.get_include()}"]
        + [*library.glob("libtensorflow_cc.so.2"), *library.glob("libtensorflow_framework.so.2")]
        + [f"-Wl,-rpath,{library}"]
    )
    assert done.returncode == 0, done.stderr
    return program


def tensors(path, signature, key):
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    found = model.meta_graphs[0].signature_def[signature]
    return found.inputs[key].name, found.outputs["logits"].name


def test_c_api(exported, close, c_program, tmp_path):
    """TensorFlow's C API: the C++ loader that TensorFlow Serving uses too."""
    names = tensors(exported.path, "serving_default", "image")
    exported.images.astype("<f4").tofile(tmp_path / "raw")
    for count in (1, 7):
        done = run([c_program, exported.path, *names, "float", tmp_path / "raw", count, 8, 8, 1])
        assert done.returncode == 0, done.stdout + done.stderr
        close([float(line) for line in done.stdout.split()], count)
    wrong = run([c_program, exported.path, *names, "float", tmp_path / "raw", 1, 16, 16, 1])
    assert wrong.returncode == 1 and wrong.stdout.startswith("code 3: "), wrong.stdout  # INVALID_ARGUMENT
    assert "is not compatible with expected shape [?,8,8,1]" in wrong.stdout


def test_c_api_on_files(exported, close, c_program, tmp_path):
    names = tensors(exported.path, "serving_bytes", "image_bytes")
    done = run([c_program, exported.path, *names, "bytes", *exported.files])
    assert done.returncode == 0, done.stdout + done.stderr
    close([float(line) for line in done.stdout.split()])
    (tmp_path / "no.png").write_bytes(b"hello")
    done = run([c_program, exported.path, *names, "bytes", exported.files[0], tmp_path / "no.png"])
    assert done.returncode == 1 and done.stdout.startswith("code 3: ")
    assert "image_bytes must hold JPEG or PNG files. Received something else at position] [1]" in done.stdout


def test_openvino(exported, close):
    code = f"""
import json, sys
import numpy as np, openvino
assert "tensorflow" not in sys.modules
exact = {{"INFERENCE_PRECISION_HINT": "f32"}}  # a processor with AMX would take bfloat16
model = openvino.Core().compile_model({str(exported.path)!r}, "CPU", exact)
images = np.load({str(exported.array)!r})
found = [model({{"image": images[:n]}}) for n in (1, 7)]
print(json.dumps([found[0]["logits"].tolist(), found[1]["logits"].tolist(), found[1]["classes"].tolist()]))
"""
    one, seven, classes = last_json(run([python_with("openvino", "DARTS_TF_OPENVINO"), "-c", code]))
    close(one, 1)
    close(seven)
    assert classes == exported.classes.tolist()


@pytest.mark.parametrize("kind, agreement", [("float32", 1), ("float16", 0.99), ("int8", 0.7)])
def test_litert(exported, close, kind, agreement):
    code = f"""
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
assert "tensorflow" not in sys.modules
images = np.load({str(exported.array)!r})
file = {str(exported.path / "tflite" / f"{kind}.tflite")!r}
run = Interpreter(file).get_signature_runner("serving_default")
singly = np.concatenate([run(image=image[None])["classes"] for image in images])
interpreter = Interpreter(file)
interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], images.shape)
interpreter.allocate_tensors()
found = interpreter.get_signature_runner("serving_default")(image=images)
print(json.dumps({{name: value.tolist() for name, value in found.items()}} | {{"singly": singly.tolist()}}))
"""
    found = last_json(run([python_with("ai_edge_litert.interpreter", "DARTS_TF_LITERT"), "-c", code]))
    if kind == "float32":
        close(found["logits"])
    assert found["singly"] == found["classes"]
    assert (np.array(found["classes"]) == exported.classes).mean() >= agreement


def test_warmup_file(exported, close):
    """The official protos parse it, without our reader, and its requests run."""
    file = exported.path / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record)
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    ]
    signatures = tf.saved_model.load(str(exported.path)).signatures
    seen = set()
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        ((key, value),) = request.inputs.items()
        outputs = signatures[request.model_spec.signature_name](**{key: tf.constant(tf.make_ndarray(value))})
        size = value.tensor_shape.dim[0].size
        assert request.model_spec.name == "digits" and {v.shape[0] for v in outputs.values()} == {size}
        seen.add((request.model_spec.signature_name, key, size))
    names = (("serving_default", "image"), ("serving_bytes", "image_bytes"))
    assert seen == {(*name, size) for name in names for size in (1, 8)}
    assert list(warmup.read(exported.path)) == [log.predict_log.request for log in logs]
    with pytest.raises(UserError, match="tf_serving_warmup_requests cannot be read"):
        list(warmup.read(exported.root))


@pytest.fixture(scope="module")
def server(exported):
    """Addresses of a running server."""
    with serving(exported.root, "digits") as addresses:
        yield addresses


@pytest.fixture(params=["grpc", "rest", "in process"])
def asked(request, exported, server):
    """Ways to ask, by arguments of the model's name and version."""
    return {
        "grpc": lambda *model: client.connect(server[0], *model),
        "rest": lambda *model: client.connect(server[1], *model),
        "in process": lambda *model: client.in_process(exported.root, *model),
    }[request.param]


def test_predictions(asked, exported, close):
    contents = [file.read_bytes() for file in exported.files]
    close(asked("digits")("serving_bytes", {"image_bytes": contents})["logits"])
    for batch_size in (32, 3):
        found = client.predict(asked("digits", 1), exported.files, batch_size)
        assert [p.path for p in found] == [str(file) for file in exported.files]
        assert [p.label for p in found] == [str(c) for c in exported.classes]
        assert [p.number for p in found] == exported.classes.tolist()
        probabilities = tf.nn.softmax(exported.logits).numpy().max(-1)
        np.testing.assert_allclose([p.probability for p in found], probabilities, atol=1e-5)


def test_bad_images_are_named(asked, exported, tmp_path):
    (tmp_path / "no.png").write_bytes(b"hello")
    (tmp_path / "half.png").write_bytes(exported.files[0].read_bytes()[:60])
    with pytest.raises(UserError, match=r"^\S*no.png is not an image: expected a JPEG or PNG file.$"):
        client.predict(asked("digits"), [*exported.files, tmp_path / "no.png"])
    with pytest.raises(UserError, match="rejects .*half.png: .*PNG") as caught:
        client.predict(asked("digits"), [exported.files[0], tmp_path / "half.png"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="Cannot read the image .*nowhere.png: No such file"):
        client.predict(asked("digits"), [tmp_path / "nowhere.png"])


def test_models_that_are_not_there(asked, exported):
    for model in (("other",), ("digits", 9)):
        with pytest.raises(UserError, match="NOT_FOUND|404|There is no exported model"):
            client.predict(asked(*model), exported.files)


def test_requests_with_wrong_inputs(server, exported):
    """The status that the API has for them, with the server's own words."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(server[0]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for signature, inputs in (
            ("serving_default", {"image": np.zeros((1, 16, 16, 1), np.float32)}),
            ("serving_default", {"image": np.zeros((1, 8, 8, 1), np.int32)}),
            ("serving_default", {"picture": np.zeros((1, 8, 8, 1), np.float32)}),
            ("serving_bytes", {"image_bytes": [b"hello"]}),
            ("serving", {"image": np.zeros((1, 8, 8, 1), np.float32)}),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.Predict(warmup.request("digits", signature, inputs), timeout=30)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT and caught.value.details()
        request = warmup.request("digits", "serving_default", {"image": exported.images[:7]})
        outputs = stub.Predict(request, timeout=30).outputs
        assert tf.make_ndarray(outputs["classes"]).tolist() == exported.classes.tolist()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "grpc://127.0.0.1:1", "http://127.0.0.1:1"])
def test_no_server(exported, address):
    with pytest.raises(UserError, match="127.0.0.1:1 (returned UNAVAILABLE|cannot be reached)") as caught:
        client.predict(client.connect(address, "digits", timeout=5), exported.files)
    assert "\n" not in str(caught.value)


def test_a_server_of_something_else(exported):
    """It answers 200 with what is no answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bodies.pop())

        def log_message(self, *arguments):
            pass

    bodies = [b"<html>", b'{"ok": 1}', b'{"predictions": []}']
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        while bodies:
            with pytest.raises(UserError, match="does not respond like TensorFlow Serving"):
                client.predict(client.connect(f"http://127.0.0.1:{other.server_port}", "m"), exported.files[:1])
        other.shutdown()


@pytest.mark.parametrize("address", ["localhost", "ftp://localhost:1", "http://", "a b:1", "grpc://x/y:1"])
def test_no_address(address):
    with pytest.raises(UserError, match="host:port for gRPC or http://host:port for REST"):
        client.connect(address, "digits")


def test_the_binary(exported, server, capfd, monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "configure", lambda *arguments: None)
    files = [str(file) for file in exported.files]
    for place in (f"--server={server[0]}", f"--server={server[1]}", f"--export_dir={exported.root}"):
        assert predict_binary.main([place, "--name=digits", *files]) == 0
        rows = [line.split("\t") for line in capfd.readouterr().out.splitlines()]
        assert [row[:2] for row in rows] == [[f, str(c)] for f, c in zip(files, exported.classes, strict=True)]
        assert all(re.fullmatch(r"[\d.]+ %", row[2]) for row in rows)
    assert predict_binary.main([f"--export_dir={exported.path}", "--format=json", files[0]]) == 0
    assert json.loads(capfd.readouterr().out)["number"] == exported.classes[0]
    (tmp_path / "saved_model.pb").write_text("damaged")
    for arguments, words in (
        ([files[0]], "expected either --server or --export_dir"),
        ([f"--server={server[0]}"], "expected either image files"),
        ([files[0], f"--export_dir={tmp_path / 'none'}"], "There is no exported model darts"),
        ([files[0], f"--export_dir={tmp_path}"], "cannot be loaded"),
    ):
        with pytest.raises(SystemExit) as caught:
            predict_binary.main(arguments)
        error = capfd.readouterr().err
        assert caught.value.code == 1 and len(error.splitlines()) == 1 and words in error, error


@pytest.mark.slow
def test_photographs(tmp_path):
    """Files of another size than the network's, cropped as in evaluation, through the network for photographs."""
    import tarfile

    if not PHOTOGRAPHS.exists():
        pytest.skip(f"no photographs at {PHOTOGRAPHS}; DARTS_TF_DATA names the folder of data")
    files = []
    with tarfile.open(PHOTOGRAPHS) as tar:
        for member in [member for member in tar if member.isfile()][::20]:
            files.append(tmp_path / pathlib.Path("photos", *pathlib.PurePosixPath(member.name).parts[-3:]))
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            files[-1].write_bytes(tar.extractfile(member).read())
    settings = {"dataset": "folder", "data_dir": str(tmp_path / "photos"), "image_size": 96, "eval_crop": 0.875}
    trained_runs.write(tmp_path / "run", network="imagenet", init_channels=8, **settings)
    path = exporting.export(tmp_path / "run", tmp_path / "exports", "photos", formats=["saved_model", "tflite"])
    trained = load(tmp_path / "run")
    chosen = sorted(files)[::7]
    pixels = images.load("folder", settings["data_dir"], 96, center_fraction=0.875)
    order = sorted((tmp_path / "photos" / "train").rglob("*.*"))
    read = pixels.train.read(tf.range(len(order))).numpy()
    rows = [(file, image) for file, image in zip(order, read, strict=True) if file in chosen]
    logits = network_logits(trained.network, trained.facts, np.stack([image for _, image in rows]).astype(np.float32))
    found = client.predict(client.in_process(path, "photos"), [file for file, _ in rows])
    assert len(rows) > 3 and [p.label for p in found] == [trained.facts.class_names[k] for k in logits.argmax(-1)]
    np.testing.assert_allclose([p.probability for p in found], tf.nn.softmax(logits).numpy().max(-1), atol=1e-5)
    card = json.loads((path / "assets" / "model_card.json").read_text())
    assert card["image_shape"] == [96, 96, 3] and card["checks"]["tflite"]["float32"]["agreement"] == 1
