"""Short ways to bring about faults and to look at what they leave."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tiny_book import REPOSITORY

IMPORTS = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def calls(log: Path) -> list[int]:
    """The runs that were called, in the order of their numbers."""
    return sorted(map(int, log.read_text().split())) if log.exists() else []


def loose(folder: Path) -> list[str]:
    """Files that a half-written result leaves."""
    return [path.name for path in folder.rglob("*.tmp")]


def is_a_sentence(text: str) -> bool:
    """One line that a reader can take in, and no traceback."""
    return "\n" not in text.strip() and "Traceback" not in text and 20 < len(text) < 600


def on_small_disk(
    place: Path, size: str, command: list[str], **options
) -> subprocess.CompletedProcess:
    """Run a command that sees a file system of its own at `place`, empty and of this size."""
    place.mkdir(parents=True, exist_ok=True)
    mount = f'mount -t tmpfs -o size={size} none "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(place)]
        + command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"PYTHONPATH": IMPORTS},
        **options,
    )
