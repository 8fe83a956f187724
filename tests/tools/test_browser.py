"""The built pages in a real browser; skipped where there is none."""

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PAGES = ["book/index.html", "book/gallery.html", "notebooks/01_first.html"]

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium")

# Opens each page in a frame of a phone's width and reports what it finds as JSON.
PROBE = """\
<body><script>
const pages = %s;
async function look(address) {
  const frame = document.createElement("iframe");
  frame.style = "width: 390px; height: 800px; border: 0";
  frame.src = "site/" + address;
  await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame); });
  const view = frame.contentWindow;
  if (view.MathJax?.startup?.promise) await view.MathJax.startup.promise;
  view.document.querySelector("a.full-size")?.click();
  const found = {
    width: view.document.documentElement.scrollWidth,
    formulas: view.document.querySelectorAll("mjx-container").length,
    errors: view.document.querySelectorAll("mjx-merror").length,
    enlarged: view.document.querySelectorAll("dialog.full-size-view[open] img").length,
    loaded: view.performance.getEntriesByType("resource").map((entry) => entry.name),
  };
  frame.remove();
  return found;
}
(async () => {
  const found = {};
  for (const address of pages) found[address] = await look(address);
  document.body.textContent = "FOUND" + JSON.stringify(found) + "END";
})();
</script></body>
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(built, tmp_path_factory) -> Iterator[str]:
    """Serves the site under site/, beside the probe."""
    folder: Path = tmp_path_factory.mktemp("served")
    (folder / "site").symlink_to(built.book.site)
    (folder / "probe.html").write_text(PROBE % json.dumps(PAGES))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def found(address, tmp_path_factory) -> dict:
    """What the browser saw on each page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=20000"]
    profile = f"--user-data-dir={tmp_path_factory.mktemp('browser')}"
    result = subprocess.run([BROWSER, *options, profile, "--dump-dom", f"{address}probe.html"], capture_output=True, text=True, timeout=120)
    seen = re.search(r"FOUND(.*)END", result.stdout)
    assert seen, result.stdout[-2000:] + result.stderr[-2000:]
    return json.loads(seen.group(1))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_from_elsewhere(found, address, page):
    assert len(found[page]["loaded"]) > 10
    assert [name for name in found[page]["loaded"] if not name.startswith((address, "data:"))] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_not_scroll_sideways_on_a_phone(found, page):
    assert found[page]["width"] <= 390


def test_formulas_are_drawn(found):
    assert [(found[page]["formulas"], found[page]["errors"]) for page in PAGES] == [(2, 0), (0, 0), (1, 0)]


def test_a_click_enlarges_a_figure(found):
    assert [found[page]["enlarged"] for page in PAGES] == [0, 0, 1]
