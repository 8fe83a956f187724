"""Chapter 8: reading, figures, evidence, sentences and the quiz on made results, and the page."""

import inspect
import shutil
from pathlib import Path

import numpy as np
import percent
import pytest
from initialization_made import (
    AUROCS,
    answered,
    attack_run,
    groups,
    landscape_run,
    made,
    mixed_runs,
    noisy_runs,
    telling_run,
    telling_runs,
    title,
    width_run,
)
from matplotlib.figure import Figure
from opposite import cells_of, in_every_world, survivors
from test_sentences import COMPARED, DESCRIBES, NAMES

import harness.study
from chapters.initialization import design, evidence, figures, plays, reading, sentences
from harness import ledger, page
from harness.play import quiz_html
from harness.results import Runs
from harness.verdicts import judged

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "08_initialization_sensitivity.py"
SEEDS = [10, 11, 12, 13, 14]
KINDS = ["empty", "failed", "one seed", "several"]


def runs(*results) -> Runs:
    return Runs(results, title=title)


@pytest.fixture(scope="module")
def claims(tmp_path_factory):
    """The file of the ledger that this chapter judges."""
    folder = tmp_path_factory.mktemp("claims")
    shutil.copy(ROOT / "claims" / "003.yaml", folder)
    return ledger.load(folder)


# --- what is compared -----------------------------------------------------------------------------


def test_there_are_25_settings_and_21_starts():
    starts = design.mixtures(SEEDS, SEEDS)
    pairs = {(case["truth_share"], case["image_share"]) for case in starts}
    assert len(design.SHARES) ** 2 == 25 and len(pairs) == 21 and len(starts) == 5 * 21


def test_other_seeds_have_the_edges_alone():
    starts = design.mixtures(SEEDS, SEEDS[:1])
    assert len(starts) == 21 + 4 * 9
    for case in starts[21:]:
        assert case["image_share"] in (0, 1) or case["truth_share"] == 1


def test_the_pure_starts_of_the_first_seed_keep_their_pictures():
    shown = [case for case in design.mixtures(SEEDS, SEEDS) if case.get("pictures")]
    assert {(c["truth_share"], c["image_share"]) for c in shown} == {*design.STARTS.values()}
    assert {case["seed"] for case in shown} == {10} and len(shown) == 3
    assert sum("pictures" in case for case in design.starts(SEEDS)) == 3
    assert sum("pictures" in case for case in design.from_noise(SEEDS, 0.03)) == 2
    asked = design.tellings({"unmixed": {"n": 9}, "rows": {}, "kkt released": {}}, SEEDS, quiz=True)
    assert asked[0]["n"] == 9 and "n" not in asked[5]
    assert [c["attack"] for c in asked if "pictures" in c] == ["unmixed", "kkt released"]


# --- reading ----------------------------------------------------------------------------------------


def line(to_truth, to_partition, varied="truth_share", seed=10) -> Runs:
    """Five runs along one line of starts with these distances."""
    found = []
    for share, truth, other in zip(design.SHARES, to_truth, to_partition):
        start = reading.ALONG[varied](share)
        run = attack_run("bilevel", "affine", seed, *start)
        run.scalars.update(to_truth=truth, to_partition=other)
        found.append(run)
    return runs(*found)


@pytest.mark.parametrize(
    ("to_truth", "to_partition", "crossover"),
    [
        ([4, 3, 2, 1, 0], [0, 1, 2, 3, 4], 0.5),
        ([4, 3, 2, 1, 0], [0, 1, 1, 3, 4], 0.5 + 0.25 / 3),
        ([4, 1, 1, 1, 0], [0, 1, 2, 3, 4], 0.25),
        ([4, 4, 4, 4, 4], [0, 0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0, 0], [1, 1, 1, 1, 1], 0.0),
    ],
)
def test_the_crossover_is_where_the_lines_cross(to_truth, to_partition, crossover):
    assert reading.crossovers(line(to_truth, to_partition)) == pytest.approx([crossover])


def test_a_line_that_lacks_a_start_has_no_crossover():
    whole = line([4, 3, 2, 1, 0], [0, 1, 2, 3, 4])
    assert reading.crossovers(runs(*list(whole)[:-1])) == []
    assert reading.crossovers(runs()) == []


def test_slopes_and_ranks_by_hand():
    """The distance to the truth is 8 times the share of noise."""
    noisy = line([8, 6, 4, 2, 0], [0] * 5, "image_share")
    assert reading.slopes(noisy).tolist() == pytest.approx([8.0])
    assert reading.rank_correlations(noisy) == pytest.approx([-1.0])
    assert reading.rank_correlations(line([1] * 5, [0] * 5, "image_share")) == [0.0]


def test_attacks_are_told_by_function_and_network():
    mixed = runs(*mixed_runs([10], dict.fromkeys(design.ATTACKS, 0.0)))
    assert [len(reading.by(mixed, name)) for name in design.ATTACKS] == [21, 21, 21]
    assert {run.parameters["network"] for run in reading.by(mixed, design.PAPER)} == {"three-layer"}


def test_differences_of_attacks_are_paired_by_seed():
    moved = {design.BILEVEL: 0.0, design.SAME: 0.1, design.PAPER: 0.2}
    mixed = runs(*mixed_runs([10, 11], moved))
    # the truth itself stays at the jitter; from 3/4 truth each unit of `moved` brings 10 nearer
    assert reading.near_truth(mixed, design.SAME) == pytest.approx([-0.5, -0.5])
    assert reading.near_truth(mixed, design.PAPER) == pytest.approx([-1.0, -1.0])
    assert reading.ratio_at_truth(mixed, design.PAPER) == pytest.approx([1.0, 1.0])


def test_a_distance_of_zero_makes_no_ratio_infinite():
    one = attack_run("bilevel", "affine", 10, 1.0, 1.0)
    one.scalars["to_truth"] = 0.0
    [ratio] = reading.ratio_at_truth(
        runs(one, attack_run("kkt", "affine", 10, 1.0, 1.0)), design.SAME
    )
    assert np.isfinite(ratio) and ratio == pytest.approx(1e-3 / reading.SMALLEST)


def test_natural_outputs_of_low_rank_by_hand():
    """Naturalness of the ten nearest: median 0; beyond rank 50 four are at least that."""
    [run] = [r for r in noisy_runs([10], n=60) if r.parameters["sigma"] != design.STANDARD]
    run.arrays["naturalness"] = np.r_[np.linspace(-1, 1, 10), np.full(46, -9.0), [0, 1, 2, 3]]
    assert reading.natural_but_far(run) == 4
    assert reading.natural_but_far(attack_run(n=20)) is None


def test_misses_among_the_natural_ones_by_hand():
    run = attack_run(n=50)
    run.arrays["naturalness"] = -np.arange(50.0)
    run.arrays["nearest_truth_ncc"] = np.where(np.arange(50) < 10, 0.9, 0.1)
    assert reading.no_hits_among_natural(run) == 0.75
    assert reading.no_hits_among_natural(attack_run(n=20)) is None


def test_the_change_point_is_where_a_step_is():
    sized = [width_run(10, width, "kkt") for width in (2, 6, 20, 60, 200)]
    for run in sized:
        run.scalars["auroc"] = 0.9 if run.parameters["width"] > 20 else 0.5
    [point] = reading.change_points(runs(*sized))
    assert point == pytest.approx(np.log10([1, 3]).mean())
    assert reading.ranks_by_width(runs(*sized), "auroc") == pytest.approx([np.sqrt(3) / 2])


def test_detectors_are_chosen_on_the_tuning_draws_alone():
    told = runs(*telling_runs(["mnist"], SEEDS))
    tuning = runs(*telling_runs(["mnist"], range(5), AUROCS | {"unmixed": 0.5, "rows": 0.5}))
    chosen, found = reading.best_told(told, tuning)
    assert (chosen.attack, chosen.signal) == ("kkt released", "agreement")
    assert found.estimate == pytest.approx(0.55)


def test_low_naturalness_among_all_hits_is_no_detector():
    """Misses that look natural are so by their definition, hits are not."""
    [run] = telling_runs(["mnist"], [0], {"unmixed": 0.6})
    run.scalars["auroc_likelihood"] = 0.05
    assert reading.detector(runs(run)).signal == "agreement"


def test_the_tuning_draws_choose_the_direction_too():
    told, tuning = (
        runs(*telling_runs(["mnist"], seeds, {"unmixed": 0.6})) for seeds in (SEEDS, range(5))
    )
    for run in tuning:
        run.scalars["auroc_natural_confidence"] = 0.1
    for run in told:
        run.scalars["auroc_natural_confidence"] = 0.8
    chosen, found = reading.best_told(told, tuning)
    assert (chosen.signal, chosen.lower) == ("confidence", True)
    assert found.estimate == pytest.approx(0.2)


def test_an_attack_that_is_not_run_on_other_draws_chooses_nothing():
    told = runs(*telling_runs(["mnist"], SEEDS, {"kkt released": 0.6}))
    tuning = runs(*telling_runs(["mnist"], range(5), AUROCS))
    chosen, found = reading.best_told(told, tuning)
    assert chosen.attack == "kkt released" and found.estimate == pytest.approx(0.6)


def test_the_table_of_weights_by_hand():
    start = attack_run("bilevel", "affine", 10, 0.0, 0.0)
    start.scalars.update(distance=0.5, distance_at_start=6.0, squared_change=2.0)
    [row] = reading.weights(runs(start), runs()).to_dict("records")
    assert row["start"] == "noise" and row["paper"] == "1.1e-03" and row["ours"] == "5.0e-01"
    assert (row["of ‖θ* − θ⁰‖²"], row["the same, zero steps"]) == (0.25, 3.0)


def test_without_hits_there_is_no_detector():
    rows = runs(*telling_runs(["mnist"], range(5), {"rows": 0.9}))
    assert reading.detector(rows) is None and reading.told_by(rows, None) == []
    mostly = [telling_run("mnist", seed, "unmixed", 0.9) for seed in range(5)]
    for run in mostly[:3]:
        for name in [name for name in run.scalars if name.startswith("auroc_")]:
            del run.scalars[name]
    assert reading.detector(runs(*mostly)) is None


# --- figures ----------------------------------------------------------------------------------------

DRAWN = {
    "told_apart": ("told", "tuning"), "starts": ("mixed", "started"),
    "kkt_starts": ("mixed", "noisy"), "weights": ("mixed", "loosened"), "mixtures": ("mixed",),
    "mixing": ("mixed",), "landscape": ("surface",), "widths": ("sized",),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_or_is_none(name, kind, tmp_path):
    here = groups(kind)
    fig = getattr(figures, name)(*(here[group] for group in DRAWN[name]))
    if kind in ("empty", "failed"):
        assert fig is None
    else:
        assert isinstance(fig, Figure)
        fig.savefig(tmp_path / "figure.svg", bbox_inches="tight")


def texts(fig: Figure) -> str:
    return " ".join(text.get_text() for text in fig.findobj(lambda a: hasattr(a, "get_text")))


def test_the_key_figure_names_signals_and_what_was_too_little():
    here = groups("several")
    words = texts(figures.told_apart(here["told"], here["tuning"], "A finding"))
    assert "by agreement of restarts" in words and "too few hits or misses" in words
    assert "MNIST" in words and "CIFAR-10 (JPEG)" in words and "A finding" in words


def test_starts_have_three_rows_of_pictures_for_each_of_three_starts():
    here = groups("several")
    assert len(figures.starts(here["mixed"], here["started"]).axes) == 2 * 3 * 3 * figures.SHOWN
    assert len(figures.kkt_starts(here["mixed"], here["noisy"]).axes) == 3 * 3 * figures.SHOWN
    assert "not run" in texts(figures.kkt_starts(here["mixed"], Runs([])))


def test_a_map_holds_one_value_without_images():
    table = figures._map(reading.by(groups("one seed")["mixed"], design.BILEVEL), "to_noise")
    assert table.shape == (5, 5) and np.ptp(table[0]) == 0 and np.isfinite(table).all()


@pytest.mark.parametrize("kind", KINDS)
def test_signals_are_drawn_where_one_was_chosen(kind):
    here = groups(kind)
    fig = figures.signal_values(here["told"], here["tuning"], design.UNMIXED)
    assert (fig is None) == (kind in ("empty", "failed"))
    assert figures.signal_values(here["told"], here["tuning"], "rows") is None


# --- evidence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_fits_the_ledger(kind, claims):
    found = {verdict.id: verdict for verdict in judged(claims, evidence, **groups(kind))}
    if kind in ("empty", "failed"):
        assert not found
    else:
        assert {*found} == {*claims} and len(claims) == 25


def test_every_row_has_its_evidence(claims):
    here = {name for name, _ in inspect.getmembers(evidence, inspect.isfunction)}
    assert {id.replace("-", "_") for id in claims} <= here


def test_one_seed_is_never_a_verdict_on_a_row_that_asks_for_more(claims):
    for verdict in judged(claims, evidence, **groups("one seed")):
        if claims[verdict.id].seeds > 1:
            assert verdict.verdict in ("NOT-RUN", "REPORTED"), verdict.id


def verdict(claims, id: str, **given):
    [found] = judged(claims, evidence, names=[id], **given)
    return found.verdict


@pytest.mark.parametrize("id", ["R10", "R11", "R19", "R21"])
def test_what_no_step_reaches_as_well_is_uninformative(id, claims):
    assert verdict(claims, id, **groups("several")) == "UNINFORMATIVE"


def test_a_crossover_that_zero_steps_lack_counts(claims):
    mixed = groups("several", **{design.BILEVEL: 0.0, design.PAPER: 0.0})["mixed"]
    for run in mixed:
        if run.parameters["truth_share"] < 1:
            run.scalars["to_partition_at_start"] = 99.0
    assert verdict(claims, "R19", mixed=mixed) == "REPRODUCED"


@pytest.mark.parametrize(
    ("id", "measure", "value"),
    [
        ("R09", "excess", 3.0), ("R09", "high_frequencies", 0.1), ("R10", "median_psnr", 30.0),
        ("R12", "nearer_to_start_by_correlation", 0.5), ("R16", "hits", 9),
        ("R16", "nearer_to_start_by_distance", 0.2), ("R06", "distance", 0.5),
    ],
)  # fmt: skip
def test_a_claim_fails_on_its_measure(id, measure, value, claims):
    here = groups("several")
    for run in (*here["mixed"], *here["started"]):
        run.scalars[measure] = value
    assert verdict(claims, id, **here) == "NOT-REPRODUCED"


@pytest.mark.parametrize(("smoother", "wanted"), [(True, "REPRODUCED"), (False, "NOT-REPRODUCED")])
def test_the_landscape_is_judged_by_paired_differences(smoother, wanted, claims):
    surface = runs(*(landscape_run(s, a, smoother) for s in SEEDS for a in ("bilevel", "kkt")))
    assert verdict(claims, "R22", surface=surface) == wanted


@pytest.mark.parametrize(("rising", "wanted"), [(1, "REPRODUCED"), (-1, "NOT-REPRODUCED")])
def test_widths_are_judged_by_the_direction_of_the_scores(rising, wanted, claims):
    sized = runs(*(width_run(s, w, "kkt", rising) for s in SEEDS for w in (2, 20, 200)))
    assert verdict(claims, "R05", sized=sized) == wanted


@pytest.mark.parametrize(
    ("best", "wanted"),
    [(0.55, "REPRODUCED"), (0.65, "NOT-REPRODUCED"), (0.97, "NOT-REPRODUCED")],
)
def test_r23_turns_on_the_best_attack_and_r23_paper_on_the_papers(best, wanted, claims):
    both = [
        runs(*telling_runs(["mnist"], seeds, AUROCS | {"unmixed": best}))
        for seeds in (SEEDS, range(5))
    ]
    told, tuning = both
    assert verdict(claims, "R23", told=told, tuning=tuning) == wanted
    assert verdict(claims, "R23-paper", told=told, tuning=tuning) == "REPRODUCED"


def test_the_tuned_scale_is_paired_with_the_standard_one(claims):
    noisy = runs(*noisy_runs(SEEDS))
    assert verdict(claims, "R13", noisy=noisy) == "REPRODUCED"
    for run in reading.tuned(noisy):
        run.scalars["excess"] = 0.0
    assert verdict(claims, "R13", noisy=noisy) == "NOT-REPRODUCED"


# --- sentences ----------------------------------------------------------------------------------------

SAID = {
    "answer": ("told", "tuning", "mixed"), "finding": ("told", "tuning"),
    "limits": ("mixed", "told", "tuning"), "theory": ("proved",),
    "weights_say": ("mixed", "started"), "from_noise": ("mixed", "started"),
    "from_truth": ("mixed", "started"), "from_others": ("mixed", "started"),
    "kkt_from_noise": ("noisy",), "kkt_from_others": ("mixed",), "near_the_truth": ("mixed",),
    "crossing": ("mixed",), "blind": ("told", "tuning"), "trusted": ("told",),
    "surface": ("surface",), "by_width": ("sized",),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAID)
def test_a_sentence_never_holds_a_missing_number(name, kind):
    here = groups(kind)
    text = getattr(sentences, name)(*(here[group] for group in SAID[name]))
    assert "nan" not in text and "inf" not in text.replace("informative", "")
    assert text or name == "finding"


@pytest.mark.parametrize(
    ("best", "opening"), [(0.97, "**Yes**"), (0.65, "Not decided."), (0.55, "**No**")]
)
def test_the_answer_stands_on_its_interval(best, opening):
    told, tuning = (
        runs(*telling_runs(["mnist", "cifar10-jpeg"], seeds, AUROCS | {"unmixed": best}))
        for seeds in (SEEDS, range(5))
    )
    text = sentences.answer(told, tuning, groups("several")["mixed"])
    assert text.startswith(opening) and f"{best:.2f} [" in text
    assert len(text.split()) <= page.ANSWER_WORDS
    assert bool(sentences.finding(told, tuning)) == (opening != "Not decided.")


def test_the_finding_names_an_attack_only_if_it_is_the_best_everywhere():
    one = telling_runs(["mnist"], range(5), AUROCS)
    other = telling_runs(["cifar10-jpeg"], range(5), {"unmixed": 0.5, "kkt released": 0.9})
    told = runs(*one, *other)
    assert sentences.finding(told, told) == ""


def test_numbers_in_words():
    assert sentences.number(0.0012) == "0.0012" and sentences.number(float("nan")) == "–"
    assert sentences.number(1.2e-7) == "$1.2 \\cdot 10^{-7}$"
    assert sentences.percent([0.5, 1.0]) == "75 %" and sentences.percent([]) == "–"


# --- the quiz -----------------------------------------------------------------------------------------


def test_a_round_has_one_stranger_and_no_picture_stands_twice():
    told = groups("several")["told"]
    rounds = plays.rounds(told)
    assert len(rounds) == 4 and all(len(one.pictures) == 3 for one in rounds)
    run = plays.shown(told)
    strangers = [run["quiz_pictures"][i] / 255 for i in range(8, 12)]
    for one, stranger in zip(rounds, strangers):
        assert np.array_equal(one.pictures[one.stranger], stranger)
    every = [picture.tobytes() for one in rounds for picture in one.pictures]
    assert len({*every}) == len(every)
    assert "Round 4 of 4" in quiz_html(rounds, question="Which?", outcomes=("out", "in"))


def test_places_of_strangers_differ_and_are_the_same_each_time():
    told = groups("several")["told"]
    places = [one.stranger for one in plays.rounds(told)]
    assert places == [one.stranger for one in plays.rounds(told)] and len({*places}) > 1


@pytest.mark.parametrize("hits", [0, 1])
def test_too_few_hits_or_misses_make_no_quiz(hits):
    run = telling_run("mnist", 10, "unmixed", 0.9, pictures=True)
    run.arrays["quiz_is_hit"] = np.arange(12) < hits
    assert plays.rounds(runs(run)) is None
    run.arrays["quiz_is_hit"] = np.ones(12, dtype=bool)
    assert plays.rounds(runs(run)) is None
    assert plays.rounds(runs()) is None and "Figure 6" in plays.caption(runs())


def test_the_caption_says_whose_pictures_these_are():
    words = plays.caption(groups("several")["told"])
    assert "first layer, unmixed" in words and "50 training images" in words


# --- the page -----------------------------------------------------------------------------------------


def test_no_comparing_sentence_stands_in_a_world_that_says_the_opposite(monkeypatch):
    """On made results, with the laptop's parameters."""
    monkeypatch.setattr(
        harness.study,
        "sweep",
        lambda function, asked, **_: [answered(function.__name__, dict(run)) for run in asked],
    )
    of = COMPARED[NOTEBOOK.stem]
    said = in_every_world(cells_of(NOTEBOOK, "laptop", compute=False), of, figures)
    described = tuple(sum(DESCRIBES.get(NOTEBOOK.stem, {}).values(), []))
    told = [each for each in survivors(said, NAMES) if not each.text.startswith(described)]
    assert not told
    assert {each.by for each in said["published"]} >= {"answer", "caption", "alt", "say", "title"}
    assert not [each for each in said["published"] if "nan" in each.text.split()]
    assert len({" ".join(each.text for each in texts) for texts in said.values()}) == len(said)


NOWHERE = {
    "nothing is computed": {"compute": False},
    "an unknown set": {"datasets": ["nowhere"]},
    "no such labels": {"task": {"labels": "stripes"}},
}


@pytest.mark.parametrize("case", NOWHERE)
def test_the_page_survives_missing_runs(case, claims, tmp_path, monkeypatch):
    """Every cell of the notebook, with a shorter live part; no run of the study has values."""
    said = []
    monkeypatch.setattr(
        page, "display", lambda shown, **_: said.append(str(getattr(shown, "data", shown)))
    )
    monkeypatch.setattr(ledger, "load", lambda _: claims)
    monkeypatch.chdir(ROOT)
    space: dict = {}
    for cell in percent.read_notebook(NOTEBOOK).cells:
        if cell.cell_type == "code":
            exec(cell.source.replace("steps=30", "steps=2"), space)  # noqa: S102
            if "parameters" in percent.cell_tags(cell):
                space |= {"results": str(tmp_path), **NOWHERE[case]}
    assert not space["mixed"] and space["study"].results
    assert any("answer" in text for text in said) and not any("nan" in t.split() for t in said)
    assert "0 of" in said[-1] and ("failed" in said[-1] or "missing" in said[-1])


def test_runs_of_the_page_take_the_parameters_it_has():
    """Each function is asked for parameters that it has, also with the profiles' values."""
    for profile in ("quick", "laptop", "paper"):
        asked = []

        def sweep(function, wanted, **_):
            known = inspect.signature(function).parameters
            for run in wanted:
                assert {*run} <= {*known}, (function.__name__, {*run} - {*known})
            asked.extend(wanted)
            return [made(function.__name__, dict(run), {}, {}) for run in wanted]

        space: dict = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            patch.setattr(harness.study, "sweep", sweep)
            for cell in cells_of(NOTEBOOK, profile, compute=False):
                if "page" in cell.reads and "study" not in cell.writes:
                    break
                exec(cell.code, space)
        assert len(asked) > 10, profile
