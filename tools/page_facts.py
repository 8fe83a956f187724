"""What stands below titles and at the ends of pages: where to open the notebook, how to cite, licence.

The repository is named in one place, `repository: url:` of _config.yml; where that is empty, the
workflow `publish` names the one it runs in, by the environment variable BOOK_REPOSITORY. Without any,
or with another host than GitHub, nothing leads to Colab or Binder: there is nothing to open. The notebooks
that are opened are those of the branch `executed`, which tools/executed_branch.py prepares.
"""

import html
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import glossary
from percent import NotebookError, parse_yaml

BRANCH = "executed"
NOTATION = "book/notation"  # the page that defines terms
GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+?)(?:\.git)?/?")
PICTURE = "social-preview.png"  # in book/_static, 1200 x 630


class Repository(NamedTuple):
    """A repository on GitHub."""

    owner: str
    name: str

    @property
    def url(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def pages(self) -> str:
        """Where GitHub Pages publishes its site."""
        site = f"{self.owner.lower()}.github.io"
        return f"https://{site}/" if self.name.lower() == site else f"https://{site}/{self.name}/"


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file; {} where there is none.  Raises NotebookError."""
    if not path.is_file():
        return {}
    found = parse_yaml(path.read_text(encoding="utf-8"), path.name) or {}
    if not isinstance(found, dict):
        raise NotebookError(f"{path.name}: expected `key: value` lines")
    return found


def repository(config: Mapping[str, Any]) -> Repository | None:
    """The repository that is named; None for none, or one that is elsewhere."""
    url = str((config.get("repository") or {}).get("url") or os.environ.get("BOOK_REPOSITORY", ""))
    found = GITHUB.fullmatch(url.strip())
    return Repository(found["owner"], found["name"]) if found else None


def launch_links(where: Repository, stem: str) -> dict[str, str]:
    """Label -> address of the executed notebook: on Colab, on Binder, as a file."""
    path = f"notebooks/{stem}.ipynb"
    place = f"{where.owner}/{where.name}"
    return {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/{BRANCH}/{path}",
        "Binder": f"https://mybinder.org/v2/gh/{place}/{BRANCH}?labpath={path}",
        "file": f"https://raw.githubusercontent.com/{place}/{BRANCH}/{path}",
    }


def launch_line(where: Repository | None, stem: str) -> str:
    """HTML: where the executed notebook of a chapter can be opened; nothing without a repository."""
    if where is None:
        return ""
    links = (
        f'<a href="{html.escape(address)}">{label}</a>'
        for label, address in launch_links(where, stem).items()
    )
    return f"open the executed notebook: {', '.join(links)}"


# --- citing ----------------------------------------------------------------------------------------


def bibtex(
    citation: Mapping[str, Any], *, year: str, where: Repository | None, chapter: str = ""
) -> str:
    """An entry for the book, or for one of its chapters.  citation: of CITATION.cff."""
    authors = " and ".join(map(author, citation.get("authors", [])))
    url = str(
        citation.get("url") or citation.get("repository-code") or (where.url if where else "")
    )
    title = str(citation["title"])
    fields = {
        "author": authors,
        "title": braced(f"{chapter}" if chapter else title),
        "booktitle": braced(title) if chapter else "",
        "year": str(citation.get("date-released") or year)[:4],
        "version": str(citation.get("version", "")),
        "doi": str(citation.get("doi", "")),
        "url": url,
    }
    kind = "incollection" if chapter else "book"
    words = re.findall(r"[a-z0-9]+", (chapter or title).lower())
    lines = [f"  {key} = {{{value}}}," for key, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{'-'.join(words[:5])},", *lines, "}"])


def author(entry: Mapping[str, Any]) -> str:
    """Family, given; an entity has braces of its own, so that it is not taken apart."""
    if "family-names" in entry:
        return f"{entry['family-names']}, {entry.get('given-names', '')}".rstrip(", ")
    return braced(str(entry.get("name", "")))


def braced(text: str) -> str:
    return f"{{{re.sub(r'[{}]', '', text)}}}"


def cite_block(entry: str) -> str:
    """HTML: an entry to copy, behind a button that needs no script."""
    return (
        '<details class="cite"><summary>Cite</summary>'
        f'<div class="highlight"><pre tabindex="0">{html.escape(entry)}</pre></div></details>'
    )


# --- all of it -------------------------------------------------------------------------------------


def facts(root: Path, titles: Mapping[str, str], appendices: Sequence[str], suffix: str) -> dict:
    """What `page_extras` adds to pages: "launch", "cite", "foot", "social" and "terms".

    titles: of the executed chapters, by stem.  appendices: stems of those that have one, whose page
    is called with the suffix.  Raises NotebookError when _config.yml or CITATION.cff is malformed.
    """
    config, citation = read_yaml(root / "_config.yml"), read_yaml(root / "CITATION.cff")
    where, year = repository(config), str(config.get("copyright", ""))
    launch = {f"notebooks/{stem}": launch_line(where, stem) for stem in titles}
    launch |= {f"notebooks/{stem}{suffix}": launch[f"notebooks/{stem}"] for stem in appendices}
    cite = {}
    if citation:
        entries = {f"notebooks/{stem}": title for stem, title in titles.items()} | {"": ""}
        cite = {
            page: cite_block(bibtex(citation, year=year, where=where, chapter=title))
            for page, title in entries.items()
        }
    foot = []
    if citation.get("license"):
        foot.append(f"Licence of text and code: {html.escape(str(citation['license']))}")
    if where:
        foot.append(f'<a href="{where.url}">source repository</a>')
    base = str((config.get("html") or {}).get("baseurl") or (where.pages if where else ""))
    picture = base and (root / "book" / "_static" / PICTURE).is_file()
    social = {
        "site": str(config.get("title", "")),
        "base": base.rstrip("/") + "/" if base else "",
        "picture": f"{base.rstrip('/')}/_static/{PICTURE}" if picture else "",
    }
    notation = root / f"{NOTATION}.md"
    known = glossary.terms(notation.read_text(encoding="utf-8")) if notation.is_file() else []
    return {
        "launch": launch,
        "cite": cite,
        "foot": " · ".join(foot),
        "social": social,
        "terms": {"page": NOTATION, "known": [list(term) for term in known]},
    }


def write(target: Path, found: Mapping[str, Any]) -> None:
    target.write_text(json.dumps(found, indent=1), encoding="utf-8")
