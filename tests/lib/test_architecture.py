"""Which module of the library may import which: attacks cannot see the truth."""

from pathlib import Path

import pytest

from lib.fingerprint import imports

LIBRARY = Path(__file__).resolve().parents[2] / "lib"
ATTACKS = ("kkt", "rowspace", "reconstruction", "inversion", "bilevel")
TRUTH = {"data", "metrics", "models"}
# What a module may import from the library; a module that is not named imports nothing from it.
ALLOWED = {
    "inversion": {"losses"},
    "ood": {"inversion", "train"},
    "reconstruction": {"kkt", "rowspace"},
    "sweep": {"results", "fingerprint", "verify"},
    "verify": {"results", "fingerprint", "sweep"},
}


def library_imports(folder: Path, name: str) -> set[str]:
    """Names of the library's modules that `folder/name.py` imports itself."""
    names = imports(f"lib.{name}", folder / f"{name}.py")
    parts = [n.split(".") for n in names if n.startswith("lib.")]
    return {p[1] for p in parts if (folder / f"{p[1]}.py").is_file()}


def reached(folder: Path, name: str) -> set[str]:
    """The same, transitively."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = library_imports(folder, waiting.pop()) - found
        found |= new
        waiting += new
    return found


def breaches(folder: Path) -> list[str]:
    """One sentence for every import that should not be."""
    found = []
    for path in sorted(folder.glob("*.py")):
        name = path.stem
        for other in sorted(library_imports(folder, name) - ALLOWED.get(name, set())):
            found.append(f"lib/{name}.py imports lib.{other}")
        if any(n.split(".")[0] == "experiments" for n in imports(f"lib.{name}", path)):
            found.append(f"lib/{name}.py imports experiments")
        if name in ATTACKS:
            for other in sorted(reached(folder, name) & TRUTH):
                found.append(f"the attack lib/{name}.py reaches lib.{other}")
    return found


def test_the_library_keeps_its_directions():
    assert breaches(LIBRARY) == []


@pytest.mark.parametrize(
    "source",
    [
        "import lib.data",
        "from lib import data",
        "from lib.data import load",
        "from . import data",
        "from .data import load as x",
        "def f():\n    from lib import data",
    ],
)
def test_an_attack_that_imports_the_data_is_noticed(tmp_path, source):
    (tmp_path / "data.py").write_text("")
    (tmp_path / "kkt.py").write_text(source)
    assert "lib/kkt.py imports lib.data" in breaches(tmp_path)
    assert "the attack lib/kkt.py reaches lib.data" in breaches(tmp_path)


def test_a_detour_to_the_truth_is_noticed(tmp_path):
    (tmp_path / "inversion.py").write_text("from lib import losses")
    (tmp_path / "losses.py").write_text("from lib import metrics")
    (tmp_path / "metrics.py").write_text("")
    assert "the attack lib/inversion.py reaches lib.metrics" in breaches(tmp_path)


def test_experiments_are_out_of_bounds(tmp_path):
    (tmp_path / "train.py").write_text("from experiments import kkt_runs")
    assert breaches(tmp_path) == ["lib/train.py imports experiments"]
