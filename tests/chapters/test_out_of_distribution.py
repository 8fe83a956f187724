"""Chapter 5's runs: arms that are matched, and foreign images that training never sees."""

import math

import pytest
import torch

from chapters.out_of_distribution import design, runs
from harness.store import split_values
from lib import ood, predict
from lib.models import RegularisedCNN

SMALL = {
    "dataset": "digits",
    "foreign": "photographs",
    "seed": 0,
    "n": 200,
    "rounds": 3,
    "width": 4,
    "judged": 100,
    "inversion": {"steps": 3, "width": 8, "batch": 16},
}


def run(arm: str, **settings) -> dict:
    return runs.refusing(arm=arm, **SMALL | settings)


@pytest.fixture(scope="module")
def found() -> dict[str, dict]:
    return {arm: run(arm) for arm in runs.ARMS}


def test_the_page_and_the_runs_call_the_arms_alike():
    assert (*design.ARMS,) == runs.ARMS


def test_whole_runs_can_be_stored_and_have_the_same_measures(found):
    stored = {arm: split_values(values, arm) for arm, values in found.items()}
    shared = set.intersection(*(set(scalars) for scalars, _ in stored.values()))
    assert {"auroc", "gap", "gap_1", "gap_01", "gap_all", "refused", "accuracy"} <= shared
    for arm, (scalars, arrays) in stored.items():
        assert len(scalars["auroc_by_round"]) == len(scalars["losses"]) == 3, arm
        assert arrays["odds_known"].dtype.kind == "f" and len(arrays["odds_foreign"]) == 500
        assert arrays["slipped"].shape[1:] == (1, 20, 20)
        assert 0 <= scalars["auroc"] <= 1 and -1 <= scalars["gap"] <= 1
        assert all(math.isfinite(v) for v in scalars.values() if isinstance(v, float)), arm


def test_only_the_plain_twin_has_detectors_and_only_garbage_classes_their_own_score(found):
    for arm, values in found.items():
        assert ("auroc_energy" in values) == (arm == "plain")
        garbage = arm not in ("plain", "outlier exposure")
        assert ("auroc_garbage" in values) == ("refused_garbage_by_round" in values) == garbage
        if not garbage:
            assert values["refused"] == values["refused_known"] == 0
            assert values["accuracy"] == values["accuracy_of_classes"]


def test_arms_are_matched_in_garbage(found):
    counts = {arm: values["garbage_by_round"].tolist() for arm, values in found.items()}
    assert counts.pop("plain") == [0, 0, 0]
    assert set(map(tuple, counts.values())) == {(20, 30, 40)}
    for values in found.values():
        assert values["growth_deviation"] == values["foreign_images_trained_on"] == 0
        assert values["class_weight_deviation"] < 1e-12


def test_only_inversion_tells_how_its_generator_did(found):
    inverted = found["inversion"]
    assert len(inverted["obeyed_by_round"]) == len(inverted["failures_by_round"]) == 2
    assert all("generator has" in text for text in inverted["failures_by_round"])  # so few steps
    assert "obeyed_by_round" not in found["untrained generator"]


@pytest.mark.parametrize("arm", runs.ARMS)
def test_other_foreign_images_leave_the_training_as_it_is(arm, found, monkeypatch):
    poisoned = torch.rand(50, 1, 20, 20) * 2 - 1
    monkeypatch.setattr(runs, "_foreign", lambda *_: poisoned)
    other = run(arm)
    assert other["digest"] == found[arm]["digest"] and other["losses"] == found[arm]["losses"]
    assert other["accuracy_by_round"] == found[arm]["accuracy_by_round"]
    assert other["auroc"] != found[arm]["auroc"]


def test_a_foreign_image_that_was_trained_on_is_counted(monkeypatch):
    training, _ = runs._known("digits", 200, 0, "cpu")
    monkeypatch.setattr(runs, "_foreign", lambda *_: training.images[:7])
    assert run("noise")["foreign_images_trained_on"] == 7


def test_arms_start_from_the_same_network_and_another_seed_from_another(found):
    digests = {values["digest"] for values in found.values()}
    assert len(digests) == len(runs.ARMS)
    assert run("noise", seed=1)["digest"] not in digests
    assert run("noise")["digest"] == found["noise"]["digest"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"arm": "prayer"}, "no arm is called 'prayer': plain"),
        ({"arm": "plain", "inversion": {"colour": 1}}, "no setting is called 'colour'"),
    ],
)
def test_what_there_is_not_is_named(settings, words):
    with pytest.raises(ValueError, match=words):
        run(**settings)


def test_foreign_images_of_another_shape_are_refused_in_one_sentence(monkeypatch):
    monkeypatch.setattr(runs, "_foreign", lambda *_: torch.zeros(5, 3, 20, 20))
    with pytest.raises(ValueError, match="foreign images are 3 × 20 × 20, known ones 1 × 20 × 20"):
        run("plain")


def test_a_set_with_fewer_images_passes_more_often(found):
    few = run("plain", n=2600)  # the digits have 1,200 to train on
    assert few["garbage_by_round"].tolist() == [0, 0, 0]
    training, _ = runs._known("digits", 2600, 0, "cpu")
    assert len(training) == 1200 and round(2600 / len(training)) == 2


# --- measures by hand ----------------------------------------------------------------------------


class Says(torch.nn.Module):
    """Its logits are the first pixels of an image, ten times."""

    def __init__(self, outputs: int):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return 10 * x.flatten(1)[:, : self.outputs]


def pictures(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([row + [0.0] * (4 - len(row)) for row in rows]).reshape(-1, 1, 2, 2)


def test_measures_of_a_classifier_with_a_garbage_class():
    known = pictures([1.0, 0, 0], [0, 0.5, 0], [0, 0.1, 0], [0, 0, 1.0])
    test = runs.DataSet("toy", known, torch.tensor([0, 1, 0, 0]), ("a", "b"))
    others = pictures([0.2, 0, 0], [0, 0, 1.0])
    found = runs._measures(Says(3), 2, True, test, others)
    assert (found["accuracy"], found["accuracy_of_classes"]) == (0.5, 0.75)
    assert (found["refused"], found["refused_known"]) == (0.5, 0.25)
    sure = ood.confidence(predict.logits(Says(3), known), 2)
    accepted = ood.confidence(predict.logits(Says(3), others), 2)[0]
    assert found["gap"] == pytest.approx((sure[1] - accepted).item())
    assert found["gap_all"] == pytest.approx((sure[3] - accepted).item())
    assert found["most_confident_accepted"] == pytest.approx(accepted.item())
    assert 0 < found["auroc_garbage"] < 1


def test_without_a_garbage_class_all_is_accepted():
    test = runs.DataSet("toy", pictures([1.0, 0.0]), torch.tensor([0]), ("a", "b"))
    found = runs._measures(Says(2), 2, False, test, pictures([0.0, 0.9], [0.0, 0.1]))
    assert found["refused"] == 0 and found["auroc"] == 1 and found["gap"] > 0
    assert "auroc_garbage" not in found


def test_what_slips_through_is_the_most_confident_that_is_not_refused():
    others = pictures([0.3, 0, 0], [0, 0, 1.0], [0, 0.9, 0], [0.1, 0, 0])
    test = runs.DataSet("toy", others, torch.tensor([0, 1, 1, 0]), ("a", "b"))
    found = runs._drawn(Says(3), 2, test, others)
    assert found["slipped_as"].tolist() == [1, 0, 0]
    assert found["slipped_confidence"].diff().max() < 0
    assert len(found["turned_away"]) == 1 and found["foreign_refused"].tolist() == [0, 1, 0, 0]


def test_log_odds_stay_finite_in_half_precision():
    odds = runs._log_odds(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert odds[1] == 0 and odds[0] == -odds[2] and 27 < odds[2] < 28


def test_the_digest_is_of_all_weights():
    one = RegularisedCNN(1, 8, 3, width=4, hidden=8)
    before = runs._digest(one)
    with torch.no_grad():
        one.head.bias[0] += 1e-3
    assert runs._digest(one) != before
