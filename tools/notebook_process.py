"""A notebook that runs in a process of its own, and the signals that end it."""

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from harness.memory import with_kept_memory
from run_notebook import MARK, end_run_processes

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked for the end; not an `Exception`, so that no handler on the way swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def raise_interrupted(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def listen_for_signals() -> None:
    """Turn signals into `Interrupted`, except those that the caller (nohup) chose to ignore."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, raise_interrupted)


def ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def run_environment(mark: str, ipython: Path) -> dict[str, str]:
    """What the kernel and its workers see: reproducible hashing, inline figures, nobody's IPython
    profile, and memory that is kept between the steps of a training."""
    environment = with_kept_memory()
    environment.pop("MPLBACKEND", None)
    return environment | {
        MARK: mark,
        "BOOK_TERMINAL": os.ttyname(2) if os.isatty(2) else "",
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": str(ipython),
        "JUPYTER_PREFER_ENV_PATH": "1",
    }


class NotebookProcess:
    """run_notebook.py in a session of its own; its bar moves and its error is kept as it runs."""

    def __init__(self, request: dict, *, folder: Path, bar: tqdm) -> None:
        """Start it; request: what run_notebook.py asks for, without the events.

        The log and IPython's files are put into `folder`.
        """
        self.bar, self.mark = bar, uuid.uuid4().hex
        self.error: dict = {}
        self._partial = b""
        self.events, writing = os.pipe()
        stem = Path(request["output"]).stem
        guard = Path(__file__).with_name("run_notebook.py")
        with open(folder / f"{stem}.log", "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(guard), json.dumps({**request, "events": writing})],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                env=run_environment(self.mark, folder / "ipython" / stem),
                start_new_session=True,
            )
        os.close(writing)

    def take_in(self) -> bool:
        """Take in what happened since; False when there is nothing more to come."""
        arrived = os.read(self.events, 65536)
        *lines, self._partial = (self._partial + arrived).split(b"\n")
        for event in map(json.loads, lines):
            if "error" in event:
                self.error = event
            else:
                self.bar.update(event["cell"] + 1 - self.bar.n)
        return bool(arrived)

    def ask_to_end(self) -> None:
        self._process.stdin.close()  # the lifeline

    def end(self) -> int:
        """Wait until no process of the run is left; the exit status of the first."""
        self.ask_to_end()
        status = self._process.wait()
        end_run_processes(self.mark)  # had the guard itself been killed
        if self.events >= 0:  # an interrupted end is repeated
            os.close(self.events)
            self.events = -1
        self.bar.close()
        return status
