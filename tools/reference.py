"""Reference pages of `lib` and `harness`, made from the source: signatures and docstrings.

Nothing is imported, so a page costs a fraction of a second. Docstrings are prose with unicode
formulas, and not of any markup: names in backticks, shapes such as [n, c, h, w], sections `Args:`,
`Returns:` and `Raises:`, indented lines for code.
"""

import ast
import functools
import io
import re
import shutil
import textwrap
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TITLES = {"lib": "The library", "harness": "The harness"}
LINE = 68  # characters of a signature that stands in one line
INTRODUCTION = {
    "lib": "What a project of your own would import: `from lib import data, rowspace`.",
    "harness": "What runs a chapter's computations, keeps, judges and shows them.",
}
READING = (
    "Made from the signatures and docstrings of the source. Shapes stand in brackets, papers are "
    "called by their numbers, and symbols are those of [](notation)."
)
SECTION = re.compile(r"(Args|Returns|Raises):\n(?=\s)")
ITEM = re.compile(r"(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*): (?P<text>.*)", re.DOTALL)
Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Module(NamedTuple):
    name: str  # such as lib.data
    path: str  # from the repository's folder
    source: str
    doc: str
    entries: list[Defined]  # what is public, in the order of the file

    @property
    def short(self) -> str:
        return self.name.partition(".")[2]


def page_names(root: Path) -> dict[str, str]:
    """Package -> its page as _toc.yml names it, for the packages that there are."""
    return {
        package: f"book/reference-{package}"
        for package in TITLES
        if (root / package / "__init__.py").is_file()
    }


def read_modules(root: Path, package: str) -> list[Module]:
    """The modules of a package that have anything public, in alphabetical order."""
    found = []
    for path in sorted((root / package).glob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        entries = [
            one for one in tree.body if isinstance(one, Defined) and not one.name.startswith("_")
        ]
        if entries:
            doc = ast.get_docstring(tree) or ""
            where = f"{package}/{path.name}"
            found.append(Module(f"{package}.{path.stem}", where, source, doc, entries))
    return found


def label(module: Module, node: Defined | None = None) -> str:
    """Where a link leads; labels know no capitals, so a class has a mark of its own."""
    if node is None:
        return module.name.replace(".", "-")
    kind = "-class" if isinstance(node, ast.ClassDef) else ""
    return f"{module.name.replace('.', '-')}-{node.name}{kind}".lower()


# --- prose ----------------------------------------------------------------------------------


class Prose:
    """Docstrings of one module as Markdown; a name in backticks that has an entry is a link."""

    def __init__(self, modules: list[Module], module: Module) -> None:
        package = module.name.partition(".")[0]
        self.targets = {node.name: label(module, node) for node in module.entries}
        for other in modules:
            self.targets |= {other.name: label(other)}
            for node in other.entries:
                self.targets[f"{other.short}.{node.name}"] = label(other, node)
                self.targets[f"{package}.{other.short}.{node.name}"] = label(other, node)

    def code(self, text: str, own: str = "") -> str:
        text = text.replace("`", "")
        target = self.targets.get(text.removesuffix("()"))
        return f"[`{text}`](#{target})" if target and text != own else f"`{text}`"

    def line(self, text: str, known: frozenset[str] = frozenset(), own: str = "") -> str:
        """One paragraph, or a piece of one. known: parameters, set as code where a colon follows.

        own: the name that is described, which needs no link to itself.
        """
        text = " ".join(text.split()).replace(" -> ", " → ")
        names = "|".join(sorted(map(re.escape, known), key=len, reverse=True)) or r"(?!)"
        pieces = re.compile(
            r"`(?P<code>[^`]+)`|(?<![\w*])\*(?P<stressed>[a-z]+)\*(?![\w*])"
            rf"|(?<![\w.])(?P<known>(?:{names})(?:, (?:{names}))*)(?=:(?: |$)| \[)"
            r"|(?P<shape>\[(?=[^\]]*[A-Za-z])[A-Za-z0-9_*·+., ]+\])"
            r"|(?<!\w)(?P<snake>[a-z]+_[a-z]\w+|[a-z]{2,}\w*_\w+|[A-Z]{2,}_[A-Z]\w+)(?!\w)"
            r"|(?<!\w)(?P<base>[A-Za-zΑ-ω])_(?P<sub>\{[^}]*\}|\w+)(?:\^(?P<sup>\w+))?"
        )
        found, last = [], 0
        for match in pieces.finditer(text):
            found.append(escaped(text[last : match.start()]))
            found.append(self.piece(match, own))
            last = match.end()
        return "".join([*found, escaped(text[last:])])

    def piece(self, match: re.Match, own: str) -> str:
        if match["code"]:
            return self.code(match["code"], own)
        if match["stressed"]:
            return f"*{match['stressed']}*"
        if match["known"]:
            return ", ".join(f"`{name}`" for name in match["known"].split(", "))
        if match["base"]:
            below = f"<sub>{escaped(match['sub'].strip('{}'))}</sub>"
            above = f"<sup>{escaped(match['sup'])}</sup>" if match["sup"] else ""
            return escaped(match["base"]) + below + above
        return f"`{match['shape'] or match['snake']}`"

    def text(self, doc: str, known: frozenset[str] = frozenset(), own: str = "") -> str:
        """A whole docstring."""
        parts = []
        for block in filter(str.strip, re.split(r"\n\s*\n", doc.strip("\n"))):
            if section := SECTION.match(block):
                parts.append(self.section(section[1], block[section.end() :], known, own))
            elif all(line.startswith("    ") for line in block.splitlines()):
                parts.append(literal(textwrap.dedent(block), joined=parts))
            elif block.startswith("- "):
                items = re.split(r"\n- ", block[2:])
                parts.append("\n".join(f"- {self.line(item, known, own)}" for item in items))
            else:
                parts.append(self.line(block, known, own))
        return "\n\n".join(filter(None, parts))

    def section(self, name: str, body: str, known: frozenset[str], own: str) -> str:
        """`Args:` as a list; the others as one paragraph each."""
        body = textwrap.dedent(body)
        if name != "Args":
            return f"*{name}* {self.line(body, known, own)}"
        items = []
        for item in re.split(r"\n(?=\S)", body):
            match = ITEM.fullmatch(item)
            names, text = (match["names"], match["text"]) if match else ("", item)
            code = ", ".join(f"`{name}`" for name in names.split(", ")) + ": " if names else ""
            items.append(f"- {code}{self.line(text, known, own)}")
        return "\n".join(items)


def escaped(text: str) -> str:
    """Plain text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#$~|!^@&+-])", r"\\\1", text)


def literal(text: str, joined: list[str]) -> str:
    """Lines as they are; Python where they are Python. Blank lines between such blocks remain."""
    try:
        ast.parse(text)
        language = "python"
    except SyntaxError:
        language = "text"
    before = joined[-1] if joined else ""
    if before.startswith(f"```{language}\n"):
        joined[-1] = ""
        text = before.removeprefix(f"```{language}\n").removesuffix("\n```") + f"\n\n{text}"
    return f"```{language}\n{text}\n```"


# --- entries --------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A public function or class with the module around it, as text."""

    module: Module
    node: Defined
    comments: dict[int, str]  # line -> what stands there after a #

    @property
    def fields(self) -> list[ast.AnnAssign]:
        """Of a dataclass, a NamedTuple or a protocol."""
        found = self.node.body if isinstance(self.node, ast.ClassDef) else []
        return [
            node
            for node in found
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id[0] != "_"
        ]

    def method(self, name: str) -> ast.FunctionDef | None:
        return next((n for n in self.methods() if n.name == name), None)

    def methods(self) -> Iterator[ast.FunctionDef]:
        return (node for node in self.node.body if isinstance(node, ast.FunctionDef))

    def is_made_of_fields(self) -> bool:
        marks = [ast.unparse(n) for n in [*self.node.decorator_list, *self.node.bases]]
        return any(re.match(r"(dataclasses\.)?dataclass\b|NamedTuple$", mark) for mark in marks)

    def known(self) -> frozenset[str]:
        """Names of parameters and fields."""
        if isinstance(self.node, ast.ClassDef):
            made = self.method("__init__")
            named = made and [arg.arg for arg in arguments(made)]
            return frozenset([*(named or []), *(node.target.id for node in self.fields)])
        return frozenset(arg.arg for arg in arguments(self.node))

    def parts(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
        """The parameters of a function as they are written, without `self`."""
        a = node.args
        named = [*a.posonlyargs, *a.args]
        defaults = [None] * (len(named) - len(a.defaults)) + a.defaults
        found = [self.part(arg, default) for arg, default in zip(named, defaults)]
        if a.posonlyargs:
            found.insert(len(a.posonlyargs), "/")
        if a.vararg:
            found.append(f"*{self.part(a.vararg)}")
        elif a.kwonlyargs:
            found.append("*")
        found += [self.part(arg, default) for arg, default in zip(a.kwonlyargs, a.kw_defaults)]
        if a.kwarg:
            found.append(f"**{self.part(a.kwarg)}")
        return [part for part in found if part not in ("self", "cls")]

    def part(self, arg: ast.arg, default: ast.expr | None = None) -> str:
        typed = f"{arg.arg}: {self.flat(arg.annotation)}" if arg.annotation else arg.arg
        if default is None:
            return typed
        return f"{typed}{' = ' if arg.annotation else '='}{self.flat(default)}"

    def flat(self, node: ast.AST) -> str:
        """A piece of the source in one line."""
        lines = encoded_lines(self.module.source)[node.lineno - 1 : node.end_lineno]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return " ".join(b" ".join(lines).decode().split())

    def call(self, name: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        returns = self.flat(node.returns) if node.returns else "None"
        if "contextmanager" in map(ast.unparse, node.decorator_list):
            name, given = f"with {name}", returns.removeprefix("Iterator[").removesuffix("]")
            after = "" if given == "None" else f" as {given}"
        else:
            after = "" if returns == "None" else f" -> {returns}"
        return laid_out(name, self.parts(node), after)

    def signature(self) -> str:
        node = self.node
        if not isinstance(node, ast.ClassDef):
            return self.call(node.name, node)
        if made := self.method("__init__"):
            return "class " + self.call(node.name, made)
        if self.fields and self.is_made_of_fields():
            return "class " + laid_out(node.name, [self.field(one) for one in self.fields], "")
        return laid_out(f"class {node.name}", [self.flat(base) for base in node.bases], "")

    def field(self, node: ast.AnnAssign) -> str:
        typed = f"{node.target.id}: {self.flat(node.annotation)}"
        if node.value is None:
            return typed
        value = self.flat(node.value)
        return f"{typed} = {'...' if value.startswith('field(') else value}"

    def comment(self, first: int, last: int) -> str:
        """What a line's # says, with the lines of comment alone that follow it."""
        words = [self.comments[last].strip()] if last in self.comments else []
        lines = self.module.source.splitlines()
        while words and lines[last : last + 1] and lines[last].strip().startswith("#"):
            last += 1
            words.append(self.comments[last].strip())
        return " ".join(words)


@functools.cache
def encoded_lines(source: str) -> list[bytes]:
    """The lines of a source; a syntax tree counts bytes."""
    return [line.encode() for line in source.split("\n")]


def arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    a = node.args
    found = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
    return [arg for arg in found if arg.arg not in ("self", "cls")]


def laid_out(name: str, parts: list[str], after: str) -> str:
    """In one line if it fits, else a line a parameter."""
    if not parts and name.startswith("class "):
        return f"{name}{after}"
    short = f"{name}({', '.join(parts)}){after}"
    if len(short) <= LINE:
        return short
    return "\n".join([f"{name}(", *(f"    {part}," for part in parts), f"){after}"])


def comments_of(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("#") for t in tokens if t.type == tokenize.COMMENT}


def describe(entry: Entry, prose: Prose) -> str:
    """The section of one function or class."""
    node, known = entry.node, entry.known()
    parts = [
        f"({label(entry.module, node)})=\n### `{entry.module.short}.{node.name}`",
        f"```python\n{entry.signature()}\n```",
        prose.text(ast.get_docstring(node) or "", known, node.name),
    ]
    if isinstance(node, ast.ClassDef):
        init = entry.method("__init__")
        if init and (doc := ast.get_docstring(init)):
            parts.append(prose.text(doc, known, node.name))
        fields = [
            f"- `{one.target.id}`: {prose.line(comment, known)}"
            for one in entry.fields
            if (comment := entry.comment(one.lineno, one.end_lineno))
        ]
        parts += ["\n".join(fields), "\n".join(methods(entry, prose))]
    return "\n\n".join(filter(None, parts))


def methods(entry: Entry, prose: Prose) -> Iterator[str]:
    """A line for each method that says what it does."""
    for node in entry.methods():
        public = node.name[0] != "_" or node.name == "__call__"
        above = [ast.unparse(one) for one in node.decorator_list]
        said = ast.get_docstring(node) or entry.comment(node.lineno, node.body[0].lineno - 1)
        if not public or not said:
            continue
        known = frozenset(arg.arg for arg in arguments(node))
        name = "" if node.name == "__call__" else f".{node.name}"
        returns = f" -> {entry.flat(node.returns)}" if node.returns else ""
        inside = "" if "property" in above else f"({', '.join(entry.parts(node))})"
        text = prose.text(said, known)
        first, *rest = text.split("\n\n")
        shown = f"{name}{inside}{returns.removesuffix(' -> None')}"
        called = "" if name else "called as "
        more = [textwrap.indent(paragraph, "  ") for paragraph in rest]
        yield "\n\n".join([f"- {called}`{shown}`: {first}", *more])


# --- pages ----------------------------------------------------------------------------------


def write_page(root: Path, package: str) -> str:
    """The reference of one package as a MyST page."""
    modules = read_modules(root, package)
    doc = ast.get_docstring(ast.parse((root / package / "__init__.py").read_text("utf-8"))) or ""
    contents, sections = [], []
    for module in modules:
        prose = Prose(modules, module)
        first, _, rest = module.doc.partition("\n\n")
        contents.append(f"- [`{module.name}`](#{label(module)}): {prose.line(first)}")
        source = f'<a href="../source/{module.path}"><code>{module.path}</code></a>'
        sections += [
            f"({label(module)})=\n## `{module.name}`",
            prose.line(first),
            prose.text(rest),
            f"Source: {source}.",
        ]
        comments = comments_of(module.source)
        sections += [describe(Entry(module, node, comments), prose) for node in module.entries]
    about = f"{Prose(modules, modules[0]).line(doc)} {INTRODUCTION[package]}"
    head = [f"# {TITLES[package]}: `{package}`", about, READING]
    return "\n\n".join(filter(None, [*head, "\n".join(contents), *sections])) + "\n"


def write_pages(root: Path, target: Path) -> None:
    """Write the pages, and the sources that they link to, below an assembled folder."""
    for package, page in page_names(root).items():
        (target / f"{page}.md").write_text(write_page(root, package), encoding="utf-8")
        sources = target / "_extra" / "source" / package
        sources.mkdir(parents=True, exist_ok=True)
        for path in sorted((root / package).glob("*.py")):
            shutil.copy(path, sources)
