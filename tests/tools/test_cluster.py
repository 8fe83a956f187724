"""A notebook's runs on a real Dask scheduler with two worker processes, and SLURM by a dry run."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

import slurm_cluster
from paper_book import chapter, paper_book
from tiny_book import REPOSITORY, Book

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None, reason="Dask is not installed"
)
needs_jobqueue = pytest.mark.skipif(
    importlib.util.find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed"
)
SCHEDULER = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
                      protocol="tcp://", dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        input()
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Book:
    """Six runs, which take a moment and tell the process they ran in."""
    text = chapter("One").replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3, 4, 5]")
    book = paper_book(tmp_path_factory.mktemp("cluster") / "checkout", {"01_one": text})
    path = book.root / "paper_runs.py"
    path.write_text(path.read_text().replace('"calls", "a"', 'f"calls-{os.getpid()}", "a"'))
    path.write_text("import os\n" + path.read_text())
    os.utime(path, (0, 0))
    return book


@pytest.fixture(scope="module")
def scheduler(book):
    """The address of a scheduler whose two workers stand in the book's folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, cwd=book.root,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(book.root), *sys.path])},
    )  # fmt: skip
    yield process.stdout.readline().strip()
    process.communicate("\n", timeout=60)


def without_times(folder: Path) -> dict[str, dict]:
    """File -> its content but for what tells when, and how fast, and with the arrays themselves."""
    found = {}
    for path in sorted(folder.rglob("*.json")):
        kept = json.loads(path.read_text())
        for key in ("seconds", "finished", "peak_memory_mib"):
            kept["provenance"].pop(key)
        for key in ("sha256", "npz_sha256"):
            kept.pop(key)
        with np.load(path.with_suffix(".npz")) as arrays:
            kept["values"] = {name: arrays[name].tolist() for name in arrays}
        found[path.relative_to(folder).as_posix()] = kept
    return found


@needs_dask
def test_results_are_those_of_the_serial_run_and_the_dashboard_is_named(book, scheduler):
    sources = book.sources()
    serial = book.execute(*sources, "-p", "results", "serial")
    assert serial.returncode == 0 and "watched" not in serial.stdout, serial.stderr
    before = {path.name for path in book.root.glob("calls-*")}
    shared = book.execute(
        *sources, "-p", "results", "shared", "-p", "executor", f"dask:{scheduler}"
    )
    assert shared.returncode == 0, shared.stderr
    if importlib.util.find_spec("bokeh"):
        assert "the runs can be watched at http://127.0.0.1:" in shared.stdout
    workers = {path.name for path in book.root.glob("calls-*")} - before
    assert len(before) == 1 and len(workers) == 2  # both worker processes computed some
    expected = without_times(book.root / "serial")
    assert len(expected) == 6 and without_times(book.root / "shared") == expected

    pages = nbformat.read(book.executed / "01_one.ipynb", as_version=4)
    assert "watched" not in str(pages) and "http://" not in str(pages.cells)


@needs_dask
def test_a_scheduler_that_does_not_answer_is_named_before_anything_runs(book):
    executed = book.execute(*book.sources(), "-p", "executor", "dask:tcp://127.0.0.1:9")
    assert executed.returncode == 2 and executed.stderr.count("\n") == 1
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in executed.stderr


@pytest.mark.skipif(importlib.util.find_spec("distributed") is not None, reason="Dask is here")
def test_without_dask_a_notebook_for_a_cluster_is_refused_in_one_sentence(book):
    executed = book.execute(*book.sources(), "-p", "executor", "dask:tcp://127.0.0.1:9")
    assert executed.returncode == 2 and executed.stderr.count("\n") == 1
    assert "needs Dask: install dask[distributed]" in executed.stderr


@needs_jobqueue
def test_the_slurm_job_is_a_script_that_a_shell_can_read(tmp_path):
    words = ["--gpu", "--cores", "6", "--queue", "fast", "--walltime", "12:00:00", "--dry-run"]
    result = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "slurm_cluster.py"), *words],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    for expected in ("-p fast", "--cpus-per-task=6", "-t 12:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {expected}" in lines
    assert "--nthreads 1" in result.stdout and "distributed.cli.dask_worker" in result.stdout
    script = tmp_path / "job.sh"
    script.write_text(result.stdout)
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


def test_each_slurm_worker_is_one_process_with_one_thread():
    options = slurm_cluster.read_arguments(["--cores", "3"])
    given = slurm_cluster.settings(options)
    assert (given["cores"], given["processes"], given["job_cpu"]) == (1, 1, 3)
    assert "--gres=gpu:1" not in given["job_extra_directives"]


def test_no_worker_at_all_is_refused(capsys):
    assert slurm_cluster.main(["--workers", "0"]) == 2
    assert "at least one worker" in capsys.readouterr().err
