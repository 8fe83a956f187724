"""Metrics by hand, detectors on planted features, and training that refuses garbage."""

import inspect

import pytest
import torch
from torch import nn

from lib import ood
from lib.generator import Generator
from lib.losses import NonFiniteLoss

COLOURS = (1, 8, 8)


class Bright(nn.Module):
    """Features are the mean of each half of the image; classes are which one is brighter."""

    def __init__(self, outputs: int = 2):
        super().__init__()
        self.head = nn.Linear(2, outputs, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(10 * torch.eye(outputs, 2))

    def forward(self, x):
        return self.head(x.flatten(1).unflatten(1, (2, -1)).mean(2))


def halves(n: int, high: float = 1.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose upper (0) or lower (1) half is bright."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    images = 0.1 * torch.randn(n, *COLOURS, generator=random)
    for label in (0, 1):
        images[labels == label, :, 4 * label : 4 * label + 4] += high
    return images.clamp(-1, 1), labels


# --- metrics -------------------------------------------------------------------------------------


def test_confidence_is_the_largest_probability_among_the_classes():
    logits = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 50.0], [80.0, 0.0, 0.0]])
    third, none, sure = ood.confidence(logits, 2).tolist()
    assert third == pytest.approx(1 / 3) and none < 1e-20 and sure == 1
    assert ood.refused(logits, 2).tolist() == [False, True, False]
    assert not ood.refused(logits[:, :2], 2).any()


def test_confidences_near_1_are_told_apart():
    one, two = ood.confidence(torch.tensor([[25.0, 0.0], [26.0, 0.0]]), 2)
    assert one < two < 1


def test_separation_by_hand():
    perfect = ood.separation(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0, 1.5]))
    assert perfect == {"auroc": 1, "aupr": 1, "fpr95": 0}
    known = torch.arange(100.0)
    found = ood.separation(known, torch.tensor([4.0, 5.0, -1.0, 200.0]))
    assert found["fpr95"] == 0.75
    assert found["auroc"] == pytest.approx((95.5 + 94.5 + 100 + 0) / 400)


def test_both_kinds_weigh_the_same_in_the_precision():
    known, foreign = torch.tensor([1.0, 0.0]), torch.tensor([0.5])
    assert ood.separation(known, foreign)["aupr"] == pytest.approx(
        ood.separation(known, foreign.repeat(7))["aupr"]
    )


@pytest.mark.parametrize("broken", [torch.tensor([]), torch.tensor([float("nan")])])
def test_scores_that_cannot_be_ranked_are_named(broken):
    with pytest.raises(ValueError, match="both are needed|not finite"):
        ood.separation(torch.ones(3), broken)


def test_the_gap_by_hand():
    known, accepted = torch.tensor([0.9, 0.7, 0.8]), torch.tensor([0.6, 0.75])
    assert ood.gap(known, accepted) == pytest.approx(-0.05)
    assert ood.gap(known, accepted[:1]) == pytest.approx(0.1)
    assert ood.gap(known, accepted[:0]) == pytest.approx(0.7)
    many = torch.linspace(0, 1, 101)
    assert ood.gap(many, many, cut=0.01) == pytest.approx(-0.98)
    with pytest.raises(ValueError, match="none"):
        ood.gap(known[:0], accepted)


# --- detectors -----------------------------------------------------------------------------------


def test_every_detector_prefers_what_was_trained_on_to_faint_images():
    images, _ = halves(100)
    faint, _ = halves(60, high=0.05, seed=1)
    model = Bright()
    scores = [ood.detect(model, images, x) for x in (images, faint)]
    assert tuple(scores[0]) == ood.DETECTORS
    for name in ood.DETECTORS:
        assert scores[0][name].dtype == torch.float64 and len(scores[1][name]) == 60
        assert ood.separation(scores[0][name], scores[1][name])["auroc"] > 0.8, name


def test_detectors_leave_the_classifier_as_it_is_and_need_no_50_images():
    model, (images, _) = Bright().train(), halves(20)
    ood.detect(model, images, images)
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_layer_that_there_is_not_is_named():
    with pytest.raises(LookupError, match="layer 'neck'; its layers: head"):
        ood.detect(Bright(), *[halves(4)[0]] * 2, layer="neck")


def test_foreign_images_of_another_shape_are_named():
    with pytest.raises(ValueError, match="3 × 8 × 8, known ones 1 × 8 × 8"):
        ood.require_alike(torch.zeros(2, 1, 8, 8), torch.zeros(5, 3, 8, 8))
    ood.require_alike(torch.zeros(2, 1, 8, 8), torch.zeros(5, 1, 8, 8))


# --- garbage -------------------------------------------------------------------------------------


def test_noise_is_the_same_for_a_seed_and_stays_in_range():
    made = ood.noise(2000, COLOURS, seed=3)
    assert torch.equal(made, ood.noise(2000, COLOURS, seed=3))
    assert made.shape == (2000, *COLOURS) and made.abs().max() == 1
    assert made.std().item() == pytest.approx(0.48, abs=0.02)  # 0.5, cut off
    assert not torch.equal(made, ood.noise(2000, COLOURS, seed=4))


def test_images_of_an_untrained_generator_have_contrast_and_leave_no_trace():
    before = torch.random.get_rng_state()
    made = ood.untrained(20, 10, (3, 16, 16), seed=0, width=8)
    assert torch.equal(before, torch.random.get_rng_state())
    assert made.shape == (20, 3, 16, 16) and made.abs().max() <= 1
    assert made.std() > 0.05 and made.std(0).mean() > 0.02


@pytest.fixture
def inverted():
    model, generator = Bright(3), Generator(3, 1, 8, width=8)
    weights = {"ce": 1.0, "kl": 1.0}
    return ood.invert_further(
        model, generator, 2, 4, steps=3, weights=weights, seed=0, batch=16
    ), generator


def test_inverted_garbage_is_of_every_class_and_not_of_garbage(inverted):
    (made, history), _ = inverted
    assert made.labels.tolist() == [0, 1] * 4 and made.images.shape == (8, 1, 8, 8)
    assert made.logits.shape == (8, 3) and history["step"][-1] == 3


def test_a_generator_goes_on_from_where_it_was(inverted):
    _, generator = inverted
    before = [p.clone() for p in generator.parameters()]
    ood.invert_further(Bright(3), generator, 2, 1, steps=1, weights={"ce": 1.0}, seed=1, batch=8)
    assert any(not torch.equal(a, b) for a, b in zip(before, generator.parameters()))


# --- training ------------------------------------------------------------------------------------


def network(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, outputs)
    )


def teach(outputs: int = 3, **settings) -> tuple[nn.Module, ood.Taught]:
    model, (images, labels) = network(outputs), halves(100)
    return model, ood.train_refusing(
        model, images, labels, **{"classes": 2, "rounds": 4, "lr": 1e-2, "batch": 16} | settings
    )


def test_class_weights_are_inverse_frequencies():
    counts = torch.tensor([10, 10, 20, 40])
    weights = ood.class_weights(counts)
    assert weights.tolist() == [2, 2, 1, 0.5]
    assert torch.allclose(weights * counts, torch.full((4,), 20.0, dtype=torch.float64))


def test_garbage_grows_weights_follow_and_noise_is_refused():
    garbage = ood.noise(20, COLOURS, seed=0)
    asked = []

    def more(number, model):
        asked.append(number)
        return ood.noise(10, COLOURS, seed=number)

    model, taught = teach(garbage=garbage, more=more, passes=2)
    assert asked == [1, 2, 3] and len(taught.garbage) == 50
    assert torch.equal(taught.garbage[:20], garbage)
    assert taught.counts.tolist() == [[50, 50, count] for count in (20, 30, 40, 50)]
    assert torch.equal(taught.weights, torch.stack([ood.class_weights(c) for c in taught.counts]))
    fresh, (known, labels) = ood.noise(50, COLOURS, seed=9), halves(50, seed=5)
    model.eval()
    with torch.no_grad():
        assert ood.refused(model(fresh), 2).float().mean() > 0.8
        assert (model(known).argmax(1) == labels).float().mean() > 0.9
    assert taught.losses[-1] < taught.losses[0]


def test_the_loss_is_weighted_by_class():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    weight = torch.tensor([1.0, 2.0, 0.5])
    terms = -logits.log_softmax(1)[torch.arange(6), labels]
    by_hand = (terms * weight[labels]).sum() / weight[labels].sum()
    assert torch.allclose(ood._loss(logits, labels, 2, weight, 0.0), by_hand)


def test_outlier_exposure_asks_for_no_opinion_on_garbage():
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 2, 2])
    known = -logits.log_softmax(1)[torch.arange(2), labels[:2]].mean()
    uniform = -logits[2:].log_softmax(1).mean()
    assert torch.allclose(ood._loss(logits, labels, 2, None, 0.5), known + 0.5 * uniform)
    model, taught = teach(2, garbage=ood.noise(50, COLOURS, seed=0), exposure=0.5, rounds=8)
    plain, _ = teach(2, rounds=8)
    fresh = ood.noise(50, COLOURS, seed=9)
    model.eval(), plain.eval()
    with torch.no_grad():
        assert ood.confidence(model(fresh), 2).mean() < ood.confidence(plain(fresh), 2).mean()
    assert taught.counts[0].tolist() == [50, 50, 50]


def test_a_plain_classifier_has_no_garbage():
    _, taught = teach(2)
    assert len(taught.garbage) == 0 and taught.counts[:, 2].sum() == 0
    assert torch.equal(taught.weights, torch.ones(4, 2, dtype=torch.float64))


def test_what_is_observed_does_not_change_what_is_learned():
    seen = []

    def look(number, model, joined):
        seen.append((number, len(joined)))
        torch.rand(number)  # an observer that draws
        model.eval()

    settings = {"garbage": ood.noise(20, COLOURS, seed=0), "passes": 1}
    watched, _ = teach(observe=look, more=lambda n, m: ood.noise(5, COLOURS, seed=n), **settings)
    alone, _ = teach(more=lambda n, m: ood.noise(5, COLOURS, seed=n), **settings)
    assert seen == [(1, 20), (2, 5), (3, 5), (4, 5)]
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), alone.parameters()))


def test_training_has_no_parameter_for_foreign_images():
    names = inspect.signature(ood.train_refusing).parameters
    assert not [name for name in names if "foreign" in name or "out" in name]


@pytest.mark.parametrize(
    ("outputs", "settings", "words"),
    [
        (2, {"garbage": ood.noise(5, COLOURS, seed=0)}, r"\[2\] an image; it must be 3"),
        (3, {}, r"\[3\] an image; it must be 2"),
        (3, {"garbage": ood.noise(5, COLOURS, seed=0), "exposure": 0.5}, "it must be 2"),
        (2, {"rounds": 0}, "nothing to train"),
    ],
)
def test_a_classifier_that_does_not_fit_is_named(outputs, settings, words):
    with pytest.raises(ValueError, match=words):
        teach(outputs, **settings)


def test_a_loss_that_is_not_finite_is_named():
    with pytest.raises(NonFiniteLoss, match="round 1"):
        teach(2, lr=float("inf"))
