"""Start a chapter of your own as a copy of one that is there.

    python tools/new_chapter.py my_question 07_kkt_reconstruction
    make chapter NAME=my_question FROM=07_kkt_reconstruction       does the same

The copy executes, is tested and stands in the book at once: its notebook, its folder in chapters/,
its test and its line in _toc.yml. It imports its own modules, so its results are its own, and what
it shows has names of its own. Exit status: 0 made, 2 the request was wrong and nothing was made.
"""

import argparse
import keyword
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from percent import NotebookError, chapter_folder, list_notebooks

ROOT = Path(__file__).resolve().parent.parent

# Where a label that other pages can refer to is given: figures and tables, equations, places.
LABELS = (
    r'\bname="((?:fig|tab)-[\w-]+)"',
    r"\$\$ *\(([\w-]+)\)",
    r":(?:name|label): ([\w-]+)",
    r"^(?:# )?\(([\w-]+)\)=",
)
VERDICTS = r"(page\.verdicts\(\s*\w+,\s*\w+\b)(?!,\s*name=)"  # a call whose table has no name


def new_chapter(root: Path, name: str, source: Path) -> dict[Path, str]:
    """The files of the new chapter and what is in them; nothing is written.

    Raises `NotebookError` for a request that cannot be met.
    """
    require_free(root, name, source)
    folder = chapter_folder(source)
    number = max(int(path.stem.partition("_")[0]) for path in numbered(root)) + 1
    stem = f"{number:02}_{name}"
    tests = root / "tests" / "chapters"
    copied = {source: root / "notebooks" / f"{stem}.py"}
    copied |= {
        path: root / "chapters" / name / path.name
        for path in sorted(folder.iterdir())
        if path.is_file()
    }
    copied |= {
        path: tests / path.name.replace(folder.name, name, 1)
        for path in sorted(tests.glob(f"test_{folder.name}*.py"))
        if chapter_folder(source.with_name(path.name.removeprefix("test_"))) == folder
    }
    texts = {target: path.read_text(encoding="utf-8") for path, target in copied.items()}
    labels = renamed_labels(texts.values(), folder.name, name)
    texts = {
        target: rewritten(re.sub(rf"\b{source.stem}(?!\w)", stem, text), folder.name, name, labels)
        for target, text in texts.items()
    }
    notebook = root / "notebooks" / f"{stem}.py"
    texts[notebook] = titled(texts[notebook], name)
    toc = root / "_toc.yml"
    return texts | {toc: with_entry(toc.read_text(encoding="utf-8"), f"notebooks/{stem}")}


def numbered(root: Path) -> list[Path]:
    return [path for path in list_notebooks(root / "notebooks") if re.match(r"[0-9]+_", path.stem)]


def require_free(root: Path, name: str, source: Path) -> None:
    """`NotebookError` for a bad name, one that is taken, or a source that is not there."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise NotebookError(f"NAME={name}: needs lower-case words joined by _, such as my_question")
    known = [path.stem for path in numbered(root)]
    if source.stem not in known:
        raise NotebookError(f"FROM={source.stem}: no such notebook (known: {', '.join(known)})")
    own = re.compile(rf"([0-9]+|test)_{name}(_|$)")  # pytest wants each name of a test once
    taken = [path for path in (root / "chapters").glob("*") if path.stem == name]
    for folder in ("notebooks", "tests"):
        taken += [path for path in (root / folder).rglob("*.py") if own.match(path.stem)]
    if taken:
        raise NotebookError(f"NAME={name}: is taken by {taken[0].relative_to(root)}")


def renamed_labels(texts: Iterable[str], folder: str, name: str) -> dict[str, str]:
    """Label that the texts give -> the same with the new chapter's name after it."""
    given = {
        label
        for text in texts
        for pattern in LABELS
        for label in re.findall(pattern, text, flags=re.MULTILINE)
    }
    return {label: f"{label.removesuffix(hyphened(folder))}{hyphened(name)}" for label in given}


def hyphened(name: str) -> str:
    return f"-{name.replace('_', '-')}"


def rewritten(text: str, folder: str, name: str, labels: Mapping[str, str]) -> str:
    """The text of a copied file: own modules, own runs, own labels."""
    text = re.sub(rf"\bchapters([./]){folder}\b", rf"chapters\1{name}", text)
    text = re.sub(rf'"{folder}\.', f'"{name}.', text)  # the name of a run
    verdicts = f"tab-verdicts{hyphened(name)}"
    text = re.sub(r"`tab-verdicts-[\w-]+`", f"`{verdicts}`", text)
    for old, new in labels.items():
        text = re.sub(rf"(?<![\w-]){old}(?![\w-])", new, text)
    return re.sub(VERDICTS, rf'\1, name="{verdicts}"', text)


def titled(notebook: str, name: str) -> str:
    """The notebook with a title that tells it from the one it comes from."""
    title = name.replace("_", " ").capitalize()
    return re.sub(r"^# # .*$", f"# # {title}", notebook, count=1, flags=re.MULTILINE)


def with_entry(toc: str, file: str) -> str:
    """The table of contents with a notebook below the last one."""
    lines = toc.splitlines()
    last = max(i for i, line in enumerate(lines) if "- file: notebooks/" in line)
    indent = lines[last].partition("-")[0]
    return "\n".join([*lines[: last + 1], f"{indent}- file: {file}", *lines[last + 1 :]]) + "\n"


def write(files: Mapping[Path, str]) -> None:
    """Write all files or none: what is there already is replaced last, by one rename each."""
    made, temporaries = [], {}
    try:
        for path, text in files.items():
            if path.exists():
                temporaries[path] = path.with_name(f".{path.name}.{os.getpid()}")
            if not path.parent.exists():
                path.parent.mkdir()
                made.append(path.parent)
            made.append(temporaries.get(path, path))
            made[-1].write_text(text, encoding="utf-8")
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except BaseException:  # also an interrupt
        for path in reversed(made):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="new_chapter.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="of the new chapter, such as my_question")
    parser.add_argument("source", metavar="FROM", help="a notebook, such as 07_kkt_reconstruction")
    options = parser.parse_args(arguments)
    source = ROOT / "notebooks" / f"{Path(options.source).stem}.py"
    try:
        files = new_chapter(ROOT, options.name, source)
        write(files)
    except (NotebookError, OSError) as error:
        print(f"new_chapter.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("new_chapter.py: interrupted, nothing was made", file=sys.stderr)
        return 130
    print(*(path.relative_to(ROOT).as_posix() for path in files), sep="\n")
    notebook = next(path for path in files if path.parent.name == "notebooks")
    print(f"execute it: .venv/bin/python tools/execute.py notebooks/{notebook.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
