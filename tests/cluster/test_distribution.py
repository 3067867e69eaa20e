"""Several replicas: the numbers of one device, whatever holds the replicas, and what a lost process is told."""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest

from darts_tf.cluster import rendezvous
from darts_tf.config import SearchConfig
from darts_tf.runs.checkpoint import Checkpoints
from darts_tf.system import runtime
from darts_tf.system.errors import UserError
from darts_tf.system.scratch import PREFIX, scratch
from tests.helpers import programs
from tests.helpers.cases import TOGETHER
from tests.helpers.paths import ROOT

SETTINGS = ["--preset=smoke", "--threads=1", "--num_nodes=1", "--primitives=none,skip_connect,sep_conv_3x3"]
EPOCHS = "--epochs=8"  # so many that a signal comes before the end
SETTINGS += ["--steps_per_loop=1", "--notensorboard", "--arch_learning_rate=0.01", "--order=first"]
MIRRORED = ["--strategy=mirrored", "--replicas=2"]
ONLY = {"type": "worker", "index": 0}
CHEAP = ["first", "finite difference", "training", "texts, first", "training on texts"]
DEAR = ["exact", "in parts too", "texts, finite difference", "texts, exact"]
COARSE = ["training", "texts, finite difference"]  # each kind of data, and of pass


def compared(floats, *cases):
    command = [sys.executable, "-m", "tests.helpers.replicated", floats, *cases]
    done = programs.run(command, capture_output=True, text=True, timeout=1500, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def check(found, tolerance):
    for case, (differences, clipped) in found.items():
        assert clipped, case  # else nothing would tell whether the sum comes before the clipping
        assert "weights" in differences and "loss" in differences
        for name, difference in differences.items():
            # Adam divides small gradients of the alphas by their own size, and so their rounding too.
            assert difference <= tolerance * (10 if name == "alphas" else 1), f"{case}: {name} differs by {difference}"


def test_two_replicas_give_the_numbers_of_one():
    check(compared("float64", *CHEAP), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("floats, tolerance, cases", [("float64", 1e-9, DEAR), ("float32", 1e-5, COARSE)])
def test_two_replicas_give_the_numbers_of_one_in_every_order(floats, tolerance, cases):
    check(compared(floats, *cases), tolerance)


@pytest.mark.slow
def test_two_replicas_give_the_numbers_of_one_with_every_method():
    check(compared("float64", *TOGETHER), 1e-9)


def free_ports(count):
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return ports


def start(workdir, *flags, worker=None, ports=()):
    environment = dict(os.environ)
    if ports:
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": worker}})
    command = [sys.executable, "-m", "darts_tf.bin.search", *SETTINGS, f"--workdir={workdir}", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return programs.Popen(command, env=environment, **pipes)


def cluster(workdir, *flags):
    ports = free_ports(2)
    return [start(workdir, "--strategy=multi_worker", *flags, worker=i, ports=ports) for i in range(2)]


def finished(process):
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    return output


def epochs(workdir):
    metrics = workdir / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def wait_for_an_epoch(workdir, processes):
    """Waits until these processes have ended an epoch: more than the run had before they started."""
    before, until = epochs(workdir), time.monotonic() + 600
    while epochs(workdir) == before:
        assert time.monotonic() < until and all(each.poll() is None for each in processes)
        time.sleep(0.02)


def arrays(workdir):
    return Checkpoints(workdir / "checkpoints", read_only=True).restore().arrays


def close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        largest = max(np.abs(expected[name]).max(), 1e-6)
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=tolerance * largest, err_msg=name)


def whole_run(folder, *flags):
    finished(start(folder / "run", EPOCHS, *flags))
    return arrays(folder / "run")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return whole_run(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """On two replicas of one process, whose every step is that of one device: see `compared`."""
    return whole_run(tmp_path_factory.mktemp("replicas"), *MIRRORED)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one_with_two_replicas(tmp_path, replicas):
    chief, worker = cluster(tmp_path / "run", EPOCHS)
    told = [finished(each) for each in (chief, worker)]
    close(arrays(tmp_path / "run"), replicas, 1e-6)
    assert "worker 1: the chief reports and writes the files" in told[1] and "epoch 1 done" not in told[1]
    assert "epoch 8 done" in told[0] and "genotype: " in told[0]


@pytest.mark.slow
def test_two_processes_search_in_stages(tmp_path):
    """The last stage has the candidates and the numbers of one process with two replicas; again, nothing is done."""
    flags = ["--method=p_darts", "--p_darts_cells=3,3", "--p_darts_keep=3,2", "--p_darts_skip_dropout=0,0.4"]
    finished(start(tmp_path / "one", "--epochs=2", *MIRRORED, *flags))
    told = [finished(each) for each in cluster(tmp_path / "two", "--epochs=2", *flags)]
    one, two = (tmp_path / name for name in ("one", "two"))
    settings = [json.loads((each / "stage_2" / "config.json").read_text()) for each in (one, two)]
    assert settings[0]["candidates"] == settings[1]["candidates"] != "all"
    close(arrays(two / "stage_2"), arrays(one / "stage_2"), 1e-4)
    assert (one / "genotype.json").read_bytes() == (two / "genotype.json").read_bytes()
    assert "stage 2 of 2" in told[0] and "stage 2 of 2" not in told[1]
    again = [finished(each) for each in cluster(two, "--epochs=2", *flags)]
    assert (
        "epoch 1 done" not in again[0] and (one / "genotype.json").read_bytes() == (two / "genotype.json").read_bytes()
    )


@pytest.mark.slow
def test_a_run_goes_on_with_more_devices_and_with_fewer(tmp_path, alone):
    """One device, then two replicas, then one device again; two processes are in the test below."""
    workdir = tmp_path / "run"
    for setup in ([], MIRRORED):
        process = start(workdir, EPOCHS, *setup)
        wait_for_an_epoch(workdir, [process])
        process.send_signal(signal.SIGTERM)
        output = process.communicate(timeout=600)[0]
        assert process.returncode == 130 and "the same command or call resumes" in output, output
    finished(start(workdir, EPOCHS))
    # What 32 steps in float32 can make of rounding, which the processor decides: two replicas all along were off by
    # 0.07 in the momentum with AVX-512, by less than 1e-4 with AVX2.
    found = arrays(workdir)
    close(found, alone, 0.1)
    networks = [{k: v for k, v in each.items() if k.startswith(("weights/", "state/"))} for each in (found, alone)]
    close(*networks, 0.02)  # these by 0.001


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_the_same_command_goes_on(tmp_path, replicas):
    workdir = tmp_path / "run"
    for dies in (1, 0):
        processes = cluster(workdir, EPOCHS)
        wait_for_an_epoch(workdir, processes)
        processes[dies].kill()
        output = processes[1 - dies].communicate(timeout=60)[0]
        assert processes[1 - dies].returncode == 1, output
        last = output.strip().splitlines()[-1]
        assert "has lost the others" in last and "same command on all machines resumes from there" in last
        assert "Traceback" not in output
        processes[dies].communicate()
    for each in cluster(workdir, EPOCHS):
        finished(each)
    close(arrays(workdir), replicas, 1e-6)


def test_what_a_user_may_get_wrong(monkeypatch):
    with pytest.raises(UserError, match="jit_compile must be off with strategy=mirrored"):
        SearchConfig(strategy="mirrored", jit_compile=True)
    with pytest.raises(
        UserError,
        match="replicas must be 0 unless strategy=mirrored.*uses one device. Received: replicas=2",
    ):
        SearchConfig(replicas=2)
    for workers in ("127.0.0.1:2222", ["a:1", 5], {"a:1": 0}, None):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": workers}, "task": ONLY}))
        with pytest.raises(UserError, match="TF_CONFIG must name .* worker is not a list of strings"):
            runtime.cluster()
    for text in ("", "{", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "[]", "3"):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(UserError, match="TF_CONFIG must name this cluster's processes"):
            runtime.cluster()
    tasks = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": tasks, "task": {"type": "worker", "index": 1}}))
    assert runtime.cluster() == (2, ["a:1", "b:1", "c:1"])


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
    process = start(tmp_path / "run", "--strategy=mirrored", "--replicas=3")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 1 and not (tmp_path / "run").exists()
    assert "expected batch_size to be a multiple of 3 replicas. Received: batch_size=" in output.splitlines()[-1]


def test_processes_with_other_settings_are_refused(tmp_path):
    """All end in one line, and the one that differs says in what; other data and numbers of steps are found too."""
    ports = free_ports(2)
    flags = ["--learning_rate=0.5", "--seed=7", "--max_train_examples=80", "--threads=2"]
    flags += ["--steps_per_loop=2", "--eigenvalue"]
    processes = [
        start(tmp_path / "run", "--strategy=multi_worker", *more, worker=i, ports=ports)
        for i, more in enumerate(([], flags))
    ]
    told = [each.communicate(timeout=120)[0].strip().splitlines()[-1] for each in processes]
    assert [each.returncode for each in processes] == [1, 1], told
    assert "Another process has different settings or data from the chief" in told[0]
    assert "Worker 1 of 2 has different settings or data from the chief" in told[1]
    for words in (
        "steps_per_loop: 1 -> 2",
        "eigenvalue: False -> True",
        "learning_rate: 0.025 -> 0.5",
        "seed: 2 -> 7",
        "max_train_examples: ",
        "steps: ",
        "labels: ",
    ):
        assert words in told[1], told[1]
    assert "threads" not in told[1]


def meet(addresses, seconds=20.0):
    """Lets as many threads as there are addresses wait for one another; returns what each was told or refused with."""

    def one(worker):
        try:
            rendezvous.wait(worker, addresses, lines.append, seconds)
        except UserError as error:
            return str(error)
        return None

    lines = []
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(one, range(len(addresses)))), lines


def test_processes_meet_before_tensorflow_joins_them():
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    found, lines = meet(addresses)
    assert found == [None] * 3
    assert f"waiting for the other processes: {addresses[1]}, {addresses[2]}" in lines
    rendezvous.wait(0, ["a:1"], lines.append)  # a cluster of one waits for nobody
    with pytest.raises(UserError, match="TF_CONFIG must name addresses as host:port. Received: 'localhost'"):
        rendezvous.wait(0, ["localhost", "a:1"], lines.append)
    for worker, other in ((0, 1), (1, 0)):
        with pytest.raises(UserError, match=f"did not appear within 0 s: {addresses[other]}. Expected one"):
            rendezvous.wait(worker, addresses[:2], lines.append, 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen at its port in TF_CONFIG: .* Received: {port}"):
            rendezvous.wait(0, [f"a:{port}", "b:1"], lines.append)


def test_strangers_and_processes_that_leave_are_not_counted():
    port, other = free_ports(2)
    addresses, left = [f"127.0.0.1:{port}", f"127.0.0.1:{other}"], threading.Event()

    def disturb():
        for said in (b"GET / HTTP/1.1", b"darts_tf 7", b"darts_tf 1"):
            until = time.monotonic() + 10
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
                    connection.sendall(said)
                    if said == b"darts_tf 1":
                        time.sleep(0.2)
                    break
        left.set()

    with concurrent.futures.ThreadPoolExecutor() as pool:
        chief = pool.submit(rendezvous.wait, 0, [*addresses, "c:1"], lambda line: None, 3.0)
        pool.submit(disturb)
        assert left.wait(10)
        with pytest.raises(UserError, match=f"within 3 s: {addresses[1]}, c:1"):
            chief.result()


@pytest.mark.parametrize("number, worker, status", [(signal.SIGINT, 0, 130), (signal.SIGTERM, 1, -signal.SIGTERM)])
def test_who_waits_for_the_others_can_be_stopped(tmp_path, number, worker, status):
    process = start(tmp_path / "run", "--strategy=multi_worker", worker=worker, ports=free_ports(2))
    assert any(line.startswith("waiting for the other processes: 127.0.0.1:") for line in process.stdout)
    time.sleep(0.5)
    process.send_signal(number)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == status and "Traceback" not in output, output


HOLDER = """
import time
from darts_tf.system.scratch import scratch
with scratch() as folder:
    (folder / "file").write_text("")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_folders_of_killed_workers_are_removed_and_others_are_not(tmp_path, monkeypatch):
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command, pipes = [sys.executable, "-c", HOLDER], {"stdout": subprocess.PIPE, "text": True, "env": environment}
    killed, alive = [subprocess.Popen(command, **pipes) for _ in range(2)]
    dead, used = [pathlib.Path(each.stdout.readline().strip()) for each in (killed, alive)]
    killed.kill()
    killed.communicate()
    (tmp_path / "darts_tf_other").mkdir()
    (tmp_path / f"{PREFIX}file").write_text("")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "darts_tf_other")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as folder:
        assert folder.exists() and not dead.exists() and used.exists()
    assert not folder.exists() and len(list(tmp_path.iterdir())) == 4
    alive.kill()
    alive.communicate()
