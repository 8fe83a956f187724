"""The published results are those of the code that is published with them."""

import importlib
import json

from lib.claims import LEDGER
from lib.fingerprint import fingerprint

RESULTS = LEDGER.parent / "results"


def test_no_published_result_is_older_than_its_code():
    current: dict[str, str] = {}
    stale: dict[str, int] = {}
    for path in RESULTS.glob("*/*.json"):
        content = json.loads(path.read_text())
        name = content["function"]
        if name not in current:
            module, _, function = name.rpartition(".")
            current[name], _ = fingerprint(getattr(importlib.import_module(module), function))
        if content["provenance"]["fingerprint"] != current[name]:
            stale[name] = stale.get(name, 0) + 1
    assert current and not stale
