"""Read a percent-format notebook and check it before anything runs.

Every error is a `NotebookError` whose text is one sentence for the person at the terminal.
"""

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode

PLAIN = (type(None), bool, int, float, str, list, dict)


class NotebookError(Exception):
    """A notebook, a profile or a parameter is not usable as it stands."""


def read_notebook(path: Path) -> NotebookNode:
    """The notebook behind a percent script, with cell ids that every conversion repeats.

    Raises `NotebookError` when the file is missing or its header names no kernel.
    """
    if not path.is_file():
        raise NotebookError(f"{path}: no such notebook")
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    if not notebook.metadata.get("kernelspec", {}).get("name"):
        raise NotebookError(
            f"{path}: the header names no kernelspec; copy the header of another chapter"
        )
    # two blank lines after the header make an empty cell, which would be an empty box on the page
    notebook.cells = [cell for cell in notebook.cells if cell.source.strip()]
    set_stable_ids(notebook)
    return notebook


def set_stable_ids(notebook: NotebookNode) -> None:
    """Derive each cell's id from its content, and from its order among equal cells."""
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        content = f"{cell.cell_type}\n{cell.source}"
        digest = hashlib.sha256(f"{content}\n{seen[content]}".encode()).hexdigest()
        seen[content] += 1
        cell["id"] = f"cell-{digest[:12]}"
    notebook.nbformat_minor = max(5, notebook.get("nbformat_minor", 5))


def cell_tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def parameters_cell(notebook: NotebookNode, name: str) -> NotebookNode:
    """The one code cell tagged `parameters`; none or several is an error."""
    tagged = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "parameters" in cell_tags(cell)
    ]
    if len(tagged) != 1:
        raise NotebookError(
            f"{name}: needs exactly one code cell tagged `parameters`, found {len(tagged)}"
        )
    return tagged[0]


def literal_assignments(source: str, name: str) -> dict[str, tuple[Any, ast.expr]]:
    """Parameter name -> (default, its syntax node), from `name = literal` and `name: type = literal`."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(
            f"{name}: the parameters cell is not Python: {error.msg} (line {error.lineno})"
        ) from error
    found: dict[str, tuple[Any, ast.expr]] = {}
    for statement in statements:
        target, value = assignment_parts(statement, name)
        if target in found:
            raise NotebookError(
                f"{name}: parameter `{target}` is assigned twice in the parameters cell"
            )
        found[target] = (literal_value(value, target, name), value)
    return found


def assignment_parts(statement: ast.stmt, name: str) -> tuple[str, ast.expr]:
    targets = (
        statement.targets
        if isinstance(statement, ast.Assign)
        else [getattr(statement, "target", None)]
    )
    value = getattr(statement, "value", None)
    assigns = isinstance(statement, (ast.Assign, ast.AnnAssign))
    if not assigns or len(targets) != 1 or not isinstance(targets[0], ast.Name) or value is None:
        raise NotebookError(
            f"{name}: the parameters cell may hold only `name = literal` lines, not `{ast.unparse(statement)}`; "
            "derive values in the next cell"
        )
    return targets[0].id, value


def literal_value(value: ast.expr, target: str, name: str) -> Any:
    try:
        literal = ast.literal_eval(value)
    except (ValueError, TypeError) as error:
        raise NotebookError(
            f"{name}: parameter `{target}` is not a literal (`{ast.unparse(value)}`); derive it in the next cell"
        ) from error
    if not isinstance(literal, PLAIN):
        raise NotebookError(
            f"{name}: parameter `{target}` is a {type(literal).__name__}; "
            "use None, bool, int, float, str, list or dict, which YAML can override"
        )
    return literal


def default_parameters(notebook: NotebookNode, name: str) -> dict[str, Any]:
    """The defaults of a notebook, in the order of its parameters cell."""
    source = parameters_cell(notebook, name).source
    return {key: default for key, (default, _) in literal_assignments(source, name).items()}


class _Constructor(SafeConstructor):
    """Plain values only: a date stays text, and an integer with a leading zero is refused."""

    def construct_yaml_int(self, node: ScalarNode) -> int:
        if re.match(r"[-+]?0[0-9]", node.value):
            plain = node.value.lstrip("+-0") or "0"
            raise NotebookError(
                f"`{node.value}` is 8-based in one YAML and 10-based in another; "
                f"write {plain}, or '\"{node.value}\"' for text"
            )
        return super().construct_yaml_int(node)


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_yaml_int)
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str)


def parse_yaml(text: str, where: str) -> Any:
    """The one YAML 1.2 document of the text; `where` opens the error message."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise NotebookError(f"{where}: line {line} gives a key again: {error.problem}") from error
    except YAMLError as error:
        raise NotebookError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except NotebookError as error:
        raise NotebookError(f"{where}: {error}") from error


def list_notebooks(folder: Path) -> list[Path]:
    """The chapters: every percent script in the folder, in order."""
    return sorted(folder.glob("*.py"))


def chapter_folder(source: Path) -> Path:
    """The folder in chapters/ that belongs to a notebook.

    It has the longest name with which the notebook's begins, its number left out: 06_lines and
    06_lines_of_ink may share chapters/lines. Raises `NotebookError` when there is none.
    """
    chapters = source.resolve().parent.parent / "chapters"
    name = re.sub(r"^[0-9]+_", "", source.stem)
    known = [
        folder.name for folder in chapters.glob("*/") if f"{name}_".startswith(f"{folder.name}_")
    ]
    if not known:
        raise NotebookError(
            f"{source.name}: has no folder in {chapters.name}/: make {chapters.name}/{name}"
        )
    return chapters / max(known, key=len)


def read_profile(source: Path, profile: str) -> dict[str, Any]:
    """The overrides of a notebook, from the section `profile` of its chapter's profiles.yaml.

    A profile that does not exist is an error.
    """
    path = chapter_folder(source) / "profiles.yaml"
    if not path.is_file():
        raise NotebookError(f"{path}: no such file; it gives the profiles of {source.name}")
    profiles = parse_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    if not isinstance(profiles, dict):
        raise NotebookError(f"{path}: expected `profile: {{parameter: value}}`")
    if profile not in profiles:
        known = ", ".join(map(str, profiles)) or "none"
        raise NotebookError(f"{path}: no such profile: {profile} (known: {known})")
    overrides = profiles[profile] or {}
    if not isinstance(overrides, dict):
        raise NotebookError(
            f"{path}: the overrides of `{profile}` are not `parameter: value` lines"
        )
    return overrides


def checked_overrides(
    defaults: Mapping[str, Any], overrides: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """The overrides in their defaults' types (an int given for a float becomes one).

    An unknown name or another type is an error that says what would be right.
    """
    unknown = [key for key in overrides if key not in defaults]
    if unknown:
        raise NotebookError(
            f"{name}: unknown parameter `{unknown[0]}` (known: {', '.join(defaults) or 'none'})"
        )
    return {
        key: as_type_of(defaults[key], value, f"{name}: parameter `{key}`")
        for key, value in overrides.items()
    }


def as_type_of(default: Any, value: Any, where: str) -> Any:
    """`value` where its type agrees with the default's, else `NotebookError`."""
    if default is None:
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise NotebookError(
            f"{where} is {kind(default)} ({default!r} by default), but {value!r} is {kind(value)}"
        )
    if isinstance(default, list) and default:
        return [as_type_of_any(default, element, where) for element in value]
    return value


def as_type_of_any(examples: list, element: Any, where: str) -> Any:
    exact = [example for example in examples if type(example) is type(element)]
    return as_type_of(exact[0] if exact else examples[0], element, f"{where}: an element")


def kind(value: Any) -> str:
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a mapping",
    }
    return names.get(type(value), "empty" if value is None else f"a {type(value).__name__}")
