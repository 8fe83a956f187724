"""Names of folders and files by what they hold."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path
from typing import Any


def named(value: Any) -> Any:
    """A path to a folder or file as `name@hash of its content`; any other value as it is.

    Text is a path when it holds a separator (`./images`) and something is there. The same images
    in another folder are the same run, other images in the same folder are another.
    """
    if not isinstance(value, str) or not ({"/", os.sep} & set(value)):
        return value
    path = Path(value).expanduser()
    return f"{path.resolve().name}@{_content_hash(path)}" if path.exists() else value


def _content_hash(path: Path) -> str:
    """12 hex digits over the names and contents of all files below; a size and date are trusted."""
    path = path.resolve()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(f.relative_to(path).as_posix(), f.stat()) for f in files]
    return _hashed(str(path), tuple((name, s.st_size, s.st_mtime_ns) for name, s in stats))


@functools.lru_cache(maxsize=64)
def _hashed(path: str, files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, *_ in files:
        content = (Path(path) / name if name != "." else Path(path)).read_bytes()
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]
