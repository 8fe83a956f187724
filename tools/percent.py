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
import yaml
from nbformat import NotebookNode

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
        raise NotebookError(f"{path}: the header names no kernelspec; copy the header of another chapter")
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
    tagged = [cell for cell in notebook.cells if cell.cell_type == "code" and "parameters" in cell_tags(cell)]
    if len(tagged) != 1:
        raise NotebookError(f"{name}: needs exactly one code cell tagged `parameters`, found {len(tagged)}")
    return tagged[0]


def literal_assignments(source: str, name: str) -> dict[str, tuple[Any, ast.expr]]:
    """Parameter name -> (default, its syntax node), from `name = literal` and `name: type = literal`."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"{name}: the parameters cell is not Python: {error.msg} (line {error.lineno})") from error
    found: dict[str, tuple[Any, ast.expr]] = {}
    for statement in statements:
        target, value = assignment_parts(statement, name)
        if target in found:
            raise NotebookError(f"{name}: parameter `{target}` is assigned twice in the parameters cell")
        found[target] = (literal_value(value, target, name), value)
    return found


def assignment_parts(statement: ast.stmt, name: str) -> tuple[str, ast.expr]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
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


class _PlainYaml(yaml.SafeLoader):
    """YAML 1.2's core types: `yes` is text, `1e-3` a number; doubtful spellings are errors."""

    yaml_implicit_resolvers: dict[str, list] = {}


_INTEGER = re.compile(r"[-+]?(?:0x[0-9a-fA-F]+|0o[0-7]+|[0-9]+)$")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|[-+]?\.inf$|\.nan$")


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if re.match(r"[-+]?0[0-9]", text):
        plain = text.lstrip("+-0") or "0"
        raise NotebookError(f"`{text}` is 8-based in one YAML and 10-based in another; write {plain}, or '\"{text}\"' for text")
    return int(text, 0)


def _construct_float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node).replace(".inf", "inf").replace(".nan", "nan"))


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = [str(key) for key, count in Counter(map(str, keys)).items() if count > 1]
    if repeated:
        raise NotebookError(f"`{repeated[0]}` is given twice (line {node.start_mark.line + 1})")
    return loader.construct_mapping(node, deep=True)


_PlainYaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_PlainYaml.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:null|Null|NULL|~|)$"), ["n", "N", "~", ""])
_PlainYaml.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("+-0123456789"))
_PlainYaml.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("+-.0123456789"))
_PlainYaml.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_PlainYaml.add_constructor("tag:yaml.org,2002:float", _construct_float)
_PlainYaml.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def parse_yaml(text: str, where: str) -> Any:
    """Parse one YAML document; `where` opens the error message."""
    try:
        return yaml.load(text, Loader=_PlainYaml)
    except yaml.YAMLError as error:
        raise NotebookError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except NotebookError as error:
        raise NotebookError(f"{where}: {error}") from error


def list_notebooks(folder: Path) -> list[Path]:
    """The chapters: every percent script in the folder, in order."""
    return sorted(folder.glob("*.py"))


def read_profile(folder: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Notebook stem -> overrides, from `folder/profiles/<profile>.yaml`.

    A profile that does not exist, or names a notebook that is not in `folder`, is an error.
    """
    path = folder / "profiles" / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise NotebookError(f"{path}: no such profile (known: {known})")
    overrides = parse_yaml(path.read_text(encoding="utf-8"), str(path)) or {}
    if not isinstance(overrides, dict):
        raise NotebookError(f"{path}: expected `notebook: {{parameter: value}}`")
    stems = [notebook.stem for notebook in list_notebooks(folder)]
    for stem, values in overrides.items():
        if stem not in stems:
            raise NotebookError(f"{path}: there is no notebook `{stem}` (known: {', '.join(stems) or 'none'})")
        if not isinstance(values or {}, dict):
            raise NotebookError(f"{path}: the overrides of `{stem}` are not `parameter: value` lines")
    return {stem: dict(values or {}) for stem, values in overrides.items()}


def checked_overrides(defaults: Mapping[str, Any], overrides: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The overrides in their defaults' types (an int given for a float becomes one).

    An unknown name or another type is an error that says what would be right.
    """
    unknown = [key for key in overrides if key not in defaults]
    if unknown:
        raise NotebookError(f"{name}: unknown parameter `{unknown[0]}` (known: {', '.join(defaults) or 'none'})")
    return {key: as_type_of(defaults[key], value, f"{name}: parameter `{key}`") for key, value in overrides.items()}


def as_type_of(default: Any, value: Any, where: str) -> Any:
    """`value` where its type agrees with the default's, else `NotebookError`."""
    if default is None:
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise NotebookError(f"{where} is {kind(default)} ({default!r} by default), but {value!r} is {kind(value)}")
    if isinstance(default, list) and default:
        return [as_type_of_any(default, element, where) for element in value]
    return value


def as_type_of_any(examples: list, element: Any, where: str) -> Any:
    exact = [example for example in examples if type(example) is type(element)]
    return as_type_of(exact[0] if exact else examples[0], element, f"{where}: an element")


def kind(value: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(value), "empty" if value is None else f"a {type(value).__name__}")
