"""Carry published results over to the names of this tree and to its way of stamping code.

    git worktree add ../before a4983be
    python tools/restamp.py ../before

A result is taken only if it is fresh in the old tree, by the old tree's own fingerprint. Its stamp
is computed from that same tree, by the rules of `harness/stamp.py`; nothing is said about the code
of today. The file then says inside what happened: `restamped: {from, tree, script}`, where `from`
is the fingerprint that it had. Whether code that was moved or rewritten since stands for the old
one is decided elsewhere: by equal stamps, or by `results/equivalences.yaml`.

Exit status 1, and nothing changed, if any result is damaged or not fresh in the old tree.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from harness import store

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "tools/restamp.py"
# {function in the old tree: (function here, {old parameter: new parameter}, {parameter: {old value: new value}})}
RENAMED = {
    "experiments.kkt_reconstruction.attack": ("chapters.kkt_reconstruction.runs.attack", {"steps": "protocol"}, {}),
    "experiments.kkt_reconstruction.conditions": ("chapters.kkt_reconstruction.runs.conditions", {"steps": "protocol"}, {}),
    "experiments.kkt_reconstruction.circle": ("chapters.kkt_reconstruction.runs.circle", {}, {}),
    "experiments.network_inversion.inverted": (
        "chapters.network_inversion.runs.inverted", {}, {"architecture": {"MLP": "MLP tapering"}},
    ),
    "experiments.network_inversion.interpreted": ("chapters.interpretability.runs.interpreted", {}, {}),
    "experiments.shortcut_learning.reliance": ("chapters.shortcut_injection.runs.reliance", {}, {}),
    "experiments.shortcut_learning.portrait": ("chapters.shortcut_injection.runs.portrait", {}, {}),
    "experiments.shortcut_learning.patch_alone": ("chapters.shortcut_injection.runs.patch_alone", {}, {}),
}  # fmt: skip

# Runs in the old tree: prints {function: [its fingerprint there, its stamp by the new rules, the
# hashes of the modules that the stamp is made of, the hash of the function as a definition]}.
PROBE = """
import importlib, importlib.util, json, sys
sys.path.insert(0, "")
spec = importlib.util.spec_from_file_location("new_stamp", sys.argv[1])
new_stamp = importlib.util.module_from_spec(spec)
sys.modules["new_stamp"] = new_stamp
spec.loader.exec_module(new_stamp)
new_stamp.watch("experiments")
from lib.fingerprint import fingerprint
found = {}
for name in sys.argv[2:]:
    module, _, function = name.rpartition(".")
    function = getattr(importlib.import_module(module), function)
    stamp = new_stamp.stamp(function, packages=("lib", "experiments"))
    definition = new_stamp.definition_hash(module, function.__name__, packages=("lib", "experiments"))
    found[name] = [fingerprint(function)[0], stamp.digest, dict(stamp.modules), definition]
print(json.dumps(found))
"""


def stamps_in(tree: Path) -> dict[str, list]:
    """{function: [fingerprint, stamp, {module: hash}, definition]} of the old tree, by its code."""
    command = [sys.executable, "-c", PROBE, str(ROOT / "harness" / "stamp.py"), *RENAMED]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def commit_of(tree: Path) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def renamed(function: str, parameters: dict) -> tuple[str, dict]:
    new, keys, values = RENAMED[function]
    moved = {keys.get(key, key): value for key, value in parameters.items()}
    return new, {
        key: values.get(key, {}).get(value, value) if isinstance(value, str) else value
        for key, value in moved.items()
    }


def restamp(tree: Path, target: Path) -> list[str]:
    """Write the old tree's results into `target`; sentences about those that cannot be taken.

    What was computed since is never overwritten: `target` must not be there.
    """
    if target.exists():
        return [f"{target.name}/ is there, with runs made since: move it away first"]
    stamps, commit = stamps_in(tree), commit_of(tree)
    taken, problems = [], []
    for path in sorted((tree / "results").glob("*/*.json")):
        try:
            content = store.load_json(path)
            result = store.read(path, content["function"], content["parameters"], "reused")
        except store.Damaged as error:
            problems.append(str(error))
            continue
        before = result.provenance.get("fingerprint")
        if result.function not in stamps or stamps[result.function][0] != before:
            problems.append(f"{path.name} is not fresh in the old tree")
            continue
        taken.append(result)
    if problems:
        return problems
    for result in taken:
        before, stamp, modules, _ = stamps[result.function]
        provenance = {k: v for k, v in result.provenance.items() if k != "fingerprint"}
        provenance |= {"stamp": stamp, "sources": modules}
        provenance["restamped"] = {"from": before, "tree": commit, "script": SCRIPT}
        function, parameters = renamed(result.function, dict(result.parameters))
        path = store.path_for(target, function, parameters)
        store.write(path, function, parameters, result.scalars, dict(result.arrays), provenance)
    return []


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", type=Path, help="a checkout of the commit that made the results")
    problems = restamp(parser.parse_args().tree, ROOT / "results")
    print("\n".join(problems) or "every result was taken over")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
