"""Two `make` that start at once in a fresh clone set up one Python environment."""

import os
import shutil
import subprocess
import sys

import pytest
from tiny_book import REPOSITORY

UV = """#!/bin/sh
if test "$1" = venv; then
    mkdir -p .venv/bin && ln -sf "$PYTHON_OF_TESTS" .venv/bin/python
else
    echo begin >> log; sleep 0.5; echo end >> log
fi
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="make needs `flock` to wait, not here")
def test_the_second_waits_and_finds_it_done(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    given = {
        "PATH": os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]),
        "PYTHON_OF_TESTS": sys.executable,
    }
    command = ["make", ".venv/.installed", f"CANDIDATES={sys.executable}"]
    started = [
        subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | given, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [make.communicate(timeout=60)[1] for make in started]
    assert [make.returncode for make in started] == [0, 0] and said == ["", ""]
    assert (tmp_path / "log").read_text().split() == ["begin", "end"]
    again = subprocess.run(command, cwd=tmp_path, env=os.environ | given, check=False)
    assert again.returncode == 0 and (tmp_path / "log").read_text().split() == ["begin", "end"]
