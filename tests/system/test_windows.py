"""What Windows' Python lacks is not used; as far as that shows on another system, where these tests run."""

import subprocess
import sys
import textwrap

from tests.helpers.paths import FOLDERS, ROOT, SOURCES

WITHOUT_POSIX = """
    import ast, contextlib, importlib, importlib.abc, os, pathlib, re, signal, sys, tempfile

    MODULES = "crypt curses fcntl grp nis posix pty pwd readline resource spwd syslog termios tty".split()
    OS = (
        "E(X|FD)_.*|GRND_.*|MFD_.*|O_(ASYNC|CLOEXEC|DIRECT|DIRECTORY|DSYNC|FSYNC|LARGEFILE|NDELAY|NOATIME|NOCTTY|"
        "NOFOLLOW|NONBLOCK|PATH|RSYNC|SYNC|TMPFILE)|POSIX_.*|PRIO_.*|RTLD_.*|SCHED_.*|ST_.*|W[A-Z]{3,}|chown|chroot|"
        "confstr|ctermid|environb|f(chdir|chmod|chown|datasync|ork|orkpty|pathconf|statvfs|walk)|"
        "get(egid|euid|gid|groups|loadavg|pgid|pgrp|priority|random|resuid|sid|uid|xattr)|killpg|l(chown|ockf)|"
        "memfd_create|mk(fifo|nod)|nice|openpty|p(athconf|idfd_open|ipe2|osix_.*|read.*|write.*)|register_at_fork|"
        "sched_.*|sendfile|set(e.id|.id|groups|pgid|pgrp|re.id|sid|xattr)|splice|statvfs|sync|sysconf|"
        "tc[gs]etpgrp|ttyname|uname|wait|wait[34]|waitid"
    )
    SIGNALS = {f"SIG{name}" for name in ("ABRT", "FPE", "ILL", "INT", "SEGV", "TERM", "_DFL", "_IGN")}

    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name in MODULES:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    # Python's own modules and the libraries are those of this system, and looked for first.
    for path in sys.argv[1:]:
        for node in ast.walk(ast.parse(pathlib.Path(path).read_text("utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for name in names + ([node.module] if isinstance(node, ast.ImportFrom) else []):
                if not name.startswith("darts_tf"):
                    with contextlib.suppress(ImportError):
                        importlib.import_module(name)
    for name in MODULES:
        sys.modules.pop(name, None)
    sys.meta_path.insert(0, Missing())
    for name in [name for name in dir(os) if re.fullmatch(OS, name)]:
        delattr(os, name)
    for name in [name for name in dir(signal) if name.startswith("SIG") and name not in SIGNALS]:
        delattr(signal, name)
    sys.platform = "win32"

    count = 0
    for path in map(pathlib.Path, sys.argv[1:]):
        parts = path.with_suffix("").parts
        parts = parts if parts[0] == "darts_tf" else ("darts_tf", *parts)
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        count += 1

    import numpy as np
    from darts_tf.config import SearchConfig
    from darts_tf.runs.checkpoint import Checkpoints
    from darts_tf.runs.workdir import WorkDir
    from darts_tf.system.errors import UserError
    from darts_tf.system.files import user_path, write_atomically
    from darts_tf.system.scratch import scratch
    from darts_tf.system.signals import stopping
    from darts_tf.engine import memory
    from darts_tf.system.free_memory import free_memory

    with scratch() as folder, stopping("stopping", print):
        with WorkDir(folder / "run") as work, WorkDir(folder / "run") as second:
            work.open_for(SearchConfig())
            try:
                second.open_for(SearchConfig())
            except UserError as error:
                assert f"(pid {os.getpid()})" in str(error), error
            else:
                raise AssertionError("two runs in one directory")
            assert write_atomically(work.path / "file", "é").read_bytes() == "é".encode()
            Checkpoints(work.checkpoints).save(3, {"a": np.arange(3)}, {"epoch": 1})
            found = Checkpoints(work.checkpoints).restore()
            assert found.step == 3 and found.arrays["a"].tolist() == [0, 1, 2]
    assert not folder.exists() and free_memory() > 0
    for path in ("C:/runs/first", r"C:\\runs\\first"):  # no URL
        assert str(user_path(path, "x")) == path
    print("imported", count)
"""


def test_everything_imports_and_a_run_s_files_are_written_without_posix():
    paths = [str(path.relative_to(ROOT)) for path in SOURCES]
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(WITHOUT_POSIX), *paths], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0 and done.stdout.endswith(f"imported {len(paths)}\n"), done.stderr[-3000:]


def test_no_name_is_used_that_windows_python_lacks(tmp_path):
    """By the type checker's knowledge of Python's own modules on Windows."""
    options = ["--platform=win32", "--follow-imports=silent", "--ignore-missing-imports", "--check-untyped-defs"]
    command = [sys.executable, "-m", "mypy", *options, f"--cache-dir={tmp_path}", "--config-file=", *FOLDERS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if "Module has no attribute" in line] == []


def test_text_files_say_their_encoding():
    """Windows' Python takes another one than UTF-8 unless it is told."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--preview", "--select=PLW1514", *FOLDERS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
