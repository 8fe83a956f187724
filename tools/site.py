"""Build the site of one profile from executed notebooks, check it, and publish it as a whole.

    python tools/site.py --profile quick

Exit status: 0 built, 1 refused or failed; the site that was there before then stays as it was.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from assemble import SiteError, assemble
from check import check_site

ROOT = Path(__file__).resolve().parent.parent


def jupyter_book(source: Path, output: Path, log: Path) -> None:
    """A strict build into `output`; `SiteError` with the warnings when there are any."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    options = ["build", "-W", "-n", "--keep-going", "--path-output", str(output), str(source)]
    environment = os.environ | {"PYTHONHASHSEED": "0", "NO_COLOR": "1"}
    result = subprocess.run([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    text = re.sub(r"\x1b\[[0-9;]*[a-zA-Z]?", "", result.stdout)
    log.write_text(text, encoding="utf-8")
    if result.returncode != 0:
        said = [line.replace(f"{source}/", "") for line in text.splitlines() if re.search(r"WARNING|ERROR|CRITICAL|Error:", line)]
        raise SiteError("\n".join([*(said or text.splitlines()[-15:]), f"the whole log: {log}"]))


def trim_mathjax(built: Path) -> None:
    """Of the 13 MB copied, keep what `tex-chtml.js` can load: fonts, TeX extensions, menu and speech."""
    folder = built / "_static" / "mathjax"
    kept = ("tex-chtml.js", "a11y/", "input/tex/", "output/chtml/", "sre/", "ui/")
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if not path.relative_to(folder).as_posix().startswith(kept):
            path.unlink()


def promote(built: Path, target: Path) -> None:
    """Put a complete site in place of the one before; two renames, so never a mixture."""
    old = target.with_name(f"{target.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(built, target)
    shutil.rmtree(old, ignore_errors=True)


def build(profile: str, executed: Path) -> Path:
    """The index page of the new site; `SiteError` when anything is wrong with it."""
    source = ROOT / "_build" / "site-src" / profile
    target = ROOT / "_build" / "site" / profile
    work = target.with_name(f"{profile}-building")
    for note in assemble(ROOT, executed, profile, source):
        print(f"left out of the page: {note}", file=sys.stderr)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    jupyter_book(source, work, target.with_name(f"{profile}.log"))
    built = work / "_build" / "html"
    trim_mathjax(built)
    problems = check_site(built, ROOT)
    if problems:
        raise SiteError("\n".join([*problems, f"the refused site: {built}"]))
    promote(built, target)
    shutil.rmtree(work)
    return target / "index.html"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="site.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="quick", help="whose executed notebooks (default: quick)")
    parser.add_argument("--executed", type=Path, metavar="DIR", help="default: _build/executed/<profile>")
    options = parser.parse_args(arguments)
    executed = options.executed or ROOT / "_build" / "executed" / options.profile
    try:
        index = build(options.profile, executed)
    except SiteError as error:
        print(f"site.py: no site was published\n{error}", file=sys.stderr)
        return 1
    print(f"open {index}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
