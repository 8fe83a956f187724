"""Check a built site: self-contained, no machine path, alt texts, links that lead somewhere.

Also that no markup was left unread, that nothing which a notebook put out can act, and that a
chapter has the number of its file.
"""

import re
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
LOADING_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "modulepreload",
    "preconnect",
    "dns-prefetch",
    "manifest",
}
CSS_REQUEST = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


ROLE = re.compile(r"\{[a-zA-Z][a-zA-Z:+_-]*\}`")
FENCE = re.compile(r"(?:```|~~~)\{|^\s*:{3,}|:{3,}\{", re.MULTILINE)
# a fence of backticks whose caption holds one is read as code within a line
FENCE_AS_CODE = re.compile(r"^\{[a-z][a-z-]*\}.*\n|^\{[a-z][a-z-]*\}[^\n]* :[a-z]+: ")
VERBATIM = {"pre", "script", "style"}
ACTIVE = {"script", "iframe", "object", "embed", "base", "form", "meta", "link"}
VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
}  # fmt: skip
CHAPTER = re.compile(r"^0*([0-9]+)_")


class Page(HTMLParser):
    """What one page loads, links to, and can be linked at; its words, and what could act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.without_alt: list[str] = []
        self.words: list[str] = []
        self.passages: list[list[str]] = [[]]  # running text, cut at code
        self.codes: list[list[str]] = []
        self.numbers: list[tuple[str, str]] = []  # (of what, text), of title and captions
        self.active: list[str] = []
        self.open: list[tuple[str, set[str]]] = []  # (tag, classes) of the elements we are in
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attributes}
        self.anchors |= {given[key] for key in ("id", "name") if key in given}
        if given.get(LOADING.get(tag, "")):
            self.loads.append(given[LOADING[tag]])
        if tag == "link" and LOADING_LINKS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "img" and not given.get("alt", "").strip():
            self.without_alt.append(given.get("src", "?"))
        self.loads += CSS_REQUEST.findall(given.get("style", ""))
        if self.within("cell_output"):
            self.active += actions(tag, given)
        classes = set(given.get("class", "").split())
        if tag not in VOID:
            self.open.append((tag, classes))
        if tag == "code" and not self.is_verbatim():
            self.codes.append([])
            self.passages[-1].append("`")  # a role before code is one that was not understood
        if {"section-number", "caption-number"} & classes:
            self.numbers.append(("the title" if self.within("h1") else "a heading or caption", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in [name for name, _ in self.open]:
            while self.open.pop()[0] != tag:
                pass
        if tag in VERBATIM or tag == "code":
            self.passages.append([])

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.is_verbatim():
            return
        if self.within("code"):
            self.codes[-1].append(data)
            return
        self.passages[-1].append(data)
        if self.within("section-number", "caption-number") and self.within("bd-article"):
            what, text = self.numbers[-1]
            self.numbers[-1] = (what, text + data)

    def within(self, *names: str) -> bool:
        """Whether an element that is open has one of these tags or classes."""
        return any(tag in names or classes & set(names) for tag, classes in self.open)

    def is_verbatim(self) -> bool:
        return self.within(*VERBATIM)


def actions(tag: str, given: dict[str, str]) -> list[str]:
    """What an element would do in a reader's browser."""
    found = [f"<{tag}>"] if tag in ACTIVE else []
    for key, value in given.items():
        plain = re.sub(r"[\x00-\x20]", "", value).lower()
        if key.startswith("on"):
            found.append(f"<{tag} {key}=...>")
        elif plain.startswith(("javascript:", "vbscript:", "data:text/html")):
            found.append(f"<{tag} {key}={value[:40]}>")
    return found


def leftovers(page: Page) -> list[str]:
    """Fences and roles that were meant for the build and reached the reader."""
    found = []
    for passage in map("".join, page.passages):
        for pattern, what in ((FENCE, "a fence"), (ROLE, "a role")):
            if match := pattern.search(passage):
                found.append(f"shows {what} that was not understood: {around(passage, match)}")
    for code in map("".join, page.codes):
        if match := FENCE_AS_CODE.search(code):
            found.append(f"shows a fence that was not understood: {around(code, match)}")
    return found


def around(text: str, match: re.Match) -> str:
    return " ".join(text[match.start() : match.start() + 60].split())


def wrong_numbers(path: Path, page: Page) -> list[str]:
    """Numbers of a chapter and its figures that do not begin with the number of its file."""
    chapter = CHAPTER.match(path.name)
    if chapter is None or path.parent.name != "notebooks":
        return []
    found = []
    for what, text in page.numbers:
        number = re.search(r"[0-9]+", text)
        if number and int(number[0]) != int(chapter[1]):
            found.append(
                f"{what} has the number {text.strip()}, but the file is chapter {chapter[1]}"
            )
    return found


def is_external(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in (
        "http",
        "https",
        "ftp",
        "ws",
        "wss",
    )


def machine_paths(root: Path) -> list[str]:
    """Beginnings of paths that exist only on this machine."""
    folders = {
        root,
        Path.home(),
        Path(tempfile.gettempdir()),
        Path(sys.prefix),
        Path(sys.base_prefix),
    }
    return sorted(f"{folder}/" for folder in folders if len(folder.parts) > 1)


def check_page(path: Path, page: Page) -> list[str]:
    problems = [f"loads {address} from outside" for address in page.loads if is_external(address)]
    problems += [f"the picture {source} has no alt text" for source in page.without_alt]
    if "Traceback (most recent call last)" in "".join(page.words):
        problems.append("shows a Python traceback")
    problems += [f"a notebook's output holds {action}, which could act" for action in page.active]
    return problems + leftovers(page) + wrong_numbers(path, page)


def broken_links(path: Path, page: Page, pages: dict[Path, Page]) -> list[str]:
    """Internal links and loaded files that lead nowhere."""
    problems = []
    for address in [*page.links, *page.loads]:
        parts = urlsplit(address)
        if parts.scheme or is_external(address):
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.exists():
            problems.append(f"the link {address} leads to a file that does not exist")
        elif (
            parts.fragment
            and target in pages
            and unquote(parts.fragment) not in pages[target].anchors
        ):
            problems.append(f"the link {address} leads to no place on its page")
    return problems


def leaks(path: Path, paths: list[str]) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [f"holds the machine path {prefix}" for prefix in paths if prefix in text]


def check_site(site: Path, root: Path) -> list[str]:
    """`page: problem` lines; an empty list is a site fit to be published."""
    site = site.resolve()
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }
    problems = []
    for path, page in pages.items():
        found = check_page(path, page) + broken_links(path, page, pages)
        problems += [f"{path.relative_to(site)}: {problem}" for problem in dict.fromkeys(found)]
    for path in sorted(site.rglob("*.css")):
        requests = CSS_REQUEST.findall(path.read_text(encoding="utf-8"))
        problems += [
            f"{path.relative_to(site)}: loads {address} from outside" for address in requests
        ]
    written = [
        path
        for suffix in ("html", "ipynb", "txt", "md")
        for path in sorted(site.rglob(f"*.{suffix}"))
    ]
    for path in [*written, site / "searchindex.js"]:
        problems += [
            f"{path.relative_to(site)}: {problem}" for problem in leaks(path, machine_paths(root))
        ]
    return problems
