"""The notation page names nothing that the code does not have."""

import importlib
import io
import re
import tokenize
from pathlib import Path

from harness import ledger

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("lib", "harness", "chapters") for path in (ROOT / folder).rglob("*.py")
)
ELSEWHERE = {"claims/"}  # files in backticks that are not code


def spans() -> list[str]:
    """What stands in single backticks on the page, but for directives and roles."""
    text = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\{[\w:]+\}`[^`]*`", "", text)
    return re.findall(r"`([^`\n]+)`", text)


def names_in_the_code() -> set[str]:
    """Every identifier and every word in a string of lib/, harness/ and chapters/; comments not."""
    found: set[str] = set()
    for path in SOURCES:
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            if token.type in (tokenize.NAME, tokenize.STRING):
                found |= set(re.findall(r"[A-Za-z_]\w*", token.string))
    return found | {path.stem for path in SOURCES} | {"lib", "py"}


def test_every_name_on_the_notation_page_is_in_the_code():
    known = names_in_the_code()
    claims = set(ledger.load(ROOT / "claims"))
    unknown = {
        span: missing
        for span in spans()
        if span not in ELSEWHERE | claims
        and (missing := [w for w in re.findall(r"[A-Za-z_]\w*", span) if w not in known])
    }
    assert not unknown


def test_every_qualified_name_is_where_the_page_says():
    modules = {
        path.stem: f"{path.parent.name}.{path.stem}"
        for path in SOURCES
        if path.parent.name in ("lib", "harness")
    }
    pairs = [match.groups() for span in spans() if (match := re.match(r"(\w+)\.(\w+)$", span))]
    qualified = [(module, name) for module, name in pairs if module in modules]
    assert len(qualified) > 15
    for module, name in qualified:
        assert hasattr(importlib.import_module(modules[module]), name), f"{module}.{name}"


def test_a_fence_says_nothing_in_backticks_on_its_first_line():
    """Such a fence is none: the table would stand on the page as text."""
    for page in sorted((ROOT / "book").glob("*.md")):
        openings = re.findall(r"^```.+$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert [line for line in openings if "`" in line[3:]] == [], page.name
