"""Assemble the source folder of a site from prose, configuration and executed notebooks.

What is not fit to be published is refused with a sentence that names the page and the cell.
"""

import base64
import hashlib
import html
import json
import shutil
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from execute import RECORD, describe_cell, library_hash, ran_completely
from percent import NotebookError, cell_tags, default_parameters, list_notebooks, literal_assignments, read_notebook, read_profile

GALLERY = "book/gallery"


class SiteError(Exception):
    """The site cannot be published as things stand; one line a problem."""


def toc_files(root: Path) -> list[str]:
    """Every page that _toc.yml lists, in order, as a path without suffix."""
    return list(walk_toc(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))


def walk_toc(entry: Any) -> Any:
    if isinstance(entry, list):
        for element in entry:
            yield from walk_toc(element)
    elif isinstance(entry, dict):
        yield from (entry[key] for key in ("root", "file") if key in entry)
        for key in ("parts", "chapters", "sections"):
            yield from walk_toc(entry.get(key, []))


def check_toc(root: Path) -> None:
    """_toc.yml lists each page once, and each page and chapter that exists."""
    listed = toc_files(root)
    pages = [f"book/{path.stem}" for path in sorted((root / "book").glob("*.md"))]
    chapters = [f"notebooks/{path.stem}" for path in list_notebooks(root / "notebooks")]
    existing = {*pages, *chapters, GALLERY}
    problems = [f"_toc.yml lists {page}, which does not exist" for page in listed if page not in existing]
    problems += [f"{page} exists but _toc.yml does not list it: add `- file: {page}`" for page in sorted(existing - {*listed})]
    problems += [f"_toc.yml lists {page} twice" for page in sorted({page for page in listed if listed.count(page) > 1})]
    if problems:
        raise SiteError("\n".join(problems))


def load_executed(root: Path, executed: Path, profile: str) -> dict[str, NotebookNode]:
    """Stem -> executed notebook for every chapter; missing, stale and partial ones are refused."""
    loaded, problems = {}, []
    for source in list_notebooks(root / "notebooks"):
        path = executed / f"{source.stem}.ipynb"
        try:
            loaded[source.stem] = load_one(source, path, profile)
        except (SiteError, NotebookError) as error:
            problems.append(f"{source.name}: {error}")
    if problems:
        raise SiteError("\n".join(problems) + f"\nexecute: python tools/execute.py notebooks/*.py --profile {profile}")
    return loaded


def load_one(source: Path, path: Path, profile: str) -> NotebookNode:
    if not path.is_file():
        raise SiteError(f"was never executed with profile {profile}")
    notebook = nbformat.read(path, as_version=4)
    record = notebook.metadata.get(RECORD)
    if record is None:
        raise SiteError("was not executed by tools/execute.py, so nothing says what it was made from")
    if record["profile"] != profile:
        raise SiteError(f"was executed with profile {record['profile']}, not {profile}")
    if record["source_sha256"] != hashlib.sha256(source.read_bytes()).hexdigest():
        raise SiteError("has changed since it was executed")
    defaults = default_parameters(read_notebook(source), source.name)
    wanted = {**defaults, **read_profile(source.parent, profile).get(source.stem, {}), **record["given"]}
    if wanted != record["parameters"]:
        changed = ", ".join(key for key in wanted if wanted[key] != record["parameters"].get(key))
        raise SiteError(f"was executed with other parameters than profile {profile} now has ({changed})")
    for index, cell in enumerate(notebook.cells):
        if not ran_completely(cell):
            raise SiteError(f"is only partly executed, see {describe_cell(notebook, index)}")
    return notebook


def prepare_page(notebook: NotebookNode, name: str) -> list[str]:
    """Make an executed notebook fit for the page, in place; returns notes about what was left out."""
    notes = remove_stderr(notebook, name)
    place_figures(notebook, name)
    show_used_parameters(notebook, name)
    notebook.metadata.pop("jupytext", None)
    return notes


def remove_stderr(notebook: NotebookNode, name: str) -> list[str]:
    """Drop what cells wrote to stderr, which may hold machine paths; one note a cell."""
    notes = []
    for index, cell in enumerate(notebook.cells):
        lines = [line for output in cell.get("outputs", []) if output.get("name") == "stderr" for line in output.text.splitlines()]
        if lines:
            notes.append(f"{name}, {describe_cell(notebook, index)} wrote to stderr: {lines[0]}")
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notes


def has_image(output: NotebookNode) -> bool:
    return any(mime.startswith("image/") for mime in output.get("data", {}))


def place_figures(notebook: NotebookNode, name: str) -> None:
    """Move each figure's alt text, caption and name from its output to where MyST-NB reads them."""
    for index, cell in enumerate(notebook.cells):
        images = [output for output in cell.get("outputs", []) if has_image(output)]
        if not images:
            continue
        where = f"{name}, {describe_cell(notebook, index)}"
        if len(images) > 1:
            raise SiteError(f"{where} shows {len(images)} figures; a cell can caption only one")
        cell.metadata["mystnb"] = figure_metadata(images[0].metadata.pop("figure", {}), where)


def figure_metadata(figure: dict[str, str], where: str) -> dict[str, dict[str, str]]:
    missing = [key for key in ("alt", "caption", "name") if not str(figure.get(key) or "").strip()]
    if missing:
        wanted = ", ".join("alt text" if key == "alt" else f"a {key}" for key in missing)
        raise SiteError(f"{where} shows an image without {wanted}; use plots.show(fig, alt=..., caption=..., name=...)")
    return {"image": {"alt": figure["alt"]}, "figure": {"caption": figure["caption"], "name": figure["name"]}}


def show_used_parameters(notebook: NotebookNode, name: str) -> None:
    """Write the values that were used into the parameters cell, and drop the injected one."""
    used = notebook.metadata[RECORD]["parameters"]
    for cell in notebook.cells:
        if "parameters" in cell_tags(cell):
            cell.source = with_values(cell.source, used, name)
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell_tags(cell)]


def with_values(source: str, values: dict[str, Any], name: str) -> str:
    """`source` with other literals on the right-hand sides; comments and layout stay."""
    lines = [line.encode() for line in source.splitlines()]  # ast counts columns in bytes
    assignments = literal_assignments(source, name)
    for key, (default, node) in reversed(assignments.items()):
        if values[key] == default:
            continue
        first, last = node.lineno - 1, node.end_lineno - 1
        tail = lines[last][node.end_col_offset :]
        lines[first : last + 1] = [lines[first][: node.col_offset] + repr(values[key]).encode() + tail]
    return b"\n".join(lines).decode()


def provenance_block(record: dict[str, Any], library_now: str) -> str:
    """The collapsed "How this page was made" of a chapter, as HTML."""
    source = record["source"]
    version = record["commit"] + (" with local changes" if record["dirty"] else "")
    if record["library_sha256"] != library_now:
        version += "; lib/ or experiments/ has changed since"
    parameters = "".join(f"<code>{html.escape(f'{key} = {value!r}')}</code>" for key, value in record["parameters"].items())
    rows = {
        "Source": f'<a href="../source/{html.escape(source)}"><code>{html.escape(source)}</code></a>',
        "Profile": html.escape(record["profile"]),
        "Parameters": f'<span class="parameters">{parameters}</span>',
        "Commit": f"<code>{html.escape(version)}</code>",
        "Software": html.escape(f"Python {record['python']}" + (f", PyTorch {record['torch']}" if record["torch"] else "")),
        "Device": html.escape(record["device"] + (f", {record['threads']} threads" if record["threads"] else "")),
        "Wall time": f'<span class="wall-time">{record["seconds"]} s</span>',
    }
    body = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in rows.items())
    return f'<details class="provenance"><summary>How this page was made</summary><dl>{body}</dl></details>'


def gallery_page(notebooks: dict[str, NotebookNode], images: Path) -> str:
    """A MyST page of every figure, each linked to its place; writes the pictures into `images`."""
    cards, names = [], set()
    for stem, notebook in notebooks.items():
        for cell in notebook.cells:
            for output in filter(has_image, cell.get("outputs", [])):
                figure = cell.metadata["mystnb"]["figure"]
                if figure["name"] in names:
                    raise SiteError(f"{stem}: a second figure is named {figure['name']}")
                names.add(figure["name"])
                picture = write_picture(output, images / figure["name"])
                cards.append(gallery_card(figure["name"], cell.metadata["mystnb"]["image"]["alt"], picture))
    body = "\n".join(["::::{grid} 2 2 3 3", ":gutter: 3", "", *cards, "::::"]) if cards else "No chapter shows a figure yet."
    return f"# Gallery\n\nEvery figure of the book; each leads to its place in the text.\n\n{body}\n"


def gallery_card(name: str, alt: str, picture: Path) -> str:
    one_line = " ".join(alt.split())
    return f":::{{grid-item-card}}\n:img-top: gallery/{picture.name}\n:img-alt: {one_line}\n:link: {name}\n:link-type: ref\n\n{{numref}}`{name}`\n:::"


def write_picture(output: NotebookNode, path: Path) -> Path:
    mime = next(mime for mime in output.data if mime.startswith("image/"))
    target = path.with_suffix("." + mime.removeprefix("image/").removesuffix("+xml"))
    target.parent.mkdir(parents=True, exist_ok=True)
    content = output.data[mime]
    target.write_bytes(content.encode() if mime == "image/svg+xml" else base64.b64decode(content))
    return target


def assemble(root: Path, executed: Path, profile: str, target: Path) -> list[str]:
    """Write the site's sources into `target` (emptied first); returns notes for the terminal.

    Raises `SiteError` with every problem found before anything is written.
    """
    check_toc(root)
    notebooks = load_executed(root, executed, profile)
    notes = [note for stem, notebook in notebooks.items() for note in prepare_page(notebook, stem)]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "book", target / "book", ignore=shutil.ignore_patterns("_static"))
    shutil.copytree(root / "book" / "_static", target / "_static")
    shutil.copy(root / "_config.yml", target)
    shutil.copy(root / "_toc.yml", target)
    (target / "_ext").mkdir()
    shutil.copy(root / "tools" / "page_extras.py", target / "_ext")
    (target / "notebooks").mkdir()
    (target / "_extra" / "source" / "notebooks").mkdir(parents=True)
    library_now = library_hash(root)
    blocks = {}
    for stem, notebook in notebooks.items():
        nbformat.write(notebook, target / "notebooks" / f"{stem}.ipynb")
        shutil.copy(root / "notebooks" / f"{stem}.py", target / "_extra" / "source" / "notebooks")
        blocks[f"notebooks/{stem}"] = provenance_block(notebook.metadata[RECORD], library_now)
    (target / "provenance.json").write_text(json.dumps(blocks, indent=1), encoding="utf-8")
    page = gallery_page(notebooks, target / "book" / "gallery")
    (target / f"{GALLERY}.md").write_text(page, encoding="utf-8")
    return notes
