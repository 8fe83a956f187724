"""Stamps of code: what changes them, what keeps them, and which code they are of."""

import importlib
import os
import re
import sys
import textwrap

import pytest

from harness import stamp as stamps
from harness.stamp import stamp

SOURCE = '''
"""What the module is for."""
import math  # the usual


def area(r):
    """Of a circle."""
    # squared
    return math.pi * r**2


TEXT = """kept
   # also kept

"""
'''


# --- what a function reaches; `toy` is a package, `run` in toy/runs.py the function

TOY = {
    "__init__": "",
    "runs": "from toy import a\n\ndef run():\n    return a.f()\n",
    "a": "def f():\n    from .b import g\n    return g()\n",
    "b": "import math\nSIZE = 1\ndef g(): return SIZE\ndef unused(): return math.pi\n",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A function that writes modules of the package and returns the stamp of `run`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def forget():
        for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
            del sys.modules[name]

    def write(**modules):
        for name, text in modules.items():
            path = tmp_path / "toy" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        forget()
        importlib.invalidate_caches()
        stamps.watch("toy")
        return stamp(importlib.import_module("toy.runs").run)

    write(**TOY)
    yield write
    forget()


def changed(before, after):
    """Modules whose hash differs; none when the whole fingerprint is the same."""
    old, new = before.modules, after.modules
    if before.digest == after.digest:
        return set()
    assert old != new
    return {m for m in {*old, *new} if old.get(m) != new.get(m)}


def test_comments_docstrings_and_layout_do_not_count(toy):
    run = SOURCE + "def run(): return area, TEXT"
    before = toy(runs=run)
    reworded = run.replace("Of a circle.", "Area of a disc,\n\n    in two lines.")
    reworded = reworded.replace("    # squared\n", "\n\n").replace("  # the usual", "")
    reworded = reworded.replace('"""What the module is for."""', "'other quotes'")
    reworded = reworded.replace("math.pi * r**2", "(\n        math.pi\n        * (r ** 2))")
    assert reworded.count("other quotes") == 1 and changed(before, toy(runs=reworded)) == set()
    assert changed(before, toy(runs=run.replace("\n", "\r\n"))) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [("r**2", "r**3"), ("# also kept", "# changed"), ("kept\n\n", "kept\n"), ("math.pi", "3"),
     ("area(r)", "area(r: int)"), ("r", "q")],
)  # fmt: skip
def test_code_parameters_and_the_inside_of_strings_do_count(toy, old, new):
    source = SOURCE.strip() + "\ndef run(): return area, TEXT"
    before = toy(runs=source)
    edited = source.replace("(r)", "(q)").replace("r**2", "q**2") if old == "r" else None
    assert changed(before, toy(runs=edited or source.replace(old, new))) == {"toy.runs"}


def test_what_is_hashed_is_exact(toy):
    """The digest must be the same in every Python version and on every machine."""
    assert toy().digest == "1053249e68af7131"


def test_a_change_far_down_changes_the_stamp_and_is_named(toy):
    before = toy()
    assert before.modules.keys() == {"toy.runs", "toy.a", "toy.b"}
    assert changed(before, toy(b=TOY["b"].replace("= 1", "= 2"))) == {"toy.b"}
    assert changed(before, toy(b=TOY["b"], a=TOY["a"].replace("g()\n", "g() + 1\n"))) == {"toy.a"}
    assert changed(before, toy(**TOY)) == set()


def test_what_is_not_reached_or_said_does_not_count(toy):
    before = toy()
    for rest in (
        "import math\nSIZE = 1  # big\n\n\ndef g(): return SIZE\n",  # a function is gone
        "import math, os\nimport numpy as np\n" + TOY["b"] + "X = {1: SIZE}\nclass New: pass",
        "SIZE = 1\ndef unused(): return 2\ndef g(): return SIZE\nimport math",  # another order
    ):
        assert changed(before, toy(b='"""What it is for."""\n' + rest)) == set(), rest
    assert changed(before, toy(more="print('never imported')")) == set()


def test_files_are_those_of_what_is_reached(toy, tmp_path):
    run = "from toy import a, idle\nfrom harness import files, stamp\n"
    found = toy(runs=run + "def run(): return files, a.f()", idle="X = 1")
    assert set(found.files) == {tmp_path / "toy" / f"{n}.py" for n in ("runs", "a", "b")}


# A module x of which only the function f is used.
X = """
    import math
    BASE = 1
    SIZE: int = BASE
    SIZE += 1
    LOW, (HIGH, *REST) = 1, (2, 3)
    class Base:
        def inherited(self): return LOW
    class Kept(Base):
        width = HIGH
        def method(self): return helper()
    def default(): return 1
    def helper(a=SIZE) -> "unknown": return math.pi
    def twice(function): return function
    @twice
    def f(*_): return Kept()
    def g(): return 1
    def unused(): return OTHER
    OTHER = 1
    class Other(Base): pass
"""


@pytest.mark.parametrize(
    "run",
    [
        "from toy import x\ndef run(): return x.f()",
        "from toy import x as y\ndef run(): return y.f()",
        "from . import x\ndef run(): return x.f()",
        "from .x import f as used\ndef run(): return used()",
        "import toy.x\ndef run(): return toy.x.f()",
        "import toy.x as y\ndef run(): return y.f().width",
        "def run():\n    import toy.x as y\n    return y.f()",
        "def run():\n    def inner():\n        from .x import f\n        return f\n    return inner",
        "from toy.x import f\nTABLE = {1: f}\ndef run(n=1): return TABLE[n]()",
        "from toy.x import f\nclass A:\n    def m(self): return f()\ndef run(a=A): return a().m()",
        "import toy.x\nclass A(type(toy.x.f())): pass\ndef run(): return A()",
        "from toy import x\ndef run(a: x.f): return 1",
        "from toy import x\n@x.f\ndef helper(): return 1\ndef run(): return helper()",
        "class A:\n    from toy.x import f\ndef run(): return A.f()",
        "try:\n    from toy import x\nexcept ImportError:\n    raise\ndef run(): return x.f()",
        "from toy import y\ndef run(): return y.x.f()",
        "from toy.y import x\ndef run(): return x.f()",
        "from toy import y\ndef run(): return y.f_of_x()",
    ],
)
def test_every_way_to_a_definition_is_followed_and_only_to_it(toy, run):
    y = "from . import x\nfrom .x import f as f_of_x\nUNUSED = 1"
    before = toy(runs=run, x=X, y=y)
    for counts in (
        ("return Kept()", "return 1 and Kept()"),
        ("def inherited", "def other"),
        ("width = HIGH", "width = -HIGH"),
        ("return helper()", "return 1"),
        ("a=SIZE", "a=2"),
        ("unknown", "known"),
        ("BASE = 1", "BASE = 2"),
        ("SIZE += 1", "SIZE += 2"),
        ("1, (2, 3)", "0, (2, 3)"),
        ("    @twice", ""),
        ("return function", "return 1 and function"),
        ("import math", "import numpy as math"),
    ):
        assert changed(before, toy(x=X.replace(*counts))) == {"toy.x"}, counts
    for idle in (
        ("OTHER = 1", "OTHER = 2"),
        ("def default(): return 1", "import os"),
        ("def g(): return 1", "def g(): return 2"),
        ("return OTHER", "return 0"),
        ("class Other(Base): pass", "class Other: pass"),
    ):
        assert changed(before, toy(x=X.replace(*idle))) == set(), idle
    assert changed(before, toy(x=X, y=y.replace("UNUSED = 1", "UNUSED = 2"))) == set()


@pytest.mark.parametrize(
    "run",
    [
        "from toy import x\ndef run(name='g'): return getattr(x, name)()",
        "import inspect\nfrom toy import x\ndef run(): return inspect.getsource(x)",
        "import toy.x as y\nMODULES = [y]\ndef run(): return MODULES[0].g()",
        "from toy import x\ndef run(): return x.__dict__['g']",
        "import toy\ndef run(): return toy.x",
        "import toy\ndef run(name='x'): return getattr(toy, name)",
        "class A:\n    from toy import x\ndef run(): return A.x.g()",
        "def run():\n    from toy import x\n    return x",
        "from toy import x\ndef wrapped(): return x.f\nrun = (lambda: x)",
        "from toy.x import globals_of_x\ndef run(): return globals_of_x()['g']",
    ],
)
def test_a_module_that_is_used_otherwise_counts_as_a_whole(toy, run):
    x = X + "    def globals_of_x(): return globals()\n"
    before = toy(runs=run, x=x)
    for counts in (("OTHER = 1", "OTHER = 2"), ("class Other(Base)", "class Other")):
        assert "toy.x" in changed(before, toy(x=x.replace(*counts)))
    assert "toy.x" in changed(before, toy(x=x + "    NEW = 1"))
    assert changed(before, toy(x=x + "    # a comment")) == set()


@pytest.mark.parametrize(
    ("statement", "new"),
    [
        ("if LIMIT: pass", "if not LIMIT: pass"),
        ("for i in (1,): pass", "for i in (2,): pass"),
        ("with open(__file__) as file: pass", "with open(__file__, 'rb') as file: pass"),
        ("try: import json\nexcept ImportError: pass", "try: import csv\nexcept ImportError: pass"),
        ("change(1)", "change(2)"),
        ("change(LIMIT)", "LIMIT = 2; change(LIMIT)"),
        ("TABLE['a'] = 1", "TABLE['a'] = 2"),
        ("TABLE.kind, x = 1, 1", "TABLE.kind, x = 2, 1"),
        ("TABLE |= {1: 1}; change(TABLE)", "TABLE |= {1: 2}; change(TABLE)"),
        ("assert LIMIT", "assert LIMIT > 0"),
        ("change(1); change(2)", "change(2); change(1)"),
        ("@change\ndef unused(): return 1", "@change\ndef unused(): return 2"),
        ("@TABLE.add(1)\nclass Unused: x = 1", "@TABLE.add(1)\nclass Unused: x = 2"),
        ("class Unused: x = change(1)", "class Unused: x = change(2)"),
        ("class Unused:\n @change\n def m(s): pass", "class Unused:\n @change\n def n(s): pass"),
        ("def unused(a=change(1)): pass", "def unused(a=change(2)): pass"),
        ("from toy.y import *", "from toy.y import *; from toy.loud import *"),
    ],
)
def test_what_loading_a_module_does_counts_when_it_is_only_imported(toy, statement, new):
    x = "import types\nLIMIT = 1\nclass Table(dict):\n    def add(self, a): return change\n"
    x += "TABLE = Table()\ndef change(x): return x\nIDLE = 1\n"
    run = "from toy import x as unused\ndef run(): return 1"
    before = toy(runs=run, x=x + statement, y="", loud="print()")
    assert {"toy.x", "toy.loud"} & changed(before, toy(x=x + new))
    assert changed(before, toy(x=(x + statement).replace("IDLE = 1", "IDLE = 2"))) == set()


@pytest.mark.parametrize(
    ("statement", "new"),
    [
        ("def unused(a=LIMIT): return change()", "def unused(a=1): return 1"),
        ("@cache\ndef unused(): return 1", "@cache\ndef unused(): return 2"),
        ("@dataclass\nclass Unused: a: int", "@dataclass(frozen=True)\nclass Unused: b: int"),
        ("class Unused(Table): a = LIMIT", "class Unused(Table): a = 2 * LIMIT"),
        ("UNUSED = tuple(i + LIMIT for i in (1, 2))", "UNUSED = dict(a=LIMIT)"),
        ("UNUSED = Path('a')", "UNUSED = Path('b')"),
        ("UNUSED = change()", "UNUSED = f()"),
        ("UNUSED: int", "UNUSED: str"),
        ("'text'", "..."),
    ],
)
def test_definitions_that_nothing_names_do_not_count(toy, statement, new):
    x = "from functools import cache\nfrom dataclasses import dataclass\nfrom pathlib import Path\n"
    x += "LIMIT = 1\nclass Table: pass\ndef change(): return 1\ndef f(): return 1\n"
    before = toy(runs="from toy import x\ndef run(): return x.f()", x=x + statement)
    assert changed(before, toy(x=x + new)) == set()


def test_loading_counts_through_packages_and_unused_imports(toy):
    run = "from toy.inner import x\ndef run(): return x.f()"
    files = {"inner/x": "def f(): return 1", "inner/__init__": "", "z": "", "__init__": ""}
    before = toy(runs=run, **files)
    assert before.modules.keys() == {"toy.runs", "toy.inner.x"}
    assert changed(before, toy(**{"inner/__init__": "print()"})) == {"toy.inner"}
    unused = {"inner/__init__": "from toy import z", "z": "print()"}
    assert changed(before, toy(**unused)) == {"toy.z"}
    assert changed(before, toy(**{"inner/__init__": "", "__init__": "print()"})) == {"toy"}


def test_a_package_may_name_its_definitions_like_its_modules(toy):
    run = "from toy.inner import f\ndef run(): return f()"
    files = {"inner/__init__": "from .f import f\nfrom .g import g", "inner/g": "def g(): return 3"}
    before = toy(runs=run, **files, **{"inner/f": "def f(): return 1"})
    assert "toy.inner.f" in changed(before, toy(**{"inner/f": "def f(): return 2"}))
    other = toy(**{"inner/__init__": "from .g import g as f", "inner/f": "def f(): return 1"})
    assert {"toy.inner", "toy.inner.g"} <= changed(before, other)


def test_circular_imports_end(toy):
    before = toy(
        runs="from toy import x\ndef run(): return x.f()",
        x="from toy import y\ndef f(): return y.g\ndef other(): return 1",
        y="from toy import x\ndef g():\n    from toy.x import none\n    return x.f() + none",
    )
    assert before.modules.keys() == {"toy.runs", "toy.x", "toy.y"}


def test_the_order_counts_where_it_matters(toy):
    run = "A = 1\nB = A\nA = 2\ndef f(): return A\ndef run(): return B + f()\n"
    before = toy(runs=run)
    assert changed(before, toy(runs=run.replace("B = A\nA = 2", "A = 2\nB = A"))) == {"toy.runs"}
    moved = run.replace("def f(): return A\n", "") + "def f(): return A\n"
    assert changed(before, toy(runs=moved)) == set()


@pytest.mark.parametrize(
    "run",
    [
        "def outer():\n    def run(): return 1\n    return run\nrun = outer()",
        "run = lambda: 1",
        "class A:\n    def run(self): return 1\nrun = A.run",
        "import functools\ndef other(): return 1\n@functools.wraps(other)\ndef run(): return 2",
    ],
)
def test_a_function_that_no_definition_of_its_name_made_counts_with_its_module(toy, run):
    before = toy(runs=run + "\nIDLE = 1")
    assert changed(before, toy(runs=run + "\nIDLE = 2")) == {"toy.runs"}


def test_statements_that_share_a_line_and_odd_layouts(toy):
    run = 'A = """1\n"""; B = 2; C = 3\n@(\n    staticmethod)\ndef run(): return B\n'
    before = toy(runs=run)
    assert changed(before, toy(runs=run.replace("B = 2", "B = 4"))) == {"toy.runs"}
    assert changed(before, toy(runs=run.replace("staticmethod", "classmethod"))) == {"toy.runs"}
    odd = "# coding: utf-8\n# encoding: of what\n\n" + run.replace("\n", "\r\n")
    assert changed(before, toy(runs=odd)) == set()


# --- moved, renamed, imported in another way

F = "import math\nSIZE = 2\ndef f(a):\n    return f(a - 1) if a else math.pi * SIZE\n"
PLAIN = "from toy import x\ndef run(a): return x.f(a)"


@pytest.mark.parametrize(
    "files",
    [
        {"runs": "from toy.x import f\ndef run(a): return f(a)"},
        {"runs": "import toy.x as other\ndef run(a): return other.f(a)"},
        {"runs": "from toy.x import *\ndef run(a): return f(a)"},
        {"runs": PLAIN, "x": "from toy.y import f", "y": F},
        {"runs": PLAIN, "x": "from toy.y import *", "y": F},
        {"runs": "from toy.inner.deep import f\ndef run(a): return f(a)", "inner/__init__": "",
         "inner/deep": F, "x": ""},
        {"runs": F + "def run(a): return f(a)", "x": ""},
        {"runs": PLAIN.replace(".f(", ".other("), "x": re.sub(r"\bf\b", "other", F)},
        {"x": F.replace("SIZE", "WIDTH")},
        {"x": F.replace("import math", "import math as m").replace("math.pi", "m.pi")},
        {"x": F.replace("import math", "from math import pi").replace("math.pi", "pi")},
        {"x": "def f(a):\n    return f(a - 1) if a else math.pi * SIZE\nSIZE = 2\nimport math\n"},
    ],
)  # fmt: skip
def test_moving_renaming_and_importing_otherwise_keep_the_stamp(toy, files):
    before = toy(runs=PLAIN, x=F)
    after = toy(**files)
    assert after.digest == before.digest
    [home] = [name for name, text in files.items() if "math" in text] or ["x"]
    text = files.get(home, F)
    edited = toy(**{home: text.replace("= 2", "= 3")})
    assert "= 2" in text and edited.digest != before.digest


def test_a_local_name_is_not_the_module_of_that_name(toy):
    use = "from toy import x\ndef run(x): return x.f\ndef more(): return [x.g for x in ()]"
    before = toy(runs=use, x="def f(): return 1\ndef g(): return 1")
    assert changed(before, toy(x="def f(): return 2\ndef g(): return 2")) == set()
    inner = "from toy import x\ndef run():\n    def inner(): return x.f\n    return inner"
    before = toy(runs=inner, x="def f(): return 1")
    assert changed(before, toy(x="def f(): return 2")) == {"toy.x"}
    method = "from toy import x\nclass A:\n    x = 1\n    def m(self): return x.f\n"
    method += "def run(): return A"
    before = toy(runs=method, x="def f(): return 1")
    assert changed(before, toy(x="def f(): return 2")) == {"toy.x"}


@pytest.mark.parametrize(
    "run",
    [
        "try:\n    from toy import x\nexcept ImportError:\n    raise\ndef run(): return x.f()",
        "class A:\n    from toy.x import f\ndef run(): return A.f()",
        "class A:\n    from toy import x\ndef run(): return A.x.f()",
        "if True:\n    import toy.x as y\ndef run(): return y.f()",
    ],
)
def test_imports_below_the_top_level_are_followed(toy, run):
    before = toy(runs=run, x="def f(): return 1")
    assert changed(before, toy(x="def f(): return 2")) == {"toy.x"}


def test_what_an_attempt_imports_counts(toy):
    run = "try:\n    import csv as m\nexcept ImportError:\n    m = None\ndef run(): return m"
    before = toy(runs=run)
    assert changed(before, toy(runs=run.replace("csv", "json"))) == {"toy.runs"}


def test_a_definition_within_an_if_counts_and_its_neighbours_do_not(toy):
    run = "if True:\n    def run(): return 1\nIDLE = 1"
    before = toy(runs=run)
    assert changed(before, toy(runs=run.replace("return 1", "return 2"))) == {"toy.runs"}
    assert changed(before, toy(runs=run.replace("IDLE = 1", "IDLE = 2"))) == set()


def test_cycles_do_not_hide_an_edit(toy):
    x = "from toy import y\ndef f(a): return y.g(a)\n"
    y = "from toy import x\ndef g(a): return x.f(a) if a else h(a)\ndef h(a): return g(a - 1)\n"
    before = toy(runs=PLAIN, x=x, y=y)
    assert changed(before, toy(y=y.replace("a - 1", "a - 2"))) == {"toy.y"}
    assert changed(before, toy(y=y, x=x.replace("g(a)", "g(a + 1)"))) == {"toy.x"}


def test_one_definition_may_stand_for_another(toy, monkeypatch):
    monkeypatch.setattr(stamps, "EQUIVALENT", {})
    run = "from toy import x\ndef run(): return x.f()"

    def definition():
        return stamps.definition_hash("toy.x", "f", packages=("toy",))

    before, was = toy(runs=run, x="def f(): return 1 + 1"), definition()
    rewritten, now = toy(x="def f(): return 2"), definition()
    assert rewritten.digest != before.digest and now != was
    stamps.declare({now: was})
    assert toy().digest == before.digest and definition() == was
    assert toy(x="def f(): return 3").digest not in (before.digest, rewritten.digest)
    with pytest.raises(KeyError, match="toy.x has no definition 'nothing'"):
        stamps.definition_hash("toy.x", "nothing", packages=("toy",))


# --- the code that runs


def test_the_text_that_was_loaded_is_hashed_and_not_the_file(toy, tmp_path):
    before = toy()
    function = sys.modules["toy.runs"].run
    path = tmp_path / "toy" / "b.py"
    assert "toy.b" not in sys.modules and function() == 1
    path.write_text(TOY["b"].replace("= 1", "= 2"))
    assert function() == 1 and stamp(function).digest == before.digest
    assert toy().digest != before.digest


def test_a_module_that_was_loaded_twice_is_unknown(toy, tmp_path):
    toy()
    module = importlib.import_module("toy.b")
    importlib.reload(module)
    stamp(sys.modules["toy.runs"].run)
    (tmp_path / "toy" / "b.py").write_text(TOY["b"].replace("= 1", "= 2"))
    importlib.reload(module)
    with pytest.raises(stamps.UnknownCode, match="b.py may have changed after this process"):
        stamp(sys.modules["toy.runs"].run)


def test_a_module_that_nobody_recorded_is_unknown_once_its_file_is_newer(toy, tmp_path):
    toy()
    module = importlib.import_module("toy.b")
    del module.__loaded_text__
    with pytest.raises(stamps.UnknownCode, match="b.py .*start the process .*anew"):
        stamp(sys.modules["toy.runs"].run)
    os.utime(tmp_path / "toy" / "b.py", (0, 0))
    stamp(sys.modules["toy.runs"].run)
