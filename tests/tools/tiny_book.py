"""Tiny books to execute and build: no torch, a few seconds each."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[2]

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
"""

PARAMETERS = 'n = 5  # how many\nscale = 1.0\nseeds = [0, 1]\ncompute = True\nexecutor = "serial"'

# a 2 x 1 picture
PIXELS = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAADklEQVR4nGM4wcAARAAI9AHhZ2Z2NAAAAABJRU5ErkJggg=="


def notebook(*cells: str, parameters: str = PARAMETERS, title: str = "A chapter") -> str:
    """A percent script: a title, the parameters cell, and the code cells given."""
    parts = [HEADER, f"# %% [markdown]\n# # {title}", f'# %% tags=["parameters"]\n{parameters}']
    return "\n\n".join([*parts, *(f"# %%\n{cell}" for cell in cells)]) + "\n"


def figure(name: str, alt: str = "Two orange pixels.") -> str:
    """A cell that shows a picture the way the library's plots do."""
    metadata = {"figure": {"alt": alt, "caption": "Pixels, $n = 2$.", "name": name}}
    return f"from IPython.display import display\ndisplay({{'image/png': '{PIXELS}'}}, raw=True, metadata={metadata!r})"


def tagged(cell: str, *tags: str, markdown: bool = False) -> str:
    """A whole cell with tags, to be added to a notebook's text."""
    kind = " [markdown]" if markdown else ""
    lines = [f"# {line}".rstrip() if markdown else line for line in cell.splitlines()]
    return "\n".join(["", f"# %%{kind} tags={json.dumps(tags)}", *lines, ""])


def drawing(name: str, height: int = 160, caption: str = "A line.") -> str:
    """A cell that shows a diagram 5.2 inches wide, for light and for dark pages."""
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="374.4pt" height="HEIGHTpt" '
        'viewBox="0 0 374.4 HEIGHT"><defs><path id="p" d="M0 9 H374"/></defs>'
        '<use href="#p" stroke="COLOUR"/></svg>'
    ).replace("HEIGHT", str(height))
    light, dark = svg.replace("COLOUR", "#222222"), svg.replace("COLOUR", "#e8e8e8")
    figure = {"alt": "A line.", "caption": caption, "name": name, "dark": dark}
    metadata = {"figure": figure}
    return (
        "from IPython.display import display\n"
        f"display({{'image/svg+xml': {light!r}}}, raw=True, metadata={metadata!r})"
    )


def markdown_output(text: str) -> str:
    return f"from IPython.display import Markdown, display\ndisplay(Markdown({text!r}))"


class Book:
    """A checkout with the real tools and look, and notebooks of the test's own."""

    def __init__(self, root: Path, notebooks: dict[str, str], profile: str = "") -> None:
        self.root = root
        shutil.copytree(
            REPOSITORY / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copytree(REPOSITORY / "book" / "_static", root / "book" / "_static")
        shutil.copy(REPOSITORY / "_config.yml", root)
        (root / "book" / "references.bib").touch()
        self.page(
            "index",
            "# Start\n\nOne formula, $x^2$, and a displayed one:\n\n$$\ny = "
            + " + ".join(f"x_{{{i}}}" for i in range(60))
            + "\n$$\n",
        )
        (root / "notebooks").mkdir()
        for stem, text in notebooks.items():
            self.write_notebook(stem, text)
        self.profile("quick", profile)
        files = ["book/gallery", *(f"notebooks/{stem}" for stem in notebooks)]
        chapters = "".join(f"  - file: {file}\n" for file in files)
        (root / "_toc.yml").write_text(
            f"format: jb-book\nroot: book/index\noptions:\n  numbered: true\nchapters:\n{chapters}"
        )

    def page(self, stem: str, text: str) -> None:
        (self.root / "book" / f"{stem}.md").write_text(text)

    def write_notebook(self, stem: str, text: str) -> None:
        (self.root / "notebooks" / f"{stem}.py").write_text(text)
        self.profiles(stem).parent.mkdir(parents=True, exist_ok=True)
        if not self.profiles(stem).exists():
            self.profiles(stem).write_text("quick:\n")

    def profiles(self, stem: str) -> Path:
        """The file of profiles of a chapter."""
        return self.root / "chapters" / stem.partition("_")[2] / "profiles.yaml"

    def profile(self, name: str, text: str) -> None:
        """Set one profile of all chapters; text is `notebook: {parameter: value}` lines."""
        overrides = YAML(typ="safe").load(text) or {}
        for stem in [Path(source).stem for source in self.sources()]:
            self.profiles(stem).write_text(json.dumps({name: overrides.get(stem, {})}))

    @property
    def executed(self) -> Path:
        return self.root / "_build" / "executed" / "quick"

    @property
    def site(self) -> Path:
        return self.root / "_build" / "site" / "quick"

    def sources(self) -> list[str]:
        return [str(path) for path in sorted((self.root / "notebooks").glob("*.py"))]

    def command(self, tool: str, *words: str) -> list[str]:
        return [sys.executable, str(self.root / "tools" / tool), *words]

    def execute(self, *words: str) -> subprocess.CompletedProcess:
        """Run tools/execute.py from another folder, as nothing may depend on the current one."""
        command = self.command("execute.py", *words)
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.root.parent, timeout=120
        )

    def build(self, *words: str) -> subprocess.CompletedProcess:
        command = self.command("site.py", "--profile", "quick", *words)
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.root.parent, timeout=120
        )


CHAPTERS = {
    "01_first": notebook(
        "import sys, tempfile\nprint('careful, see', tempfile.gettempdir() + '/sec' + 'ret.py', file=sys.stderr)",
        "import os\nprint(n, scale, repr(os.environ['BOOK_TERMINAL']), os.environ['PYTHONHASHSEED'])",
        figure("fig-first"),
        title="First",
    ),
    "02_second": notebook(
        "values = {str(i) for i in range(n)}\nprint(values)", figure("fig-second"), title="Second"
    ),
}
PROFILE = "01_first: {n: 3, scale: 2}\n"


def ran_book(root: Path) -> SimpleNamespace:
    book = Book(root, CHAPTERS, PROFILE)
    executed = book.execute(*book.sources())
    assert executed.returncode == 0, executed.stderr
    return SimpleNamespace(book=book, executed=executed)


def built_book(root: Path) -> SimpleNamespace:
    ran = ran_book(root)
    built = ran.book.build()
    assert built.returncode == 0, built.stderr
    return SimpleNamespace(**vars(ran), built=built)


WIDE_TABLE = """\
~~~{table} Numbers of one row, with a caption that is so long that a phone has to break its lines.
:name: tab-wide

| name | a first measure | a second measure | a third measure | a fourth measure | a fifth measure |
|---|---|---|---|---|---|
| row | 1 | 2 | 3 | 4 | 5 |
~~~
"""
LONG_FORMULA = " + ".join(f"x_{{{i}}}" for i in range(60))
QUESTION = "Can one solve for the images?"
SEVENTH = "".join([
    notebook(title=f"The seventh\n#\n# {QUESTION}"),
    tagged("print('set up')", "setup"),
    tagged(markdown_output(":::{div} answer\nYes, for small networks.\n:::"), "remove-input"),
    tagged(drawing("fig-key"), "remove-input"),
    tagged("## Story\n\nSee {numref}`fig-more` and {eq}`more`.", markdown=True),
    tagged(markdown_output(WIDE_TABLE), "remove-input"),
    tagged("## More\n\nSee {numref}`fig-key`.\n\n$$\ny = " + LONG_FORMULA + "\n$$ (more)", "appendix", markdown=True),
    tagged(drawing("fig-more"), "appendix"),
    tagged("print('all runs are there')", "setup"),
])  # fmt: skip


def built_chapters(root: Path) -> SimpleNamespace:
    """A book of chapters 1, 3 and 7; the last one has an answer, a set-up and an appendix."""
    book = Book(
        root,
        {"01_first": notebook(), "03_third": notebook(figure("fig-third")), "07_seventh": SEVENTH},
    )
    executed = book.execute(*book.sources())
    assert executed.returncode == 0, executed.stderr
    built = book.build()
    assert built.returncode == 0, built.stderr
    return SimpleNamespace(book=book, built=built)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
