"""A fingerprint of the sources that a function depends on.

Two results are comparable when the same code made them. `fingerprint(function)` hashes the
function's module and, transitively, every module of this project that it imports. Comments,
docstrings and blank lines are left out, so rewording an explanation does not make a result old;
and only text is hashed, so the Python version does not matter either.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import tokenize
from collections.abc import Callable
from pathlib import Path

PROJECT = ("lib", "experiments")

# Modules that store, show or judge results; no number depends on them.
BESIDE_THE_POINT = frozenset(
    {"lib.sweep", "lib.results", "lib.fingerprint", "lib.verify", "lib.plots", "lib.claims"}
)


def fingerprint(function: Callable) -> tuple[str, dict[str, str]]:
    """(hash of all sources together, {module: hash of its source}), hex digits."""
    hashes = {
        module: hashlib.sha256(stripped(path.read_bytes()).encode()).hexdigest()[:12]
        for module, path in sources(function).items()
    }
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:16], hashes


def sources(function: Callable) -> dict[str, Path]:
    """{module: file} of the function's own module and the project's modules it depends on."""
    home = function.__module__
    packages = {*PROJECT, home.split(".")[0]}
    found: dict[str, Path] = {}
    waiting = [home]
    while waiting:
        module = waiting.pop()
        path = _file(module)
        if module in found or module in BESIDE_THE_POINT or path is None:
            continue
        found[module] = path
        waiting += [name for name in imports(module, path) if name.split(".")[0] in packages]
    return found


def imports(module: str, path: Path) -> set[str]:
    """Full names that the source imports anywhere, also inside functions; packages included.

    `from a import b` yields both `a` and `a.b`: whether b is a module shows only on disk.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names if name]
    return {".".join(p[:i]) for p in parts for i in range(1, len(p) + 1)}


def stripped(source: bytes) -> str:
    """The source without comments, docstrings, blank lines and trailing blanks."""
    encoding = tokenize.detect_encoding(io.BytesIO(source).readline)[0]
    code = source.decode(encoding).replace("\r\n", "\n")
    lines = [line + "\n" for line in code.split("\n")]
    ends = set()  # lines that end outside a string, where blanks mean nothing
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column] + "\n"
        if token.type in (tokenize.NEWLINE, tokenize.NL):
            ends.add(row - 1)
    for first, start, last, end in _docstrings(code):
        kept = lines[first].encode()[:start] + lines[last].encode()[end:]
        lines[first] = kept.decode()
        lines[first + 1 : last + 1] = [""] * (last - first)
        ends |= set(range(first, last + 1))
    tidy = [line.rstrip() + "\n" if i in ends else line for i, line in enumerate(lines)]
    kept = [line for i, line in enumerate(tidy) if line.strip() or i not in ends]
    return "".join(kept).rstrip("\n") + "\n"


def _docstrings(code: str) -> list[tuple[int, int, int, int]]:
    """(first line, its byte, last line, its byte) of each docstring, lines counted from 0."""
    places = []
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if node.body and isinstance(node.body[0], ast.Expr):
            value = node.body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                places.append(
                    (value.lineno - 1, value.col_offset, value.end_lineno - 1, value.end_col_offset)
                )
    return places


def _file(module: str) -> Path | None:
    """The source file of a module; None when there is no such module (a name in a module, say).

    Only the top-level package is looked up by the import system; nothing is imported.
    """
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *rest)
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    return None
