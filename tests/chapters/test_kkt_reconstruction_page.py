"""Chapter 7: figures, evidence and reading on small made results, and the page without its runs."""

import shutil
from pathlib import Path

import numpy as np
import percent
import pytest
from matplotlib.figure import Figure

from chapters.kkt_reconstruction import checks, evidence, figures, reading
from harness import ledger, page
from harness.results import Result, Runs
from harness.verdicts import judged

ROOT = Path(__file__).parents[2]
TITLES = {"mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
SCORES = ("auroc", "tpr_at_1_percent", "excess", "hits", "close")


@pytest.fixture(scope="module")
def claims(tmp_path_factory):
    """The two files of the ledger that this chapter judges."""
    folder = tmp_path_factory.mktemp("claims")
    for name in ("004.yaml", "book.yaml"):
        shutil.copy(ROOT / "claims" / name, folder)
    return ledger.load(folder)


def title(name: str) -> str:
    return TITLES.get(name, name)


def made(parameters: dict, scalars: dict, arrays: dict, status: str = "reused") -> Result:
    if status in ("failed", "missing"):
        return Result("f", parameters, status, error="ValueError: odd")
    return Result("f", parameters, status, scalars, arrays)


def attack_run(
    dataset="mnist",
    seed=10,
    method="unmixed",
    protocol="constant",
    n=50,
    hits=40,
    null=5,
    right=1.0,
):
    """null: found and close images of the strongest null.  right: share of trusted ones."""
    channels, random = (1 if dataset == "mnist" else 3), np.random.RandomState(seed)
    parameters = {"dataset": dataset, "n": n, "seed": seed, "protocol": protocol, "epochs": 9}
    scalars = {
        "auroc": 0.9, "hits": hits, "tpr_at_1_percent": hits / n, "excess": 4.0, "threshold": 0.6,
        "ssim_above_0.4": 3, "median_ncc": 0.8, "attack_seconds": 1.5, "smallest_margin": 2.0,
        "rank_correlation_margin_score": -0.4, "close": hits, "close_held_out": 2,
        "fitted_ssim_above_0.4": 9, "fitted_ssim_above_0.4_held_out": 20,
        "trusted_precision": right - seed / 1e4, "trusted_held_out": 0.1 + seed / 1e4,
        **{f"span_{name}": null - 1 for name in SCORES}, **{f"rows_{name}": null for name in SCORES},
    }  # fmt: skip
    arrays = {
        "best_ncc": random.rand(n), "best_ncc_held_out": random.rand(200), "ssim": random.rand(n),
        "margins": 2 + random.rand(n), "shown_ncc": random.rand(6), "trust": random.rand(n),
        "trusted_ncc": random.rand(n), "trusted_ncc_held_out": random.rand(n),
        "shown_images": random.randint(0, 255, (6, channels, 8, 8), dtype=np.uint8),
        "shown_reconstructions": random.randint(0, 255, (6, channels, 8, 8), dtype=np.uint8),
    }  # fmt: skip
    return made({**parameters, "method": method}, scalars, arrays)


def budget_run(dataset="mnist", seed=10, hits=9, null=5):
    run = attack_run(dataset, seed, "released", hits=hits, null=null)
    along = ("step", "residual", "tpr_at_1_percent", "close")
    scalars = run.scalars | {f"along_{name}": [0.1, 0.2] for name in along}
    return made({**run.parameters, "iterations": 20}, scalars, run.arrays)


def training_run(dataset="mnist", seed=10, protocol="loss-scaled"):
    along = {f"residual_{name}": [1.0, 0.5] for name in ("train", "held_out", "noise")}
    scalars = {
        **along, "epochs_observed": [10, 100], "final_residual": 0.5, "held_out_over_train": 1.0,
        "rank_correlation_epoch_residual": -1.0, "rank_correlation_multiplier_margin": -0.7,
        "mass_on_margin": 0.9, "smallest_margin": 3e6, "noise_edge": 0.1, "rank": 40 + seed,
    }  # fmt: skip
    parameters = {"dataset": dataset, "n": 50, "seed": seed, "protocol": protocol, "epochs": 100}
    return made(parameters, scalars, {"singular_values": np.geomspace(10, 0.01, 64)})


def circle_run(seed=10):
    random, signs = np.random.RandomState(seed), np.tile([1.0, -1.0], 5)
    measures = (
        "correct", "log10_loss", "recovered", "filtered_precision", "filtered_recall",
        "inversion_recovered", "recovered_minus_inversion", "median_angle_over_random_quantile",
        "filtered_points",
    )  # fmt: skip
    arrays = {
        "points": random.randn(10, 2), "signs": signs, "candidates": random.randn(10, 2),
        "candidate_signs": signs, "strong": np.arange(4), "final": np.arange(2),
        "inverted": random.randn(10, 2), "field": random.randn(11, 11),
    }  # fmt: skip
    return made({"seed": seed}, dict.fromkeys(measures, 1.0), arrays)


def twin_run(dataset="mnist", seed=10, change="released", first="1e-4", excess=5.0, residual=0.9):
    parameters = {
        "dataset": dataset, "n": 50, "seed": seed, "change": change, "first": first, "per_image": 2,
    }  # fmt: skip
    scalars = {
        "excess": excess + seed / 100, "residual": residual - seed / 1000, "auroc": 0.6,
        "smoothed_residual": 0.9, "kkt_residual": 0.8, "epochs_taken": 300, "hits": 3, "close": 1,
        "span_hits": 4, "rows_hits": 2, "parameters_over_unknowns": 3.0,
    }  # fmt: skip
    return made(parameters, scalars, {})


KINDS_OF_TWIN = [
    ("released", "1e-4", 5.0, 0.8), ("true derivative", "1e-4", 4.0, 0.9),
    ("no smallest multiplier", "1e-4", 4.0, 0.8), ("no prior", "1e-4", 5.0, 0.8),
    ("ten times the noise", "1e-4", 5.0, 0.8), ("shifted", "1e-4", 1.0, 0.95),
    ("released", "He", 1.0, 0.99),
]  # fmt: skip


def check_runs(sets: list[str], seeds: list[int]) -> dict[str, Runs]:
    """The groups that the checks of the paper's method make."""
    each = [{"dataset": dataset, "n": 50, "seed": seed} for dataset in sets for seed in seeds]
    change = {"change_padded": 1e-14, "change_duplicated": 2e-14, "solution": 1.0}
    cells = {
        "search": ["ncc", "ssim"], "vote": ["mean"] * 2, "window": [3] * 2, "found": [1.0, 0.5],
        "mean_ssim": [0.4, 0.3], "made_up_pairs_found": 1.0, "ssim_deviation": 1e-12,
    }  # fmt: skip
    convolved = {
        "auroc": 0.5, "tpr_at_1_percent": 0.02, "excess": 0.5, "hits": 1, "close": 0,
        "residual": 0.2, "attack_seconds": 9.0, "mixtures_auroc": 0.9, "mixtures_hits": 9,
        "mixtures_close": 3,
    }  # fmt: skip
    counts = {"parameters_width_1000": 4_074_000, "unknowns": 1_536_000, "parameters_width_100": 317_400}  # fmt: skip
    seconds = {"plain_seconds": 0.6, "gram_seconds": 0.3, "mixed_seconds": 0.2}
    return {
        "padded": Runs([made(p, change | {"squared_norm": 4.0}, {}) for p in each], title=title),
        "counted": Runs([made({}, counts, {})]),
        "processed": Runs([made(p, cells, {}) for p in each], title=title),
        "timed": Runs([made({"m": 1000, "seed": 10}, seconds, {})]),
        "convolved": Runs([made(p, convolved, {}) for p in each], title=title),
        "freed": Runs(map(freed_run, seeds)),
        "twins": Runs(
            [
                twin_run(p["dataset"], p["seed"], *kind)
                for p in each
                for kind in KINDS_OF_TWIN
            ],
            title=title,
        ),
    }  # fmt: skip


def freed_run(seed=10):
    run = circle_run(seed)
    return made(run.parameters, run.scalars | {"filtered_points": 2, "recovered": 20}, run.arrays)


FAILED = made({"dataset": "mnist", "n": 7, "seed": 10, "method": "unmixed"}, {}, {}, "failed")


def groups(kind: str) -> dict[str, Runs]:
    """attacked, spent, trained and circles: nothing, failed runs only, one seed, several of everything."""
    seeds = [10] if kind == "one seed" else [10, 11, 12]
    if kind in ("empty", "failed"):
        nothing = Runs([FAILED] if kind == "failed" else [], title=title)
        return dict.fromkeys(("attacked", "spent", "trained", "circles", *CHECKS), nothing)
    sets = ["mnist"] if kind == "one seed" else ["mnist", "cifar10-jpeg"]
    attacks = [("released", "constant"), ("first-layer", "constant"), ("unmixed", "constant")]
    attacked = [
        attack_run(dataset, seed, method, protocol, hits=40 if method == "unmixed" else 5)
        for dataset in sets
        for seed in seeds
        for method, protocol in [*attacks, ("unmixed", "loss-scaled")]
    ]
    trained = [
        training_run(dataset, seed, protocol)
        for dataset in sets
        for seed in seeds
        for protocol in ("loss-scaled", "constant")
    ]
    return {
        "attacked": Runs([*attacked, FAILED], title=title),
        "spent": Runs([budget_run(d, s) for d in sets for s in seeds], title=title),
        "trained": Runs(trained, title=title),
        "circles": Runs(map(circle_run, seeds)),
        **check_runs(sets, seeds),
    }


CHECKS = ("padded", "counted", "processed", "timed", "convolved", "freed", "twins")
KINDS = ["empty", "failed", "one seed", "several"]
DRAWN = {
    "pairs": "attacked", "calibration": "attacked", "found": "attacked", "margins": "attacked",
    "capacity": "attacked", "trust": "attacked", "budget": "spent", "residual": "trained", "spectrum": "trained", "circle": "circles",
    "twins": "twins",
}  # fmt: skip


# --- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_or_is_none(name, kind, tmp_path):
    fig = getattr(figures, name)(groups(kind)[DRAWN[name]])
    if kind in ("empty", "failed"):
        assert fig is None
    else:
        assert isinstance(fig, Figure)
        fig.savefig(tmp_path / "figure.svg", bbox_inches="tight")


def texts(fig: Figure) -> str:
    return " ".join(text.get_text() for text in fig.findobj(lambda a: hasattr(a, "get_text")))


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_two_groups_are_drawn_or_are_none(kind, tmp_path):
    of = groups(kind)
    drawn = [figures.plane(of["circles"], of["freed"]), figures.equations(of["twins"], of["twins"])]
    for fig in drawn:
        if kind in ("empty", "failed"):
            assert fig is None
        else:
            fig.savefig(tmp_path / "figure.svg", bbox_inches="tight")


def test_figures_name_their_data_sets():
    several = groups("several")
    for name, group in DRAWN.items():
        if name != "circle":  # which names no data set
            words = texts(getattr(figures, name)(several[group]))
            assert "MNIST" in words and "CIFAR-10 (JPEG)" in words, name


def test_pairs_show_the_first_run_of_each_set_in_lines():
    attacked = groups("several")["attacked"].where(method="unmixed", protocol="constant")
    assert len(figures.pairs(attacked, columns=4).axes) == 2 * 2 * 4
    assert len(figures.pairs(attacked, columns=4, lines=2).axes) == 2 * 2 * 6
    shown = figures.pairs(attacked, columns=4).axes[0].get_title()
    assert shown == f"{attacked[0]['shown_ncc'][0]:.2f}"


def test_calibration_has_one_row_a_set_and_one_column_an_attack():
    fig = figures.calibration(groups("several")["attacked"].where(protocol="constant"))
    assert len(fig.axes) == 2 * 3 and "40.0 of 50" in texts(fig) and "5.0 of 50" in texts(fig)


# --- evidence ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_fits_the_ledger(kind, claims):
    found = {verdict.id: verdict for verdict in judged(claims, evidence, **groups(kind))}
    if kind in ("empty", "failed"):
        assert not found
        return
    assert {"H05", "H01-scaled", "H18-n50", "H18-n50-nulls", "H19-n50-budget", "H28-n50"} <= {
        *found
    }
    assert {*found["B02"].parts} == {TITLES[d] for d in groups(kind)["attacked"].of("dataset")}
    if kind == "several":
        assert {*found["H17-n50-nulls"].parts} == {*found["B01"].parts} == {"CIFAR-10 (JPEG)"}


def test_one_seed_is_never_a_verdict(claims):
    """But where the ledger asks for one, or for no verdict."""
    verdicts = judged(claims, evidence, **groups("one seed"))
    found = {v.id: v.verdict for v in verdicts if claims[v.id].seeds > 1 and claims[v.id].tests}
    assert len(found) > 10 and {*found.values()} == {"NOT-RUN"}


def test_what_the_twins_show(claims):
    """Those of KINDS_OF_TWIN differ by hand; the loss of the true derivative is larger by 0.1."""
    runs = groups("several")["twins"]
    measures = evidence.H29(runs)["MNIST"]
    assert measures["loss_true_minus_smoothed"] == pytest.approx([0.1] * 3)
    assert measures["excess_smoothed_minus_true"] == pytest.approx([1.0] * 3)
    assert evidence.H22(runs)["MNIST"]["excess_small_minus_standard"] == pytest.approx([4.0] * 3)
    assert evidence.H30(runs)["MNIST"]["excess_with_minus_without"] == pytest.approx([1.0] * 3)
    assert evidence.H31(runs)["MNIST"].keys() == {f"excess {kind}" for kind in evidence.PRIOR}
    assert not evidence.H31(runs.where(change="released"))
    [found] = judged(claims, evidence, names=["H33"], timed=groups("several")["timed"])
    assert found.verdict == "REPORTED" and found.evidence["plain_over_gram"] == (2.0,)


def test_twins_are_compared_seed_by_seed():
    runs = [twin_run(seed=seed) for seed in (10, 11, 12)]
    runs += [twin_run(seed=seed, change="no prior", excess=3.0) for seed in (11, 12, 13)]
    pairs = checks.pairs_of_twins(Runs(runs), checks.BASE, checks.BASE | {"change": "no prior"})
    assert [a.parameters["seed"] for a, _ in pairs] == [11, 12]
    assert checks.gap(Runs(runs, title=title), "excess", change="no prior").low == pytest.approx(2)
    assert not checks.gap(Runs(runs), "excess", first="He").low > 0
    assert {*checks.named(Runs(runs))} == {"as released", "no prior"}


def test_the_tables_of_the_checks_by_hand():
    runs = groups("several")
    steps = checks.steps(runs["timed"]).set_index("form")
    assert steps.loc[checks.FORMS["gram"], "gain"] == pytest.approx(2)
    assert steps.loc[checks.FORMS["mixed"], "hours of 100,000"] == pytest.approx(20_000 / 3600)
    processing = checks.processing(runs["processed"].where(dataset="mnist"))
    assert processing["SSIM, window 3"].tolist() == pytest.approx([0.4, 0.3])
    table = checks.twin_table(runs["twins"])
    assert len(table) == 2 * len(KINDS_OF_TWIN) and table["null, found"].eq(4).all()
    assert checks.convolution(runs["convolved"])["mixtures, close"].eq(3).all()


def test_claims_at_fifty_images_are_judged_at_fifty_images():
    attacked = Runs([attack_run(n=100, method="released")], title=title)
    assert evidence.H18_n50(attacked) == {} and evidence.H19_n50(attacked) == {}


def seeded(**settings) -> Runs:
    return Runs([attack_run(seed=seed, **settings) for seed in range(10, 15)], title=title)


@pytest.mark.parametrize(("null", "verdict"), [(5, "REPRODUCED"), (40, "NOT-REPRODUCED")])
def test_what_its_own_null_reaches_is_never_reproduced(null, verdict, claims):
    """The same attack, with the same calibrated scores: only the nulls differ."""
    attacked = seeded(method="released", null=null)
    [first, found] = judged(claims, evidence, names=["H18-n50", "H18-n50-nulls"], attacked=attacked)
    assert first.verdict == "UNINFORMATIVE" and found.verdict == verdict
    attacked = seeded(protocol="loss-scaled", null=null)
    [found] = judged(claims, evidence, names=["B01-nulls"], attacked=attacked)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("scores", "measure", "wanted"),
    [
        ({"span_hits": 7, "rows_hits": 3}, "hits", 7),
        ({"span_hits": 3, "rows_hits": 8}, "hits", 8),
        ({"span_hits": 0, "rows_hits": 0}, "hits", 0.5),
        ({"span_close": 0, "rows_close": 1, "close_held_out": 16}, "close", 4),
        ({"span_close": 0, "rows_close": 6, "close_held_out": 16}, "close", 6),
    ],
)
def test_the_strongest_of_three_nulls_counts(scores, measure, wanted):
    """Of 50 images 0.5 are above the held-out 99 % quantile; 16 of 200 held out are 4 of 50."""
    run = attack_run()
    run.scalars.update(scores)
    assert reading.null(run, measure) == wanted
    assert reading.over_null(Runs([run]), measure) == [40 - wanted]


def test_the_rows_are_held_against_what_unmixing_gives():
    [measures] = evidence.H28_n50(seeded(hits=40, null=8)).values()
    assert measures["rows_close"] == [8] * 5 and measures["rows_share_of_attack"] == [0.2] * 5


def test_b01_is_judged_on_loss_scaled_networks():
    runs = [
        attack_run("cifar10-jpeg", protocol=p, hits=h)
        for p, h in (("constant", 1), ("loss-scaled", 2))
    ]
    assert evidence.B01(Runs(runs, title=title))["CIFAR-10 (JPEG)"]["hits"] == [2]


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_never_hold_a_missing_number(kind):
    runs = groups(kind)
    same = runs["attacked"].where(protocol="constant")
    said = [
        reading.progress(runs["trained"]), reading.budget(runs["spent"]),
        reading.answer(same, runs["spent"], "200"), reading.who_could_tell(same),
        reading.finding(same), reading.trust_finding(same),
        reading.mean(same, "hits"), reading.median(runs["trained"], "smallest_margin"),
        checks.padding(runs["padded"]), checks.counts(runs["counted"]),
        checks.plane(runs["freed"], runs["circles"]), checks.hardware(runs["timed"]),
        reading.titles(same), reading.held_out_images(same), reading.ranks(runs["trained"]),
    ]  # fmt: skip
    assert not [text for text in said if "nan" in text]
    tables = [
        checks.steps(runs["timed"]), checks.processing(runs["processed"]),
        checks.convolution(runs["convolved"]), checks.twin_table(runs["twins"]),
    ]  # fmt: skip
    assert {table.empty for table in tables} == {kind in ("empty", "failed")}
    assert reading.scores(runs["attacked"]).empty == (kind in ("empty", "failed"))


def test_numbers_by_hand():
    runs = Runs([attack_run(seed=s, hits=h) for s, h in ((10, 3), (11, 4))], title=title)
    assert reading.mean(runs, "hits") == "3.5" and reading.median(runs, "hits") == "3.5"
    assert reading.held_out_images(runs) == "200" and reading.mean(Runs([]), "hits") == "–"
    assert reading.large(1234.4) == "1,234" and reading.large(5.6e7) == "$5.6 \\cdot 10^{7}$"


def test_a_difference_rests_on_the_set_where_it_is_least():
    strong, weak = seeded(), seeded(dataset="cifar10-jpeg", null=40)
    assert (
        reading.beyond(strong, "hits").low == 35 and reading.beyond(strong + weak, "hits").low == 0
    )
    assert "brings back more" in reading.against_nulls({"It": strong})
    assert "brings back more" not in reading.against_nulls({"It": strong + weak})


@pytest.mark.parametrize(
    ("settings", "sure"), [({}, True), ({"null": 40}, False), ({"null": 60, "right": 0.4}, False)]
)
def test_findings_stand_on_their_intervals(settings, sure):
    runs = seeded(**settings)
    assert bool(reading.finding(runs)) == sure
    assert reading.answer(runs, Runs([]), "200").startswith("Partly") == sure
    known = settings.get("right", 1.0) > 0.9
    assert bool(reading.trust_finding(runs)) == known
    assert reading.who_could_tell(runs).startswith("For one attack, yes.") == known


def test_the_answer_is_of_the_last_set_that_was_unmixed():
    """Not of the one whose first attack happens to stand last."""
    rows = seeded(dataset="cifar10-jpeg", method="first-layer")
    unmixed = seeded() + seeded(dataset="cifar10-jpeg")
    assert "CIFAR-10 (JPEG) images" in reading.answer(rows + unmixed, Runs([]), "200")


def test_answers_have_at_most_sixty_words():
    runs = groups("several")
    same = runs["attacked"].where(protocol="constant")
    for text in (reading.answer(same, runs["spent"], "1,000"), reading.who_could_tell(same)):
        assert len(text.split()) <= page.ANSWER_WORDS


@pytest.mark.parametrize("kind", ["empty", "failed", "one seed"])
def test_too_few_seeds_carry_no_comparison(kind):
    unmixed = groups(kind)["attacked"].where(method="unmixed", protocol="constant")
    assert not reading.beyond(unmixed, "hits").low > 0
    assert "brings back more" not in reading.against_nulls({"It": unmixed})


def test_the_table_counts_close_pairs_and_puts_the_best_attack_first():
    table = reading.scores(groups("several")["attacked"])
    first = table.iloc[0]
    assert first["found"] == 40 and first["attack"] == reading.NAMES["unmixed"]
    assert table["seeds"].eq(3).all() and table["null, close"].eq(5).all()


# --- the page without its runs -------------------------------------------------------------------

UNCHECKED = {name: [] for name in ("circle_seeds", "check_seeds", "twin_seeds", "counted_for")}
NOWHERE = {
    "nothing is computed": {"compute": False},
    "an odd number": {"n": 7, "sizes": [7], **UNCHECKED},
    "more than there are": {"n": 1400, "sizes": [1400], **UNCHECKED},
    "an unknown set": {"datasets": ["nowhere"], **UNCHECKED},
    "no such labels": {"task": {"labels": "stripes"}, **UNCHECKED},
}


@pytest.mark.parametrize("case", NOWHERE)
def test_the_page_survives_missing_runs(case, claims, tmp_path, monkeypatch):
    """Every cell of the notebook, with shorter live parts; no run of the study has values."""
    said = []
    monkeypatch.setattr(
        page, "display", lambda shown, **_: said.append(str(getattr(shown, "data", shown)))
    )
    monkeypatch.setattr(ledger, "load", lambda _: claims)
    monkeypatch.chdir(ROOT)
    cells = percent.read_notebook(ROOT / "notebooks/07_kkt_reconstruction.py").cells
    space: dict = {}
    for cell in cells:
        if cell.cell_type == "code":
            source = cell.source.replace("epochs=1500", "epochs=60")
            exec(source.replace("iterations=200", "iterations=2"), space)  # noqa: S102
            if "parameters" in percent.cell_tags(cell):
                space |= {"results": str(tmp_path), **NOWHERE[case]}
    assert not space["attacked"] and space["study"].results
    assert any("answer" in text for text in said) and not any("nan" in text for text in said)
    status = said[-1]
    assert "0 of" in status and ("failed" in status or "missing" in status)
