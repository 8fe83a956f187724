"""Run one notebook with papermill, and leave no process of it behind.

    python tools/run_notebook.py JOB        (started by tools/execute.py, not by hand)

JOB is JSON: input, output, parameters, timeout (seconds a cell, or null), cwd, events (a file
descriptor that receives one JSON line for each finished cell, and one for an error).

Standard input is a lifeline: nobody writes to it, and it ends when the parent wants the run to
stop or is itself gone, however it went. The kernel has a session of its own, and so do the
workers it leaves behind when it dies, so what has to be ended is found by a mark in the
environment that every process of the run inherits.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import psutil
from traitlets.config import Config

MARK = "BOOK_RUN"


def run_processes(mark: str) -> list[psutil.Process]:
    """Every living process of the run with this mark, except the one that asks."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(MARK) == mark
            if marked and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # gone meanwhile, or somebody else's
    return found


def end_run_processes(mark: str) -> None:
    """Kill until nothing is left: a worker may have been starting another one."""
    while processes := run_processes(mark):
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, timeout=5)


def watch_lifeline(sockets: Path) -> None:
    os.read(sys.stdin.fileno(), 1)
    end_run_processes(os.environ[MARK])
    shutil.rmtree(sockets, ignore_errors=True)
    os._exit(130)


def through_sockets(folder: Path) -> Config:
    """Reach the kernel through files: a free TCP port may be another's when the kernel takes it."""
    return Config(KernelManager={"transport": "ipc", "ip": str(folder / "kernel")})


def main(job: dict) -> int:
    sockets = Path(tempfile.mkdtemp(prefix="book-"))  # short: a socket's path has 107 characters
    threading.Thread(target=watch_lifeline, args=[sockets], daemon=True).start()
    # imported late, so that the lifeline is watched from the first moment
    import papermill

    events = os.fdopen(job["events"], "w", buffering=1)
    running = {"cell": None}

    def started(cell, cell_index) -> None:
        running["cell"] = cell_index

    def finished(cell, cell_index, **_) -> None:
        print(json.dumps({"cell": cell_index}), file=events)

    try:
        papermill.execute_notebook(
            job["input"],
            job["output"],
            parameters=job["parameters"],
            cwd=job["cwd"],
            execution_timeout=job["timeout"],
            progress_bar=False,
            on_cell_start=started,
            on_cell_executed=finished,
            config=through_sockets(sockets),
        )
    except Exception as error:  # whatever it was, the parent is told and says it
        print(
            json.dumps({"cell": running["cell"], "error": f"{type(error).__name__}: {error}"}),
            file=events,
        )
        return 1
    finally:
        end_run_processes(os.environ[MARK])
        shutil.rmtree(sockets, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
