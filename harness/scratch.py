"""What runs make at great expense and need again, such as a trained network: a scratch folder.

Nothing published rests on it: a file that is missing, cut off, or was put there under another
name is made anew.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from harness.files import write_atomically
from harness.stamp import stamp

T = TypeVar("T")


def kept(
    key: Sequence[Any],
    make: Callable[[], T],
    *,
    save: Callable[[T], bytes],
    load: Callable[[bytes], T],
    folder: str | Path = "_build/networks",
) -> T:
    """What `make()` returns, or `load` of the bytes that `save` made of it before.

    key: all that the value depends on: plain values, arrays and tensors (their content counts) and
    functions of this project (their stamps count). The file is named by the key's hash and holds a
    checksum of key and content. A value that cannot be written is returned with a warning.
    Raises TypeError for anything else in the key.
    """
    name = hashlib.sha256(b"\0".join(map(_identity, key))).hexdigest()
    path = Path(folder) / name[:20]
    content = _checked(path, name)
    if content is not None:
        return load(content)
    value = make()
    try:
        content = save(value)
        write_atomically({path: _checksum(name, content) + content})
    except OSError as error:
        text = f"{path} could not be kept for later ({error})."
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return value


def _checked(path: Path, name: str) -> bytes | None:
    """The content of the file if it is whole and belongs to this key."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    checksum, content = stored[:32], stored[32:]
    return content if checksum == _checksum(name, content) else None


def _checksum(name: str, content: bytes) -> bytes:
    return hashlib.sha256(name.encode() + content).digest()


def _identity(part: Any) -> bytes:
    """A hash of one part of a key; equal for equal parts only."""
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray) and not part.dtype.hasobject:
        text, data = f"{part.dtype} {part.shape}", np.ascontiguousarray(part).tobytes()
    elif part is None or isinstance(part, (bool, int, float, str)):
        text, data = repr(part), b""
    elif isinstance(part, (list, tuple)):
        text, data = "list", b"".join(map(_identity, part))
    elif callable(part) and hasattr(part, "__qualname__"):
        text, data = f"stamp {stamp(part).digest}", b""
    else:
        raise TypeError(f"A {type(part).__name__} cannot be part of a key.")
    return hashlib.sha256(text.encode() + b"\0" + data).hexdigest().encode()
