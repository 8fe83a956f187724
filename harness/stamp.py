"""Which code made a result, wherever that code stands.

Two results are comparable when the same code made them. `stamp(function)` hashes the function and,
through every name in it, each definition of this project that the name leads to:

- A name is resolved by its scope, so a parameter called `weights` is not the module of that name.
- A reference counts as the hash of what it leads to, and a definition's own name does not count.
  So moving a definition to another file, renaming it, or importing it in another way keeps the
  stamp, and an edit anywhere below changes it. The names of parameters and attributes do count.
- The syntax tree is hashed: comments, docstrings and layout do not matter.
- What may do more, when a module is loaded, than bind names counts for every module imported on
  the way: `if`, `for`, `try`, bare calls, assignments to `a.b` or `a[b]`, and definitions that one
  of the project's own functions decorates, such as a registry.
- A module used otherwise than `module.name` (passed on, `globals()`) counts as a whole.

In doubt more is hashed, because a result that is wrongly taken for old is merely computed again.
Text reaches nothing (`importlib.import_module("name")`, `eval`), nor a base class its subclasses.
Calls of other libraries are taken to be those of the version in the result's provenance.

**A stamp is of the code that runs.** Modules of the project that are loaded after this one keep
the text they were loaded from (`_Recorder`), and that text is hashed, not what the file holds by
now. A module loaded before is read from disk, if its file is older than the process; else
`UnknownCode` is raised, because nobody can tell what runs.

**Equivalences.** A definition that was rewritten without changing what it computes may keep its
stamp: an entry of `EQUIVALENT` maps the hash it has to the hash it had. The entries of a folder of
results stand in its `equivalences.yaml`, each with the reason and the runs that were computed again
and agree (`declare`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

import psutil

PROJECT = ("lib", "chapters")

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_IMPORT = (ast.Import, ast.ImportFrom)
EQUIVALENT: dict[str, str] = {}  # {hash of a definition as it is: hash it stands for}


class UnknownCode(RuntimeError):
    """Nobody can tell which code this process runs; the message names the file."""


@dataclass(frozen=True)
class Stamp:
    """digest: 16 hex digits.  modules: {module: hash of what is reached in it}, for messages."""

    digest: str
    modules: Mapping[str, str]
    files: tuple[Path, ...]


def stamp(function: Callable, *, packages: tuple[str, ...] = PROJECT) -> Stamp:
    """The stamp of everything that a function of this project reaches. Raises UnknownCode."""
    search = _Search({*packages, function.__module__.split(".")[0]})
    home, name = function.__module__, getattr(function, "__qualname__", "")
    module = search.module(home)
    defined = module and name in module.places
    if defined and getattr(sys.modules.get(home), name, None) is function:
        root = search.definition(module, name)
    else:  # no definition of that name made it
        root = search.whole(home)
    effects = search.effects()
    modules = {
        name: _hash(*sorted(search.texts[name]))[:12]
        for name in sorted(search.texts)
        if search.texts[name]
    }
    files = tuple(search.modules[name].path for name in modules)
    return Stamp(_hash(root, *effects)[:16], modules, files)


def definition_hash(module: str, name: str, *, packages: tuple[str, ...] = PROJECT) -> str:
    """The hash of one definition with all it leads to, 16 hex digits. Raises KeyError."""
    search = _Search(set(packages))
    found = search.module(module)
    if found is None or name not in found.places:
        raise KeyError(f"{module} has no definition {name!r}")
    return search.definition(found, name)


def declare(entries: Mapping[str, str]) -> None:
    """Let definitions of some hashes stand for those of others: {hash it has: hash it had}."""
    EQUIVALENT.update(entries)


# --- the code that runs -----------------------------------------------------------------------

_STARTED = psutil.Process().create_time() + 2  # the system's clock of processes is a coarse one
_RECORDED = set(PROJECT)


def record(package: str) -> None:
    """Keep the text of this top-level package's modules, too, when they are loaded from now on."""
    _RECORDED.add(package)


class _Recorder(MetaPathFinder):
    """Loads modules of the project from their text, and keeps it beside them."""

    def find_spec(self, name: str, path=None, target=None):
        if name.split(".")[0] not in _RECORDED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _RecordingLoader(spec.loader.name, spec.loader.path)
        return spec


class _RecordingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        text = Path(self.path).read_bytes()
        code = compile(text, self.path, "exec", dont_inherit=True)
        module.__loaded_text__ = text
        exec(code, module.__dict__)


if not any(isinstance(finder, _Recorder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _Recorder())


def _text(name: str, path: Path) -> bytes:
    """What the process loaded the module from, or will load it from."""
    module = sys.modules.get(name)
    if hasattr(module, "__loaded_text__"):
        return module.__loaded_text__
    if module is not None and path.stat().st_mtime > _STARTED:
        raise UnknownCode(
            f"{path.name} may have changed after this process loaded it: start the process (the "
            "notebook's kernel, the worker) anew."
        )
    return path.read_bytes()


# --- following names --------------------------------------------------------------------------


class _Search:
    """Hashes definitions, and those that they lead to, within some top-level packages."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages
        self.modules: dict[str, _Module | None] = {}
        self.texts: dict[str, set[str]] = {}  # hashes of what is reached, by module
        self._hashes: dict[tuple[str, str], str] = {}
        self._open: list[tuple[str, str]] = []  # definitions whose hash is being made

    def module(self, name: str) -> _Module | None:
        """The module of that name if it is one of the project's."""
        if name not in self.modules:
            path = _file(name) if name.split(".")[0] in self.packages else None
            self.modules[name] = path and _Module(name, path)
        found = self.modules[name]
        if found:
            self.texts.setdefault(name, set())
        return found

    def definition(self, module: _Module, name: str) -> str:
        """The hash of what a name at the top level of a module is bound to."""
        key = module.name, name
        if key in self._hashes:
            return self._hashes[key]
        if key in self._open:
            return f"cycle {len(self._open) - self._open.index(key)}"
        self._open.append(key)
        parts = []
        for statement in module.places[name]:
            text = _Writer(self, module).statement(statement)
            self.texts[module.name].add(_hash(text))
            parts += [text, str(_names(statement).index(name))]
        self._open.pop()
        digest = _hash(*parts)[:16]
        self._hashes[key] = EQUIVALENT.get(digest, digest)
        return self._hashes[key]

    def whole(self, name: str) -> str:
        """The hash of all that a module, and the modules in it, define."""
        key = name, ""
        if key in self._open:
            return "cycle"
        if key not in self._hashes:
            self._open.append(key)
            module, parts = self.module(name), []
            if module:
                parts += [f"{n} {self.definition(module, n)}" for n in sorted(module.places)]
                parts += [f"{n} {self.follow(to)}" for n, to in sorted(module.imports.items())]
                parts += [self.follow(to) for to in module.stars]
                for below in _below(module):
                    parts.append(self.whole(f"{name}.{below}"))
            self._open.pop()
            self._hashes[key] = _hash(*parts)[:16]
        return self._hashes[key]

    def follow(self, path: tuple[str, ...]) -> str:
        """What a dotted path leads to: a hash within the project, the path itself outside."""
        if path[0] not in self.packages:
            return ".".join(path)
        for cut in range(len(path), 0, -1):
            module, rest = self.module(".".join(path[:cut])), path[cut:]
            if module is None:
                continue
            if not rest:
                return self.whole(module.name)
            found = self.named(module, rest[0], rest[1:])
            return found if found is not None else ".".join((self.whole(module.name), *rest))
        return ".".join(path)

    def named(self, module: _Module, name: str, attributes: tuple[str, ...] = ()) -> str | None:
        """What `name.attribute…` at the top level of a module is; None if it is not there."""
        if name in module.places:
            return ".".join((self.definition(module, name), *attributes))
        if name in module.imports:
            return self.follow((*module.imports[name], *attributes))
        for star in module.stars:
            other = self.module(".".join(star))
            found = other and self.named(other, name, attributes)
            if found:
                return found
        return None

    def effects(self) -> list[str]:
        """Hashes of what loading does beyond binding names, in all modules imported on the way."""
        found, done = set(), set()
        while waiting := [n for n, m in self.modules.items() if m and n not in done]:
            for name in waiting:
                done.add(name)
                module = self.modules[name]
                for parent in range(1, name.count(".") + 1):
                    self.module(".".join(name.split(".")[:parent]))
                for target in (*module.imports.values(), *module.loads, *module.stars):
                    for cut in range(1, len(target) + 1):
                        self.module(".".join(target[:cut]))
                for statement in module.effects(self):
                    text = _Writer(self, module).statement(statement)
                    self.texts[name].add(_hash(text))
                    found.add(_hash(text))
        return sorted(found)


class _Module:
    """A source file cut into the statements at its top level, and where its names lead."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.places: dict[str, list[ast.stmt]] = {}  # statements that bind a name
        self.imports: dict[str, tuple[str, ...]] = {}
        self.stars: list[tuple[str, ...]] = []
        self.loads: list[tuple[str, ...]] = []  # imported by a name that binds another
        self.statements = ast.parse(_text(name, path)).body
        for node in self.statements:
            if isinstance(node, _IMPORT):
                self._imported(node)
            for bound in _names(node):
                self.places.setdefault(bound, []).append(node)

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for bound, *target in _targets(node, self.package):
            if bound == "*":
                self.stars.append(tuple(target))
            elif bound == "":
                self.loads.append(tuple(target))
            else:
                self.imports[bound] = tuple(target)

    def effects(self, search: _Search) -> Iterator[ast.stmt]:
        """Statements that may do more than bind names."""
        for node in self.statements:
            if isinstance(node, _IMPORT) or _is_main(node) or _is_text(node):
                continue
            if isinstance(node, (*_FUNCTION, ast.ClassDef)):
                if any(self._is_ours(part, search) for part in _decorators(node)):
                    yield node
            elif not _names(node) or not isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
                if not (isinstance(node, ast.AnnAssign) and node.value is None):
                    yield node

    def _is_ours(self, node: ast.AST, search: _Search) -> bool:
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        return any(
            name in self.places
            or (name in self.imports and self.imports[name][0] in search.packages)
            for name in names
        )


@dataclass
class _Scope:
    """Names bound in a function or class, those that an import binds with where they lead."""

    names: set[str]
    imports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    is_class: bool = False


class _Writer:
    """One statement as canonical text, each reference replaced by what it leads to."""

    def __init__(self, search: _Search, module: _Module) -> None:
        self.search, self.module = search, module

    def statement(self, node: ast.stmt) -> str:
        return self._write(node, [], own=set(_names(node)))

    def _write(self, node, scopes: list[_Scope], own: set[str] = frozenset()) -> str:
        if isinstance(node, list):
            return "[" + ",".join(self._write(part, scopes, own) for part in node) + "]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._reference(node, scopes, own)
        if isinstance(node, (*_FUNCTION, ast.Lambda)):
            return self._function(node, scopes, own)
        if isinstance(node, ast.ClassDef):
            outer = self._fields(node, ("decorator_list", "bases", "keywords"), scopes)
            inner = [*scopes, _scope(node.body, self.module.package, is_class=True)]
            return f"Class({self._own(node.name, own)}{outer}{self._write(_body(node), inner)})"
        if isinstance(node, _COMPREHENSION):
            scopes = [*scopes, _Scope(set(_stored([c.target for c in node.generators])))]
        if isinstance(node, _IMPORT):  # a name that it binds counts where it is used
            for _, *target in _targets(node, self.module.package):
                for cut in range(1, len(target) + 1):
                    self.search.module(".".join(target[:cut]))
            return ""
        return type(node).__name__ + self._fields(node, node._fields, scopes, own)

    def _fields(self, node: ast.AST, names, scopes: list[_Scope], own=frozenset()) -> str:
        """The fields that are there; empty ones differ between versions of Python."""
        parts = [
            f"{name}={self._write(value, scopes, own)}"
            for name in names
            if (value := getattr(node, name, None)) not in (None, [])
            and name not in ("ctx", "type_comment", "kind")
            or isinstance(node, ast.Constant) and name == "value"
        ]  # fmt: skip
        return "(" + ",".join(parts) + ")"

    def _function(self, node, scopes: list[_Scope], own: set[str]) -> str:
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [a for a in (arguments.vararg, arguments.kwarg) if a]
        around = self._fields(node, ("decorator_list", "args", "returns"), scopes)
        body = [node.body] if isinstance(node, ast.Lambda) else _body(node)
        scope = _scope(body, self.module.package)
        scope.names |= {argument.arg for argument in named}
        inner = [*(s for s in scopes if not s.is_class), scope]
        name = "" if isinstance(node, ast.Lambda) else self._own(node.name, own)
        return f"{type(node).__name__}({name}{around}{self._write(body, inner)})"

    def _own(self, name: str, own: set[str]) -> str:
        return "_" if name in own else name

    def _reference(self, node, scopes: list[_Scope], own: set[str]) -> str:
        """A name, or a chain of attributes of one: what it leads to."""
        top, attributes = node, []
        while isinstance(top, ast.Attribute):
            top, attributes = top.value, [top.attr, *attributes]
        if not isinstance(top, ast.Name):
            return ".".join([self._write(top, scopes, own), *attributes])
        if isinstance(top.ctx, (ast.Store, ast.Del)) and not attributes and top.id in own:
            return "_"
        for scope in reversed(scopes):
            if top.id in scope.imports:
                return self.search.follow((*scope.imports[top.id], *attributes))
            if top.id in scope.names:
                return ".".join([top.id, *attributes])
        found = self.search.named(self.module, top.id, tuple(attributes))
        if found is not None:
            return found
        if top.id in ("globals", "locals", "vars"):
            return top.id + self.search.whole(self.module.name)
        return ".".join([top.id, *attributes])


# --- reading statements -----------------------------------------------------------------------


def _scope(body: list[ast.AST], package: str, *, is_class: bool = False) -> _Scope:
    """What the statements of a function or class bind, nested scopes left out."""
    scope, outside = _Scope(set(), is_class=is_class), set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            scope.names.add(node.name)
            waiting += _decorators(node)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, _COMPREHENSION):  # of its names only those bound by := leave it
            scope.names |= {
                part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr)
            }
            continue
        if isinstance(node, _IMPORT):
            scope.imports |= {name: tuple(to) for name, *to in _targets(node, package) if name}
        if isinstance(node, ast.Global):
            outside |= set(node.names)
        scope.names |= set(_bound_here(node))
        waiting += ast.iter_child_nodes(node)
    scope.names -= outside
    return scope


def _bound_here(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
        yield node.id
    for attribute in ("name", "rest"):  # except … as name, case … as name, **rest
        if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
            if isinstance(getattr(node, attribute, None), str):
                yield getattr(node, attribute)


def _stored(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        for part in ast.walk(node):
            yield from _bound_here(part)


def _names(node: ast.stmt) -> list[str]:
    """Names that a statement at the top level binds, in order; imports have a table of their own."""
    if isinstance(node, (*_FUNCTION, ast.ClassDef)):
        return [node.name]
    if isinstance(node, _IMPORT):
        return []
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        plain = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)
        if not all(isinstance(part, plain) for target in targets for part in ast.walk(target)):
            return []  # an attribute or an item of an object is changed
        return list(dict.fromkeys(_stored([node])))
    found = [name for child in ast.iter_child_nodes(node) for name in _nested_names(child)]
    return list(dict.fromkeys(found))


def _nested_names(node: ast.AST) -> Iterator[str]:
    """Names bound inside `if`, `try`, `for` and `with` at the top level."""
    if isinstance(node, ast.stmt):
        yield from _names(node)
    else:
        yield from _bound_here(node)
        for child in ast.iter_child_nodes(node):
            yield from _nested_names(child)
    if isinstance(node, _IMPORT):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)


def _targets(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, ...]]:
    """(name, *path) of every name that an import binds; "" where a path is only loaded."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            path = alias.name.split(".")
            if alias.asname:
                yield alias.asname, *path
            else:
                yield path[0], path[0]
                yield "", *path
    else:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = [*(parents if node.level else ()), *(node.module.split(".") if node.module else ())]
        for alias in node.names:
            yield alias.asname or alias.name, *base, *(() if alias.name == "*" else (alias.name,))


def _decorators(node) -> list[ast.expr]:
    """What is executed when a definition is: decorators, also of methods, and calls in a class."""
    found = list(node.decorator_list)
    if isinstance(node, ast.ClassDef):
        for line in node.body:
            if isinstance(line, (*_FUNCTION, ast.ClassDef)):
                found += _decorators(line)
            else:
                found += [part for part in ast.walk(line) if isinstance(part, ast.Call)]
    else:
        found += [p for p in ast.walk(node.args) if isinstance(p, ast.Call)]
    return found


def _body(node) -> list[ast.stmt]:
    """The body without its docstring."""
    return node.body[1:] if node.body and _is_text(node.body[0]) else node.body


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_main(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`"""
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ ==")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _below(module: _Module) -> list[str]:
    """Modules and packages directly in a package."""
    if module.path.name != "__init__.py":
        return []
    folder = module.path.parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return sorted(files | {path.parent.name for path in folder.glob("*/__init__.py")})


def _file(module: str) -> Path | None:
    """The source file of a module; None when there is no such module (a name in a module, say).

    Only the top-level package is looked up by the import system; nothing is imported.
    """
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__ has none
        return None
    if spec is None or spec.origin is None:
        return None
    places = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
    files = [file for p in places for file in (p.with_suffix(".py"), p / "__init__.py")]
    return next((file for file in files if file.is_file()), None) if rest else Path(spec.origin)
