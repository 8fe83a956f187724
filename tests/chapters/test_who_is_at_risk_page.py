"""Chapter 10: what its figures, claims and sentences make of made results; the page without runs."""

import re
from pathlib import Path

import numpy as np
import percent
import pytest
from matplotlib.figure import Figure

from chapters.who_is_at_risk import design, evidence, figures, reading, sentences
from harness import ledger, page
from harness.claims import judge
from harness.embedding import light_and_dark
from harness.results import Result, Runs

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "claims"
TITLES = {"mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
SETS = ("mnist", "cifar10-jpeg")
# Images found of 50, of which the strongest null has 5.
HITS = {"default initialisation": 3, "Adam": 10, "fine-tuned": 4, "convolution": 5, "4 bits": 20,
        "DP-SGD, noise 2": 5}  # fmt: skip


def run(dataset: str, n: int, seed: int, name: str, pictures=False, **scalars) -> Result:
    """A run in which nearly all come back, but for rows in HITS, and the null has a tenth."""
    random, extra = np.random.RandomState(seed), {}
    hits = HITS.get(name, 0.97 * n) + seed / 100
    values = {
        "hits": hits, "close": hits, "close_held_out": 20, "auroc": 0.9, "median_ncc": hits / n,
        "excess": hits, "attack_seconds": n / 50 + seed / 1000, "rank": n, "candidates": n,
        "trusted_20": 0.97 + seed / 1e4, "trusted_50": 0.96 + seed / 1e4, "trusted_half": 1.0,
        "trusted_20_held_out": 0.1 + seed / 1e4, "trusted_50_held_out": 0.1 + seed / 1e4,
        "strangers": 1000, "train_accuracy": 1.0, "test_accuracy": 0.7 + seed / 1e4,
        "smallest_margin": 7.0,
        **{f"{null}_{name}": 0.1 * n for null in ("span", "rows") for name in ("hits", "close")},
        **{f"{null}_{name}": 0.5 for null in ("span", "rows") for name in ("auroc", "median_ncc")},
    }  # fmt: skip
    if name.startswith("DP"):
        values["epsilon"] = 30.0
        values["test_accuracy"] -= 0.1
    trusted = np.concatenate([np.full(n // 2, 0.9), np.full(n - n // 2, 0.3)]).astype(np.float32)
    arrays = {
        "best_ncc": random.rand(n), "trust": np.linspace(1, 0, n), "trusted_ncc": trusted,
        "trusted_ncc_held_out": np.full(n, 0.2, dtype=np.float32),
    }  # fmt: skip
    if pictures:
        shape = (12, 1 if dataset == "mnist" else 3, 8, 8)
        arrays |= {f"shown_{what}": random.randint(0, 255, shape, dtype=np.uint8)
                   for what in ("images", "reconstructions")}  # fmt: skip
        arrays["shown_ncc"] = np.linspace(0.99, 0.8, 12)
        extra = {"pictures": True}
    parameters = {"dataset": dataset, "n": n, "seed": seed, **design.case(name), **extra}
    return Result("read_off", parameters, "computed", values | scalars, arrays)


def of(results) -> Runs:
    return Runs(results, title=lambda name: TITLES.get(name, name))


def groups(kind: str, **changed) -> dict[str, Runs]:
    """read, guarded, sized, by_width and by_rank.  changed: scalars of rows, _ for blanks."""
    if kind in ("empty", "failed"):
        gone = Result("read_off", {"dataset": "mnist", "n": 50, "seed": 10, **design.case("plain")},
                      "failed", error="ValueError: odd")  # fmt: skip
        nothing = of([gone] if kind == "failed" else [])
        return dict.fromkeys(("read", "guarded", "sized", "by_width", "by_rank"), nothing)
    sets, seeds = (SETS[:1], [10]) if kind == "one seed" else (SETS, range(10, 15))

    def each(names):
        return [run(d, 50, s, name, **changed.get(re.sub(r"[ ,-]+", "_", name), {}))
                for d in sets for s in seeds for name in names]  # fmt: skip

    sized = [
        run(d, case["n"], case["seed"], design.row(case), case.get("pictures", False),
            **changed.get("sized", {}))
        for d in sets for case in design.sized([50, 100, 200, 500], list(seeds))
    ]  # fmt: skip
    varied = [run(SETS[0], 100, s, "plain") for s in seeds]

    def at(name, values):
        return of([Result(r.function, {**r.parameters, name: v}, r.status, r.scalars, r.arrays)
                   for r in varied for v in values])  # fmt: skip

    return {
        "read": of(each(design.RECIPES)), "guarded": of(each(design.DEFENCES)), "sized": of(sized),
        "by_width": at("width", [100, 1000]), "by_rank": at("rank", [10, 50]),
    }  # fmt: skip


KINDS = ["empty", "failed", "one seed", "several"]
DRAWN = {
    "recipes": "read", "sizes": "sized", "trusted": "sized", "defences": "guarded", "pairs": "sized"
}  # fmt: skip
ALL = groups("several")


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_or_is_none(name, kind):
    fig = getattr(figures, name)(groups(kind)[DRAWN[name]])
    if kind in ("empty", "failed"):
        assert fig is None
    else:
        assert isinstance(fig, Figure)
        light_and_dark(fig)


@pytest.mark.parametrize("name", ["width", "rank"])
def test_a_parameter_is_drawn_where_it_was_varied(name):
    assert isinstance(figures.along(ALL[f"by_{name}"], name), Figure)
    assert figures.along(ALL["sized"], name) is None and figures.along(of([]), name) is None


def words(fig: Figure) -> str:
    return " ".join(text.get_text() for text in fig.findobj(lambda a: hasattr(a, "get_text")))


def test_figures_name_what_they_show():
    told = words(figures.recipes(ALL["read"]))
    assert all(name in told for name in [*design.RECIPES.values(), *TITLES.values()])
    assert all(name in words(figures.defences(ALL["guarded"])) for name in design.DEFENCES.values())


def test_pairs_are_of_the_first_run_that_kept_them():
    own = reading.last(ALL["sized"])
    fig = figures.pairs(own)
    assert len(fig.axes) == 24 and fig.axes[0].get_title() == "0.99"
    assert figures.pairs(own.where(n=50)) is None


def test_a_marks_place_is_the_mean_over_seeds():
    fig = figures.recipes(ALL["read"].where(recipe="plain", start_known=False))
    marks = [line for line in fig.axes[0].lines if line.get_markersize() == 6]
    assert [round(line.get_xdata()[0], 4) for line in marks] == [0.1, round(48.62 / 50, 4)]


def test_laptop_and_paper_ask_for_every_row():
    for profile in ("laptop", "paper"):
        asked = percent.read_profile(ROOT / "notebooks/10_who_is_at_risk.py", profile)
        assert {*asked["ways"]} == {*design.RECIPES}
        assert {*asked["defences"]} == {*design.DEFENCES} - {"plain"}


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "measure", "wanted"),
    [
        ({"span_hits": 7, "rows_hits": 3}, "hits", 7),
        ({"span_hits": 3, "rows_hits": 8}, "hits", 8),
        ({"span_hits": 0, "rows_hits": 0}, "hits", 0.5),
        ({"span_close": 0, "rows_close": 1, "close_held_out": 80}, "close", 4),
        ({"span_close": 0, "rows_close": 6, "close_held_out": 80}, "close", 6),
    ],
)
def test_the_strongest_of_three_nulls_counts(scores, measure, wanted):
    """Of 50 images 0.5 are above the held-out 99 % quantile; 80 of 1,000 held out are 4 of 50."""
    result = run("mnist", 50, 10, "plain", **{"hits": 40, "close": 40, **scores})
    assert reading.null(result, measure) == wanted
    assert reading.over_null(of([result]), measure) == [40 - wanted]


def test_precision_is_the_share_of_close_ones_so_far():
    values = reading.precision(ALL["sized"].where(dataset="mnist", n=50, start_known=False))
    assert values[24] == 1 and values[49] == pytest.approx(0.5) and len(values) == 50


def test_rows_are_compared_on_the_seeds_that_both_have():
    few = of([run("mnist", 50, s, "8 bits", hits=40) for s in (11, 12)])
    guarded = of([*(run("mnist", 50, s, "plain", hits=s) for s in (10, 11, 12)), *few])
    assert reading.difference(guarded, "mnist", "plain", "8 bits").estimate == 11.5 - 40


def test_tables_have_a_row_a_group():
    table = reading.recipes(ALL["read"])
    assert len(table) == 2 * len(design.RECIPES) and {*table["seeds"]} == {5}
    assert table["training"][0] == "plain" and table["null, found"][0] == pytest.approx(5)
    defences = reading.defences(ALL["guarded"])
    assert len(defences) == 2 * len(design.DEFENCES) and defences["ε"].notna().sum() == 4
    sizes = reading.sizes(ALL["sized"])
    assert len(sizes) == 2 * 4 * 2 and sizes["n"].tolist()[:4] == [50, 50, 100, 100]
    for make in (reading.recipes, reading.defences, reading.sizes):
        assert make(of([])).empty


# --- evidence ------------------------------------------------------------------------------------


def judged(groups: dict[str, Runs]) -> dict[str, str]:
    claims = ledger.load(CLAIMS)
    found = {}
    for name in [n for n in vars(evidence) if re.fullmatch(r"[BH]\d\d\w*", n)]:
        make = getattr(evidence, name)
        taken = make.__code__.co_varnames[: make.__code__.co_argcount]
        values = make(*(groups[group] for group in taken))
        found[name.replace("_", "-")] = judge(name.replace("_", "-"), values, claims=claims).verdict
    return found


def test_every_claim_can_come_out_reproduced():
    assert judged(ALL) == {
        **{f"B0{k}": "REPRODUCED" for k in range(3, 9)},
        "H22-unmixed": "REPRODUCED",
        "H24-unmixed": "NOT-REPRODUCED",  # nothing comes back from a standard start in ALL
        "H25-unmixed": "REPRODUCED",
    }
    more = judged(groups("several", default_initialisation={"hits": 30, "median_ncc": 0.5}))
    assert more["H24-unmixed"] == "REPRODUCED"


def test_what_its_own_null_reaches_is_never_reproduced():
    worse = judged(groups("several", sized={"rows_hits": 500, "rows_close": 500}))
    assert {worse[name] for name in worse if name not in ("H22-unmixed", "H24-unmixed")} == {
        "NOT-REPRODUCED"
    }


def test_one_slow_start_is_enough_to_miss_the_time():
    slow = [run("cifar10-jpeg", 100, s, "plain, start known", attack_seconds=21.0)
            for s in range(10, 15)]  # fmt: skip
    own = ALL["sized"].filter(
        lambda r: not (r.parameters["n"] == 100 and r.parameters["start_known"])
    )
    assert judged({**ALL, "sized": own + of(slow)})["B04"] == "NOT-REPRODUCED"


@pytest.mark.parametrize("kind", ["empty", "failed", "one seed"])
def test_too_little_is_never_a_verdict(kind):
    assert {*judged(groups(kind)).values()} == {"NOT-RUN"}


def test_claims_are_judged_at_their_own_sizes_and_sets():
    fewer = ALL["sized"].where(n=[50, 200], dataset="cifar10-jpeg")
    assert evidence.B04(fewer) == evidence.B07(fewer) == evidence.B08(fewer) == {}
    assert evidence.B06(fewer)["CIFAR-10 (JPEG)"].keys() == {"trusted_50_of_200"}
    assert evidence.B03(ALL["sized"]).keys() == {"CIFAR-10 (JPEG)"}
    assert evidence.B08(ALL["sized"]).keys() == {"MNIST"}
    assert evidence.H25_unmixed(ALL["sized"]).keys() == {*TITLES.values()}


# --- sentences -----------------------------------------------------------------------------------

TOLD = {
    "by_recipe": "read", "known_start": "read", "by_size": "sized", "who_can_tell": "sized",
    "defended": "guarded", "convolution": "read", "worst": "guarded",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_sentence_can_be_said_of_what_there_is(kind):
    own = groups(kind)
    said = [getattr(sentences, name)(own[group]) for name, group in TOLD.items()]
    said += [sentences.answer(own["read"], own["sized"]), sentences.limits(own["read"])]
    assert all(said) and not [text for text in said if "nan" in text]
    assert len(sentences.answer(own["read"], own["sized"]).split()) <= page.ANSWER_WORDS


def test_counts_of_sets_follow_the_intervals():
    told = sentences.by_recipe(ALL["read"])
    assert "plain 2 of 2;" in told and "default initialisation 0 of 2" in told
    assert "plain 0 of 2" in sentences.by_recipe(groups("several", plain={"hits": 4})["read"])
    assert "plain 0 of 1" in sentences.by_recipe(groups("one seed")["read"])


def test_a_known_start_helps_where_its_interval_says_so():
    told = sentences.known_start(ALL["read"])
    assert "default init., start known: 6 %" not in told and "6 % → 97 % (MNIST)" in told
    assert told.count("above 0 on 2 of 2 data sets") == 3
    worse = groups("several", default_initialisation_start_known={"hits": 1})["read"]
    assert "above 0 on 0 of 2 data sets" in sentences.known_start(worse)


def test_a_defence_is_counted_by_what_it_stops_and_costs():
    told = sentences.defended(ALL["guarded"])
    assert "4 bits: 40 % found at 70 % accuracy (MNIST)" in told
    [line] = [line for line in told.splitlines() if line.startswith("- DP-SGD, noise 2")]
    assert "fewer found on 2 of 2 sets, less accurate on 2 of 2" in line
    [line] = [line for line in told.splitlines() if line.startswith("- 8 bits")]
    assert (
        "fewer found on 0 of 2 sets, less accurate on 0 of 2" in line
        and "ε = 30 (DP-SGD, noise 2)" in told
    )


def test_defences_that_leave_the_null_are_named_only_if_an_interval_was_there():
    assert sentences.worst(ALL["guarded"]).endswith("under: DP-SGD, noise 2.") is False
    stopped = groups("several", DP_SGD_noise_2={"hits": 3})["guarded"]
    assert sentences.worst(stopped).endswith("under: DP-SGD, noise 2.")
    assert sentences.worst(groups("one seed")["guarded"]).endswith("under: none of them.")


def test_titles_stand_on_their_intervals():
    assert sentences.finding(ALL["read"]) and sentences.trusted_finding(ALL["sized"])
    assert not sentences.finding(groups("several", plain={"hits": 4})["read"])
    assert not sentences.trusted_finding(groups("several", sized={"trusted_20": 0.5})["sized"])
    for kind in ("empty", "one seed"):
        own = groups(kind)
        assert not sentences.finding(own["read"]) and not sentences.trusted_finding(own["sized"])


def test_the_answer_says_who_only_where_it_is_sure():
    opening = "Whoever publishes"
    assert sentences.answer(ALL["read"], ALL["sized"]).startswith(opening)
    worse = groups("several", fine_tuned_start_known={"hits": 2})
    assert not sentences.answer(worse["read"], worse["sized"]).startswith(opening)


# --- the page without its runs -------------------------------------------------------------------

NOWHERE = {
    "nothing is computed": {"compute": False},
    "more than there are": {
        "n": 1400,
        "sizes": [1400],
        "varied_n": 1400,
        "ways": ["plain"],
        "defences": [],
        "widths": [9],
    },
    "an unknown set": {"datasets": ["nowhere"]},
}


@pytest.mark.parametrize("case", NOWHERE)
def test_the_page_survives_missing_runs(case, tmp_path, monkeypatch):
    """Every cell of the notebook; no run of the study has values."""
    said, claims = [], ledger.load(CLAIMS)
    monkeypatch.setattr(
        page, "display", lambda shown, **_: said.append(str(getattr(shown, "data", shown)))
    )
    monkeypatch.setattr(ledger, "load", lambda _: claims)
    monkeypatch.chdir(ROOT)
    space: dict = {}
    for cell in percent.read_notebook(ROOT / "notebooks/10_who_is_at_risk.py").cells:
        if cell.cell_type == "code":
            exec(cell.source.replace("steps=300", "steps=20"), space)  # noqa: S102
            if "parameters" in percent.cell_tags(cell):
                space |= {"results": str(tmp_path), **NOWHERE[case]}
    assert not space["read"] and not space["sized"] and space["study"].results
    assert any("answer" in text for text in said) and not any("nan" in text for text in said)
    status = said[-1]
    assert "0 of" in status and ("failed" in status or "missing" in status)
