"""Serve the last built site on a free local port and print its address; Ctrl-C ends it.

    python tools/serve.py
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        """One line a request would bury the address."""


def last_site(folder: Path) -> Path | None:
    """The site that was built most recently, whatever its profile."""
    built = sorted(folder.glob("*/index.html"), key=lambda index: index.stat().st_mtime)
    return built[-1].parent if built else None


def main() -> int:
    site = last_site(ROOT / "_build" / "site")
    if site is None:
        print("serve.py: no site is built yet; run `make book`", file=sys.stderr)
        return 1
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site))) as server:
        print(f"{site.name}: http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
