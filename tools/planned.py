"""Which runs a notebook asks for, without computing any: its set-up is executed, nothing else.

    python tools/planned.py JOB        (started by tools/preflight.py, not by hand)

JOB is JSON: setup (the cells' code, in order), parameters. Printed is JSON: runs (function, its
parameters, status), and complete: whether every cell of the set-up could be executed. It cannot
where a choice, such as that of a learning rate, rests on runs that are not there yet; then these are
the runs that come before the choice.
"""

import contextlib
import io
import json
import os
import sys
import warnings
from typing import Any


def asked_for(cells: list[str], parameters: dict[str, Any]) -> dict[str, Any]:
    """The runs that the studies of the cells look up; nothing is computed."""
    names = {**parameters, "compute": False, "executor": "serial", "__name__": "planned"}
    complete = True
    for cell in cells:
        try:
            exec(compile(cell, "set-up", "exec"), names)  # as the kernel would
        except Exception:  # whatever a chapter's own code meets without its runs
            complete = False
    studies = [value for value in names.values() if type(value).__name__ == "Study"]
    results = {result.path: result for study in studies for result in study.results}
    runs = [[r.function, dict(r.parameters), r.status] for r in results.values()]
    return {"runs": runs, "complete": complete}


def main(text: str) -> int:
    job = json.loads(text)
    sys.path.insert(0, os.getcwd())  # as in a kernel
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        found = asked_for(job["setup"], job["parameters"])
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
