"""The rules of the house, each with a planted breach that it notices.

1. `lib` imports `lib`; an attack never reaches what knows the truth.
2. `harness` imports `harness`.
3. What is computed (`runs.py`) never reaches what draws or judges it.
4. A notebook shows its code, in short cells, each after prose that says why; nothing imports it.
5. One name for one idea; no long files, no long lists of parameters that are handed on.
"""

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import percent

ROOT = Path(__file__).resolve().parents[1]
OURS = {"lib", "harness", "chapters", "notebooks", "tools", "benchmarks", "tests"}
ATTACKS = (
    "inversion",
    "likeness",
    "kkt",
    "rowspace",
    "reconstruction",
    "bilevel",
    "unmixing",
    "general_kkt",
)
TRUTH = {f"lib.{name}" for name in ("data", "sets", "images", "matching", "diversity", "models")}
HIDING = {"hide-input", "remove-input", "hide-cell", "remove-cell"}

# Functions that a notebook defines because its section teaches them: {notebook: {function: why}}.
TAUGHT: dict[str, dict[str, str]] = {}
# Public functions of one name in several modules: {name: why one name does not mean one idea}.
NAMESAKES = {
    "unmix": "the same attack twice: rowspace.unmix by FastICA, unmixing.unmix by likelihood",
    "cross_entropy": "a loss with its gradient; a measure in float64, as a plain number",
    "load": "what the module is about: data.load, ledger.load",
    "status": "page.status shows what results.status says",
}

MOST_LINES = 340
MOST_HANDED_ON = 8
MOST_HIDDEN = 1 / 4
MEDIAN_CELL = 8


# --- imports -------------------------------------------------------------------------------------


def name_of(root: Path, path: Path) -> str:
    """lib/data.py -> lib.data; a package's __init__.py -> the package."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def imported(root: Path, path: Path) -> set[str]:
    """Our modules and packages that a file imports, anywhere in it, by their full names."""
    package = path.relative_to(root).parent.parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*above, *([node.module] if node.module else [])])
            names |= {start} | {f"{start}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in OURS and exists(root, name)}


def exists(root: Path, name: str) -> bool:
    place = root.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or place.is_dir()


def modules(root: Path, *folders: str) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            yield name_of(root, path), path


def reached(root: Path, name: str) -> set[str]:
    """The modules of ours that importing a module leads to, itself included."""
    found, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        path = root.joinpath(*name.split(".")).with_suffix(".py")
        if name not in found and path.is_file():
            found.add(name)
            waiting += imported(root, path)
    return found


def strangers(root: Path, folder: str) -> list[str]:
    """Rules 1 and 2: the package imports nothing of ours but itself."""
    return [
        f"{name} imports {other}"
        for name, path in modules(root, folder)
        for other in sorted(imported(root, path))
        if other.split(".")[0] != folder
    ]


def seeing_attacks(root: Path) -> list[str]:
    """Rule 1: attacks that could see the truth."""
    return [
        f"the attack lib.{name} reaches {other}"
        for name in ATTACKS
        for other in sorted(reached(root, f"lib.{name}") & TRUTH)
    ]


def misplaced(root: Path) -> list[str]:
    """Rule 3: imports of a chapter's modules that its place in the house does not allow."""
    found = []
    for name, path in modules(root, "chapters"):
        chapter, kind = ["", *name.split(".")][-2:]
        for other in sorted(imported(root, path)):
            package, *rest = other.split(".")
            if package == "lib" or other in ("harness", "chapters", "chapters.shared"):
                continue
            if package == "chapters" and len(rest) == 1:  # a chapter's folder itself
                continue
            if name == "chapters.shared":
                fits = package == "harness"
            elif kind == "runs":
                fits = other in ("harness.scratch", "harness.stamp")
            else:
                own = rest[:1] == [chapter] and "runs" not in rest
                fits = package == "harness" or own or rest[1:2] == ["reading"]
            if not fits:
                found.append(f"{name} imports {other}")
        if kind == "runs":
            late = {n for n in reached(root, name) if n.split(".")[-1] in ("figures", "evidence")}
            found += [f"{name} reaches {other}" for other in sorted(late)]
    return found


def importers_of_notebooks(root: Path) -> list[str]:
    """Rule 4: nothing imports a notebook."""
    return [
        f"{name} imports {other}"
        for name, path in modules(root, *sorted(OURS))
        for other in sorted(imported(root, path))
        if other.split(".")[0] == "notebooks"
    ]


def test_the_library_imports_itself_alone():
    assert strangers(ROOT, "lib") == []


def test_no_attack_sees_the_truth():
    assert seeing_attacks(ROOT) == []


def test_the_harness_imports_itself_alone():
    assert strangers(ROOT, "harness") == []


def test_what_is_computed_does_not_know_how_it_is_shown():
    assert misplaced(ROOT) == []


def test_nothing_imports_a_notebook():
    assert importers_of_notebooks(ROOT) == []


@pytest.fixture
def house(tmp_path):
    """plant({file: source}) writes a small project, in which these modules exist as well."""
    empty = (
        "lib/data.py", "lib/kkt.py", "lib/losses.py", "lib/matching.py", "harness/files.py",
        "harness/scratch.py", "chapters/shared.py", "chapters/one/runs.py",
        "chapters/one/figures.py", "chapters/one/evidence.py", "chapters/two/runs.py",
        "notebooks/01_one.py",
    )  # fmt: skip

    def plant(files: dict[str, str]) -> Path:
        for name in (*empty, *files):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files.get(name, ""))
        return tmp_path

    return plant


WAYS = [
    "import lib.data",
    "from lib import data",
    "from lib.data import load",
    "from . import data",
    "from .data import load as x",
    "def f():\n    from lib import data",
]


@pytest.mark.parametrize("source", WAYS)
def test_an_attack_that_imports_the_data_is_noticed(house, source):
    assert seeing_attacks(house({"lib/kkt.py": source})) == ["the attack lib.kkt reaches lib.data"]


def test_a_detour_to_the_truth_is_noticed(house):
    root = house({"lib/kkt.py": "from lib import losses", "lib/losses.py": "import lib.matching"})
    assert seeing_attacks(root) == ["the attack lib.kkt reaches lib.matching"]


@pytest.mark.parametrize("source", ["import chapters.shared", "from harness.files import x"])
def test_a_library_that_imports_the_rest_is_noticed(house, source):
    [breach, *_] = strangers(house({"lib/data.py": source}), "lib")
    assert breach.startswith("lib.data imports ")


@pytest.mark.parametrize("source", [*WAYS[:3], "from chapters import shared"])
def test_a_harness_that_knows_the_science_is_noticed(house, source):
    [breach, *_] = strangers(house({"harness/files.py": source}), "harness")
    assert breach.startswith("harness.files imports ")


@pytest.mark.parametrize(
    ("file", "source", "breach"),
    [
        ("one/runs", "from chapters.one import figures", "one.runs imports chapters.one.figures"),
        ("one/runs", "from . import evidence", "one.runs reaches chapters.one.evidence"),
        ("one/runs", "from harness import files", "one.runs imports harness.files"),
        ("two/runs", "from chapters.one.runs import f", "two.runs imports chapters.one.runs"),
        ("one/figures", "from chapters.one import runs", "one.figures imports chapters.one.runs"),
        ("one/evidence", "import chapters.two.runs", "one.evidence imports chapters.two.runs"),
        ("shared", "from chapters.one import figures", "shared imports chapters.one.figures"),
    ],
)
def test_a_chapter_that_mixes_computing_and_showing_is_noticed(house, file, source, breach):
    assert f"chapters.{breach}" in misplaced(house({f"chapters/{file}.py": source}))


def test_what_a_chapter_may_import_is_allowed(house):
    root = house({
        "chapters/shared.py": "from harness import files\nfrom lib import data",
        "chapters/one/runs.py": "from lib import data\nfrom chapters import shared\n"
        "from harness.scratch import kept",
        "chapters/one/figures.py": "from harness import files\nfrom chapters.one import evidence\n"
        "from chapters.shared import f\nfrom lib import data",
    })  # fmt: skip
    assert misplaced(root) == []


def test_an_import_of_a_notebook_is_noticed(house):
    root = house({"chapters/one/figures.py": "from notebooks import x"})
    assert importers_of_notebooks(root) == ["chapters.one.figures imports notebooks"]


# --- notebooks -----------------------------------------------------------------------------------


def lines(cell) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def hidden(cell) -> bool:
    return bool(HIDING & set(percent.cell_tags(cell)))


def first_line(cell) -> str:
    return next(line for line in cell.source.splitlines() if line.strip())


def hiding(cells: list) -> list[str]:
    """At most a quarter of the lines of code is hidden."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    out_of_sight = sum(lines(cell) for cell in code if hidden(cell))
    whole = sum(map(lines, code))
    if out_of_sight <= MOST_HIDDEN * whole:
        return []
    return [f"{out_of_sight} of {whole} lines of code are hidden"]


def lengthy(cells: list) -> list[str]:
    """The median visible cell has at most 8 lines."""
    shown = [lines(cell) for cell in cells if cell.cell_type == "code" and not hidden(cell)]
    median = statistics.median(shown) if shown else 0
    return [f"the median visible cell has {median:g} lines"] if median > MEDIAN_CELL else []


def unexplained(cells: list) -> list[str]:
    """A visible cell stands directly after prose; those that open the notebook are moved away."""
    return [
        f"no prose directly before the cell that starts with: {first_line(cell)}"
        for before, cell in zip([None, *cells], cells)
        if cell.cell_type == "code"
        and not hidden(cell)
        and not {"setup", "parameters"} & set(percent.cell_tags(cell))
        and (before is None or before.cell_type != "markdown")
    ]


def definitions(cells: list, taught: dict[str, str]) -> list[str]:
    """No function or class but those that the section teaches."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {
        node.name
        for cell in cells
        if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, kinds)
    }
    return [f"defines {name}" for name in sorted(defined - taught.keys())] + [
        f"is said to define {name}" for name in sorted(taught.keys() - defined)
    ]


def guards(cells: list) -> list[str]:
    """No statement depends on whether there are results: what is missing says so by itself."""
    return [
        f"a guard: {ast.unparse(node).splitlines()[0]}"
        for cell in cells
        if cell.cell_type == "code"
        for node in ast.parse(cell.source).body
        if isinstance(node, (ast.If, ast.Try))
    ]


NOTEBOOKS = percent.list_notebooks(ROOT / "notebooks")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param


def test_a_notebook_hides_little(notebook):
    assert hiding(percent.read_notebook(notebook).cells) == []


def test_a_notebook_has_short_cells(notebook):
    assert lengthy(percent.read_notebook(notebook).cells) == []


def test_a_notebook_says_why_before_it_shows_how(notebook):
    assert unexplained(percent.read_notebook(notebook).cells) == []


def test_a_notebook_defines_only_what_it_teaches(notebook):
    found = definitions(percent.read_notebook(notebook).cells, TAUGHT.get(notebook.stem, {}))
    assert found == []


def test_a_notebook_does_not_ask_whether_there_are_results(notebook):
    assert guards(percent.read_notebook(notebook).cells) == []


def test_taught_functions_are_those_of_notebooks_that_exist():
    assert TAUGHT.keys() <= {path.stem for path in NOTEBOOKS}


@pytest.fixture
def cells(tmp_path):
    """cells(percent text) -> the cells of that notebook."""

    def read(text: str) -> list:
        header = NOTEBOOKS[0].read_text(encoding="utf-8").split("\n# %%")[0]
        (tmp_path / "own.py").write_text(f"{header}\n{text}")
        return percent.read_notebook(tmp_path / "own.py").cells

    return read


GOOD = """
# %% [markdown]
# Why.

# %%
x = 1
y = 2
z = 3

# %% tags=["remove-input"]
x
"""


def test_a_notebook_that_keeps_the_rules_has_no_breach(cells):
    good = cells(GOOD)
    assert len(good) == 3
    checks = (hiding, lengthy, unexplained, guards)
    assert [check(good) for check in checks] == [[]] * 4 and definitions(good, {}) == []


@pytest.mark.parametrize("tag", sorted(HIDING))
def test_hidden_code_is_noticed(cells, tag):
    text = GOOD + f'\n# %% tags=["{tag}"]\n\nx\n# a comment, too\ny'
    assert hiding(cells(text)) == ["4 of 7 lines of code are hidden"]


def test_long_cells_are_noticed(cells):
    long = "# %%\n" + "x = 1\n" * 9
    assert lengthy(cells(long)) == ["the median visible cell has 9 lines"]
    assert lengthy(cells(long.replace("# %%", '# %% tags=["hide-input"]'))) == []


def test_a_visible_cell_without_prose_is_noticed(cells):
    text = "\n# %%\n# then\nx = 2"
    breach = ["no prose directly before the cell that starts with: # then"]
    assert unexplained(cells(text)) == breach
    assert unexplained(cells(GOOD + text)) == breach
    for tags in ('tags=["setup"]', 'tags=["parameters"]', 'tags=["hide-input"]'):
        assert unexplained(cells(GOOD + text.replace("# %%", f"# %% {tags}"))) == []


def test_definitions_are_noticed(cells):
    text = GOOD + "\n# %%\ndef f():\n    class C: ..."
    assert definitions(cells(text), {}) == ["defines C", "defines f"]
    assert definitions(cells(text), {"f": "why", "C": "why"}) == []
    assert definitions(cells(GOOD), {"f": "why"}) == ["is said to define f"]


@pytest.mark.parametrize("guard", ["if x:\n    y", "try:\n    y\nexcept NameError:\n    pass"])
def test_guards_are_noticed(cells, guard):
    assert guards(cells(GOOD + "\n# %%\n" + guard)) == [f"a guard: {guard.splitlines()[0]}"]


# --- one name for one idea -----------------------------------------------------------------------


def trees(root: Path, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    for name, path in modules(root, *folders):
        yield name, ast.parse(path.read_bytes())


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[ast.arg, ast.expr]]:
    """(parameter, its default or None)."""
    a = node.args
    named = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(named) - len(a.defaults)) + a.defaults
    return [*zip(named, defaults), *zip(a.kwonlyargs, a.kw_defaults)]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return (node for node in ast.walk(tree) if isinstance(node, kinds))


def arithmetic_errors(root: Path) -> list[str]:
    """Exceptions for a number that is not finite."""
    bases = {
        f"{name}.{node.name}": {ast.unparse(base).split(".")[-1] for base in node.bases}
        for name, tree in trees(root, "lib", "harness", "chapters")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"ArithmeticError", "FloatingPointError", "OverflowError", "ZeroDivisionError"}
    while True:
        found = sorted(name for name, above in bases.items() if above & kinds)
        names = {name.split(".")[-1] for name in found}
        if names <= kinds:
            return found
        kinds |= names


def renamers(root: Path) -> list[str]:
    """Modules that put a file in the place of another."""
    found = set()
    for name, tree in trees(root, "lib", "harness", "chapters", "benchmarks"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                if {alias.name for alias in node.names} & {"replace", "rename", "renames"}:
                    found.add(name)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                of_os = ast.unparse(node.func.value) == "os"
                one_target = len(node.args) == 1 and not node.keywords  # str.replace takes two
                if node.func.attr in ("rename", "renames") and (of_os or one_target):
                    found.add(name)
                elif node.func.attr == "replace" and (of_os or one_target):
                    found.add(name)
    return sorted(found)


def steps_in_words(root: Path) -> list[str]:
    """`steps` is a number; the word for a kind of training is `protocol`."""
    return [
        f"{name}.{node.name} has steps in words"
        for name, tree in trees(root, "lib", "harness", "chapters")
        for node in functions(tree)
        for parameter, default in parameters(node)
        if parameter.arg == "steps"
        and (
            "str" in ast.unparse(parameter.annotation or ast.Constant(None)).split(" | ")
            or isinstance(getattr(default, "value", None), str)
        )
    ]


def namesakes(root: Path) -> list[str]:
    """Public functions of one name in several modules of the library and the harness."""
    homes = defaultdict(list)
    for name, tree in trees(root, "lib", "harness"):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    return [
        f"{function} is in {' and in '.join(places)}"
        for function, places in sorted(homes.items())
        if len(places) > 1
    ]


def long_files(root: Path) -> list[str]:
    sizes = [
        (name, len(path.read_text(encoding="utf-8").splitlines()))
        for name, path in modules(root, "lib", "harness")
    ]
    return [f"{name} has {size} lines" for name, size in sizes if size > MOST_LINES]


def handed_on(root: Path) -> list[str]:
    """Runs that pass many of their parameters, unused, to one and the same call."""
    found = []
    for name, tree in trees(root, "chapters"):
        if not name.endswith(".runs"):
            continue
        for node in functions(tree):
            own = {parameter.arg for parameter, _ in parameters(node)}
            for call in ast.walk(node):
                if isinstance(call, ast.Call):
                    given = [*call.args, *(keyword.value for keyword in call.keywords)]
                    passed = sum(isinstance(v, ast.Name) and v.id in own for v in given)
                    if passed > MOST_HANDED_ON:
                        target = ast.unparse(call.func)
                        found.append(f"{name}.{node.name} hands {passed} on to {target}")
    return found


def test_one_exception_says_that_a_loss_is_not_finite():
    assert arithmetic_errors(ROOT) == ["lib.losses.NonFiniteLoss"]


def test_one_function_writes_atomically():
    assert renamers(ROOT) == ["harness.files"]


def test_steps_are_a_number():
    assert steps_in_words(ROOT) == []


def test_a_name_means_one_function():
    found = {breach.split(" ")[0]: breach for breach in namesakes(ROOT)}
    assert [breach for name, breach in found.items() if name not in NAMESAKES] == []
    assert not NAMESAKES.keys() - found.keys(), "these are unique by now"


def test_files_of_the_library_and_the_harness_can_be_read_at_one_sitting():
    assert long_files(ROOT) == []


def test_parameters_that_travel_together_are_one():
    assert handed_on(ROOT) == []


def test_a_second_exception_is_noticed(house):
    root = house({
        "lib/losses.py": "class NonFiniteLoss(ArithmeticError): ...",
        "lib/kkt.py": "from lib import losses\nclass Deep(Far): ...\n"
        "class Far(losses.NonFiniteLoss): ...\nclass Other(ValueError): ...",
    })  # fmt: skip
    assert arithmetic_errors(root) == ["lib.kkt.Deep", "lib.kkt.Far", "lib.losses.NonFiniteLoss"]


@pytest.mark.parametrize(
    "source",
    ["os.replace(a, b)", "from os import replace", "a.replace(b)", "Path(a).rename(b)",
     "os.rename(a, b)"],
)  # fmt: skip
def test_a_second_writer_is_noticed(house, source):
    assert renamers(house({"lib/data.py": source})) == ["lib.data"]


@pytest.mark.parametrize("source", ["'a'.replace('a', 'b')", "dataclasses.replace(a, b=1)"])
def test_other_replacements_are_allowed(house, source):
    assert renamers(house({"lib/data.py": source})) == []


@pytest.mark.parametrize(
    "parameter",
    ["steps: str", "steps='constant'", "*, steps: str | None = None", "*, steps='constant'",
     "n, steps: int | str"],
)  # fmt: skip
def test_steps_in_words_are_noticed(house, parameter):
    root = house({"lib/kkt.py": f"def f({parameter}): ..."})
    assert steps_in_words(root) == ["lib.kkt.f has steps in words"]
    assert not steps_in_words(house({"lib/kkt.py": "def f(n, steps: int = 3, *, to='x'): ..."}))


def test_a_second_function_of_a_name_is_noticed(house):
    root = house({
        "lib/data.py": "def show(): ...\ndef _own(): ...\ndef load(): ...",
        "harness/files.py": "def show(): ...\ndef _own(): ...\nclass C:\n    def load(self): ...",
    })  # fmt: skip
    assert namesakes(root) == ["show is in lib.data and in harness.files"]


def test_a_long_file_is_noticed(house):
    root = house({"lib/data.py": "x = 1\n" * 341, "harness/files.py": "x = 1\n" * 340})
    assert long_files(root) == ["lib.data has 341 lines"]


def test_parameters_handed_on_are_noticed(house):
    names = "abcdefghi"
    source = f"def run({', '.join(names)}):\n    return work({{}}, h, 1, x=i)"
    most = ", ".join(names[:7])
    root = house({"chapters/one/runs.py": source.format(most)})
    assert handed_on(root) == ["chapters.one.runs.run hands 9 on to work"]
    fewer = source.format(most).replace("x=i", "x=i + 1")
    assert handed_on(house({"chapters/one/runs.py": fewer})) == []
