"""Declare that a function of runs, rewritten since its results were made, computes the same.

    git worktree add ../before a4983be
    python tools/equivalences.py ../before chapters.shortcut_injection.runs.reliance \\
        --sample 4 --why "networks and sizes of data sets moved into tables"

Published runs are drawn at random and computed again with the code of today. Only if every value of
every one of them is equal, in every digit but for times, an entry is written to
`results/equivalences.yaml`: which definition, the hash that it had and the one it has, why, and
which runs were checked. From then on the one stands for the other (`harness/stamp.py`).
"""

import argparse
import io
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from ruamel.yaml import YAML

from harness import store
from harness.files import write_atomically
from harness.results import Result
from harness.stamp import definition_hash
from harness.verify import recompute
from restamp import RENAMED, ROOT, stamps_in

LEDGER = ROOT / "results" / "equivalences.yaml"


def published(function: str, most_seconds: float) -> list[Result]:
    """The function's results that took no longer than so many seconds."""
    found = []
    for path in sorted((LEDGER.parent / store.short_name(function)).glob("*.json")):
        content = store.load_json(path)
        if content["provenance"]["seconds"] <= most_seconds:
            found.append(store.read(path, function, content["parameters"], "reused"))
    return found


def entry(tree: Path, function: str, drawn: list[Result], why: str) -> dict:
    """The entry of the ledger. Raises ValueError for the first run that differs."""
    module, _, name = function.rpartition(".")
    import_module(module)
    for result in drawn:
        check = recompute(result, rtol=0)
        print(f"{check.outcome} ({check.seconds:.0f} s): {result.path.name}", flush=True)
        if check.outcome != "agrees":
            raise ValueError(f"{result.label}: {'; '.join(check.details)}")
    return {
        "definition": function,
        "was": _hash_in(tree, function),
        "is": definition_hash(module, name),
        "why": why,
        "checked": [result.path.name for result in drawn],
    }


def _hash_in(tree: Path, function: str) -> str:
    """The function's hash in that checkout; before the harness existed, under its old name."""
    if not (tree / "harness").is_dir():
        old = next(name for name, (new, *_) in RENAMED.items() if new == function)
        return stamps_in(tree)[old][3]
    module, _, name = function.rpartition(".")
    probe = f"import {module}; from harness.stamp import definition_hash as h; print(h({module!r}, {name!r}))"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=tree, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path, help="a checkout of the commit that made the results")
    parser.add_argument("function", help="module.function of today")
    parser.add_argument("--why", required=True)
    parser.add_argument("--sample", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=60)
    options = parser.parse_args()
    candidates = published(options.function, options.max_seconds)
    drawn = random.Random(options.seed).sample(candidates, min(options.sample, len(candidates)))
    if not drawn:
        print(
            f"nothing was declared: no published run of {options.function} took at most "
            f"{options.max_seconds:g} s",
            file=sys.stderr,
        )
        return 1
    try:
        new = entry(options.tree, options.function, drawn, options.why)
    except ValueError as error:
        print(f"nothing was declared: {error}", file=sys.stderr)
        return 1
    yaml = YAML()
    known = yaml.load(LEDGER.read_text(encoding="utf-8")) if LEDGER.is_file() else []
    kept = [one for one in known if one["definition"] != options.function]
    text = io.StringIO()
    yaml.dump([*kept, new], text)
    write_atomically({LEDGER: text.getvalue().encode()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
