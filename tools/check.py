"""Check a built site: self-contained, no machine path, alt texts, links that lead somewhere."""

import re
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "embed": "src", "object": "data"}
LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch", "manifest"}
CSS_REQUEST = re.compile(r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)")


class Page(HTMLParser):
    """What one page loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.without_alt: list[str] = []
        self.words: list[str] = []
        self.feed(text)

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

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def is_external(address: str) -> bool:
    return address.startswith("//") or urlsplit(address).scheme in ("http", "https", "ftp", "ws", "wss")


def machine_paths(root: Path) -> list[str]:
    """Beginnings of paths that exist only on this machine."""
    folders = {root, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix), Path(sys.base_prefix)}
    return sorted(f"{folder}/" for folder in folders if len(folder.parts) > 1)


def check_page(path: Path, page: Page) -> list[str]:
    problems = [f"loads {address} from outside" for address in page.loads if is_external(address)]
    problems += [f"the picture {source} has no alt text" for source in page.without_alt]
    if "Traceback (most recent call last)" in "".join(page.words):
        problems.append("shows a Python traceback")
    return problems


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
        elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
            problems.append(f"the link {address} leads to no place on its page")
    return problems


def leaks(path: Path, paths: list[str]) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [f"holds the machine path {prefix}" for prefix in paths if prefix in text]


def check_site(site: Path, root: Path) -> list[str]:
    """`page: problem` lines; an empty list is a site fit to be published."""
    site = site.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
    problems = []
    for path, page in pages.items():
        found = check_page(path, page) + broken_links(path, page, pages)
        problems += [f"{path.relative_to(site)}: {problem}" for problem in dict.fromkeys(found)]
    for path in sorted(site.rglob("*.css")):
        requests = CSS_REQUEST.findall(path.read_text(encoding="utf-8"))
        problems += [f"{path.relative_to(site)}: loads {address} from outside" for address in requests]
    written = [path for suffix in ("html", "ipynb", "txt", "md") for path in sorted(site.rglob(f"*.{suffix}"))]
    for path in [*written, site / "searchindex.js"]:
        problems += [f"{path.relative_to(site)}: {problem}" for problem in leaks(path, machine_paths(root))]
    return problems
