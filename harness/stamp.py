"""Which code made a result, wherever that code stands.

Two results are comparable when the same code made them. `stamp(function)` hashes the function and,
through every name in it, each definition of this project that the name leads to:

- A name is resolved by its scope, so a parameter called `weights` is not the module of that name.
- A reference counts as the hash of what it leads to, and a definition's own name does not count.
  So moving a definition to another file, renaming it, or importing it in another way keeps the
  stamp, and an edit anywhere below changes it. The names of parameters and attributes do count.
- The syntax tree is hashed: comments, docstrings and layout do not matter. The order of statements
  counts where it can: in a module that binds a name more than once, or does more when loaded.
- What may do more, when a module is loaded, than bind names counts for every module imported on
  the way: `if`, `for`, `try`, bare calls, assignments to `a.b` or `a[b]`, and definitions that one
  of the project's own functions decorates, such as a registry.
- A module used otherwise than `module.name` (passed on, `globals()`) counts as a whole.

In doubt more is hashed, because a result that is wrongly taken for old is merely computed again:
to move an import into or out of a function, for instance, makes a new stamp.
An assignment counts where its name is used, also if its value is a call.
Text reaches nothing (`importlib.import_module("name")`, `eval`), nor a base class its subclasses.
Calls of other libraries are taken to be those of the version in the result's provenance.

**A stamp is of the code that runs.** Modules of the project that are loaded after this one keep
the text they were loaded from (`harness.loaded`), and that text is hashed, not what the file holds
by now. A module loaded before is read from disk, if its file is older than the process; else
`UnknownCode` is raised, because nobody can tell what runs.

**Equivalences.** A definition that was rewritten without changing what it computes may keep its
stamp: an entry of `EQUIVALENT` maps the hash it has to the hash it had. The entries of a folder of
results stand in its `equivalences.yaml`, each with the reason and the runs that were computed again
and agree (`declare`).
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.loaded import PROJECT, UnknownCode, file_of, watch
from harness.syntax import (
    COMPREHENSION,
    FUNCTION,
    IMPORT,
    Module,
    Scope,
    below,
    names,
    scope_of,
    stored,
    targets,
)

__all__ = ["Stamp", "UnknownCode", "declare", "definition_hash", "stamp", "watch"]

EQUIVALENT: dict[str, str] = {}  # {hash of a definition as it is: hash it stands for}


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
    """Let definitions of some hashes, and no others, stand for those of others.

    entries: {hash it has: hash it had}; they belong to one folder of results.
    """
    EQUIVALENT.clear()
    EQUIVALENT.update(entries)


# --- following names --------------------------------------------------------------------------


class _Search:
    """Hashes definitions, and those that they lead to, within some top-level packages."""

    def __init__(self, packages: set[str]) -> None:
        self.packages = packages
        self.modules: dict[str, Module | None] = {}
        self.texts: dict[str, set[str]] = {}  # hashes of what is reached, by module
        self._hashes: dict[tuple[str, str], str] = {}
        self._open: list[tuple[str, str]] = []  # definitions whose hash is being made
        self._hidden: list[tuple[str, ...]] = []  # modules whose name may mean something else

    def module(self, name: str) -> Module | None:
        """The module of that name if it is one of the project's."""
        if name not in self.modules:
            path = file_of(name) if name.split(".")[0] in self.packages else None
            self.modules[name] = path and Module(name, path)
        found = self.modules[name]
        if found:
            self.texts.setdefault(name, set())
        return found

    def definition(self, module: Module, name: str) -> str:
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
            parts += [text, str(names(statement).index(name))]
            parts += [f"after {order}"] if (order := module.order(statement)) else []
            self._note(module, ast.dump(statement) + parts[-1])
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
                parts += [
                    f"{name} {self.follow(path)}"
                    for name, paths in sorted(module.imports.items())
                    for path in paths
                ]
                parts += [self.follow(to) for to in module.stars]
                parts += [self.whole(f"{name}.{inner}") for inner in below(module)]
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
            if self._is_hidden(path[:cut]):  # either may be meant
                self._hidden.append(path[:cut])
                meant = self.named(self.module(".".join(path[: cut - 1])), path[cut - 1], rest)
                self._hidden.pop()
                return f"{meant}|{self.whole(module.name)}"
            if not rest:
                return self.whole(module.name)
            found = self.named(module, rest[0], rest[1:])
            return found if found is not None else ".".join((self.whole(module.name), *rest))
        return ".".join(path)

    def _is_hidden(self, path: tuple[str, ...]) -> bool:
        """Whether the package of a module binds something else to the module's name."""
        package = self.module(".".join(path[:-1]))
        if not package or path in self._hidden:
            return False
        return path[-1] in package.places or package.imports.get(path[-1], [path]) != [path]

    def named(self, module: Module, name: str, attributes: tuple[str, ...] = ()) -> str | None:
        """What `name.attribute…` at the top level of a module is; None if it is not there."""
        found = []
        for path in module.imports.get(name, ()):
            self._note(module, ".".join(path))
            found.append(self.follow((*path, *attributes)))
        if name in module.places:
            found.append(".".join((self.definition(module, name), *attributes)))
        if found:
            return "|".join(found)
        for star in module.stars:
            other = self.module(".".join(star))
            found = other and self.named(other, name, attributes)
            if found:
                return found
        return None

    def effects(self) -> list[str]:
        """Hashes of what loading does beyond binding names, in all modules imported on the way."""
        found, done = [], set()
        while waiting := [n for n, m in self.modules.items() if m and n not in done]:
            for name in waiting:
                done.add(name)
                module = self.modules[name]
                for parent in range(1, name.count(".") + 1):
                    self.module(".".join(name.split(".")[:parent]))
                imported = [path for paths in module.imports.values() for path in paths]
                for target in (*imported, *module.loads, *module.stars):
                    for cut in range(1, len(target) + 1):
                        self.module(".".join(target[:cut]))
                own = []
                for statement in module.effects(self.packages):
                    own.append(_hash(_Writer(self, module).statement(statement)))
                    self._note(module, f"{len(own)} {ast.dump(statement)}")
                found += [*own, _hash(*own)] if len(own) > 1 else own  # their order counts
        return sorted(set(found))

    def _note(self, module: Module, text: str) -> None:
        self.texts.setdefault(module.name, set()).add(_hash(text))


class _Writer:
    """One statement as canonical text, each reference replaced by what it leads to."""

    def __init__(self, search: _Search, module: Module) -> None:
        self.search, self.module = search, module

    def statement(self, node: ast.stmt) -> str:
        return self._write(node, [], own=set(names(node)))

    def _write(self, node, scopes: list[Scope], own: set[str] = frozenset()) -> str:
        if isinstance(node, list):
            return "[" + ",".join(self._write(part, scopes, own) for part in node) + "]"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._reference(node, scopes, own)
        if isinstance(node, (*FUNCTION, ast.Lambda)):
            return self._function(node, scopes, own)
        if isinstance(node, ast.ClassDef):
            outer = self._fields(node, ("decorator_list", "bases", "keywords"), scopes)
            inner = [*scopes, scope_of(node.body, self.module.package, is_class=True)]
            return f"Class({self._own(node.name, own)}{outer}{self._write(node.body, inner)})"
        if isinstance(node, COMPREHENSION):
            scopes = [*scopes, Scope(set(stored([c.target for c in node.generators])))]
        if isinstance(node, IMPORT):  # a name that it binds counts where it is used
            for _, *target in targets(node, self.module.package):
                for cut in range(1, len(target) + 1):
                    self.search.module(".".join(target[:cut]))
            if not scopes or scopes[-1].is_class:
                return self._import(node, is_class=bool(scopes))
            return ""
        return type(node).__name__ + self._fields(node, node._fields, scopes, own)

    def _import(self, node, is_class: bool) -> str:
        """An import in a class, or in an `if` or `try` at the top level; not a plain one.

        What a class imports can be reached as its attribute. Otherwise what is the project's
        counts where its name is used.
        """
        return ",".join(
            f"{name}={self.search.follow(tuple(path))}"
            for name, *path in targets(node, self.module.package)
            if is_class or path[0] not in self.search.packages
        )

    def _fields(self, node: ast.AST, names, scopes: list[Scope], own=frozenset()) -> str:
        """The fields that are there; empty ones differ between versions of Python."""
        parts = [
            f"{name}={self._write(value, scopes, own)}"
            for name in names
            if (value := getattr(node, name, None)) not in (None, [])
            and name not in ("ctx", "type_comment", "kind")
            or isinstance(node, ast.Constant) and name == "value"
        ]  # fmt: skip
        return "(" + ",".join(parts) + ")"

    def _function(self, node, scopes: list[Scope], own: set[str]) -> str:
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        named += [a for a in (arguments.vararg, arguments.kwarg) if a]
        around = self._fields(node, ("decorator_list", "args", "returns"), scopes)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        scope = scope_of(body, self.module.package)
        scope.names |= {argument.arg for argument in named}
        inner = [*(s for s in scopes if not s.is_class), scope]
        name = "" if isinstance(node, ast.Lambda) else self._own(node.name, own)
        return f"{type(node).__name__}({name}{around}{self._write(body, inner)})"

    def _own(self, name: str, own: set[str]) -> str:
        return "_" if name in own else name

    def _reference(self, node, scopes: list[Scope], own: set[str]) -> str:
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


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
