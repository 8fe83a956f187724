"""Assemble the source folder of a site from prose, configuration and executed notebooks.

A notebook executes in one order and is read in another: cells tagged `setup` and `parameters` stand
at the end of the page, cells tagged `appendix` on a page of their own. What is not fit to be
published is refused with a sentence that names the page and the cell, counted as in the source.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbformat import NotebookNode
from ruamel.yaml import YAML

import page_facts
import reference
from execute import RECORD, describe_cell, library_hash, ran_completely
from execution_status import filled as with_status
from execution_status import records_of
from figure_sources import Sources
from percent import (
    NotebookError,
    cell_tags,
    default_parameters,
    list_notebooks,
    literal_assignments,
    parse_yaml,
    read_notebook,
    read_profile,
)
from take_over import take_over

APPENDIX = "-appendix"
MADE = "How this page was made"
PIXELS_PER_INCH = 119  # the usual 5.2 inches are then 620 pixels wide
WIDEST = 620
GALLERY = "book/gallery"
CHANGES = "CHANGELOG.md"


class SiteError(Exception):
    """The site cannot be published as things stand; one line a problem."""


def read_toc(root: Path) -> Any:
    return parse_yaml((root / "_toc.yml").read_text(encoding="utf-8"), "_toc.yml")


def toc_files(root: Path) -> list[str]:
    """Every page that _toc.yml lists, in order, as a path without suffix."""
    entries = toc_entries(read_toc(root))
    return [entry[key] for entry in entries for key in ("root", "file") if key in entry]


def toc_entries(entry: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a table of contents, in order."""
    if isinstance(entry, list):
        for element in entry:
            yield from toc_entries(element)
    elif isinstance(entry, dict):
        yield entry
        for key in ("parts", "chapters", "sections"):
            yield from toc_entries(entry.get(key, []))


def write_toc(root: Path, appendices: list[str], target: Path) -> None:
    """Write _toc.yml into `target`; each appendix stands below its chapter."""
    toc = read_toc(root)
    for entry in list(toc_entries(toc)):
        if entry.get("file", "").removeprefix("notebooks/") in appendices:
            entry.setdefault("sections", []).append({"file": f"{entry['file']}{APPENDIX}"})
    with (target / "_toc.yml").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump(toc, file)


def check_toc(root: Path) -> None:
    """_toc.yml lists each page once, and each page and chapter that exists."""
    listed = toc_files(root)
    pages = [f"book/{path.stem}" for path in sorted((root / "book").glob("*.md"))]
    chapters = [f"notebooks/{path.stem}" for path in list_notebooks(root / "notebooks")]
    existing = {*pages, *chapters, GALLERY, *reference.page_names(root).values()}
    problems = [
        f"_toc.yml lists {page}, which does not exist" for page in listed if page not in existing
    ]
    problems += [
        f"{page} exists but _toc.yml does not list it: add `- file: {page}`"
        for page in sorted(existing - {*listed})
    ]
    problems += [
        f"_toc.yml lists {page} twice"
        for page in sorted({page for page in listed if listed.count(page) > 1})
    ]
    if problems:
        raise SiteError("\n".join(problems))


def load_executed(
    root: Path, executed: Path, profile: str, *, only: bool = False
) -> dict[str, NotebookNode]:
    """Stem -> executed notebook for every chapter, or with `only` for those in the folder.

    Raises `SiteError` for missing, stale and partial ones, one line each.
    """
    if not executed.is_dir():
        what = "is a file, not a folder" if executed.exists() else "is not there"
        raise SiteError(
            f"the folder of executed notebooks, {executed}, {what}\n"
            f"{how_to_execute(executed, profile)}"
        )
    loaded, missing, problems = {}, [], []
    for source in list_notebooks(root / "notebooks"):
        path = executed / f"{source.stem}.ipynb"
        if not path.is_file():
            missing.append(source.name)
            continue
        try:
            loaded[source.stem] = load_one(source, path, profile)
        except (SiteError, NotebookError) as error:
            problems.append(f"{source.name}: {error}")
    if not only:
        problems = [
            f"{name}: was never executed with profile {profile}" for name in missing
        ] + problems
    if problems or not loaded:
        lines = problems or [f"{executed} holds none of the chapters"]
        if missing and loaded and not only:
            lines.append(f"--only builds the site with the {len(loaded)} that are there")
        raise SiteError("\n".join([*lines, how_to_execute(executed, profile)]))
    return loaded


def how_to_execute(executed: Path, profile: str) -> str:
    usual = executed.name == profile and executed.parent.name == "executed"
    output = "" if usual else f" --output {executed.name}"
    return f"execute: python tools/execute.py notebooks/*.py --profile {profile}{output}"


def load_one(source: Path, path: Path, profile: str) -> NotebookNode:
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, AttributeError, KeyError, nbformat.ValidationError) as error:
        raise SiteError(
            f"is no notebook that can be read ({type(error).__name__}): {path}"
        ) from error
    record = notebook.metadata.get(RECORD)
    if record is None:
        raise SiteError(
            "was not executed by tools/execute.py, so nothing says what it was made from"
        )
    if record["profile"] != profile:
        raise SiteError(f"was executed with profile {record['profile']}, not {profile}")
    if record["source_sha256"] != hashlib.sha256(source.read_bytes()).hexdigest():
        raise SiteError("has changed since it was executed")
    defaults = default_parameters(read_notebook(source), source.name)
    wanted = {**defaults, **read_profile(source, profile), **record["given"]}
    if wanted != record["parameters"]:
        changed = ", ".join(key for key in wanted if wanted[key] != record["parameters"].get(key))
        raise SiteError(
            f"was executed with other parameters than profile {profile} now has ({changed})"
        )
    for index, cell in enumerate(notebook.cells):
        if not ran_completely(cell):
            raise SiteError(f"is only partly executed, see {describe_cell(notebook, index)}")
    return notebook


def prepare_page(notebook: NotebookNode, name: str) -> list[str]:
    """Make an executed notebook fit for the page, in place; notes about what was left out."""
    notes = remove_stderr(notebook, name)
    place_figures(notebook, name)
    show_used_parameters(notebook, name)
    notebook.metadata.pop("jupytext", None)
    return notes


def remove_stderr(notebook: NotebookNode, name: str) -> list[str]:
    """Drop what cells wrote to stderr, which may hold machine paths; one note a cell."""
    notes = []
    for index, cell in enumerate(notebook.cells):
        lines = [
            line
            for output in cell.get("outputs", [])
            if output.get("name") == "stderr"
            for line in output.text.splitlines()
        ]
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
        output = images[0]
        figure = output.metadata.pop("figure", {})
        cell.metadata["mystnb"] = figure_metadata(figure, where, shown_width(*picture_of(output)))
        if figure.get("dark"):
            output.metadata["dark"] = figure["dark"]  # until `take_dark` writes it beside the page


def figure_metadata(
    figure: dict[str, str], where: str, width: int | None
) -> dict[str, dict[str, str]]:
    missing = [key for key in ("alt", "caption", "name") if not str(figure.get(key) or "").strip()]
    if missing:
        wanted = ", ".join("alt text" if key == "alt" else f"a {key}" for key in missing)
        raise SiteError(
            f"{where} shows an image without {wanted}; "
            "use page.show(fig, alt=..., caption=..., name=...)"
        )
    image = {"alt": figure["alt"]} | ({"width": f"{width}px"} if width else {})
    return {"image": image, "figure": {"caption": figure["caption"], "name": figure["name"]}}


def picture_of(output: NotebookNode) -> tuple[str, bytes]:
    """(suffix, content) of the picture of an output."""
    mime = next(mime for mime in output.data if mime.startswith("image/"))
    return decoded(mime, output.data[mime])


def decoded(mime: str, content: str) -> tuple[str, bytes]:
    is_text = mime == "image/svg+xml"
    return mime.removeprefix("image/").removesuffix(
        "+xml"
    ), content.encode() if is_text else base64.b64decode(content)


def place_plays(notebook: NotebookNode) -> None:
    """Make of each quiz and slider the directive of `page_extras` that numbers it as a figure."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            play = output.get("metadata", {}).pop("play", None)
            if play:
                body = output.data.pop("text/html")
                head = f"~~~{{play}} {play['caption']}\n:name: {play['name']}"
                output.data["text/markdown"] = f"{head}\n\n{body}\n~~~"


def shown_width(suffix: str, content: bytes) -> int | None:
    """The width on the page in CSS pixels, from the picture's inches; None where it names none."""
    inches = None
    if suffix == "svg":
        points = re.search(rb"<svg\b[^>]*?\bwidth=\"([0-9.]+)pt\"", content)
        inches = points and float(points[1]) / 72
    elif suffix == "png" and (place := content.find(b"pHYs")) > 0:
        (width,) = struct.unpack(">I", content[16:20])
        (per_metre,) = struct.unpack(">I", content[place + 4 : place + 8])
        inches = width / (per_metre * 0.0254)
    return inches and min(round(inches * PIXELS_PER_INCH), WIDEST)


def take_dark(notebook: NotebookNode, folder: Path) -> None:
    """Write the pictures for dark pages into `folder`, each under its figure's name."""
    for cell in notebook.cells:
        for output in filter(has_image, cell.get("outputs", [])):
            dark = output.metadata.pop("dark", None)
            if dark:
                mime = next(mime for mime in output.data if mime.startswith("image/"))
                suffix, content = decoded(mime, dark)
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{cell.metadata['mystnb']['figure']['name']}.{suffix}").write_bytes(
                    content
                )


def show_used_parameters(notebook: NotebookNode, name: str) -> None:
    """Write the values that were used into the parameters cell, and drop the injected one."""
    used = notebook.metadata[RECORD]["parameters"]
    for cell in notebook.cells:
        if "parameters" in cell_tags(cell):
            cell.source = with_values(cell.source, used, name)
    notebook.cells = [
        cell for cell in notebook.cells if "injected-parameters" not in cell_tags(cell)
    ]


def with_values(source: str, values: dict[str, Any], name: str) -> str:
    """`source` with other literals on the right-hand sides; comments and layout stay."""
    lines = [line.encode() for line in source.splitlines()]  # ast counts columns in bytes
    assignments = literal_assignments(source, name)
    for key, (default, node) in reversed(assignments.items()):
        if values[key] == default:
            continue
        first, last = node.lineno - 1, node.end_lineno - 1
        tail = lines[last][node.end_col_offset :]
        lines[first : last + 1] = [
            lines[first][: node.col_offset] + repr(values[key]).encode() + tail
        ]
    return b"\n".join(lines).decode()


class Pages(NamedTuple):
    """A notebook's cells in the order they are read; without cells for it, no appendix."""

    chapter: NotebookNode
    appendix: NotebookNode | None


def arrange(notebook: NotebookNode, stem: str) -> Pages:
    """Put the set-up at the end of the page and the appendix on a page of its own.

    A notebook without cells tagged `setup` keeps its parameters where they are.
    """
    has_setup = any("setup" in cell_tags(cell) for cell in notebook.cells)
    story, making, appendix = [], [], []
    for cell in notebook.cells:
        tags = set(cell_tags(cell))
        at_end = has_setup and tags & {"setup", "parameters"}
        (appendix if "appendix" in tags else making if at_end else story).append(cell)
    if appendix:
        title = title_of(notebook, stem)
        story.append(
            prose(
                "to-appendix",
                f"Grids, ablations and long tables: {{doc}}`Appendix: {title} <{stem}{APPENDIX}>`.",
            )
        )
        chapter = f"{{doc}}`{title} <{stem}>`"
        back = f"# Appendix: {title}\n\nIt belongs to {chapter}, which says how both were made."
        appendix = [prose("from-chapter", back), *appendix]
    if making:
        making = [prose("made", f"## {MADE}"), *making]
    chapter = NotebookNode({**notebook, "cells": [*story, *making]})
    return Pages(chapter, NotebookNode({**notebook, "cells": appendix}) if appendix else None)


def prose(id: str, text: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text, id=id)


def title_of(notebook: NotebookNode, stem: str) -> str:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"^# +(.+?)\s*$", text, flags=re.MULTILINE)
    if found is None:
        raise SiteError(f"{stem}: has no title, a line `# Title` in its first Markdown cell")
    return found[1]


def provenance_block(
    record: dict[str, Any], library_now: str, *, under_heading: bool = False
) -> str:
    """What the page was made from, collapsed, as HTML."""
    source = html.escape(record["source"])
    version = record["commit"] + (" with local changes" if record["dirty"] else "")
    if record["library_sha256"] != library_now:
        version += "; the code that the notebook calls has changed since"
    parameters = "".join(
        f"<code>{html.escape(f'{key} = {value!r}')}</code>"
        for key, value in record["parameters"].items()
    )
    rows = {
        "Source": f'<a href="../source/{source}"><code>{source}</code></a>',
        "Profile": html.escape(record["profile"]),
        "Parameters": f'<span class="parameters">{parameters}</span>',
        "Commit": f"<code>{html.escape(version)}</code>",
        "Software": html.escape(
            f"Python {record['python']}"
            + (f", PyTorch {record['torch']}" if record["torch"] else "")
        ),
        "Device": html.escape(
            record["device"] + (f", {record['threads']} threads" if record["threads"] else "")
        ),
        "Wall time": f'<span class="wall-time">{record["seconds"]} s</span>',
    }
    body = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in rows.items())
    summary = "The page: source, parameters, software, time" if under_heading else MADE
    note = (
        "How this page was executed. The runs that it shows can be older and from elsewhere; "
        "each has a record of its own."
    )
    inside = f"<summary>{summary}</summary><p>{note}</p><dl>{body}</dl>"
    return f'<details class="provenance">{inside}</details>'


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
                cards.append(
                    gallery_card(figure["name"], cell.metadata["mystnb"]["image"]["alt"], picture)
                )
    body = (
        "\n".join(["::::{grid} 2 2 3 3", ":gutter: 3", "", *cards, "::::"])
        if cards
        else "No chapter shows a figure yet."
    )
    return (
        f"# Gallery\n\nEvery figure of the book; each leads to its place in the text.\n\n{body}\n"
    )


def gallery_card(name: str, alt: str, picture: Path) -> str:
    one_line = " ".join(alt.split())
    options = (
        f":img-top: gallery/{picture.name}\n:img-alt: {one_line}\n:link: {name}\n:link-type: ref"
    )
    return f":::{{grid-item-card}}\n{options}\n\n{{numref}}`{name}`\n:::"


def filled_pages(root: Path, notebooks: dict[str, NotebookNode]) -> dict[str, str]:
    """File name -> text of the pages of book/ that take something over from chapters."""
    chapters = [source.stem for source in list_notebooks(root / "notebooks")]
    pictures = {
        cell.metadata["mystnb"]["figure"]["name"]: output
        for notebook in notebooks.values()
        for cell in notebook.cells
        for output in filter(has_image, cell.get("outputs", []))
    }
    addresses = {
        name: f"gallery/{name}.{picture_of(output)[0]}" for name, output in pictures.items()
    }
    filled, problems = {}, []
    for path in sorted((root / "book").glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after, wrong = take_over(before, notebooks, chapters, addresses, APPENDIX)
        problems += [f"book/{path.name}: {problem}" for problem in wrong]
        after = with_status(after, records_of(notebooks, RECORD), chapters)
        if after != before:
            filled[path.name] = after
    if problems:
        raise SiteError("\n".join(problems))
    return filled


def write_picture(output: NotebookNode, path: Path) -> Path:
    suffix, content = picture_of(output)
    target = path.with_suffix(f".{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def stand_in(source: Path) -> str:
    """The page of a chapter that is not part of this build, so that links to it lead somewhere."""
    title = title_of(read_notebook(source), source.stem)
    return f"# {title}\n\nThis chapter is not part of this build: it was not executed.\n"


def assemble(
    root: Path, executed: Path, profile: str, target: Path, *, only: bool = False
) -> list[str]:
    """Write the site's sources into `target`, a new folder; returns notes for the terminal.

    Raises `SiteError` with every problem found before anything is written.
    """
    check_toc(root)
    notebooks = load_executed(root, executed, profile, only=only)
    notes = [note for stem, notebook in notebooks.items() for note in prepare_page(notebook, stem)]
    pages = {stem: arrange(notebook, stem) for stem, notebook in notebooks.items()}
    prose_pages = filled_pages(root, notebooks)
    shutil.copytree(root / "book", target / "book", ignore=shutil.ignore_patterns("_static"))
    for name, text in prose_pages.items():
        (target / "book" / name).write_text(text, encoding="utf-8")
    shutil.copytree(root / "book" / "_static", target / "_static")
    shutil.copy(root / "_config.yml", target)
    write_toc(root, [stem for stem, page in pages.items() if page.appendix], target)
    (target / "_ext").mkdir()
    shutil.copy(root / "tools" / "page_extras.py", target / "_ext")
    write_chapters(root, notebooks, pages, target)
    page = gallery_page(notebooks, target / "book" / "gallery")
    (target / f"{GALLERY}.md").write_text(page, encoding="utf-8")
    reference.write_pages(root, target)
    if (root / CHANGES).is_file():  # book/changelog.md includes it
        shutil.copy(root / CHANGES, target)
    return notes


def write_chapters(
    root: Path, notebooks: dict[str, NotebookNode], pages: dict[str, Pages], target: Path
) -> None:
    """The pages of every chapter, their sources to download, and what stands at their ends."""
    sources, downloads = (
        target / "_extra" / "source" / "notebooks",
        target / "_whole" / "notebooks",
    )
    for folder in (target / "notebooks", sources, downloads):
        folder.mkdir(parents=True)
    library_now = library_hash(root)
    data = Sources(root, target / "_extra" / "figure-data", "../figure-data")
    blocks, figures = {}, {}
    for source in list_notebooks(root / "notebooks"):
        stem = source.stem
        if stem not in notebooks:
            (target / "notebooks" / f"{stem}.md").write_text(stand_in(source), encoding="utf-8")
            continue
        shutil.copy(source, sources)
        take_dark(notebooks[stem], target / "_static" / "dark")
        figures |= data.blocks(notebooks[stem], notebooks[stem].metadata[RECORD])
        nbformat.write(notebooks[stem], downloads / f"{stem}.ipynb")  # in the order that executes
        place_plays(notebooks[stem])
        nbformat.write(pages[stem].chapter, target / "notebooks" / f"{stem}.ipynb")
        if pages[stem].appendix:
            nbformat.write(pages[stem].appendix, target / "notebooks" / f"{stem}{APPENDIX}.ipynb")
        moved = any(cell.get("id") == "made" for cell in pages[stem].chapter.cells)
        blocks[f"notebooks/{stem}"] = provenance_block(
            notebooks[stem].metadata[RECORD], library_now, under_heading=moved
        )
    (target / "provenance.json").write_text(json.dumps(blocks, indent=1), encoding="utf-8")
    (target / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    titles = {stem: title_of(notebook, stem) for stem, notebook in notebooks.items()}
    appendices = [stem for stem in titles if pages[stem].appendix]
    page_facts.write(target / "facts.json", page_facts.facts(root, titles, appendices, APPENDIX))
