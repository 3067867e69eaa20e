"""Console, metrics.jsonl and TensorBoard, each read back as a user or a tool reads it."""

import errno
import io
import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darts_tf.engine import console
from darts_tf.engine.reporting import Reporter
from darts_tf.engine.tensorboard import heat_map
from darts_tf.runs.metrics import read_metrics
from darts_tf.runs.workdir import WorkDir
from darts_tf.system.errors import UserError


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def reporter(path, tensorboard=False, total_steps=100, **kwargs):
    out = io.StringIO()
    clock = Clock()
    return Reporter(WorkDir(path), total_steps, tensorboard, kwargs.pop("out", out), clock), out, clock


def events(path):
    accumulator = EventAccumulator(str(path / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_plain_lines_come_at_a_sane_rate_and_tell_speed_and_time_left(tmp_path):
    report, out, clock = reporter(tmp_path, total_steps=1000)
    for step in range(1, 251):  # four steps a second for about a minute
        clock.now += 0.25
        report.progress(1, 4, step, 250, {"loss": 2.0 - step / 1000, "accuracy": 0.5}, step)
    lines = out.getvalue().splitlines()
    assert lines[0] == "epoch 1/4  step 1/250  loss 1.999  accuracy 50.00 %"
    assert 6 <= len(lines) <= 8
    assert lines[1] == "epoch 1/4  step 41/250  4 steps/s  loss 1.959  accuracy 50.00 %  3 min 60 s left".replace(
        "3 min 60 s", "4 min 0 s"
    )
    clock.now += 100  # validation: part of the time left, not of the rate
    report.epoch({"epoch": 1, "valid_accuracy": 0.25})
    clock.now += 0.25
    report.progress(2, 4, 1, 250, {"loss": 1.0}, 251)
    clock.now += 0.25
    report.progress(2, 4, 2, 250, {"loss": 1.0}, 252)
    clock.now += console.PLAIN_SECONDS
    report.progress(2, 4, 42, 250, {"loss": 1.0}, 292)
    last = out.getvalue().splitlines()[-1]
    seconds = (clock.now - 1000.25) / 291 * (1000 - 292)
    assert last == f"epoch 2/4  step 42/250  4 steps/s  loss 1  {seconds // 60:.0f} min {seconds % 60:.0f} s left"


def test_an_epoch_is_a_line_to_read_and_a_line_of_json(tmp_path):
    report, out, _ = reporter(tmp_path)
    report.epoch(
        {
            "epoch": 1,
            "valid_accuracy": np.float32(0.5),
            "valid_loss": float("nan"),
            "steps": np.int64(7),
            "learning_rate": 0.025,
            "alphas": np.array([[0.5, np.inf]], np.float32),
            "complete": True,
        }
    )
    assert out.getvalue() == (
        "epoch 1 done  supernet validation accuracy 50.00 %  supernet validation loss nan  steps 7\n"
    )
    line = (tmp_path / "metrics.jsonl").read_text()
    assert line.endswith("\n") and "NaN" not in line
    assert json.loads(line) == {
        "epoch": 1,
        "valid_accuracy": 0.5,
        "valid_loss": None,
        "steps": 7,
        "learning_rate": 0.025,
        "alphas": [[0.5, None]],
        "complete": True,
    }
    assert read_metrics(tmp_path / "metrics.jsonl") == [json.loads(line)]


def test_a_number_that_is_no_float32_does_not_stop_the_run(tmp_path):
    report, _, _ = reporter(tmp_path, tensorboard=True)
    with report:
        report.epoch({"epoch": 1, "valid_perplexity": 1e304, "train_perplexity": float("inf")})
        report.epoch({"epoch": 2, "valid_perplexity": 7.0, "train_perplexity": 8.0})
    found = events(tmp_path).Tensors("supernet validation perplexity")
    assert [float(tf.make_ndarray(event.tensor_proto)) for event in found] == [float("inf"), 7.0]
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first == {"epoch": 1, "valid_perplexity": 1e304, "train_perplexity": None}


def test_resume_forgets_what_is_past_the_checkpoint_and_what_is_damaged(tmp_path):
    report, _, _ = reporter(tmp_path)
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == [] and report.resume([]) == 0
    records = [{"epoch": epoch, "loss": 1 / 3} for epoch in (1, 2, 3)]
    for record in records:
        report.epoch(record)
    whole = path.read_bytes()
    for torn in (b'{"epoch": 4, "lo', b'{"epoch": 2}', b"\x00\x00\xff\n"):
        path.write_bytes(whole + torn)
        assert read_metrics(path) == records
    assert report.resume(records[:2]) == 2
    report.epoch(records[2])
    assert path.read_bytes() == whole
    for position in range(len(whole)):  # of a flipped bit, also where a number becomes another one
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        kept = report.resume(records)
        assert kept == whole[:position].count(b"\n")
        for record in records[kept:]:
            report.epoch(record)
        assert path.read_bytes() == whole
    assert report.resume([]) == 0 and path.read_bytes() == b""


def test_damage_in_the_middle_is_told_and_not_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\nrubbish\n{"epoch": 3}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl is damaged.*Received in line 2: b'rubbish'; delete that line"):
        read_metrics(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="Cannot read .*Is a directory"):
        read_metrics(path)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    report, _, _ = reporter(tmp_path)

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"Cannot write .*metrics.jsonl: No space left on device") as caught:
        report.epoch({"epoch": 1})
    assert "\n" not in str(caught.value)


def test_working_tells_that_it_lives_and_how_long_it_took(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.05)
    report, out, clock = reporter(tmp_path)
    with report.working("building the graph", "graph built"):
        clock.now += 12.3
        deadline = time.monotonic() + 5
        while out.getvalue().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = out.getvalue().splitlines()
    assert lines[0] == "building the graph ..." and lines[1] == "building the graph ... (12 s)"
    assert lines[-1] == "graph built in 12.3 s"
    with pytest.raises(KeyError), report.working("drawing"):
        raise KeyError
    assert out.getvalue().splitlines()[-1].startswith("drawing ...")  # no claim that it was done
    time.sleep(0.12)
    assert out.getvalue().splitlines()[-1].startswith("drawing ...") and out.getvalue().count("drawing") <= 2


def test_names_that_the_console_cannot_encode_do_not_stop_the_run(tmp_path):
    raw = io.BytesIO()
    report, _, _ = reporter(tmp_path, out=io.TextIOWrapper(raw, encoding="ascii"))
    report.message("[bold] Größe :smile:")
    assert raw.getvalue() == b"[bold] Gr??e :smile:\n"


def test_tensorboard_reads_scalars_pictures_and_histograms(tmp_path):
    report, _, _ = reporter(tmp_path, tensorboard=True)
    weights = np.full((3, 2), 0.5)
    picture = np.random.RandomState(0).randint(0, 255, (5, 7, 3)).astype(np.uint8)
    (tmp_path / "cell.png").write_bytes(tf.io.encode_png(picture).numpy())
    with report:
        report.resume([])
        report.epoch({"epoch": 1, "valid_accuracy": 0.5, "learning_rate": 0.1, "note": "text"})
        report.alphas(1, "normal", weights, ["0->2", "1->2", "0->3"], ["none", "skip_connect"])
        report.drawing(1, "normal", tmp_path / "cell.png")
        report.drawing(1, "reduction", None)
        with pytest.raises(ValueError, match=r"Received: shape \(3, 2\), 1 row labels, 2 column labels"):
            report.alphas(1, "normal", weights, ["0->2"], ["none", "skip_connect"])
    found = events(tmp_path)
    assert set(found.Tags()["tensors"]) == {
        "supernet validation accuracy",
        "learning_rate",
        "normal/mixing_weights",
        "normal/mixing_weights_histogram",
        "normal/cell",
    }
    assert tf.make_ndarray(found.Tensors("supernet validation accuracy")[0].tensor_proto) == 0.5
    shown = tf.make_ndarray(found.Tensors("normal/cell")[0].tensor_proto)
    np.testing.assert_array_equal(tf.io.decode_png(shown[2]).numpy(), picture)
    legend = found.SummaryMetadata("normal/mixing_weights").summary_description
    assert "0->2, 1->2, 0->3" in legend and "none, skip_connect" in legend


def curve(path, name="loss"):
    return [(each.step, float(tf.make_ndarray(each.tensor_proto))) for each in events(path).Tensors(name)]


@pytest.mark.parametrize("torn", [b"", b"\x20\x00", b"\x20" + bytes(15)])
def test_after_a_resume_tensorboard_has_each_epoch_once(tmp_path, torn):
    records = [{"epoch": epoch, "loss": float(epoch), "genotype": "text"} for epoch in (1, 2, 3, 4)]
    first, _, _ = reporter(tmp_path, tensorboard=True)
    with first:
        first.resume([])
        for record in records:
            first.alphas(record["epoch"], "normal", np.full((1, 1), record["epoch"] / 4), ["edge"], ["skip_connect"])
            first.epoch(record)
    curves, pictures = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: "pictures" in path.name)
    curves.write_bytes(curves.read_bytes() + torn)
    kept = pictures.read_bytes()
    pictures.write_bytes(kept + torn)
    (tmp_path / "tensorboard" / "events.out.tfevents.1.host").write_bytes(curves.read_bytes())  # a kill has left both
    for resumes in (1, 2):
        second, _, _ = reporter(tmp_path, tensorboard=True)
        with second:
            assert second.resume(records[:2]) == 2
            second.alphas(3, "normal", np.full((1, 1), 0.5), ["edge"], ["skip_connect"])
            second.epoch({"epoch": 3, "loss": 2.0})
            assert second.resume(records[:1]) == 1  # a roll-back, while the files are open
            for epoch in (2, 3):
                second.epoch({"epoch": epoch, "loss": 5.0})
        assert curve(tmp_path) == [(1, 1.0), (2, 5.0), (3, 5.0)]
        assert pictures.read_bytes() == kept + torn
        # TensorBoard reads files in the order of their names, which need not be that of their making.
        shown = [each.step for each in events(tmp_path).Tensors("normal/mixing_weights")]
        assert sorted(shown) == sorted([1, 2, 3, 4] + [3] * resumes)
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_record_that_is_lost_is_in_tensorboard_once(tmp_path):
    records = [{"epoch": epoch, "loss": float(epoch)} for epoch in (1, 2, 3)]
    first, _, _ = reporter(tmp_path, tensorboard=True)
    with first:
        for record in records:
            first.epoch(record)
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "loss": 1.0}\nrubbish\n')
    second, _, _ = reporter(tmp_path, tensorboard=True)
    with second:
        for record in records[second.resume(records) :]:
            second.epoch(record)
    assert curve(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_resume_without_tensorboard_leaves_its_files_and_a_later_one_with_it_has_all(tmp_path):
    records = [{"epoch": epoch, "loss": float(epoch)} for epoch in (1, 2, 3)]
    for epoch, switch in enumerate((True, False)):
        report, _, _ = reporter(tmp_path, tensorboard=switch)
        with report:
            report.resume(records[:epoch])
            report.epoch(records[epoch])
    assert curve(tmp_path) == [(1, 1.0)]
    report, _, _ = reporter(tmp_path, tensorboard=True)
    with report:
        report.resume(records[:2])
        report.epoch(records[2])
    assert curve(tmp_path) == [(1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_disk_too_full_for_tensorboard_is_said_once_and_the_run_goes_on(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system takes root")
    try:
        report, out, _ = reporter(tmp_path, tensorboard=True)
        weights = np.random.RandomState(0).rand(60, 40)
        with report:
            for epoch in range(1, 30):
                report.alphas(epoch, "normal", weights, ["edge"] * 60, ["operation"] * 40)
        said = out.getvalue()
        assert said.count("warning: continuing without TensorBoard") == 1 and "No space left" in said
        assert said.count(f"warning: continuing without {tmp_path / 'alphas'}") == 1 and said.count("\n") == 2
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_no_event_files_when_switched_off(tmp_path):
    report, _, _ = reporter(tmp_path)
    with report:
        report.resume([])
        report.epoch({"epoch": 1, "loss": 1.0})
        report.alphas(1, "normal", np.ones((1, 1)), ["a"], ["b"])
        report.drawing(1, "normal", "nowhere.png")
    assert sorted(os.listdir(tmp_path)) == ["alphas", "metrics.jsonl"]


def test_heat_map_cells_are_readable_and_ordered():
    picture = heat_map(np.array([[0.0, 0.125, 1.0], [np.nan, 0.5, 2.0]]))
    assert picture.shape == (49, 73, 3) and picture.dtype == np.uint8
    centres = picture[12::24, 12::24].astype(int)
    assert centres[0, 0].tolist() == [255] * 3 and centres[0, 2].tolist() == [8, 48, 107]
    assert centres[0, 1].sum() < 0.8 * centres[0, 0].sum()  # 1/8 does not look like 0
    assert centres[1, 0].tolist() == [255] * 3 and centres[1, 2].tolist() == [8, 48, 107]
    assert centres[0, 1].sum() > centres[1, 1].sum() > centres[1, 2].sum()


RUN = """
    import sys, time
    from darts_tf.engine.reporting import Reporter
    from darts_tf.runs.workdir import WorkDir
    with Reporter(WorkDir(sys.argv[1]), 60, False) as report:
        report.message("3 cells")
        with report.working("building the graph", "graph built"):
            time.sleep(0.4)
        for epoch in (1, 2):
            for step in range(1, 31):
                time.sleep(0.02)
                report.progress(epoch, 2, step, 30, {"loss": 2 / step, "accuracy": 0.5}, 30 * epoch - 30 + step)
            report.epoch({"epoch": epoch, "valid_accuracy": 0.25})
"""


def test_a_reader_that_goes_away_does_not_stop_the_run(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"3 cells\n"
    process.stdout.close()
    assert b"Broken" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0
    assert [record["epoch"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]


def in_a_terminal(path, **environment):
    """What a terminal of 80 columns shows, as text with its control sequences."""
    main, other = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "PYTHONUTF8": "1"} | environment
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(RUN), path], stdout=other, stderr=subprocess.DEVNULL, env=environment
    )
    os.close(other)
    shown = b""
    with open(main, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                shown += part
        except OSError:  # the other end was closed
            pass
    assert process.wait() == 0
    return shown.decode()


def test_a_terminal_gets_a_spinner_and_a_bar(tmp_path):
    shown = in_a_terminal(tmp_path)
    assert "\x1b[?25h" in shown  # the cursor is given back
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    parts = re.split(r"[\r\n]+", text)
    assert any(re.fullmatch(r"\S building the graph \.\.\. \(0 s\)\s*", part) for part in parts), parts
    assert any(part.startswith("graph built in 0.") for part in parts)
    bars = [part for part in parts if "━" in part]
    assert bars and all(len(part) <= 80 for part in bars)
    assert any(re.search(r"steps/s  loss [\d.]+  accuracy 50.00 %  \d s left", part) for part in bars), bars
    assert any(part.startswith("epoch 2 done  supernet validation accuracy 25.00 %") for part in parts)


def test_a_dumb_terminal_gets_plain_lines(tmp_path):
    shown = in_a_terminal(tmp_path, TERM="dumb")
    assert "\x1b" not in shown and "━" not in shown
    assert shown.splitlines()[1] == "building the graph ..."


def test_a_file_gets_plain_lines_even_when_colour_is_forced(tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUN), tmp_path],
        capture_output=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1"},
        cwd=pathlib.Path(tmp_path),
    ).stdout
    assert b"\x1b" not in out and out.startswith(b"3 cells\nbuilding the graph ...\n")
