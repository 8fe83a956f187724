"""Build the site of one profile from executed notebooks, check it, and publish it as a whole.

    python tools/site.py --profile quick
    python tools/site.py --executed mine --only      with the chapters that the folder holds

Exit status: 0 built, 1 refused or failed, 128 + n ended by signal n; the site that was there
before then stays as it was.
"""

import argparse
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from assemble import SiteError, assemble
from browser import look_at
from check import check_site
from execute import FREE_SOME, is_full, keep_aside, new_scratch
from notebook_process import Interrupted, ignore_signals, listen_for_signals
from percent import NotebookError

ROOT = Path(__file__).resolve().parent.parent

# Ends with this process, however that ends: the pipe it waits at is then closed.
JUPYTER_BOOK = """
import os, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
from jupyter_book.cli.main import main
main()
"""


def jupyter_book(source: Path, output: Path, log: Path, *, strict: bool = True) -> list[str]:
    """Build into `output`; the warnings, which are a `SiteError` when the build is strict."""
    options = ["-W", "-n", "--keep-going"] if strict else []
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", *options]
    with subprocess.Popen(
        [*command, "--path-output", str(output), str(source)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=os.environ | {"PYTHONHASHSEED": "0", "NO_COLOR": "1"},
        start_new_session=True,  # an interrupt at the terminal reaches this process alone
    ) as process:
        try:
            said = process.stdout.read()
        except BaseException:
            process.kill()
            raise
    text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]?", "", said)
    log.write_text(text, encoding="utf-8")
    warnings = [
        line.replace(f"{source}/", "")
        for line in text.splitlines()
        if re.search(r"WARNING|ERROR|CRITICAL|Error:", line)
    ]
    if process.returncode != 0:
        raise SiteError("\n".join(warnings or text.splitlines()[-15:]))
    return warnings


def trim_mathjax(built: Path) -> None:
    """Of the 13 MB copied, keep what `tex-chtml.js` can load: fonts, TeX, menu and speech."""
    folder = built / "_static" / "mathjax"
    kept = ("tex-chtml.js", "a11y/", "input/tex/", "output/chtml/", "sre/", "ui/")
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if not path.relative_to(folder).as_posix().startswith(kept):
            path.unlink()


def promote(built: Path, target: Path, scratch: Path) -> None:
    """Put a complete site in place of the one before; two renames, so never a mixture.

    Of two builds that end at once the later one stays.
    """
    ignore_signals()
    while True:
        try:
            os.replace(target, scratch / "before")
        except FileNotFoundError:
            pass
        try:
            os.rename(built, target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(scratch / "before", ignore_errors=True)


def build(profile: str, executed: Path, scratch: Path, target: Path, *, only: bool) -> None:
    """Build in `scratch`, then publish at `target`; `SiteError` when anything is wrong."""
    source, work = scratch / "source", scratch / "work"
    for note in assemble(ROOT, executed, profile, source, only=only):
        print(f"left out of the page: {note}", file=sys.stderr)
    work.mkdir()
    for warning in jupyter_book(source, work, scratch / "build.log", strict=not only):
        print(warning, file=sys.stderr)
    built = work / "_build" / "html"
    trim_mathjax(built)
    seen, note = look_at(built)
    if note:
        print(note, file=sys.stderr)
    if problems := check_site(built, ROOT) + seen:
        raise SiteError("\n".join(problems))
    promote(built, target, scratch)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="site.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--profile", default="quick", help="whose executed notebooks (default: quick)"
    )
    parser.add_argument(
        "--executed", type=Path, metavar="DIR", help="default: _build/executed/<profile>"
    )
    parser.add_argument(
        "--only",
        action="store_true",
        help="with the chapters that were executed; then warnings are no errors",
    )
    options = parser.parse_args(arguments)
    executed = options.executed or ROOT / "_build" / "executed" / options.profile
    target = ROOT / "_build" / "site" / options.profile
    scratch = None
    listen_for_signals()
    try:
        scratch = new_scratch(target)
        build(options.profile, executed.resolve(), scratch, target, only=options.only)
    except Interrupted as interrupted:
        print(
            f"site.py: ended by signal {interrupted.number}; no site was published", file=sys.stderr
        )
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        return 128 + interrupted.number
    except (SiteError, NotebookError, OSError) as error:
        if is_full(error):
            if scratch:
                shutil.rmtree(scratch, ignore_errors=True)
            print(
                f"site.py: no site was published, as the disk of {target.parent} is full: "
                f"{FREE_SOME}",
                file=sys.stderr,
            )
            return 1
        print(f"site.py: no site was published\n{error}", file=sys.stderr)
        if scratch:
            print(f"what was built, with its log: {keep_aside(scratch, target)}", file=sys.stderr)
        return 1
    shutil.rmtree(scratch, ignore_errors=True)
    print(f"open {target / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
