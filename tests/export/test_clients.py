"""The clients that docs/guides/serving.md shows, against a server's protocols.

DARTS_TF_NODE_MODULES names a `node_modules` with the packages of npm that the page names; else that client is left out.
"""

import os
import shutil

import pytest
import tensorflow as tf

from darts_tf.export import exporting, samples
from darts_tf.export.images import network_logits
from darts_tf.tasks.trained import load
from tests.helpers import trained_runs
from tests.helpers.pages import PAGES, blocks
from tests.helpers.processes import run_code
from tests.helpers.serving import serving

CLIENTS = [block for block in blocks(PAGES["docs/guides/serving.md"]) if block.mark.startswith("client: ")]
PROTOSET = next(block for block in CLIENTS if block.mark == "client: protoset")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with two images, their labels, and a server's addresses."""
    root = tmp_path_factory.mktemp("served")
    trained_runs.write(root / "run")
    exporting.export(root / "run", root / "exports", "digits")
    trained = load(root / "run")
    images = samples.load(trained).images
    classes = network_logits(trained.network, trained.facts, images).argmax(-1)
    two = [0, next(index for index, number in enumerate(classes) if number != classes[0])]
    for name, index in zip(("a.png", "b.png"), two, strict=True):
        (root / name).write_bytes(tf.io.encode_png(images[index].astype("uint8")).numpy())
    labels = [str(classes[index]) for index in two]
    if modules := os.environ.get("DARTS_TF_NODE_MODULES"):
        (root / "node_modules").symlink_to(modules)
    with serving(root / "exports", "digits") as addresses:
        yield root, labels, addresses


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"{client.mark[8:]} {client.language}")
def test_clients(served, client):
    root, labels, (grpc, rest) = served
    if client.language == "javascript" and shutil.which("node") is None:
        pytest.skip("no node")
    if "@grpc/" in client.code and not (root / "node_modules").exists():
        pytest.skip("DARTS_TF_NODE_MODULES does not name npm's packages")
    code = client.code.replace("localhost:8500", grpc).replace("http://localhost:8501", rest)
    printed = run_code(client.language, code, root, "a.png", "b.png")
    if client is PROTOSET:
        assert b"tensorflow.serving" in (root / "serving.protoset").read_bytes()
    elif client.language == "bash":  # which sends one image
        assert f'"labels": "{labels[0]}"' in printed
    else:
        found = [line.split()[0] for line in printed.splitlines()]
        assert found == labels or printed.split() == labels
