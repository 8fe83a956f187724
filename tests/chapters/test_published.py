"""The published results are those of the code that is published with them."""

import json
from collections import Counter
from importlib import import_module
from pathlib import Path

from ruamel.yaml import YAML

from harness.equivalences import load_equivalences
from harness.stamp import definition_hash, stamp

RESULTS = Path(__file__).resolve().parents[2] / "results"


def published() -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*/*.json"))]


def named(function: str):
    module, _, name = function.rpartition(".")
    return getattr(import_module(module), name)


def test_no_published_result_is_older_than_its_code():
    contents = published()
    functions = {content["function"] for content in contents}
    load_equivalences(RESULTS)
    try:
        current = {function: stamp(named(function)).digest for function in functions}
    finally:
        load_equivalences(RESULTS.parent / "nowhere")
    stale = Counter(
        content["function"]
        for content in contents
        if content["provenance"]["stamp"] != current[content["function"]]
    )
    assert contents and not stale


def test_a_result_that_was_stamped_anew_says_so_inside():
    for content in published():
        told = content["provenance"].get("restamped")
        assert told is None or told.keys() == {"from", "tree", "script"}
        assert "fingerprint" not in content["provenance"]


def test_every_declared_equivalence_is_of_the_code_as_it_stands_and_was_checked():
    ledger = RESULTS / "equivalences.yaml"
    entries = YAML(typ="safe", pure=True).load(ledger.read_text()) if ledger.is_file() else []
    names = {path.name for path in RESULTS.glob("*/*.json")}
    for entry in entries:
        module, _, name = entry["definition"].rpartition(".")
        import_module(module)
        assert definition_hash(module, name) == entry["is"], entry["definition"]
        assert set(entry["checked"]) <= names
