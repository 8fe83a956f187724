"""Writing files: whole or not at all, and whether it can be done."""

from __future__ import annotations

import os
import tempfile
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


def require_writable(folder: Path) -> None:
    """Raise OSError, before hours are spent, if nothing can be written to a folder; it is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            error.errno,
            f"Results cannot be written to {folder} ({error.strerror or error}), so nothing was "
            "computed: free some space or choose another folder",
        ) from error
