"""Leave arrays that no page shows out of the published results, so that these stay small.

    python tools/leave_out.py network_inversion.inverted images shown_labels --keep seed=10

The arrays named stay in the runs that fit every `--keep`; a figure shows those of the first run
that has some. What is left out stays described in the file: dtype, shape and SHA-256.
Exit status 1, and nothing changed, if a result is damaged or no run would keep its arrays.
"""

import argparse
import sys
from pathlib import Path

from harness import store

ROOT = Path(__file__).resolve().parent.parent


def leave_out(folder: Path, names: list[str], keep: dict[str, str]) -> str:
    """Rewrite the results in a folder; how many were, in a sentence. Raises Damaged, ValueError."""
    results = []
    for path in sorted(folder.glob("*.json")):
        content = store.load_json(path)
        results.append(store.read(path, content["function"], content["parameters"], "reused"))
    kept = [r for r in results if all(str(r.parameters.get(k)) == v for k, v in keep.items())]
    if not any(name in result.arrays for result in kept for name in names):
        raise ValueError(f"No run in {folder.name} would keep {', '.join(names)}.")
    changed = 0
    for result in results:
        there = [name for name in names if name in result.arrays]
        if there and result not in kept:
            store.leave_out(result, there)
            changed += 1
    return f"{changed} of {len(results)} runs of {folder.name} are without {', '.join(names)} now"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("function", help="a folder of results/, such as network_inversion.inverted")
    parser.add_argument("arrays", nargs="+", help="names of arrays")
    parser.add_argument("--keep", nargs="+", required=True, metavar="PARAMETER=VALUE")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    args = parser.parse_args()
    keep = dict(pair.split("=", 1) for pair in args.keep)
    try:
        print(leave_out(args.results / args.function, args.arrays, keep))
    except (store.Damaged, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
