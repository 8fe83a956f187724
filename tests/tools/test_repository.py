"""The repository's own files agree with each other."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

import assemble
import check
import percent
from tiny_book import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"torch": "pytorch"}
CONSTRAINTS = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def requirements() -> list[Requirement]:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    return [Requirement(line) for line in [*PROJECT["dependencies"], *extras]]


def bounds(lines: list[Requirement]) -> dict[str, str]:
    """Name on conda-forge -> bounds; an extra such as dask[distributed] is a package of its own there."""
    found = {CONDA_NAMES.get(line.name, line.name): str(line.specifier) for line in lines}
    return found | {extra: str(line.specifier) for line in lines for extra in line.extras}


def test_environment_yml_equals_pyproject():
    environment = YAML(typ="safe").load(REPOSITORY / "environment.yml")
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    through_pip = next(
        line["pip"] for line in environment["dependencies"] if isinstance(line, dict)
    )
    assert "-e ." in through_pip and "pip" in plain
    listed = bounds(
        [Requirement(line) for line in [*plain, *through_pip] if line not in ("-e .", "pip")]
    )
    assert str(Requirement(f"python{PROJECT['requires-python']}").specifier) == listed.pop("python")
    assert listed == bounds(requirements())


def test_constraints_are_exact_versions_for_any_machine():
    assert CONSTRAINTS and all(
        re.fullmatch(r"[a-z0-9._-]+==[0-9][a-z0-9.]*", line) for line in CONSTRAINTS
    )
    assert not [line for line in CONSTRAINTS if re.match(r"nvidia|cuda|triton|what-the", line)]


def test_constraints_pin_every_direct_requirement_within_its_bounds():
    pinned = {
        canonicalize_name(name): version
        for name, version in (line.split("==") for line in CONSTRAINTS)
    }
    for line in requirements():
        assert line.specifier.contains(pinned[canonicalize_name(line.name)]), line


TARGETS_WITH_PACKAGES = ["book", "published", "serve", "test", "bench", "verify", "chapter", "paper", "executed"]


def targets() -> list[str]:
    phony = next(
        line
        for line in (REPOSITORY / "Makefile").read_text().splitlines()
        if line.startswith(".PHONY:")
    )
    return phony.split()[1:]


def test_help_is_the_default_and_lists_every_target():
    shown = subprocess.run(
        ["make", "-s"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^make (\w+)", shown, flags=re.MULTILINE) == targets()


@pytest.mark.parametrize("target", TARGETS_WITH_PACKAGES)
def test_every_target_sets_itself_up(tmp_path, target):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    result = subprocess.run(
        ["make", target, "CANDIDATES=false"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert (
        "No Python from 3.11 to 3.13 was found; install one, or name it"
        in result.stderr.splitlines()[0]
    )


def make(folder: Path, *words: str) -> list[str]:
    """A target of the Makefile in a folder, with the packages that the tests run with."""
    shutil.copy(REPOSITORY / "Makefile", folder)
    return [
        "make",
        "-C",
        str(folder),
        "-o",
        ".venv/.installed",
        f"BIN={Path(sys.executable).parent}",
        *words,
    ]


def test_the_site_that_was_built_last_is_served(tmp_path):
    for age, name in enumerate(("laptop", "quick", "paper")):
        site = tmp_path / "_build" / "site" / name
        site.mkdir(parents=True)
        (site / "index.html").write_text(name)
        os.utime(site / "index.html", (0, -abs(age - 1)))
    with subprocess.Popen(
        make(tmp_path, "serve"), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            said = next(line for line in server.stdout if "http" in line)
            address = re.search(r"http://127\.0\.0\.1:\d+/", said)[0]
            assert urllib.request.urlopen(address).read() == b"quick"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def test_without_a_site_serving_says_what_to_do(tmp_path):
    result = subprocess.run(make(tmp_path, "serve"), capture_output=True, text=True)
    assert result.returncode == 2 and "no site is built yet; run make book" in result.stderr


def test_toc_lists_exactly_the_pages_and_chapters_there_are():
    assemble.check_toc(REPOSITORY)


@pytest.mark.parametrize("profile", ["quick", "laptop", "paper"])
def test_every_chapter_accepts_every_profile(profile):
    for source in percent.list_notebooks(REPOSITORY / "notebooks"):
        defaults = percent.default_parameters(percent.read_notebook(source), source.name)
        percent.checked_overrides(
            defaults, percent.read_profile(source, profile), f"{source.name}, profile {profile}"
        )


def test_the_ci_script_runs_the_documented_test_command():
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text and text.index("make test") < text.index("make book")


def test_no_file_of_the_publication_holds_a_machine_path():
    files = [
        *REPOSITORY.glob("tools/*.py"),
        *REPOSITORY.glob("book/*.md"),
        *REPOSITORY.glob("*.yml"),
        REPOSITORY / "Makefile",
    ]
    assert [
        (path.name, prefix)
        for path in files
        for prefix in check.machine_paths(REPOSITORY)
        if prefix in path.read_text()
    ] == []
