"""Sphinx extension: pictures link to their full size, chapters end with how they were made.

What would start live cells is taken out, because it comes from another host. The rest is added to the finished page rather than to its document, so that neither figure numbers
nor the search index depend on them: wall times would otherwise change the index at every build.
"""

import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PICTURE = re.compile(r'<img\b(?![^>]*sd-card)[^>]*\bsrc="(?P<source>[^"]*_images/[^"]+)"[^>]*>')
LIVE_CELLS = re.compile(r'<script type="text/x-thebe-config">.*?</script>|<script>kernelName = .*?</script>', re.DOTALL)


def link_pictures(body: str) -> str:
    """Wrap each picture that is not in a link already."""
    parts = re.split(r"(<a\b.*?</a>)", body, flags=re.DOTALL)
    linked = [
        part if part.startswith("<a") else PICTURE.sub(r'<a class="full-size" href="\g<source>" title="Open full size">\g<0></a>', part)
        for part in parts
    ]
    return "".join(linked)


def without_thebe(scripts: list[Any]) -> list[Any]:
    """The scripts of a page less those for live cells, which would come from another host."""
    return [script for script in scripts if "thebe" not in f"{script.filename} {script.attributes.get('body', '')}".lower()]


def add_extras(app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    context["script_files"] = without_thebe(context["script_files"])
    if "body" not in context:
        return
    blocks = json.loads((Path(app.srcdir) / "provenance.json").read_text(encoding="utf-8"))
    context["body"] = link_pictures(LIVE_CELLS.sub("", context["body"])) + blocks.get(pagename, "")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", add_extras)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
