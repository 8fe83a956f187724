"""Results of runs on disk: one readable JSON file each, with an NPZ file beside it for arrays.

A result file is written whole or not at all, carries checksums of both files, and is never
trusted when they do not fit: `read` raises `Damaged` for a file that was cut off or edited.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import random
import re
import time
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.files import write_atomically
from harness.results import Arrays, Result, described


class Damaged(Exception):
    """A stored result that cannot be trusted; the message says what is wrong with which file."""


# --- files ------------------------------------------------------------------------------------


def plain(value: Any, where: str) -> Any:
    """The value as JSON knows it: numpy scalars and tuples become plain numbers and lists.

    Raises TypeError naming `where` for anything else.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item, where) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item, where) for key, item in value.items()}
    raise TypeError(f"{where} is a {type(value).__name__}, which JSON cannot hold.")


def path_for(folder: Path, function: str, parameters: Mapping[str, Any]) -> Path:
    """folder/<chapter>.<function>/<readable parameters>-<hash>.json; parameters must be plain.

    The order of the parameters does not matter: it is no part of a run, nor is the module.
    """
    name = short_name(function)
    words = ",".join(f"{key}={_word(value)}" for key, value in sorted(parameters.items()))
    identity = json.dumps([name, dict(parameters)], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    slug = re.sub(r"[^A-Za-z0-9._=,+-]+", "_", words)[:90].strip("._,")
    return folder / name / f"{slug or 'run'}-{digest}.json"


def short_name(function: str) -> str:
    """How a function of runs is called: chapters.kkt_reconstruction.runs.attack is
    kkt_reconstruction.attack, and toy.run is toy.run."""
    *packages, module, name = function.split(".")
    return f"{packages[-1] if module == 'runs' and packages else module}.{name}"


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return "+".join(f"{key}={_word(item)}" for key, item in sorted(value.items()))
    return "+".join(map(_word, value)) if isinstance(value, list) else str(value)


def split_values(values: Any, label: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a run returned, as (scalars for the JSON file, arrays for the NPZ file)."""
    if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
        raise TypeError(f"{label} returned a {type(values).__name__}, not a dict with text keys.")
    scalars, arrays = {}, {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray) and value.ndim:
            if value.dtype.hasobject:
                raise TypeError(f"{name!r} of {label} is an array of objects, not of numbers.")
            arrays[name] = value
        else:
            value = value.item() if isinstance(value, np.ndarray) else value
            scalars[name] = plain(value, f"{name!r} of {label}")
    return scalars, arrays


def write(
    path: Path,
    function: str,
    parameters: Mapping[str, Any],
    scalars: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
) -> None:
    """Write the result: first the NPZ file, last the JSON file, each by an atomic rename.

    Both are complete on disk before either takes its place, so a full disk leaves what was
    there before. When another process writes the same run, the last one to finish looks whether
    the two files still belong together and, if not, puts both down again. Raises OSError.
    """
    content: dict[str, Any] = {"function": function, "parameters": dict(parameters)}
    content |= {"scalars": dict(scalars), "arrays": {}, "provenance": dict(provenance)}
    packed = _npz(arrays) if arrays else None
    if packed is not None:
        content["npz_sha256"] = hashlib.sha256(packed).hexdigest()
        content["arrays"] = {
            name: {"dtype": str(value.dtype), "shape": list(value.shape)}
            for name, value in arrays.items()
        }
    text = _readable({**content, "sha256": _own_hash(content)})
    for attempt in range(12):
        _put_both(path, text.encode(), packed)
        try:
            return _check(path, function, parameters)
        except Damaged:  # another writer came between; step back for a while, each for another
            time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 7)))
    raise OSError(f"Other processes keep writing {path}.")


def leave_out(result: Result, names: Collection[str]) -> None:
    """Write a stored result again without some of its arrays, such as pictures that no page shows.

    What they were stays in the provenance, by name: dtype, shape and SHA-256 of the bytes, by which
    a run that is computed again can be held against them (`harness/verify.py`).
    Raises KeyError for a name that is no array of the result.
    """
    gone = {name: fingerprint(result.arrays[name]) for name in names}
    provenance = dict(result.provenance)
    provenance["left_out"] = {**provenance.get("left_out", {}), **gone}
    kept = {name: array for name, array in result.arrays.items() if name not in gone}
    assert result.path is not None, "only what was read from a file can be written again"
    write(result.path, result.function, result.parameters, result.scalars, kept, provenance)


def fingerprint(array: np.ndarray) -> dict[str, Any]:
    """What is kept of an array that is left out: {dtype, shape, sha256}."""
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"dtype": str(array.dtype), "shape": list(array.shape), "sha256": content}


def read(path: Path, function: str, parameters: Mapping[str, Any], status: str) -> Result:
    """The stored result. Raises FileNotFoundError, or Damaged when it cannot be trusted."""
    content = load_json(path)
    if content["function"] != function or content["parameters"] != parameters:
        other = described(content["function"], content["parameters"])
        raise Damaged(f"{path} holds another run: {other}.")
    npz = path.with_suffix(".npz")
    if content["arrays"]:
        try:
            packed = npz.read_bytes()
        except FileNotFoundError:
            raise Damaged(f"{npz} is missing beside its JSON file.") from None
        if hashlib.sha256(packed).hexdigest() != content.get("npz_sha256"):
            raise Damaged(f"{npz} was cut off or changed after it was written.")
        if _described_arrays(packed) != content["arrays"]:
            raise Damaged(f"{npz} does not hold the arrays that its JSON file describes.")
    return Result(
        function=function,
        parameters=parameters,
        status=status,
        scalars=content["scalars"],
        arrays=Arrays(npz, tuple(content["arrays"])),
        provenance=content["provenance"],
        path=path,
    )


def load_json(path: Path) -> dict[str, Any]:
    """The checked content of one JSON file, its NPZ file not looked at."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Damaged(f"{path} is not valid JSON; it was probably cut off.") from None
    if not isinstance(content, dict) or any(
        not isinstance(content.get(key), kind) for key, kind in _KINDS.items()
    ):
        raise Damaged(f"{path} is not the JSON of a result.")
    if content.pop("sha256") != _own_hash(content):
        raise Damaged(f"{path} was changed after it was written.")
    return content


_KINDS = {"function": str, "parameters": dict, "scalars": dict, "arrays": dict,
          "provenance": dict, "sha256": str}  # fmt: skip
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}  # fmt: skip


def _described_arrays(packed: bytes) -> dict[str, Any] | None:
    """{name: {dtype, shape}} of what an NPZ file holds, nothing unpacked; None if it cannot be."""
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for info in archive.infolist():
                with archive.open(info) as member:
                    shape, _, dtype = _HEADERS[np.lib.format.read_magic(member)](member)
                    size = member.tell() + math.prod(shape) * dtype.itemsize
                if dtype.hasobject or info.file_size != size:
                    return None
                found[info.filename.removesuffix(".npy")] = {
                    "dtype": str(dtype), "shape": list(shape),
                }  # fmt: skip
    except (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return None
    return found


def _check(path: Path, function: str, parameters: Mapping[str, Any]) -> None:
    """Raise Damaged unless both files are there and fit together."""
    try:
        read(path, function, parameters, "computed")
    except FileNotFoundError:
        raise Damaged(f"{path} has vanished.") from None


def _put_both(path: Path, text: bytes, packed: bytes | None) -> None:
    """First the NPZ file, if there is one, last the JSON file."""
    arrays = {path.with_suffix(".npz"): packed} if packed is not None else {}
    write_atomically({**arrays, path: text})
    if packed is None:
        path.with_suffix(".npz").unlink(missing_ok=True)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as an NPZ file; equal arrays give equal bytes (np.savez stores the time)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(value), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def _own_hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _readable(content: Mapping[str, Any]) -> str:
    """JSON with one line a value, so that a long list does not fill a screen."""
    sections = []
    for key, value in content.items():
        if isinstance(value, dict) and value:
            lines = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            sections.append(f"  {json.dumps(key)}: {{\n{lines}\n  }}")
        else:
            sections.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(sections) + "\n}\n"
