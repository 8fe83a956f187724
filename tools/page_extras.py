"""Sphinx extension: chapters have the numbers of their files, pictures a dark variant and their
full size, what a reader plays with a number as a figure, and pages end with how they were made.

What would start live cells is taken out, because it comes from another host. Blocks are added to
the finished page rather than to its document, so that neither figure numbers nor the search index
depend on them: wall times would otherwise change the index at every build.
"""

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.util.docutils import SphinxDirective

CHAPTER = re.compile(r"notebooks/0*([0-9]+)_")
APPENDIX = "-appendix"
PICTURE = re.compile(r'<img\b[^>]*\bsrc="(?P<source>[^"]*(?:_images|_static/dark)/[^"]+)"[^>]*>')
FIGURE = re.compile(r'<figure\b[^>]*\bid="(?P<name>[^"]+)".*?</figure>', re.DOTALL)
# what Sphinx puts around a picture that has a width
SCALED = re.compile(
    r'<a class="reference internal image-reference" [^>]*>(?P<picture>(?:<img\b[^>]*>)+)\s*</a>'
)
CARD_CLASS = "sd-card-img-top"
# outside its own place a picture is known by its file: on a card, or taken over into a prose page
BY_FILE = re.compile(
    rf'<img\b[^>]*\b(?:{CARD_CLASS}|taken-over)\b[^>]*\bsrc="[^"]*/(?P<name>[^"/]+)\.\w+"[^>]*>'
)
LIVE_CELLS = re.compile(
    r'<script type="text/x-thebe-config">.*?</script>|<script>kernelName = .*?</script>', re.DOTALL
)
# a link within the book to an entry of the bibliography, or to a figure
REFERENCE = re.compile(r'<a class="reference internal" href="[^"#]*#(?P<target>[^"]+)"[^>]*>')
PARAGRAPH = re.compile(r"<p>.*?</p>", re.DOTALL)
NOT_PROSE = re.compile(
    r"(<a\b.*?</a>|<code\b.*?</code>|<span class=\"math.*?</span>|<[^>]+>)", re.DOTALL
)
WORDS_A_MINUTE = 220


# --- numbers --------------------------------------------------------------------------------


def number_by_file(env: BuildEnvironment) -> None:
    """Give notebooks/07_x.ipynb and its sections the number 7, whatever precedes it."""
    for page, numbers in env.toc_secnumbers.items():
        chapter = CHAPTER.match(page)
        if chapter is None:
            continue
        first = int(chapter[1])
        for anchor, number in numbers.items():
            if number:
                numbers[anchor] = (first, *number[1:])
        for node in [*env.tocs[page].findall(nodes.Element), env.titles[page]]:
            if node.get("secnumber"):
                node["secnumber"] = [first, *node["secnumber"][1:]]


def before_figures(assign: Callable) -> Callable:
    """Figures are numbered after sections, for which several extensions have ways of their own."""

    def assigned(self: TocTreeCollector, env: BuildEnvironment) -> list[str]:
        number_by_file(env)
        return assign(self, env)

    return assigned


# --- pictures -------------------------------------------------------------------------------


def link_pictures(body: str) -> str:
    """Wrap each picture that is not in a link already, nor the image of a card."""
    parts = re.split(r"(<a\b.*?</a>)", SCALED.sub(r"\g<picture>", body), flags=re.DOTALL)
    return "".join(part if part.startswith("<a") else PICTURE.sub(linked, part) for part in parts)


def linked(picture: re.Match) -> str:
    tag = picture[0]
    if CARD_CLASS in tag:
        return tag
    # not the theme's own class, which would hide the caption beside the link, too
    shown = next((f" on-{mode}" for mode in ("light", "dark") if f"only-{mode}" in tag), "")
    return (
        f'<a class="full-size{shown}" href="{picture["source"]}" title="Open full size">{tag}</a>'
    )


def add_dark(body: str, dark: dict[str, str]) -> str:
    """Beside each picture that has a variant for dark pages, that one.

    dark: figure's name -> address of the variant.
    """

    def in_figure(figure: re.Match) -> str:
        address = dark.get(figure["name"])
        return PICTURE.sub(lambda found: both(found[0], address), figure[0], count=1)

    def by_file(picture: re.Match) -> str:
        return both(picture[0], dark.get(picture["name"]))

    return BY_FILE.sub(by_file, FIGURE.sub(in_figure, body))


def both(picture: str, address: str | None) -> str:
    if address is None:
        return picture
    other = re.sub(r'\bsrc="[^"]+"', f'src="{address}"', picture)
    return with_class(picture, "only-light") + with_class(other, "only-dark")


def with_class(picture: str, name: str) -> str:
    if 'class="' in picture:
        return picture.replace('class="', f'class="{name} ', 1)
    return picture.replace("<img", f'<img class="{name}"', 1)


def add_sources(body: str, blocks: dict[str, str]) -> str:
    """Below each figure, where it comes from.  blocks: figure's name -> HTML."""
    return FIGURE.sub(lambda figure: figure[0] + blocks.get(figure["name"], ""), body)


# --- titles, ends, links ---------------------------------------------------------------------


def minutes(body: str) -> int:
    """How long the prose of a page takes to read; code, tables and formulas do not count."""
    prose = re.sub(
        r"<(pre|script|style|table|details|svg|math)\b.*?</\1>", " ", body, flags=re.DOTALL
    )
    words = re.sub(r"<[^>]+>|\\[(\[].*?\\[)\]]", " ", prose, flags=re.DOTALL).split()
    return max(1, round(len(words) / WORDS_A_MINUTE))


def add_facts(body: str, pagename: str, facts: dict[str, Any]) -> str:
    """Below the title of a chapter how long it takes to read and where its notebook opens."""
    if pagename not in facts["launch"]:
        return body
    time = minutes(body)
    parts = [f"{time} minute{'s' * (time > 1)} to read", facts["launch"][pagename]]
    line = f'<p class="page-facts">{" · ".join(filter(None, parts))}</p>'
    return body.replace("</h1>", f"</h1>{line}", 1)


def page_end(pagename: str, facts: dict[str, Any]) -> str:
    """At the end of each page: how to cite it, licence, repository."""
    cite = facts["cite"].get(pagename, facts["cite"].get("", ""))
    foot = f"<p>{facts['foot']}</p>" if facts["foot"] else ""
    return f'<div class="page-end">{cite}{foot}</div>' if cite or foot else ""


def add_notes(body: str, captions: dict[str, str]) -> str:
    """What a link to the bibliography or to a figure leads to, told when one points at it.

    Browsers show a `title` to a mouse only; `data-note` is shown by the style sheet to a keyboard
    and a finger, too.  captions: figure's name -> its caption as plain text.
    """

    def noted(link: re.Match) -> str:
        tag, target = link[0], html.unescape(link["target"])
        title = re.search(r' title="([^"]*)"', tag)
        note = title[1] if title else html.escape(captions.get(target, ""))
        if not note:
            return tag
        bare = tag.replace(title[0], "") if title else tag
        return f'{bare[:-1]} data-note="{note}" aria-description="{note}">'

    return REFERENCE.sub(noted, body)


def figure_captions(body: str) -> dict[str, str]:
    """Name -> caption as plain text, number first, of the figures on a page without formulas in it."""
    found = {}
    for figure in FIGURE.finditer(body):
        caption = re.search(r"<figcaption>(.*?)</figcaption>", figure[0], flags=re.DOTALL)
        if caption and 'class="math' not in caption[1]:
            text = re.sub(
                r"<a class=\"headerlink\".*?</a>|<[^>]+>", "", caption[1], flags=re.DOTALL
            )
            found[figure["name"]] = " ".join(html.unescape(text).split())
    return found


def mark_terms(body: str, known: list[list[str]], address: str) -> str:
    """Explain each term where a paragraph of the page has it first.

    known: [term, meaning, name of the table that has it].  address: of the page of these tables.
    """
    waiting = {term: (meaning, table) for term, meaning, table in known}

    def in_paragraph(paragraph: re.Match) -> str:
        parts = NOT_PROSE.split(paragraph[0])  # odd places: tags, links, code, formulas
        place = 0
        while place < len(parts):
            for term in sorted(waiting, key=len, reverse=True):
                words = r"\s+".join(map(re.escape, html.escape(term).split()))
                pattern = rf"(?<![\w-]){words}(?![\w-])"
                found = re.search(pattern, parts[place])
                if found is None:
                    continue
                meaning, table = waiting.pop(term)
                note = html.escape(f"{term}: {meaning}")
                link = (
                    f'<a class="term" href="{address}#{table}" data-note="{note}" '
                    f'aria-description="{note}">{found[0]}</a>'
                )
                before, after = parts[place][: found.start()], parts[place][found.end() :]
                parts[place : place + 1] = [before, link, after]
                break  # what follows is the next piece
            place += 2
        return "".join(parts)

    return PARAGRAPH.sub(in_paragraph, body)


def social(pagename: str, title: str, body: str, facts: dict[str, Any]) -> str:
    """What a link to the page shows elsewhere: title, first sentences, and the book's picture."""
    first = re.search(r"<p>(.*?)</p>", body, flags=re.DOTALL)
    words = html.unescape(re.sub(r"<[^>]+>", "", first[1])).split() if first else []
    plain = html.unescape(re.sub(r"<[^>]+>", "", title))
    described = (
        " ".join(words)[:200].rsplit(" ", 1)[0] if len(" ".join(words)) > 200 else " ".join(words)
    )
    tags = {
        "og:type": "article",
        "og:site_name": facts["site"],
        "og:title": plain,
        "og:description": described,
        "og:url": f"{facts['base']}{pagename}.html" if facts["base"] else "",
        "og:image": facts["picture"],
        "twitter:card": "summary_large_image" if facts["picture"] else "summary",
    }
    return "".join(
        f'\n    <meta property="{key}" content="{html.escape(value)}">'
        for key, value in tags.items()
        if value
    )


# --- plays ----------------------------------------------------------------------------------


class Play(SphinxDirective):
    """HTML with a caption and a name, counted among the figures: ~~~{play} caption."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"name": directives.unchanged_required}
    has_content = True

    def run(self) -> list[nodes.Node]:
        content = nodes.raw("", "\n".join(self.content), format="html")
        words, messages = self.parse_inline(self.arguments[0])
        figure = nodes.figure("", content, nodes.caption(self.arguments[0], "", *words))
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure, *messages]


# --- the page -------------------------------------------------------------------------------


def without_thebe(scripts: list[Any]) -> list[Any]:
    """The scripts of a page less those for live cells, which would come from another host."""
    return [
        script
        for script in scripts
        if "thebe" not in f"{script.filename} {script.attributes.get('body', '')}".lower()
    ]


def add_extras(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    context["script_files"] = without_thebe(context["script_files"])
    if "body" not in context:
        return
    source = Path(app.srcdir)
    pictures = sorted((source / "_static" / "dark").glob("*.*"))
    dark = {path.stem: context["pathto"](f"_static/dark/{path.name}", 1) for path in pictures}
    blocks = json.loads((source / "provenance.json").read_text(encoding="utf-8"))
    body = add_dark(LIVE_CELLS.sub("", context["body"]), dark)
    figures, facts = (
        json.loads((source / name).read_text(encoding="utf-8"))
        for name in ("figures.json", "facts.json")
    )
    context["metatags"] = context.get("metatags", "") + social(
        pagename, context.get("title", ""), body, facts["social"]
    )
    body = add_notes(body, figure_captions(body))
    if CHAPTER.match(pagename):
        terms = facts["terms"]
        if terms["known"]:
            body = mark_terms(body, terms["known"], context["pathto"](terms["page"]))
    body = add_facts(body, pagename, facts)
    body = add_sources(link_pictures(body), figures) + blocks.get(pagename, "")
    context["body"] = body + page_end(pagename, facts)


def offer_whole_notebook(
    app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: Any
) -> None:
    """An appendix's cells alone do not run; its page offers the notebook of the chapter."""
    if context.get("sourcename"):
        context["sourcename"] = context["sourcename"].replace(f"{APPENDIX}.ipynb", ".ipynb")


def replace_sources(app: Sphinx, exception: Exception | None) -> None:
    """Offer notebooks in the order that executes, rather than in that of the page."""
    whole = Path(app.srcdir) / "_whole"
    if exception is None and whole.is_dir():
        shutil.copytree(whole, Path(app.outdir) / "_sources", dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    TocTreeCollector.assign_figure_numbers = before_figures(TocTreeCollector.assign_figure_numbers)
    app.add_directive("play", Play)
    app.connect("html-page-context", offer_whole_notebook, priority=1)  # before buttons are made
    app.connect("html-page-context", add_extras)
    app.connect("build-finished", replace_sources)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
