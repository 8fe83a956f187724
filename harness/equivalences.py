"""Definitions that were rewritten without changing what they compute, declared by the results.

A folder of results may hold `equivalences.yaml`, a list of

    - definition: chapters.shortcut_injection.runs.reliance
      was: 0123456789abcdef     # the hash of the definition that made the results
      is: fedcba9876543210      # the hash of the definition as it stands
      why: sizes moved into a table
      checked: [arch=MLP-0123456789.json]   # runs that were computed again, and agree
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from harness import stamp

_FIELDS = {"definition", "was", "is", "why", "checked"}


def load_equivalences(folder: str | Path) -> None:
    """Declare the equivalences of a folder of results, and none if it has none.

    Raises ValueError, naming the file and the entry, for one that is malformed.
    """
    path = Path(folder) / "equivalences.yaml"
    if not path.is_file():
        return stamp.declare({})
    try:
        entries = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} must be a list of entries with {', '.join(sorted(_FIELDS))}.")
    for number, entry in enumerate(entries, start=1):
        if wrong := _wrong(entry):
            raise ValueError(f"Entry {number} of {path} cannot be used: {wrong}.")
    stamp.declare({entry["is"]: entry["was"] for entry in entries})


def _wrong(entry: Any) -> str:
    """What is wrong with an entry; nothing if it can be used."""
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
        return f"it must have exactly the fields {', '.join(sorted(_FIELDS))}"
    for name in ("was", "is"):
        if not isinstance(entry[name], str) or not re.fullmatch("[0-9a-f]{16}", entry[name]):
            return f"{name!r} must be 16 hexadecimal digits, in quotes if they are all decimal"
    for name in ("definition", "why"):
        if not isinstance(entry[name], str) or not entry[name].strip():
            return f"{name!r} must be a text"
    checked = entry["checked"]
    if not isinstance(checked, list) or not checked or not all(isinstance(c, str) for c in checked):
        return "'checked' must name at least one result that was computed again"
    return ""
