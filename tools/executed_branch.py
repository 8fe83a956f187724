"""Gather the content of the branch `executed`: the repository, and its notebooks as executed.

    python tools/executed_branch.py --profile laptop

writes _build/branch: every file that the last commit has, and notebooks/*.ipynb from
_build/executed/<profile>. Each notebook begins with a cell that finds the repository around it, or
on Colab fetches it, so that it opens and runs in either place. The workflow `publish` commits the
folder to the branch. Exit status: 0, or 1 with one sentence.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from execute import RECORD, readable
from page_facts import BRANCH, Repository, read_yaml, repository
from percent import NotebookError, list_notebooks

ROOT = Path(__file__).resolve().parent.parent
CELL = """\
# Where this notebook finds its code and results: around it or, on Colab, in a copy that is fetched.
import os, subprocess, sys

if "google.colab" in sys.modules and not os.path.isdir("{name}"):
    subprocess.run("git clone -q --depth 1 --branch {branch} {url}.git {name}".split(), check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "{name}"], check=True)
for folder in ("{name}", ".."):
    if not os.path.isdir("lib") and os.path.isdir(os.path.join(folder, "lib")):
        os.chdir(folder)
sys.path.insert(0, os.getcwd())
"""


def with_start(notebook: NotebookNode, where: Repository) -> NotebookNode:
    """The notebook with the cell that finds its repository in front of its first code cell."""
    code = CELL.format(name=where.name, url=where.url, branch=BRANCH)
    start = nbformat.v4.new_code_cell(code, id="find-repository")
    first = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    place = first[0] if first else len(notebook.cells)
    notebook.cells.insert(place, start)
    return notebook


def committed(root: Path, target: Path) -> None:
    """Every file of the last commit, below `target`; `NotebookError` outside a repository."""
    done = subprocess.run(["git", "-C", str(root), "archive", "HEAD"], capture_output=True)
    if done.returncode != 0:
        raise NotebookError("there is no commit here to make a branch of")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")


def gather(root: Path, profile: str, target: Path) -> list[str]:
    """Write the branch's content; the names of its notebooks.  Raises NotebookError."""
    where = repository(read_yaml(root / "_config.yml"))
    if where is None:
        raise NotebookError(
            "_config.yml names no repository on GitHub (repository: url: https://github.com/…), so "
            "there is no branch that links could lead to"
        )
    executed = root / "_build" / "executed" / profile
    found = {
        source.stem: executed / f"{source.stem}.ipynb"
        for source in list_notebooks(root / "notebooks")
    }
    notebooks = {stem: readable(path) for stem, path in found.items()}
    for stem, notebook in notebooks.items():
        if notebook is None or RECORD not in notebook.metadata:
            raise NotebookError(f"{stem} was not executed with the profile {profile}")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    committed(root, target)
    (target / "notebooks").mkdir(exist_ok=True)
    for stem, notebook in notebooks.items():
        nbformat.write(with_start(notebook, where), target / "notebooks" / f"{stem}.ipynb")
    return list(notebooks)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="executed_branch.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--profile", default="laptop", help="of the notebooks (default: laptop)")
    options = parser.parse_args(arguments)
    target = ROOT / "_build" / "branch"
    try:
        names = gather(ROOT, options.profile, target)
    except (NotebookError, OSError) as error:
        print(f"executed_branch.py: {error}", file=sys.stderr)
        return 1
    print(f"{target}: {len(names)} executed notebooks and the files of the last commit")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
