import importlib
import sys
import textwrap

import pytest

from lib import fingerprint as fp

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


def test_comments_docstrings_and_blank_lines_do_not_count():
    reworded = SOURCE.replace("Of a circle.", "Area of a disc,\n\n    in two lines.")
    reworded = reworded.replace("    # squared\n", "\n\n").replace("  # the usual", "")
    reworded = reworded.replace('"""What the module is for."""', "'other quotes'")
    assert fp.stripped(reworded.encode()) == fp.stripped(SOURCE.encode())
    assert fp.stripped(SOURCE.replace("\n", "\r\n").encode()) == fp.stripped(SOURCE.encode())


@pytest.mark.parametrize(
    ("old", "new"),
    [("r**2", "r**3"), ("# also kept", "# changed"), ("kept\n\n", "kept\n"), ("math.pi", "3")],
)
def test_code_and_the_inside_of_strings_do_count(old, new):
    assert old in SOURCE
    assert fp.stripped(SOURCE.replace(old, new).encode()) != fp.stripped(SOURCE.encode())


def test_what_is_left_is_exact():
    """The text is hashed, so it must be the same in every Python version."""
    expected = 'import math\ndef area(r):\n    return math.pi * r**2\n'
    expected += 'TEXT = """kept\n   # also kept\n\n"""\n'
    assert fp.stripped(SOURCE.encode()) == expected
    odd = 'x = f"{1 + 1} # no comment"  # comment\nclass A:\n    "é"; y = "ü#"  # ö\n'
    assert fp.stripped(odd.encode()) == 'x = f"{1 + 1} # no comment"\nclass A:\n    ; y = "ü#"\n'
    assert fp.stripped(b"x = 1\x0c\ny = '\xe2\x80\xa8'  # z\n") == "x = 1\ny = '\u2028'\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package `toyproject` whose runs module imports `a`, which imports `b` inside a function."""
    files = {
        "__init__.py": "",
        "runs.py": "from toyproject import a\nfrom lib import plots, sweep\ndef run(): return {}\n",
        "a.py": "def f():\n    from .b import g, CONSTANT\n    return g()\n",
        "b.py": "CONSTANT = 1\ndef g(): return 1\n",
        "unused.py": "",
    }
    (tmp_path / "toyproject").mkdir()
    for name, text in files.items():
        (tmp_path / "toyproject" / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "toyproject"
    for name in [name for name in sys.modules if name.split(".")[0] == "toyproject"]:
        del sys.modules[name]


def test_what_is_imported_counts_transitively_and_nothing_else(project):
    run = importlib.import_module("toyproject.runs").run
    found = set(fp.sources(run))
    assert found == {"toyproject", "toyproject.runs", "toyproject.a", "toyproject.b", "lib"}


def test_a_change_far_down_changes_the_fingerprint_and_is_named(project):
    run = importlib.import_module("toyproject.runs").run
    before, hashes = fp.fingerprint(run)
    (project / "b.py").write_text("# reworded\nCONSTANT = 1\n\ndef g(): return 1\n")
    assert fp.fingerprint(run) == (before, hashes)
    (project / "unused.py").write_text("x = 1\n")
    assert fp.fingerprint(run)[0] == before
    (project / "b.py").write_text("CONSTANT = 2\ndef g(): return 1\n")
    after, changed = fp.fingerprint(run)
    assert after != before
    assert [m for m in hashes if hashes[m] != changed[m]] == ["toyproject.b"]
