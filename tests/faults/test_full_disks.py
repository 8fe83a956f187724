"""Disks that are full, or fill up midway: a real file system of a few kilobytes."""

import json
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from fault_tools import is_a_sentence, on_small_disk
from tiny_book import Book, figure, notebook

pytestmark = pytest.mark.usefixtures("small_disks")

# Sees the small disk as `place`; {"what": what was found} goes to standard output.
SWEEP = """
import json, os, sys, warnings
from pathlib import Path
import numpy as np
import fault_runs
from harness import scratch
from harness.results import frame
from harness.sweep import sweep
from lib import data
from PIL import Image

place, outside = map(Path, sys.argv[1:])
folder, log = place / "r", outside / "log"
grid = [{"a": a, "log": list(log.parts)} for a in range(1, 5)]

def go(compute=True):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        results = sweep(fault_runs.big, grid, folder=folder, compute=compute, progress=False)
    return [r.status for r in results], [str(w.message) for w in said], results

found = {}
found["first"], found["said"], results = go()
found["values"] = [int(r["square"]) for r in results]
found["kept"] = go(compute=False)[0]
found["loose"] = [p.name for p in place.rglob("*.tmp")]

free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
(place / "ballast").write_bytes(bytes(free))
try:
    sweep(fault_runs.big, [{"a": 9, "log": list(log.parts)}], folder=folder, progress=False)
except OSError as error:
    found["full"] = str(error)
for split in ("train", "test"):
    (outside / "own" / split / "a").mkdir(parents=True)
    Image.new("L", (40, 40)).save(outside / "own" / split / "a" / "0.png")
os.environ["WWR_CACHE"] = str(place / "cache")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    found["images"] = len(data.load(str(outside / "own")))
    found["made"] = scratch.kept(
        ["key"], lambda: "made", save=str.encode, load=bytes.decode, folder=place / "networks"
    )
found["caches"] = [str(w.message) for w in said]

called = len(log.read_text().split())
(place / "ballast").unlink()
os.system(f"mount -o remount,size=2m {place}")
found["again"], found["said again"], _ = go()
found["called again"] = len(log.read_text().split()) - called
print(json.dumps(found))
"""


def test_a_disk_that_fills_up_in_mid_sweep_costs_only_what_it_could_not_take(tmp_path):
    place = tmp_path / "small"
    done = on_small_disk(place, "250k", [sys.executable, "-c", SWEEP, str(place), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["first"] == ["computed"] * 4 and found["values"] == [1, 4, 9, 16]
    saved = found["kept"].count("reused")
    assert found["kept"] == ["reused"] * saved + ["missing"] * (4 - saved) and 0 < saved < 4
    assert len(found["said"]) == 4 - saved and all(map(is_a_sentence, found["said"]))
    assert (
        "could not be saved ([Errno 28] No space left on device); it is in memory only"
        in (found["said"][0])
    )
    assert found["loose"] == []
    assert "cannot be written" in found["full"] and "free some space" in found["full"]
    assert found["images"] == 1 and found["made"] == "made" and len(found["caches"]) == 2
    assert all(is_a_sentence(said) and "No space left" in said for said in found["caches"])
    assert found["again"] == ["reused"] * saved + ["computed"] * (4 - saved)
    assert found["called again"] == 4 - saved and found["said again"] == []


# Books ----------------------------------------------------------------------------

OLDER = 'mkdir -p "$0/quick" && echo older > "$0/quick/older" && '
LEFT = '; status=$?; echo; cat "$0"/quick/*; exit $status'


def over_an_older_one(place: Path, size: str, command: list[str]) -> CompletedProcess:
    """On a small disk that holds an older set; what is published in the end is printed."""
    return on_small_disk(place, size, ["sh", "-c", f'{OLDER}"$@"{LEFT}', str(place), *command])


@pytest.fixture(scope="module")
def book(tmp_path_factory) -> Book:
    cells = [*["print('x' * 30_000)"] * 3, figure("fig-a")]
    book = Book(tmp_path_factory.mktemp("full") / "checkout", {"01_first": notebook(*cells)})
    assert book.execute(*book.sources(), "--output", str(book.root / "mine")).returncode == 0
    return book


@pytest.mark.parametrize("size", ["8k", "100k"])
def test_nothing_is_published_when_the_disk_is_full(book, size):
    """At the start, or with the notebook under way."""
    command = book.command("execute.py", *book.sources())
    done = over_an_older_one(book.executed.parent, size, command)
    assert done.returncode == 1 and done.stdout.splitlines()[-1] == "older"
    assert "Traceback" not in done.stderr and "o space left on device" in done.stderr
    assert "free some space and start it again" in done.stderr


def test_the_older_site_stays_when_the_disk_is_full(book):
    command = book.command("site.py", "--executed", str(book.root / "mine"))
    done = over_an_older_one(book.site.parent, "50k", command)
    assert done.returncode == 1 and done.stdout.strip() == "older"
    assert is_a_sentence(done.stderr) and done.stderr.startswith("site.py: no site was published")
    assert "is full: free some space and start it again" in done.stderr
