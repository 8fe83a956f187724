"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path


def write_atomically(contents: Mapping[Path, bytes]) -> None:
    """Write files, in order, each by one rename.

    All of them are complete on disk before the first takes its place, so a full disk leaves what
    was there before, and no temporary file. Folders are made. Raises OSError.
    """
    temporaries = []
    try:
        for target, data in contents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporaries.append(target.with_name(f".{uuid.uuid4().hex}.tmp"))
            with open(temporaries[-1], "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary, target in zip(temporaries, contents):
            os.replace(temporary, target)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
