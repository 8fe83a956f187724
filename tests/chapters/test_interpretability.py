"""Chapter 4's runs: planes, units, detectors and probes on planted features."""

import pytest
import torch

from chapters.interpretability import runs as chapter
from chapters.shared import TERMS, subject, trained_generator
from harness.store import split_values
from lib.features import SparseAutoencoder
from lib.inversion import sample


def kind(features: torch.Tensor, labels: torch.Tensor, classes: int = 3) -> chapter.Kind:
    """Images that are the features themselves; the classifier is always right."""
    images = features.reshape(len(features), 1, 1, -1).clamp(-1, 1)
    logits = torch.nn.functional.one_hot(labels, classes).float()
    return chapter.Kind(images, features, logits, labels)


def drawn(n: int, seed: int, shift: float = 0.0, d: int = 12) -> chapter.Kind:
    """Three classes around 3 eₖ, moved by `shift` along the last axis."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    features = 3 * torch.eye(d)[labels] + 0.1 * torch.randn(n, d, generator=random)
    features[:, -1] += shift
    return kind(features, labels)


def identity(d: int = 12) -> SparseAutoencoder:
    """Units that are the axes, none left out."""
    autoencoder = SparseAutoencoder(d, d, d)
    with torch.no_grad():
        autoencoder.encoder.copy_(torch.eye(d))
        autoencoder.dictionary.copy_(torch.eye(d))
    return autoencoder


@pytest.fixture(scope="module")
def whole() -> dict:
    return chapter.interpreted(
        "digits",
        seed=0,
        n=100,
        classifier_steps=20,
        inversion={"steps": 3, "width": 8, "batch": 16},
        look={"generators": 2, "perplexities": (5,), "units": 32, "active": 4, "judged": 100},
    )


def test_a_whole_run_can_be_stored(whole):
    scalars, arrays = split_values(whole, "interpreted")
    assert len(scalars["accuracies"]) == 2
    assert len(scalars["overlap_inverted"]) == len(scalars["clusters_in_features"]) == 10
    assert arrays["inverted_regions"].shape == (chapter.MESH, chapter.MESH)
    assert arrays["rates_training"].shape == (10, 32)
    assert arrays["portrait_images"].shape == (6 * chapter.PORTRAITS, 1, 20, 20)
    assert arrays["shown_inverted"].shape == arrays["shown_training"].shape == (10, 1, 20, 20)
    assert len(arrays["norms_inverted"]) == 200 and (arrays["norms_test"] > 0).all()
    assert all(0 <= scalars[name] <= 1 for name in scalars if name.startswith("auroc_"))


@pytest.mark.parametrize("kind", ["inverted", "training"])
def test_the_points_drawn_say_which_keep_their_class(whole, kind):
    kept = whole[f"{kind}_plane_{kind}_kept"]  # so few images are all drawn
    assert kept.double().mean().item() == pytest.approx(whole[f"{kind}_agreement"])


@pytest.mark.parametrize("group", ["inversion", "look"])
def test_a_setting_that_there_is_not_is_named(group):
    with pytest.raises(ValueError, match="colour"):
        chapter.interpreted("digits", 0, n=100, classifier_steps=1, **{group: {"colour": 1}})


def test_its_generators_are_those_of_chapter_3(whole):
    of = subject("digits", 0, "regularised CNN", 100, 20, "float32", "cpu")
    made, _ = trained_generator(
        of, seed=1, weights=dict.fromkeys(TERMS, 1.0), steps=3,
        precision="float32", conditioning="vector-matrix", vector="soft", matrix="row and column",
        width=8, batch=16, lr=2e-3,
    )  # fmt: skip
    samples = sample(made, of.classifier, 200, seed=71)
    assert samples.correct.double().mean().item() == whole["accuracies"][1]


def test_a_detector_sees_units_of_another_class_and_nothing_where_there_is_no_difference():
    training, test, other = drawn(300, 0), drawn(300, 1), drawn(300, 2)
    kinds = {"training": training, "test": test}
    wrong = kind(other.features, (other.labels + 1) % 3)
    assert chapter._detected({**kinds, "inverted": wrong}, 32, 3, 0, 3)["auroc_units"] > 0.95
    same = chapter._detected({**kinds, "inverted": other}, 32, 3, 0, 3)
    assert abs(same["auroc_units"] - 0.5) < 0.1 and abs(same["auroc_norm"] - 0.5) < 0.1


def test_directions_do_not_know_the_length():
    training, test = drawn(300, 0), drawn(300, 1)
    kinds = {"training": training, "test": test, "inverted": kind(0.2 * test.features, test.labels)}
    assert chapter._detected(kinds, 32, 3, 0, 3)["auroc_norm"] == 1
    found = chapter._detected_by_direction(kinds, 32, 3, 0, 3)
    assert found["auroc_units_direction"] == pytest.approx(0.5, abs=1e-3)
    assert found["auroc_reconstruction_direction"] == pytest.approx(0.5, abs=1e-3)


def test_what_the_dictionary_cannot_express_raises_the_alarm():
    kinds = {"training": drawn(300, 0), "test": drawn(300, 1), "inverted": drawn(300, 2, shift=4.0)}
    assert chapter._detected(kinds, 32, 3, 0, 3)["auroc_reconstruction"] > 0.95


def test_a_small_norm_and_a_low_confidence_raise_the_alarm():
    training, test = drawn(300, 0), drawn(300, 1)
    faint = kind(0.2 * test.features, test.labels)
    doubtful = chapter.Kind(faint.images, faint.features, 0.1 * faint.logits, faint.labels)
    kinds = {"training": training, "test": test, "inverted": doubtful}
    found = chapter._detected(kinds, 32, 3, 0, 3)
    assert found["auroc_norm"] == 1 and found["auroc_confidence"] == 1


def test_a_probe_tells_generators_apart_only_if_they_differ():
    alike = chapter._told_apart(identity(), [drawn(150, 0), drawn(150, 1)], 3)
    assert abs(alike["probe_codes"] - 0.5) < 0.15
    apart = chapter._told_apart(identity(), [drawn(150, 0), drawn(150, 1, shift=2.0)], 3)
    assert apart["probe_codes"] > 0.98 and apart["probe_features"] > 0.98
    assert chapter._told_apart(identity(), [drawn(150, 0)], 3) == {}


def test_units_are_portrayed_by_their_preference():
    training, inverted = drawn(60, 0), drawn(60, 1, shift=3.0)
    codes = {"training": training.features.clamp(min=0), "inverted": inverted.features.clamp(min=0)}
    codes["training"][:, -1] = 0  # the last unit fires on inverted images only
    codes["inverted"][:, 5] = 0  # and the sixth on training images only
    codes["training"][:, 5] = 1
    found = chapter._portraits({"training": training, "inverted": inverted}, codes)
    units = found["portrait_units"].tolist()
    assert units[0] == 5 and units[chapter.PORTRAYED] == 11
    which = found["portrait_is_inverted"]
    assert which[0].sum() == 0 and which[chapter.PORTRAYED].all()


def test_rows_are_taken_evenly():
    rows = torch.arange(10)[:, None]
    assert chapter._spread(rows, 4)[:, 0].tolist() == [0, 3, 6, 9]
