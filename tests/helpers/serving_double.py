"""A stand-in for tensorflow_model_server: `python serving_double.py NAME DIR` prints its ports and serves.

Built from the official service definitions. It knows TensorFlow and the SavedModel, and nothing of darts_tf. Requests
are checked as the real server does: model, version, signature, names and types of the inputs.
"""

import base64
import http.server
import json
import os
import pathlib
import re
import sys
import threading
from concurrent import futures

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

Status = grpc.StatusCode
HTTP = {Status.INVALID_ARGUMENT: 400, Status.NOT_FOUND: 404}


class Refused(Exception):
    pass


class Model:
    def __init__(self, name, folder):
        self.name, self.versions = name, {}
        for path in pathlib.Path(folder).iterdir():
            if path.name.isdigit():
                self.versions[int(path.name)] = tf.saved_model.load(str(path))

    def run(self, name, version, signature, inputs):
        version = version or max(self.versions)
        if name != self.name or version not in self.versions:
            raise Refused(Status.NOT_FOUND, f"Servable not found for request: Specific({name}, {version})")
        signatures = self.versions[version].signatures
        if signature not in signatures:
            raise Refused(Status.INVALID_ARGUMENT, f"Serving signature key {signature!r} not found.")
        specs = signatures[signature].structured_input_signature[1]
        if set(specs) != set(inputs):
            raise Refused(Status.INVALID_ARGUMENT, f"input names are {sorted(specs)}, not {sorted(inputs)}")
        tensors = {}
        for key, value in inputs.items():
            try:
                tensors[key] = tf.constant(value, specs[key].dtype if isinstance(value, list) else None)
            except (TypeError, ValueError) as error:
                raise Refused(Status.INVALID_ARGUMENT, f"{key}: {error}") from error
            if tensors[key].dtype != specs[key].dtype:
                message = f"Expected {key} to be {specs[key].dtype.name}, received {tensors[key].dtype.name}"
                raise Refused(Status.INVALID_ARGUMENT, message)
        try:
            outputs = signatures[signature](**tensors)
        except (tf.errors.InvalidArgumentError, TypeError) as error:  # TypeError: Python's check of a wrong shape
            raise Refused(Status.INVALID_ARGUMENT, getattr(error, "message", str(error))) from error
        return {key: value.numpy() for key, value in outputs.items()}


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        spec = request.model_spec
        try:
            outputs = self.model.run(spec.name, spec.version.value, spec.signature_name or "serving_default", inputs)
        except Refused as error:
            context.abort(*error.args)
        response = predict_pb2.PredictResponse()
        for key, value in outputs.items():
            response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
        return response


def plain(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return [plain(v) for v in value] if isinstance(value, list) else value


def handler(model):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            match = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+))?:predict", self.path)
            data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                if not match:
                    raise Refused(Status.NOT_FOUND, f"Malformed request: POST {self.path}")
                rows = data["instances"]
                columns = {key: [plain(row[key]) for row in rows] for key in rows[0]}
                signature = data.get("signature_name", "serving_default")
                outputs = model.run(match[1], int(match[2] or 0), signature, columns)
                lists = {key: value.tolist() for key, value in outputs.items()}
                text = {
                    k: [v.decode() for v in vs] if vs and isinstance(vs[0], bytes) else vs for k, vs in lists.items()
                }
                self.answer(200, {"predictions": [{k: v[i] for k, v in text.items()} for i in range(len(rows))]})
            except Refused as error:
                self.answer(HTTP[error.args[0]], {"error": error.args[1]})

        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    return Handler


def main():
    model = Model(*sys.argv[1:])
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(model), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(model))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    imported = [name for name in sys.modules if name.startswith("darts_tf")]
    print(json.dumps({"grpc": port, "rest": rest.server_port, "imported": imported}), flush=True)
    sys.stdin.read()  # until the test closes it


if __name__ == "__main__":
    main()
