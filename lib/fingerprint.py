"""A fingerprint of the code that a function depends on.

Two results are comparable when the same code made them. `fingerprint(function)` hashes the
function and, transitively, every top-level definition of this project whose name occurs in what
is hashed: a class that is added to a module makes only those results old that use it. Comments,
docstrings and blank lines are left out, so rewording an explanation does not make a result old;
and only text is hashed, so the Python version does not matter either. Nothing is imported or run.

In doubt more is hashed, because a result that is wrongly taken for old is merely computed again:

- `alias.name` reaches one definition of the module behind the alias. A module used otherwise
  (passed on, `getattr(module, "name")`, `from module import *`, `globals()`) is reached as a whole.
- What may do more, when a module is loaded, than bind names counts for every module imported on
  the way: `if` and `for`, bare calls, assignments to `a.b` or `a[b]`, and definitions that call,
  or are decorated with, something in which the project's own names occur, such as a registry
  (but `tuple(...)` and its like only make a value).

Text reaches nothing: neither `importlib.import_module("name")` nor `eval("name")` is followed.
Nor does a base class reach its subclasses. And a call of another library in a definition, or an
import of one whose name is not used, is taken to do nothing but give a value.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import io
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

PROJECT = ("lib", "experiments")

# Modules that store, show or judge results; no number depends on them.
BESIDE_THE_POINT = frozenset(
    {"lib.sweep", "lib.results", "lib.fingerprint", "lib.verify", "lib.plots", "lib.claims"}
)

_IMPORT = (ast.Import, ast.ImportFrom)
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_CONTAINERS = {"dict", "frozenset", "list", "range", "set", "tuple"}
_ALWAYS = ""  # the name of what always counts


def fingerprint(function: Callable) -> tuple[str, dict[str, str]]:
    """(hash of everything together, {module: hash of what is reached in it}), hex digits."""
    hashes = {
        module.name: hashlib.sha256(module.text().encode()).hexdigest()[:12]
        for module in _reached(function)
    }
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:16], hashes


def sources(function: Callable) -> dict[str, Path]:
    """{module: file} of the project's modules in which the function reaches anything."""
    return {module.name: module.path for module in _reached(function)}


def imports(module: str, path: Path) -> set[str]:
    """Full names that the source imports anywhere, also inside functions; packages included.

    `from a import b` yields both `a` and `a.b`: whether b is a module shows only on disk.
    """
    found = _bound(ast.parse(path.read_bytes()), module, path)
    parts = [".".join(target).split(".") for _, *target in found]
    return {".".join(p[:i]) for p in parts for i in range(1, len(p) + 1)}


def stripped(source: bytes) -> str:
    """The source without comments, docstrings, blank lines and trailing blanks."""
    return "".join(_stripped_lines(source)).rstrip("\n") + "\n"


def _reached(function: Callable) -> list[_Module]:
    home, name = function.__module__, getattr(function, "__qualname__", "")
    search = _Search({*PROJECT, home.split(".")[0]})
    module = search.load(home)
    if module and name in module.places and getattr(sys.modules.get(home), name, None) is function:
        search.use(module, name)
    else:  # it was not made by a definition of that name
        search.follow(home)
    search.finish()
    return [module for module in search.modules.values() if module and module.reached]


class _Search:
    """Follows names from definition to definition, within some top-level packages."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages
        self.modules: dict[str, _Module | None] = {}
        self.waiting: list[tuple[_Module, ast.AST]] = []
        self.seen: set[tuple[str, ...]] = set()

    def ours(self, name: str) -> bool:
        return name.split(".")[0] in self.packages and name not in BESIDE_THE_POINT

    def load(self, name: str) -> _Module | None:
        """The module of that name, if there is one; what always counts in it is reached."""
        if self.ours(name) and name not in self.modules:
            self.load(name.rpartition(".")[0])
            path = _file(name)
            self.modules[name] = module = path and _Module(name, path, self.ours)
            if module:
                self.waiting += [(module, node) for node in module.nodes if type(node) in _IMPORT]
                self.use(module, _ALWAYS)
        return self.modules.get(name)

    def use(self, module: _Module, name: str, *attributes: str) -> None:
        """Reach what `name.attribute…` is in a module."""
        if (module.name, name, *attributes) not in self.seen:
            self.seen.add((module.name, name, *attributes))
            new = set(module.places.get(name, ())) - module.reached
            module.reached |= new
            self.waiting += [(module, module.nodes[place]) for place in new]
            for target in module.aliases.get(name, ()):
                self.follow(*target, *attributes)

    def follow(self, name: str, *attributes: str) -> None:
        """Reach `attribute…` of a module, or of a module in it; without attributes all of it."""
        module, inner = self.load(name), ".".join([name, *attributes[:1]])
        if not self.ours(name) or not self.ours(inner):
            return
        defined = module and attributes and attributes[0] in module.places
        if defined:
            self.use(module, *attributes)
        if attributes and (self.load(inner) or not module):
            self.follow(inner, *attributes[1:])
        elif module and not defined and (name,) not in self.seen:
            self.seen.add((name,))
            for bound in {**module.places, **module.aliases}:
                self.use(module, bound)
            folder = module.path.parent
            for path in sorted(folder.rglob("*.py")) if module.path.name == "__init__.py" else ():
                below = path.relative_to(folder).with_suffix("").parts
                self.follow(".".join([name, *below]).removesuffix(".__init__"))

    def finish(self) -> None:
        """Walk through what is reached until nothing is new."""
        while self.waiting:
            module, node = self.waiting.pop()
            top, attributes = node, []
            while isinstance(top, ast.Attribute):
                top, attributes = top.value, [top.attr, *attributes]
            if isinstance(top, ast.Name):
                self.use(module, top.id, *attributes)
                if top.id in ("globals", "locals", "vars"):
                    self.follow(module.name)
            else:
                self.waiting += [(module, child) for child in ast.iter_child_nodes(node)]
            if isinstance(node, (*_IMPORT, ast.ClassDef)):
                for name, *target in _bound(node, module.name, module.path):
                    self.load(".".join(target))
                    if name == "*" or isinstance(node, ast.ClassDef):  # an attribute, `self.x`
                        self.follow(*target)


class _Module:
    """A source file cut into the statements at its top level, and where its names lead."""

    def __init__(self, name: str, path: Path, ours: Callable[[str], bool]) -> None:
        self.name, self.path = name, path
        statements = list(_statements(path.read_bytes()))
        self.nodes = [node for node, _ in statements]
        self.texts = [text for _, text in statements]
        self.reached: set[int] = set()  # positions among the statements
        self.places: dict[str, list[int]] = {}  # where a name is bound
        self.aliases: dict[str, list[list[str]]] = {}  # what it is imported as: module, attribute
        for place, node in enumerate(self.nodes):
            for bound in _names(node):
                self.places.setdefault(bound, []).append(place)
            for bound, *target in _bound(node, name, path):
                self.aliases.setdefault(bound, []).append(target)
        known = {**self.places, **self.aliases}
        own = {n for n in known if any(ours(full) for full, *_ in self.aliases.get(n, [[name]]))}
        for place, node in enumerate(self.nodes):
            parts = [part for call in _calls(node) for part in ast.walk(call)]
            if not _names(node) or any(isinstance(p, ast.Name) and p.id in own for p in parts):
                self.places.setdefault(_ALWAYS, []).append(place)

    def text(self) -> str:
        """What is reached, in the order of the file; functions, where that has no effect, last."""

        def order(place: int) -> str:
            node = self.nodes[place]
            return node.name if isinstance(node, _FUNCTION) and not _calls(node) else ""

        return "".join(self.texts[place] for place in sorted(sorted(self.reached), key=order))


def _statements(source: bytes) -> Iterator[tuple[ast.stmt, str]]:
    """The statements at the top level with their stripped text; one for each name of an import."""
    lines, last = _stripped_lines(source), 0
    for node in ast.parse(source).body:
        text = "".join(lines[min(last, node.lineno - 1) : node.end_lineno])
        last = node.end_lineno
        if isinstance(node, _IMPORT):
            for alias in node.names:
                one = copy.copy(node)
                one.names = [alias]
                yield one, ast.unparse(one) + "\n"
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node, text


def _names(node: ast.stmt) -> list[str]:
    """The names that a definition binds; none for any other statement, which always counts."""
    if isinstance(node, (*_FUNCTION, ast.ClassDef)):
        return [node.name]
    if isinstance(node, _IMPORT):
        name = node.names[0].asname or node.names[0].name.split(".")[0]
        return [] if name == "*" or getattr(node, "module", "") == "__future__" else [name]
    if not isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    parts = [part for target in targets for part in ast.walk(target)]
    plain = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)
    if not all(isinstance(part, plain) for part in parts):
        return []  # an attribute or an item of an object is changed
    named = [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
    return [part.id for part in [*parts, *named] if isinstance(part, ast.Name)]


def _calls(node: ast.AST) -> list[ast.expr]:
    """Decorators, and calls of more than a container, that are executed when a definition is."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *(call for line in node.body for call in _calls(line))]
    if isinstance(node, _FUNCTION):
        return [*node.decorator_list, *_calls(node.args)]
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", "") not in _CONTAINERS]


def _bound(tree: ast.AST, module: str, path: Path) -> Iterator[tuple[str, ...]]:
    """(name, module[, attribute]) of every import in the tree; the name of `import *` is "*".

    `import a.b` binds a; that b is loaded is an entry of its own, with a name that none can use.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or "import", alias.name
                if not alias.asname:
                    yield alias.name.split(".")[0], alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = [*(parents if node.level else ()), *([node.module] if node.module else ())]
            for alias in node.names:
                yield alias.asname or alias.name, ".".join(base), alias.name


def _stripped_lines(source: bytes) -> list[str]:
    """The same lines as in the source, empty where nothing is left."""
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
    return [line if line.strip() or i not in ends else "" for i, line in enumerate(tidy)]


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
    places = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    files = [file for p in places for file in (p.with_suffix(".py"), p / "__init__.py")]
    return next((file for file in files if file.is_file()), None) if rest else Path(spec.origin)
