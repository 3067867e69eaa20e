"""Programs that tests start: the code that pages show."""

import os
import pathlib
import subprocess
import sys


def python(code: str, folder: pathlib.Path) -> str:
    """Runs Python in a folder, from which it imports, too; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:darts_tf", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_code(language: str, code: str, folder: pathlib.Path, *arguments: str) -> str:
    """Runs a page's block of bash, Python or JavaScript in a folder, with arguments; returns what it prints."""
    ending = {"bash": "sh", "python": "py", "javascript": "mjs"}[language]
    program = {"bash": ["bash", "-e"], "python": [sys.executable], "javascript": ["node"]}[language]
    (folder / f"block.{ending}").write_text(code)
    path = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"  # where the console scripts are
    done = subprocess.run(
        [*program, f"block.{ending}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
