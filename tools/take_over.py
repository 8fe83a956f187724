"""Take answers and figures of executed chapters over into prose pages, so that each has one source.

A line of its own in a page of book/ names a chapter and what is wanted of it:

    {answer}`02_architecture_comparison answer`
    {figure}`02_architecture_comparison fig-fooled`

What a chapter that was not executed would have, and a figure whose runs are not there, is "not run
yet"; a name that an executed chapter does not give is a mistake, as is a chapter that is not there.
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from nbformat import NotebookNode

PLACEHOLDER = re.compile(
    r"^\{(?P<kind>answer|figure)\}`(?P<stem>\S+) (?P<name>[\w-]+)`[ \t]*$", re.MULTILINE
)


class Figure(NamedTuple):
    """A figure of a chapter: what the gallery has its picture by, and the page it stands on."""

    name: str
    alt: str
    caption: str
    page: str
    width: str


def take_over(
    text: str,
    notebooks: Mapping[str, NotebookNode],
    chapters: Collection[str],
    pictures: Mapping[str, str],
    appendix: str,
) -> tuple[str, list[str]]:
    """(the text with its placeholders replaced, problems).

    notebooks: prepared for their pages, by stem.  chapters: the stems of all that there are.
    pictures: figure's name -> file of its picture, from the folder of the text.
    appendix: what an appendix page has at the end of its name.
    """
    problems: list[str] = []

    def replaced(found: re.Match) -> str:
        kind, stem, name = found["kind"], found["stem"], found["name"]
        if stem not in chapters:
            problems.append(f"{found[0]}: there is no notebook {stem}")
            return ""
        later = f"Not run yet: [](../notebooks/{stem})."
        if stem not in notebooks:
            return later
        if kind == "answer":
            said = answers(notebooks[stem]).get(name)
            if said is not None:
                return f":::{{div}} answer\n{said}\n:::"
        elif figure := figures(notebooks[stem], stem, appendix).get(name):
            return shown(figure, pictures[name])
        elif name in not_run(notebooks[stem]):
            return later
        problems.append(f"{found[0]}: {stem} was executed and gives no {kind} of that name")
        return ""

    return PLACEHOLDER.sub(replaced, text), problems


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def answers(notebook: NotebookNode) -> dict[str, str]:
    """Name -> text of the answers, which `harness.page.answer` leaves in the metadata."""
    found = [output.get("metadata", {}).get("answer") for output in outputs(notebook)]
    return {answer["name"]: answer["text"] for answer in found if answer}


def figures(notebook: NotebookNode, stem: str, appendix: str) -> dict[str, Figure]:
    """The figures of a notebook by name."""
    found = {}
    for cell in notebook.cells:
        placed = cell.metadata.get("mystnb", {})
        if "figure" in placed:
            name, caption = placed["figure"]["name"], placed["figure"]["caption"]
            page = stem + appendix * ("appendix" in cell.metadata.get("tags", []))
            image = placed["image"]
            found[name] = Figure(name, image["alt"], caption, page, image.get("width", ""))
    return found


def not_run(notebook: NotebookNode) -> set[str]:
    """The figures that `harness.page.not_run` says have no runs."""
    texts = [str(output.get("data", {}).get("text/markdown", "")) for output in outputs(notebook)]
    return {
        name
        for text in texts
        for name in re.findall(r"^~~~\{table\} Not run\b.*\n:name: ([\w-]+)$", text, re.MULTILINE)
    }


def shown(figure: Figure, picture: str) -> str:
    """The picture, which leads to its place, and its caption with its number there."""
    options = {
        "alt": " ".join(figure.alt.split()),
        "class": "taken-over",
        "width": figure.width,
        "target": f"../notebooks/{figure.page}.html#{figure.name}",
    }
    lines = [f":{key}: {value}" for key, value in options.items() if value]
    caption = f"{{numref}}`{figure.name}`: {figure.caption}"
    return "\n".join(
        [f"```{{image}} {picture}", *lines, "```", "", ":::{div} taken-over", caption, ":::"]
    )
