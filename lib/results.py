"""Results of runs: one readable JSON file each, with an NPZ file beside it when it has arrays.

A result file is written whole or not at all, carries checksums of both files, and is never
trusted when they do not fit: `read` raises `Damaged` for a file that was cut off or edited.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import re
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch


class Damaged(Exception):
    """A stored result that cannot be trusted; the message says what is wrong with which file."""


class Arrays(Mapping[str, np.ndarray]):
    """The arrays of a result by name; read from the NPZ file when first asked for."""

    def __init__(self, source: Path | Mapping[str, np.ndarray], names: Sequence[str]) -> None:
        self._source = source
        self._names = tuple(names)

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if isinstance(self._source, Path):
            with np.load(self._source, allow_pickle=False) as stored:
                self._source = {key: stored[key] for key in self._names}
        return self._source[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, eq=False)
class Result:
    """One run.

    status: "computed" (just now), "reused" (from its file), "stale" (from its file, but the code
    has changed since), "missing" (no trustworthy file, and nothing was to be computed) or
    "failed" (`error` holds the traceback). `result["auroc"]` looks among the scalars, then the
    arrays. `notes` tell what a reader should know, such as damage that was found and repaired.
    """

    function: str
    parameters: Mapping[str, Any]
    status: str
    scalars: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    notes: tuple[str, ...] = ()
    path: Path | None = None

    def __getitem__(self, name: str) -> Any:
        if name in self.scalars:
            return self.scalars[name]
        if name in self.arrays:
            return self.arrays[name]
        raise KeyError(
            f"{self.label} ({self.status}) has no {name!r}; it has "
            f"{', '.join([*self.scalars, *self.arrays]) or 'no values'}."
        )

    @property
    def label(self) -> str:
        """The run in words, for messages: `reconstruct(n=50, seed=0)`."""
        return described(self.function, self.parameters)


def described(function: str, parameters: Mapping[str, Any]) -> str:
    values = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
    return f"{function.rpartition('.')[2]}({values})"


def frame(results: Sequence[Result]) -> pd.DataFrame:
    """One row a run: its parameters, its scalars and its status.

    Raises ValueError when a scalar has the name of a parameter but another value.
    """
    rows = []
    for result in results:
        for name in result.parameters.keys() & result.scalars.keys():
            if result.parameters[name] != result.scalars[name]:
                raise ValueError(f"{result.label} returned another {name!r}: rename the scalar.")
        rows.append({**result.parameters, **result.scalars, "status": result.status})
    return pd.DataFrame(rows)


def require(results: Sequence[Result]) -> Sequence[Result]:
    """The same results, if none failed and none is missing; else one error that lists them."""
    bad = [result for result in results if result.status in ("failed", "missing")]
    if bad:
        lines = [f"- {r.label}: {r.status}" + (f"\n{r.error}" if r.error else "") for r in bad]
        raise RuntimeError(
            f"{len(bad)} of {len(results)} runs have no result.\n" + "\n".join(lines)
        )
    return results


def present(results: Sequence[Result]) -> list[Result]:
    """Those that have values: computed, reused or stale."""
    return [result for result in results if result.status in ("computed", "reused", "stale")]


def status(results: Sequence[Result], *, listed: int = 6) -> str:
    """How many runs are there, how many of them are stale, which are not; as Markdown.

    Absent runs are named one by one up to `listed` of them, else counted by function, data set
    and reason.
    """
    here = present(results)
    stale = sum(result.status == "stale" for result in results)
    text = f"{len(here):,} of {len(results):,} runs are there" + (
        f", {stale:,} of them older than the code that would make them now." if stale else "."
    )
    absent = [result for result in results if result.status in ("failed", "missing")]
    if not absent:
        return text
    if len(absent) <= listed:
        lines = [f"{result.status}: {result.label}" for result in absent]
    else:
        groups = Counter(
            (r.status, r.function.rpartition(".")[2], r.parameters.get("dataset")) for r in absent
        )
        lines = [
            f"{state}: {count:,} of {name}" + (f" on {dataset}" if dataset else "")
            for (state, name, dataset), count in groups.items()
        ]
    return text + " Not run:\n" + "".join(f"\n- {line}" for line in lines)


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
    """folder/<module>.<function>/<readable parameters>-<hash>.json; parameters must be plain.

    The order of the parameters does not matter: it is no part of a run.
    """
    module, name = function.rsplit(".", 1)
    words = ",".join(f"{key}={_word(value)}" for key, value in sorted(parameters.items()))
    identity = json.dumps([function, dict(parameters)], sort_keys=True)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:10]
    slug = re.sub(r"[^A-Za-z0-9._=,+-]+", "_", words)[:90].strip("._,")
    return folder / f"{module.rpartition('.')[2]}.{name}" / f"{slug or 'run'}-{digest}.json"


def _word(value: Any) -> str:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(12):
        _put_both(path, text.encode(), packed)
        try:
            return _check(path, function, parameters)
        except Damaged:  # another writer came between; step back for a while, each for another
            time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 7)))
    raise OSError(f"Other processes keep writing {path}.")


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
    except ValueError:
        raise Damaged(f"{path} is not valid JSON; it was probably cut off.") from None
    expected = {"function", "parameters", "scalars", "arrays", "provenance", "sha256"}
    if not isinstance(content, dict) or not expected <= content.keys():
        raise Damaged(f"{path} is not the JSON of a result.")
    if content.pop("sha256") != _own_hash(content):
        raise Damaged(f"{path} was changed after it was written.")
    return content


def _check(path: Path, function: str, parameters: Mapping[str, Any]) -> None:
    """Raise Damaged unless both files are there and fit together."""
    try:
        read(path, function, parameters, "computed")
    except FileNotFoundError:
        raise Damaged(f"{path} has vanished.") from None


def _put_both(path: Path, text: bytes, packed: bytes | None) -> None:
    """Complete the temporary files, then rename; no temporary file stays behind."""
    targets = [(path.with_suffix(".npz"), packed)] if packed is not None else []
    targets.append((path, text))
    temporaries = [path.with_name(f".{uuid.uuid4().hex}.tmp") for _ in targets]
    try:
        for temporary, (_, data) in zip(temporaries, targets):
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary, (target, _) in zip(temporaries, targets):
            os.replace(temporary, target)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)
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
