"""The page on re-executing names commands, files and options that there are."""

import re
import shlex
from pathlib import Path

import pytest

import paper
import slurm_cluster
from percent import default_parameters, list_notebooks, parse_yaml, read_notebook

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    name: (REPOSITORY / "book" / f"{name}.md").read_text(encoding="utf-8")
    for name in ("re-executing", "execution-status")
}


def commands(text: str, tool: str) -> list[list[str]]:
    lines = re.findall(rf"tools/{tool}\.py((?: [^`\n#]+)?)", text)
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("name", PAGES)
def test_targets_and_tools_that_the_pages_name_are_there(name):
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"^(?:make|\| `make) (\w+)|`make (\w+)", PAGES[name], re.MULTILINE)
    asked = {one or other for one, other in targets}
    assert asked and not [target for target in asked if f"\n{target}:" not in makefile]
    files = re.findall(r"(?:tools|notebooks|results)/\w+\.(?:py|yaml)\b", PAGES[name])
    assert files and not [file for file in files if not (REPOSITORY / file).exists()]


def test_options_that_the_pages_name_are_understood():
    for text in PAGES.values():
        for words in commands(text, "paper"):
            assert paper.read_arguments(words)[0].check
    found = commands(PAGES["re-executing"], "slurm_cluster")
    options = [slurm_cluster.read_arguments(words) for words in found]
    assert any(option.dry_run for option in options) and any(option.gpu for option in options)


def test_the_overrides_that_are_shown_fit_the_chapters():
    [text] = re.findall(r"```yaml\n(.*?)```", PAGES["re-executing"], re.DOTALL)
    shown = parse_yaml(text, "the page")
    sources = list_notebooks(REPOSITORY / "notebooks")
    assert set(shown) - {"all"} <= {source.stem for source in sources}
    jobs = paper.plan_all(sources, shown, {})
    kkt = next(job for job in jobs if job.source.stem == "07_kkt_reconstruction")
    known = default_parameters(read_notebook(kkt.source), kkt.source.name)
    assert kkt.overrides["device"] == "cpu" and kkt.overrides["n"] == 50
    assert kkt.overrides["results"] == "_build/results/own" and set(kkt.overrides) <= set(known)
