"""Chapter 2 on small made results: what is asked, read, drawn, judged and said."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from chapters.architecture_comparison import design, evidence, figures, reading, sentences
from harness import ledger
from harness.results import Result, Runs
from harness.verdicts import judged

SETS = {"mnist": "MNIST", "cifar10-jpeg": "CIFAR-10 (JPEG)"}
FOUR = SETS | {"fashion-mnist-900": "Fashion-MNIST (900)", "coloured-digits": "coloured digits"}
LEVELS = {"ViT": 0.8, "MLP": 0.2, "CNN": 0.5}
SEEDS = (10, 11, 12, 13, 14)


def run(dataset="mnist", architecture="MLP", seed=10, lr=1e-3, *, diverged=0, **scalars) -> Result:
    """One made run of `reliance`; its Accuracy Difference is that of `LEVELS`, but for the seed."""
    gap = LEVELS[architecture.split()[0]] + 0.01 * (seed - 10)
    values = {
        "diverged": diverged,
        "accuracy_shortcut": 1.0,
        "accuracy_clean": 1.0 - gap,
        "accuracy_conflict": 0.1,
        "follows_patch": 0.9,
        "accuracy_difference": gap,
        "loss_difference": 4 * gap,
        "tempered_loss_difference": gap,
        "parameters": 1000,
        "training_images": 500,
        "steps_per_epoch": 10,
        **scalars,
    }
    arrays = {
        "observed_steps": np.array([0, 10, 20]),
        "accuracies": np.array([[0.1, 0.1], [0.9, 0.8], [1.0, 1.0 - gap]]),
        "losses": np.array([[2.3, 2.3], [0.5, 0.6], [0.01, 1.0]]),
        "train_loss": np.array([2.3, 0.3, 0.005]),
    }
    parameters = {"dataset": dataset, "architecture": architecture, "seed": seed, "lr": lr}
    return Result("shortcut_injection.reliance", parameters, "computed", values, arrays)


def of(architectures, seeds=SEEDS, datasets=tuple(SETS), **scalars) -> Runs:
    cells = itertools.product(datasets, architectures, seeds)
    return Runs([run(d, a, s, **scalars) for d, a, s in cells], title=FOUR.get)


def levels(measure="accuracy_difference", datasets=tuple(SETS), seeds=SEEDS, **of_each) -> Runs:
    """Runs whose measure is that of its architecture; a function is given the seed."""
    return Runs(
        [
            run(d, a, s, **{measure: value(s) if callable(value) else value})
            for d, (a, value), s in itertools.product(datasets, of_each.items(), seeds)
        ],
        title=FOUR.get,
    )


def alternating(seed) -> float:
    """A value on which no seeds agree."""
    return 0.1 if seed % 2 else 0.9


@pytest.fixture
def asked() -> dict[str, Runs]:
    plain = of(design.ARCHITECTURES, accuracy_clean=0.95)
    rates = [
        run(d, a, s, lr)
        for d, a, s, lr in itertools.product(SETS, design.ARCHITECTURES, SEEDS, (1e-4, 1e-3, 1e-2))
    ]
    return {
        "fooled": of(design.ARCHITECTURES),
        "control": plain,
        "matched": of(design.MATCHED),
        "ablated": of(design.VARIANTS.values()),
        "shifted": of(design.ARCHITECTURES),
        "paced": Runs(rates, title=FOUR.get),
    }


EMPTY = Runs([])
FAILED = Runs([Result("shortcut_injection.reliance", {"dataset": "mnist"}, "failed", error="x")])


# --- what is asked ------------------------------------------------------------------------------


def test_every_question_is_asked_at_the_best_rate_and_rates_at_their_own():
    best = {("mnist", a): rate for a, rate in zip(design.ARCHITECTURES, (0.1, 0.2, 0.3))}
    asked = design.groups(best, {"mnist": 4}, seeds=[1, 2], pace={1e-3: 1, 1e-4: 2}, n=50)
    assert [len(asked[q]) for q in ("fooled", "control", "matched", "shifted")] == [6, 6, 4, 6]
    assert len(asked["ablated"]) == 2 * len(design.VARIANTS)
    assert {(r["architecture"], r["lr"]) for r in asked["matched"]} == {
        ("MLP matched", 0.1),
        ("CNN matched", 0.2),
    }
    assert all(r["n"] == 50 for runs in asked.values() for r in runs)
    assert {(r["lr"], r["epochs"]) for r in asked["paced"]} == {(1e-3, 4), (1e-4, 8)}
    assert all(r["shift"] == 2 for r in asked["shifted"])


def test_a_data_set_without_tuned_networks_is_asked_for_learning_rates_only():
    asked = design.groups({}, {"svhn": 4}, seeds=[1], pace={1e-3: 1})
    assert {q: len(runs) for q, runs in asked.items() if runs} == {"paced": 3}


# --- what is read -------------------------------------------------------------------------------


def test_gaps_are_paired_by_seed_and_leave_diverged_runs_out():
    runs = Runs(
        [run(architecture="ViT", seed=s) for s in (10, 11)]
        + [run(architecture="MLP", seed=s, diverged=int(s == 11)) for s in (10, 11)]
    )
    [table] = reading.by_dataset(runs).values()
    assert reading.gap(table, "ViT", "MLP") == pytest.approx([0.6])
    assert reading.gap(table, "ViT", "CNN") == [] and reading.above_next(table, "ViT").empty


def test_the_lead_and_the_rest_are_over_and_below_both_others():
    [table] = reading.by_dataset(levels(datasets=["mnist"], ViT=0.7, MLP=0.2, CNN=0.6)).values()
    assert reading.above_next(table, "ViT").tolist() == pytest.approx([0.1] * 5)
    assert reading.below_next(table, "CNN").tolist() == pytest.approx([-0.4] * 5)


def test_an_order_is_said_only_where_five_seeds_carry_it():
    def order(**values):
        [table] = reading.by_dataset(levels(datasets=["mnist"], **values)).values()
        return reading.order(table)

    assert order(ViT=0.8, MLP=0.2, CNN=0.5) == "ViT > CNN > MLP"
    assert order(ViT=0.1, MLP=0.2, CNN=0.3) == "CNN > MLP > ViT"
    assert order(ViT=0.8, MLP=0.2, CNN=alternating) == "ViT ≈ CNN ≈ MLP"
    assert order(seeds=SEEDS[:4], ViT=0.8, MLP=0.2, CNN=0.5) == "ViT ≈ CNN ≈ MLP"
    assert order(ViT=0.8) == "not run"


def test_losses_against_controls_are_of_one_network_data_set_and_seed(asked):
    found = reading.degradation(asked["control"], asked["fooled"])
    assert list(found) == list(SETS.values())
    lost = 0.95 - (1 - 0.8 - 0.01 * (np.array(SEEDS) - 10))
    assert found["MNIST"]["ViT"].tolist() == pytest.approx(lost.tolist())
    assert reading.degradation(EMPTY, asked["fooled"]) == {}


def test_data_sets_agree_wholly_or_not():
    def tables(**other):
        return reading.by_dataset(levels(datasets=["mnist"], ViT=3, MLP=2, CNN=1)) | (
            reading.by_dataset(levels(datasets=["cifar10-jpeg"], **other))
        )

    alike, opposed = tables(ViT=3, MLP=2, CNN=1), tables(ViT=1, MLP=2, CNN=3)
    assert reading.agreement(alike)["kendall_w"].tolist() == [1] * 5
    assert reading.agreement(opposed)["kendall_w"].tolist() == [0] * 5
    assert reading.agreement(opposed)["datasets_in_order"].tolist() == [1] * 5
    assert reading.agreement_of_means(alike) == {
        "kendall_w": 1, "datasets_in_order": 2, "datasets": 2, "seeds": 5,
    }  # fmt: skip
    assert reading.agreement({"MNIST": alike["MNIST"]}).empty
    assert reading.agreement_of_means({}) == {} and reading.agreement({}).empty


def test_a_data_set_that_was_not_run_whole_does_not_hide_the_others():
    tables = reading.by_dataset(levels(datasets=["mnist", "cifar10-jpeg"], ViT=3, MLP=2, CNN=1))
    tables |= reading.by_dataset(levels(datasets=["coloured-digits"], ViT=3))
    assert reading.agreement_of_means(tables)["datasets"] == 2


def test_the_seed_on_which_means_and_seeds_disagree():
    """The mean order is the paper's although it is that of one seed alone."""
    one = levels(
        datasets=["mnist", "cifar10-jpeg"], ViT=lambda s: 9 if s == 10 else 1, MLP=1.5, CNN=1
    )
    tables = reading.by_dataset(one)
    assert reading.agreement_of_means(tables)["datasets_in_order"] == 2
    assert reading.agreement(tables)["datasets_in_order"].tolist() == [2, 0, 0, 0, 0]


def test_rates_are_compared_after_equal_epochs_and_at_equal_loss(asked):
    measured = rates(asked, converged_loss=0.001)
    row = measured[(measured["architecture"] == "ViT") & (measured["seed"] == 10)].iloc[0]
    assert row["at equal epochs"] == pytest.approx(0.8)
    assert 0.1 < row["at equal loss"] < 0.8  # between the two observations
    assert row["at equal loss"] < row["at equal test loss"] < 0.8  # reached later
    assert np.isinf(row["epochs to converge"])
    assert len(reading.trends(measured)) == 2 * 3 * 5


def rates(asked, **losses) -> pd.DataFrame:
    losses = {"compared_loss": 0.2, "converged_loss": 0.01, **losses}
    return reading.at_rates(asked["paced"], dict.fromkeys(SETS, 2), **losses)


def test_a_loss_reached_after_the_epochs_of_the_others_was_not_reached(asked):
    """The smallest rate has more epochs, which S12-equal does not count."""
    long, short = (
        reading.at_rates(
            asked["paced"], dict.fromkeys(SETS, length), compared_loss=0.2, converged_loss=0.02
        )["epochs to converge, all given the same"]
        for length in (2, 1.5)
    )
    assert np.isfinite(long).all() and np.isinf(short).all()


def test_the_test_loss_is_the_observation_itself():
    result = run()
    epoch = reading.epochs_to_loss(result, 0.5, on="test")
    assert epoch == pytest.approx(1) and reading.epochs_to_loss(result, 0.5) < 1


def test_rates_that_all_fail_to_converge_tie_where_all_have_the_same_epochs():
    rows = pd.DataFrame(
        {
            "lr": [1e-4, 1e-3, 1e-2],
            "epochs to converge": np.inf,
            "epochs to converge, all given the same": np.inf,
        }
    )
    assert reading._rank_correlation(rows, "epochs to converge, all given the same") == 0
    assert np.isnan(reading._rank_correlation(rows, "epochs to converge"))
    assert np.isnan(reading._rank_correlation(rows[:2], "epochs to converge, all given the same"))


def test_pooled_trends_rank_within_each_data_set():
    """Differences that rise with the rate on both sets, one at a much larger level."""
    cells = itertools.product({"MNIST": 0.0, "CIFAR-10 (JPEG)": 0.5}.items(), range(5))
    measured = pd.DataFrame(
        [
            {"data set": title, "architecture": "MLP", "seed": 10, "lr": 10.0**k,
             "at equal epochs": level + 0.01 * k, "at equal loss": np.nan}
            for (title, level), k in cells
        ]
    )  # fmt: skip
    [row] = reading.pooled_trends(measured).to_dict("records")
    assert row["rho_epochs"] == pytest.approx(1) and row["p_epochs"] < 0.05
    assert np.isnan(row["rho_loss"])


def test_the_change_of_a_part_is_that_of_its_own_architecture():
    fooled = levels(ViT=0.8, MLP=0.2, CNN=0.5)
    ablated = levels(
        **{"CNN average": 0.3, "ViT no positions": 0.1, "MLP narrow": 0.3, "MLP wide": 0.1}
    )
    changes = reading.removed(fooled, ablated)["MNIST"]
    assert changes["CNN average"].tolist() == pytest.approx([-0.2] * 5)
    assert changes["ViT no positions"].tolist() == pytest.approx([-0.7] * 5)
    assert changes["CNN circular"].dropna().empty
    table = reading.removal_table({"MNIST": changes}).set_index("change")["MNIST"]
    assert table["CNN, average pooling"] == "-0.20 ± 0.00" and pd.isna(table["CNN, both"])
    assert reading.removal_table({}).empty
    assert reading.removal_table(reading.removed(fooled, EMPTY)).empty


def test_survival_asks_for_the_papers_order(asked):
    assert not reading.survival(**_parts(asked))["in order"].any()
    ordered = {"ViT": 0.9, "MLP": 0.5, "CNN": 0.1}
    runs = [
        run(architecture=a, seed=s, accuracy_difference=d)
        for a, d in ordered.items()
        for s in (10, 11)
    ]
    own = Runs(runs, title=FOUR.get)
    found = reading.survival(own, EMPTY, EMPTY, own)
    assert (
        found["change"].unique().tolist() == ["patches between tokens"] and found["in order"].all()
    )


def _parts(asked):
    return {name: asked[name] for name in ("fooled", "matched", "ablated", "shifted")}


# --- what is drawn ------------------------------------------------------------------------------


DRAWN = {
    "overview": lambda runs: figures.overview(runs["fooled"]),
    "order": lambda runs: figures.order(runs["fooled"], runs["shifted"], runs["control"]),
    "difference": lambda runs: figures.difference(runs["fooled"], "loss_difference", "nats"),
    "apart": lambda runs: figures.apart(runs["fooled"], runs["matched"], runs["ablated"]),
    "belief": lambda runs: figures.belief(runs["fooled"], runs["matched"], runs["ablated"]),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_figures_name_every_data_set(draw, asked):
    drawn = draw(asked)
    assert isinstance(drawn, Figure)
    titles = [ax.get_title(loc="left").replace("\n", " ") for ax in drawn.axes]
    assert titles == list(SETS.values()) or len(drawn.axes) == 1


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("runs", [EMPTY, FAILED], ids=["empty", "failed"])
def test_without_runs_there_is_no_figure(draw, runs):
    assert draw(dict.fromkeys(("fooled", "control", "shifted", "matched", "ablated"), runs)) is None


def test_figures_of_one_seed(asked):
    one = {name: runs.where(seed=10) for name, runs in asked.items()}
    for draw in DRAWN.values():
        assert isinstance(draw(one), Figure)


def test_figures_of_learning_rates(asked):
    measured = rates(asked)
    for column in ("at equal epochs", "at equal loss", "at equal test loss"):
        assert isinstance(figures.rates(measured, column), Figure)
    assert isinstance(figures.convergence(measured, 0.01), Figure)
    nothing = reading.at_rates(EMPTY, {}, compared_loss=0.2, converged_loss=0.01)
    assert figures.rates(nothing, "at equal epochs") is None
    assert figures.convergence(nothing, 0.01) is None


def test_learning_rates_of_a_data_set_that_was_not_run_whole_are_not_drawn(asked):
    measured = rates(asked)
    part = measured[(measured["data set"] == "MNIST") | (measured["lr"] > 1e-4)]
    fig = figures.rates(part, "at equal epochs")
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["MNIST"]


def title_of(fig: Figure) -> str:
    return fig.legends[0].get_title().get_text()


def test_the_figure_of_the_order_says_who_comes_first_only_where_five_seeds_carry_it(asked):
    control = asked["control"]
    first, last = levels(ViT=0.8, MLP=0.2, CNN=0.5), levels(ViT=0.1, MLP=0.2, CNN=0.5)
    said = title_of(figures.order(first, last, control))
    assert said == "ViT first on 2 of 2, between tokens 0 of 2, by loss 2 of 2"
    assert title_of(figures.order(last, last, control)) == ""
    few = [runs.where(seed=[10, 11]) for runs in (first, first, control)]
    assert title_of(figures.order(*few)) == ""


def test_the_figure_of_the_order_leaves_gaps_where_a_way_was_not_run(asked):
    shifted = asked["shifted"].where(dataset="mnist", architecture="ViT")
    fig = figures.order(asked["fooled"], shifted, asked["control"].where(dataset="mnist"))
    assert len(fig.axes) == 2
    fig.canvas.draw()


# --- what is judged -----------------------------------------------------------------------------


CLAIMS = [
    "S03", "S04", "S05", "S05-offgrid", "S05-controlled", "S06", "S06-offgrid", "S06-controlled",
    "S07", "S07-matched", "S07-offgrid", "S07-controlled", "S08", "S08-tempered", "S08-offgrid",
    "S09", "S09-seeds", "S09-offgrid", "S09-controlled", "S11", "S11-cells", "S11-test-loss",
    "S12", "S12-equal", "S15", "S15-removed",
]  # fmt: skip


def judge_all(asked, measured) -> dict:
    found = judged(
        ledger.load("claims"),
        evidence,
        **asked,
        trends=reading.trends(measured),
        pooled=reading.pooled_trends(measured),
        survives=reading.survival(**_parts(asked)),
    )
    return {verdict.id: verdict for verdict in found}


def test_every_claim_of_the_chapter_has_its_measures(asked):
    by_id = judge_all(asked, rates(asked))
    assert list(by_id) == CLAIMS
    assert by_id["S05"].evidence["MNIST"]["vit_minus_next"] == pytest.approx([0.3] * 5)
    assert by_id["S06"].evidence["MNIST"]["next_minus_cnn"] == pytest.approx([-0.3] * 5)
    assert list(by_id["S11"].parts) == list(design.ARCHITECTURES)


def test_nothing_is_judged_without_runs():
    nothing = reading.at_rates(EMPTY, {}, compared_loss=0.2, converged_loss=0.01)
    runs = dict.fromkeys(("fooled", "control", "matched", "ablated", "shifted", "paced"), EMPTY)
    assert judge_all(runs, nothing) == {}


def test_patches_between_tokens_are_judged_by_their_own_runs(asked):
    asked["shifted"] = levels(ViT=0.1, MLP=0.2, CNN=0.5)
    found = judge_all(asked, rates(asked))
    assert found["S05"].parts["MNIST"].verdict == "REPRODUCED"
    assert found["S05-offgrid"].evidence["MNIST"]["vit_minus_next"] == pytest.approx([-0.4] * 5)
    assert found["S05-offgrid"].verdict == "NOT-REPRODUCED"
    assert found["S06-offgrid"].evidence["MNIST"]["next_minus_cnn"] == pytest.approx([-0.4] * 5)
    assert found["S07-offgrid"].evidence["MNIST"]["vit_minus_mlp"] == pytest.approx([-0.1] * 5)
    loss = found["S08-offgrid"].evidence["MNIST"]
    assert loss["vit_minus_mlp"] == pytest.approx([2.4] * 5)  # of the losses, not of accuracies


def test_losses_against_controls_can_turn_the_order(asked):
    """A ViT that was weak without any patch has the largest difference and loses least."""
    clean = {"ViT": 0.3, "MLP": 0.95, "CNN": 0.95}
    asked["control"] = levels("accuracy_clean", **clean)
    asked["fooled"] = Runs([
        run(d, a, s, accuracy_clean=0.2, accuracy_difference=0.8 if a == "ViT" else 0.7)
        for d, a, s in itertools.product(SETS, clean, SEEDS)
    ], title=FOUR.get)  # fmt: skip
    found = judge_all(asked, rates(asked))
    assert found["S05"].verdict == "REPRODUCED"
    assert found["S05-controlled"].evidence["MNIST"]["vit_minus_next"] == pytest.approx([-0.65] * 5)
    assert found["S05-controlled"].verdict == "NOT-REPRODUCED"
    assert found["S06-controlled"].evidence["MNIST"]["next_minus_cnn"] == pytest.approx([-0.65] * 5)
    assert found["S07-controlled"].evidence["MNIST"] == {
        "vit_minus_mlp": pytest.approx([-0.65] * 5), "mlp_minus_cnn": pytest.approx([0] * 5),
    }  # fmt: skip
    said = sentences.controls(reading.three_ways(asked["fooled"], EMPTY, asked["control"]))
    assert "the CNN loses more than the ViT on MNIST, CIFAR-10 (JPEG)" in said


def test_data_sets_in_order_are_open_until_all_four_were_run():
    two = levels(ViT=0.8, MLP=0.5, CNN=0.2)
    four = levels(datasets=FOUR, ViT=0.8, MLP=0.5, CNN=0.2)
    assert evidence.S09(two) == {"kendall_w": [1.0] * 5}
    assert evidence.S09_seeds(two) == {"kendall_w": [1.0] * 5}
    whole = {"kendall_w": [1.0] * 5, "datasets_in_order": [4] * 5}
    assert evidence.S09(four) == evidence.S09_offgrid(four) == evidence.S09_seeds(four) == whole
    control = levels("accuracy_clean", datasets=FOUR, ViT=0.9, MLP=0.9, CNN=0.9)
    fooled = levels("accuracy_clean", datasets=FOUR, ViT=0.1, MLP=0.2, CNN=0.3)
    assert evidence.S09_controlled(fooled, control) == whole
    assert evidence.S09(levels(datasets=["mnist"], ViT=0.8, MLP=0.5, CNN=0.2)) == {}


def test_coloured_digits_stand_in_only_where_svhn_was_not_run():
    titles = FOUR | {"svhn": "SVHN"}
    five = Runs(
        [r for d in titles for r in levels(datasets=[d], ViT=3, MLP=2, CNN=1)], title=titles.get
    )
    assert list(evidence.S05(five)) == ["MNIST", "CIFAR-10 (JPEG)", "Fashion-MNIST (900)", "SVHN"]
    assert len(evidence.S03(five)) == 12 and evidence.S09(five)["datasets_in_order"] == [4] * 5
    assert "coloured digits" in evidence.S05(five.where(dataset=list(FOUR)))


def test_removed_parts_are_judged_by_the_size_of_their_change():
    fooled = levels(ViT=0.8, MLP=0.2, CNN=0.5)
    ablated = levels(
        **{"CNN average": 0.3, "ViT no positions": 0.9, "MLP narrow": 0.18, "MLP wide": 0.3}
    )
    assert evidence.S15_removed(fooled, ablated)["MNIST"] == {
        "average_pooling_changes": pytest.approx([0.2] * 5),
        "no_positions_changes": pytest.approx([0.1] * 5),
        "width_changes": pytest.approx([0.1] * 5),
    }
    none = evidence.S15_removed(fooled, EMPTY)["MNIST"]
    assert none == {
        "average_pooling_changes": [], "no_positions_changes": [], "width_changes": [],
    }  # fmt: skip


def test_kendalls_w_is_one_for_one_order_and_less_for_others():
    assert reading.kendall_w(np.array([[1, 2, 3], [1, 2, 3]])) == 1
    assert reading.kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == 0


# --- what is said -------------------------------------------------------------------------------


def three(fooled, shifted=None, control=None) -> sentences.Ways:
    return reading.three_ways(fooled, shifted or EMPTY, control or EMPTY)


def test_sentences_also_stand_without_runs():
    measured = reading.at_rates(EMPTY, {}, compared_loss=0.2, converged_loss=0.01)
    trends = reading.trends(measured)
    said = [
        sentences.answer(three(EMPTY), EMPTY, EMPTY),
        sentences.orders(three(EMPTY)),
        sentences.tokens(three(EMPTY)),
        sentences.controls(three(EMPTY)),
        sentences.consistency({}),
        sentences.rising(trends, EMPTY),
        sentences.converging(trends),
        sentences.acts({}),
        sentences.whom_it_believes(EMPTY, EMPTY),
        sentences.two_versions(three(EMPTY), measured),
    ]
    assert all(said)
    assert reading.survival_table(pd.DataFrame()).columns.tolist() == ["change"]


@pytest.mark.parametrize("seeds", [SEEDS, (10,)])
def test_the_answer_never_exceeds_its_sixty_words(seeds):
    sets = tuple(FOUR)
    fooled = of(design.ARCHITECTURES, seeds, sets[:3]) + of(
        design.ARCHITECTURES, seeds, sets[3:], follows_patch=0.5
    )
    turned = levels(datasets=sets, seeds=seeds, ViT=0.1, MLP=0.5, CNN=0.7)
    control = of(design.ARCHITECTURES, seeds, sets, accuracy_clean=1.0, follows_patch=0.05)
    said = sentences.answer(three(fooled, turned, control), fooled, control)
    assert 20 < len(said.split()) <= 60
    assert ("All believe" in said and "order turns" in said) == (len(seeds) > 1)
    assert sentences.answer(three(EMPTY), EMPTY, EMPTY).startswith("Not run")


def answered(fooled, shifted=EMPTY, control=EMPTY) -> str:
    return sentences.answer(three(fooled, shifted, control), fooled, control)


def test_the_answer_follows_the_intervals():
    paper, turned = levels(ViT=0.8, MLP=0.5, CNN=0.2), levels(ViT=0.2, MLP=0.5, CNN=0.8)
    vague = levels(ViT=alternating, MLP=alternating, CNN=alternating)
    said = answered(paper, paper)
    assert said.startswith("**Yes, in the paper's order.** The ViT comes first on 2 of 2 data sets")
    said = answered(paper, turned)
    assert said.startswith("**Yes, but the order turns.**") and "holds on 2 and 0 of them." in said
    assert answered(turned).startswith("**Yes.** The ViT comes first on 0 of 2")
    assert answered(vague).startswith("**The seeds do not tell.**")
    assert answered(levels(seeds=SEEDS[:3], ViT=0.8, MLP=0.5, CNN=0.2)).startswith(
        "**Not to be told"
    )


def test_all_are_said_to_believe_patches_only_if_each_does_more_than_its_control():
    fooled, control = (of(design.ARCHITECTURES, follows_patch=share) for share in (0.9, 0.05))
    assert "All believe wrong patches more than controls: 90%." in answered(fooled, EMPTY, control)
    for other in (fooled, EMPTY, control.where(architecture=["MLP", "CNN"])):
        assert "Wrong patches believed: 90%." in answered(fooled, EMPTY, other)


def test_the_lead_is_said_to_fall_rise_or_neither():
    high, low = levels(ViT=0.8, MLP=0.2, CNN=0.5), levels(ViT=0.4, MLP=0.2, CNN=0.5)
    gone = sentences.tokens(three(high, low))
    assert gone.startswith("**What is found depends on")
    assert "**MNIST:** falls by 0.40" in gone and "where no lead is left" in gone
    assert "rises by 0.40" in sentences.tokens(three(low, high))
    assert "no lead is left" not in sentences.tokens(three(low, high))
    for other in (high, levels(ViT=alternating, MLP=0.2, CNN=0.5)):
        said = sentences.tokens(three(high, other))
        assert (
            "depends on" not in said
            and "changes on 0 of 2 data sets" in said
            and said.endswith("five seeds.")
        )
    assert sentences.tokens(three(high, high.where(seed=[10, 11]))).startswith("Not run with five")


def test_losses_are_compared_only_where_five_seeds_tell_them_apart():
    def said(**clean):
        fooled = levels("accuracy_clean", **clean)
        control = levels("accuracy_clean", ViT=0.9, MLP=0.9, CNN=0.9)
        return sentences.controls(three(fooled, EMPTY, control))

    assert "the CNN loses more than the ViT on MNIST" in said(ViT=0.5, MLP=0.5, CNN=0.2)
    assert "the ViT loses more than the CNN on MNIST" in said(ViT=0.2, MLP=0.5, CNN=0.5)
    assert "do not tell" in said(ViT=alternating, MLP=0.5, CNN=0.5)


def test_trends_are_counted_by_their_intervals(asked):
    def trends(value):
        rows = [{"cell": "MLP, MNIST", "seed": s} | dict.fromkeys(reading.TRENDS.values(), value(s))
                for s in SEEDS]  # fmt: skip
        return pd.DataFrame(rows)

    up, down, vague = (trends(v) for v in (lambda s: 0.9, lambda s: -0.9, alternating))
    assert "in 1 of 1 cells" in sentences.rising(up, EMPTY)
    assert "in 0 of 1 cells" in sentences.rising(down, EMPTY)
    assert "in 0 of 1 cells" in sentences.rising(vague, EMPTY)
    assert "in 1 of 1 cells" in sentences.converging(down)
    assert "in 0 of 1 cells" in sentences.converging(up)
    assert "in 0 of 0 cells" in sentences.rising(trends(lambda s: np.nan), EMPTY)


def test_changes_are_counted_up_and_down():
    fooled = levels(CNN=0.5)
    said = sentences.acts(reading.removed(fooled, levels(**{"CNN average": 0.9})))
    assert "CNN, average pooling: up on 2, down on 0 of 2" in said
    said = sentences.acts(reading.removed(fooled, levels(**{"CNN average": alternating})))
    assert "CNN, average pooling: up on 0, down on 0 of 2" in said


def test_the_measure_is_said_to_err_only_where_it_errs_both_ways():
    blind = of(["ViT no positions"], follows_patch=0.05)  # differs by 0.8 all the same
    said = sentences.whom_it_believes(of(design.ARCHITECTURES), blind)
    assert "the MLP on MNIST believes 90%" in said and said.endswith("disagree.**")
    timid = of(design.ARCHITECTURES, follows_patch=0.1)
    assert not sentences.whom_it_believes(timid, blind).endswith("disagree.**")
    fair = of(["ViT no positions"], follows_patch=0.9, accuracy_difference=0.9)
    assert not sentences.whom_it_believes(of(design.ARCHITECTURES), fair).endswith("disagree.**")


def test_the_unconditional_order_is_named_where_it_holds(asked):
    said = sentences.two_versions(three(asked["fooled"]), rates(asked))
    assert "ViT, MLP, CNN holds on 0 of 2 data sets. " in said
    assert "largest Accuracy Difference on 2 of 2 data sets (MNIST, CIFAR-10 (JPEG))." in said
    assert "is below both others on 0 of 2 data sets at the smallest rate, 0.0001" in said


def test_a_cnn_is_called_reserved_where_five_seeds_say_so():
    def measured(cnn):
        cells = itertools.product({"ViT": 0.8, "MLP": 0.5, "CNN": cnn}.items(), SEEDS)
        return pd.DataFrame(
            [
                {"data set": "MNIST", "architecture": a, "seed": s, "lr": 0.1,
                 "at equal epochs": value(s) if callable(value) else value}
                for (a, value), s in cells
            ]
        )  # fmt: skip

    tables = three(levels(ViT=0.8, MLP=0.5, CNN=0.2))
    assert "both others on 1 of 1 data sets (MNIST)" in sentences.two_versions(
        tables, measured(0.1)
    )
    assert "others on 0 of 1 data sets at" in sentences.two_versions(tables, measured(alternating))
