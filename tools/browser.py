"""Look at a built site in a browser: what a phone cuts off, what the first screen holds.

Without Chromium or Chrome nothing is looked at, and a line says so.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--dump-dom",
)
PHONE, DESKTOP = (400, 800), (1400, 900)

# Opens each page in a frame of a phone's size, and one with an answer in a desktop's, too. The
# picture at the end arrives when all is seen or this program is dead, and then the browser ends.
PROBE = """\
<!doctype html><body><script>
const given = __GIVEN__;
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));

async function settled(frame) {
  const view = frame.contentWindow, page = view.document;
  if (view.MathJax?.startup?.promise) await view.MathJax.startup.promise;
  await page.fonts.ready;
  const loading = [...page.images].filter((image) => !image.complete && image.checkVisibility());
  const loaded = (image) => new Promise((resolve) => { image.onload = image.onerror = resolve; });
  await Promise.all(loading.map(loaded));
  await pause(20);
}

const visible = (element) => element.checkVisibility();
const bottom = (element) =>
  element && visible(element) ? Math.ceil(element.getBoundingClientRect().bottom) : null;

// Where the parts of the first screen end; null for one that the page lacks.
function firstScreen(page) {
  const answer = page.querySelector(".bd-article .answer");
  if (!answer) return null;
  const title = page.querySelector(".bd-article h1");
  const before = (element) =>
    element.compareDocumentPosition(answer) & Node.DOCUMENT_POSITION_FOLLOWING;
  const words = [...page.querySelectorAll(".bd-article p")]
    .filter((words) => before(words) && visible(words));
  const next = (answer.closest("div.cell") ?? answer).nextElementSibling;
  const seen = [...(next?.querySelectorAll("img") ?? [])].filter(visible);
  return {
    title: bottom(title), question: bottom(words.at(-1)), answer: bottom(answer),
    "key figure": bottom(seen[0]),
    excused: /^\\s*(Table [\\d.]+\\s*)?Not run/.test(next?.textContent ?? ""),
  };
}

// The boxes that cut or scroll what this element shows, itself among them.
function* boxes(element, article) {
  for (let box = element; box && box !== article; box = box.parentElement)
    if (box.ownerDocument.defaultView.getComputedStyle(box).overflowX !== "visible") yield box;
}

const right = (box) => box.getBoundingClientRect().right;

const named = (element) => {
  const words = element.textContent.trim().replace(/\\s+/g, " ").slice(0, 50);
  return element.tagName.toLowerCase() + (words ? ` (${words})` : "");
};

function tooWide(page, width) {
  const article = page.querySelector(".bd-article") ?? page.body;
  const inMath = (element) => element.parentElement.closest("mjx-container");
  const over = [...article.querySelectorAll("*")].filter((element) =>
    element.checkVisibility() && !inMath(element) && element.getClientRects().length
    && right(element) > width + 1
    && ![...boxes(element.parentElement, article)].some((box) => right(box) <= width + 1));
  const outer = over.filter((element) => !over.includes(element.parentElement));
  if (!outer.length && page.documentElement.scrollWidth > width) return ["the page"];
  return outer.map(named);
}

function clipped(page, width) {
  const article = page.querySelector(".bd-article") ?? page.body;
  const text = (element) => {
    const range = page.createRange();
    range.selectNodeContents(element.querySelector(".caption-text") ?? element);
    return Math.max(0, ...[...range.getClientRects()].map((box) => box.right));
  };
  const captions = [...article.querySelectorAll("figcaption, table caption, .caption-text")];
  return captions.filter((caption) => caption.checkVisibility()
    && text(caption) > Math.min(width, ...[...boxes(caption, article)].map(right)) + 1).map(named);
}

async function look(address) {
  const frame = document.createElement("iframe");
  frame.style = "border: 0";
  [frame.width, frame.height] = given.phone;
  frame.src = address;
  await new Promise((resolve) => { frame.onload = resolve; document.body.append(frame); });
  await settled(frame);
  const page = frame.contentDocument, found = {phone: firstScreen(page)};
  if (found.phone) {
    [frame.width, frame.height] = given.desktop;
    await settled(frame);
    found.desktop = firstScreen(page);
    [frame.width, frame.height] = given.phone;
  }
  page.querySelectorAll("details").forEach((folded) => { folded.open = true; });
  await settled(frame);
  found.wide = tooWide(page, given.phone[0]);
  found.clipped = clipped(page, given.phone[0]);
  frame.remove();
  return found;
}

(async () => {
  const found = {};
  for (const address of given.pages) {
    const late = pause(20000).then(() => ({failed: "it was not drawn in 20 s"}));
    const seen = look(address).catch((error) => ({failed: String(error)}));
    found[address] = await Promise.race([seen, late]);
  }
  await fetch("/-found", {method: "POST", body: JSON.stringify(found)});
})();
</script><img src="/-wait"></body>
"""


class Handler(SimpleHTTPRequestHandler):
    """The site, the probe, and what the probe found."""

    def do_GET(self) -> None:
        if self.path == "/-probe":
            content = self.server.probe.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        elif self.path == "/-wait":
            self.server.done.wait()
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.server.found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.done.set()

    def log_message(self, format: str, *values: object) -> None:
        """Nobody reads the requests."""


class Server(ThreadingHTTPServer):
    def __init__(self, site: Path, pages: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=str(site)))
        given = {"pages": [f"/{quote(page)}" for page in pages], "phone": PHONE, "desktop": DESKTOP}
        self.probe = PROBE.replace("__GIVEN__", json.dumps(given))
        self.done = threading.Event()
        self.found: dict[str, Any] | None = None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that is ended leaves open requests; that is no error."""


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def observe(site: Path, pages: list[str], browser: str, timeout: float) -> dict[str, Any] | None:
    """Address -> what was seen there; None when the browser did not answer in time (seconds)."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        Server(site, pages) as server,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, *OPTIONS, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [*command, f"http://127.0.0.1:{server.server_port}/-probe"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait(server.done, process, timeout)
        finally:
            server.done.set()
            end_group(process)
            server.shutdown()
        return server.found


def wait(done: threading.Event, process: subprocess.Popen, timeout: float) -> None:
    """Until it is done, the browser has ended, or the time (seconds) is over."""
    for _ in range(int(timeout / 0.25)):
        if done.wait(0.25) or process.poll() is not None:
            return


def end_group(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def look_at(
    site: Path, browser: str | None = None, timeout: float | None = None
) -> tuple[list[str], str]:
    """(`page: problem` lines, a line on what was not checked or "")."""
    browser = browser or find_browser()
    unchecked = "not checked: first screens, captions and widths on a phone; "
    if browser is None:
        return [], unchecked + "no browser was found"
    files = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    pages = [path.relative_to(site).as_posix() for path in files]
    timeout = timeout or 30 + 5 * len(pages)
    found = observe(site, pages, browser, timeout)
    if found is None:
        return [], unchecked + f"{browser} did not answer in {timeout:.0f} s or ended early"
    problems = []
    for address, seen in found.items():
        problems += [f"{unquote(address[1:])}: {problem}" for problem in judge(seen)]
    return problems, ""


def judge(seen: dict[str, Any]) -> list[str]:
    if "failed" in seen:
        return [f"could not be looked at: {seen['failed']}"]
    width = f"{PHONE[0]} pixels"
    problems = [f"{what} is wider than a page of {width}" for what in seen["wide"][:3]]
    problems += [f"the caption {what} is cut at {width}" for what in dict.fromkeys(seen["clipped"])]
    for screen, (wide, high) in {"phone": PHONE, "desktop": DESKTOP}.items():
        problems += [
            f"the first screen of {wide} x {high} pixels {problem}"
            for problem in first_screen(seen.get(screen), high)
        ]
    return problems


def first_screen(ends: dict[str, Any] | None, high: int) -> list[str]:
    """ends: where title, question, answer and key figure end, in pixels from the top."""
    if ends is None:
        return []
    parts = ["title", "question", "answer", *["key figure"] * (not ends["excused"])]
    missing = [f"has no {part}" for part in parts if ends[part] is None]
    low = [
        f"ends before the {part}, which ends at {ends[part]}"
        for part in parts
        if (ends[part] or 0) > high
    ]
    return missing + low
