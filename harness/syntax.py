"""What the statements of a module bind and import, and which of them do more when it is loaded."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from harness.loaded import text_of

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
IMPORT = (ast.Import, ast.ImportFrom)
_ASSIGNMENT = (ast.Assign, ast.AugAssign, ast.AnnAssign)


class Module:
    """A source file cut into the statements at its top level, and where its names lead.

    Docstrings are gone.  places: the statements that bind a name.  imports: what a name is
    imported from, several if it is imported more than once.  loads: what an import loads without
    binding it.  rebinding: the statements that bind a name which was bound before.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.places: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[tuple[str, ...]]] = {}
        self.stars: list[tuple[str, ...]] = []
        self.loads: list[tuple[str, ...]] = []
        self.rebinding: list[ast.stmt] = []
        tree = ast.parse(text_of(name, path))
        for part in ast.walk(tree):
            if isinstance(part, (ast.Module, ast.ClassDef, *FUNCTION)) and part.body:
                part.body = part.body[_is_text(part.body[0]) :]
        self.statements = tree.body
        for node in self.statements:
            for part in _outside_definitions(node):
                if isinstance(part, IMPORT):
                    self._imported(part)
            if not self.places.keys().isdisjoint(names(node)):
                self.rebinding.append(node)
            for bound in names(node):
                self.places.setdefault(bound, []).append(node)

    def order(self, node: ast.stmt) -> int:
        """How many names are bound anew before this statement, if it is executed on loading."""
        if isinstance(node, FUNCTION) and not _executed(node):
            return 0
        return sum(other.lineno < node.lineno for other in self.rebinding)

    def _imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for bound, *target in targets(node, self.package):
            if bound == "*":
                self.stars.append(tuple(target))
            elif bound == "":
                self.loads.append(tuple(target))
            else:
                paths = self.imports.setdefault(bound, [])
                paths += [tuple(target)] if tuple(target) not in paths else []

    def effects(self, packages: set[str]) -> Iterator[ast.stmt]:
        """Statements that may do more, when the module is loaded, than bind names."""
        for node in self.statements:
            if isinstance(node, IMPORT) or _is_main(node) or _is_text(node):
                continue
            if isinstance(node, (*FUNCTION, ast.ClassDef)):
                if any(self._is_ours(part, packages) for part in _executed(node)):
                    yield node
            elif not (isinstance(node, _ASSIGNMENT) and (names(node) or node.value is None)):
                yield node

    def _is_ours(self, node: ast.AST, packages: set[str]) -> bool:
        """Whether names of the project occur in it."""
        found = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        return any(
            name in self.places or any(path[0] in packages for path in self.imports.get(name, ()))
            for name in found
        )


@dataclass
class Scope:
    """Names bound in a function or class, those that an import binds with where they lead."""

    names: set[str]
    imports: dict[str, tuple[str, ...]] = field(default_factory=dict)
    is_class: bool = False


def scope_of(body: list[ast.AST], package: str, *, is_class: bool = False) -> Scope:
    """What the statements of a function or class bind, nested scopes left out."""
    scope, outside = Scope(set(), is_class=is_class), set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            scope.names.add(node.name)
            waiting += _executed(node)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, COMPREHENSION):  # of its names only those bound by := leave it
            scope.names |= {
                part.target.id for part in ast.walk(node) if isinstance(part, ast.NamedExpr)
            }
            continue
        if isinstance(node, IMPORT):
            scope.imports |= {name: tuple(to) for name, *to in targets(node, package) if name}
        if isinstance(node, ast.Global):
            outside |= set(node.names)
        scope.names |= set(_bound_here(node))
        waiting += ast.iter_child_nodes(node)
    scope.names -= outside
    return scope


def _bound_here(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
        yield node.id
    if isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping)):
        for attribute in ("name", "rest"):  # except … as name, case … as name, **rest
            if isinstance(getattr(node, attribute, None), str):
                yield getattr(node, attribute)


def stored(nodes: list[ast.AST]) -> Iterator[str]:
    """Names that are bound anywhere in these nodes."""
    for node in nodes:
        for part in ast.walk(node):
            yield from _bound_here(part)


def names(node: ast.stmt) -> list[str]:
    """Names that a statement at the top level binds, in order; imports have their own table."""
    if isinstance(node, (*FUNCTION, ast.ClassDef)):
        return [node.name]
    if isinstance(node, IMPORT):
        return []
    if isinstance(node, _ASSIGNMENT):
        left = node.targets if isinstance(node, ast.Assign) else [node.target]
        plain = (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)
        if not all(isinstance(part, plain) for target in left for part in ast.walk(target)):
            return []  # an attribute or an item of an object is changed
        return list(dict.fromkeys(stored([node])))
    found = [name for child in ast.iter_child_nodes(node) for name in _nested_names(child)]
    return list(dict.fromkeys(found))


def _nested_names(node: ast.AST) -> Iterator[str]:
    """Names bound inside `if`, `try`, `for` and `with` at the top level."""
    if isinstance(node, ast.stmt):
        yield from names(node)
    else:
        yield from _bound_here(node)
        for child in ast.iter_child_nodes(node):
            yield from _nested_names(child)
    if isinstance(node, IMPORT):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)


def targets(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, ...]]:
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


def _executed(node) -> list[ast.expr]:
    """What is executed when a definition is: decorators, also of methods, and calls in a class."""
    found = list(node.decorator_list)
    if isinstance(node, ast.ClassDef):
        for line in node.body:
            if isinstance(line, (*FUNCTION, ast.ClassDef)):
                found += _executed(line)
            else:
                found += [part for part in ast.walk(line) if isinstance(part, ast.Call)]
    else:
        found += [p for p in ast.walk(node.args) if isinstance(p, ast.Call)]
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_main(node: ast.stmt) -> bool:
    """`if __name__ == "__main__":`"""
    return isinstance(node, ast.If) and ast.unparse(node.test).startswith("__name__ ==")


def _outside_definitions(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is below it, functions and classes left out."""
    yield node
    if not isinstance(node, (*FUNCTION, ast.ClassDef, ast.Lambda)):
        for child in ast.iter_child_nodes(node):
            yield from _outside_definitions(child)


def below(module: Module) -> list[str]:
    """Modules and packages directly in a package."""
    if module.path.name != "__init__.py":
        return []
    folder = module.path.parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return sorted(files | {path.parent.name for path in folder.glob("*/__init__.py")})
