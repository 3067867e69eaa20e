"""A server of exported models: the real one where there is one, else the stand-in."""

import contextlib
import json
import os
import subprocess
import sys
import time

from tests.helpers.paths import HELPERS

QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@contextlib.contextmanager
def serving(root, name):
    """Runs a server of the models in a folder; gives its addresses: gRPC, REST."""
    if binary := os.environ.get("DARTS_TF_SERVER"):
        ports = 18500, 18501
        process = subprocess.Popen(
            [binary, f"--port={ports[0]}", f"--rest_api_port={ports[1]}"]
            + [f"--model_config_file={root / 'models.config'}"]
        )
        time.sleep(20)
    else:
        process = subprocess.Popen(
            [sys.executable, HELPERS / "serving_double.py", name, root / name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=QUIET,
        )
        told = json.loads(process.stdout.readline())
        ports = told["grpc"], told["rest"]
    yield f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    process.terminate()
    process.communicate(timeout=60)
    if not os.environ.get("DARTS_TF_SERVER"):
        assert not told["imported"]
