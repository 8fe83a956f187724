"""Inversions of planted classifiers: what falls, what is observed, what is refused."""

import copy
import inspect
import math
import warnings

import pytest
import torch
from small_networks import CLASSIFIERS, condition_of, easy, made, mixed, seeded
from torch import Tensor, nn

from lib import inversion, losses
from lib.generator import CONDITIONINGS, Generator, generate
from lib.inversion import LOSS_TERMS, complaint, invert, sample
from lib.losses import NonFiniteLoss
from lib.models import CNN
from lib.predict import watched
from lib.weights import load_checkpoint

HISTORY = {
    "step", "accuracy", "worst_class", "confidence", "diversity", "pixel_std", *LOSS_TERMS,
}  # fmt: skip


def attacked(classifier: nn.Module | None = None, generator: Generator | None = None, **settings):
    defaults = {"steps": 3, "weights": {"ce": 1.0}, "batch": 6, "observed": 6}
    return invert(classifier or easy(), generator or made(), **defaults | settings)


def equal(one: dict, other: dict) -> bool:
    """Two histories, in which NaN equals NaN."""
    return one.keys() == other.keys() and all(
        torch.equal(*(torch.tensor(h[name]).nan_to_num(-1) for h in (one, other))) for name in one
    )


# --- images --------------------------------------------------------------------------------------


def test_samples_are_balanced_and_judged_by_the_classifier():
    classifier, generator = CLASSIFIERS["CNN"](), made()
    for seed in range(3):
        found = sample(generator, classifier, 11, seed=seed, batch=4)
        assert found.labels.bincount().tolist() == [4, 4, 3]
    assert found.images.shape == (11, 1, 8, 8) and not found.images.requires_grad
    assert torch.equal(found.vectors.argmax(1), found.labels)
    with torch.no_grad():
        assert torch.allclose(found.logits, classifier(found.images), atol=1e-6)
        assert torch.allclose(found.features, classifier.features(found.images), atol=1e-6)
    assert torch.equal(found.correct, found.logits.argmax(1) == found.labels)
    assert torch.allclose(found.confidence, found.logits.softmax(1).max(1).values)
    named = sample(generator, classifier, 11, seed=seed, batch=4, layer="head")
    assert torch.equal(named.features, found.logits)


def test_a_seed_gives_the_same_images_and_another_seed_others():
    classifier, generator = easy(), made()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = sample(generator, classifier, 6, seed=1).images
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(sample(generator, classifier, 6, seed=1).images, one)
    assert not torch.equal(sample(generator, classifier, 6, seed=2).images, one)


def test_sampling_leaves_generator_and_classifier_as_they_were():
    classifier, generator = mixed(CLASSIFIERS["RegularisedCNN"]()), mixed(made())
    before = condition_of(classifier), condition_of(generator)
    sample(generator, classifier, 6, seed=0)
    assert (condition_of(classifier), condition_of(generator)) == before


# --- inversion -----------------------------------------------------------------------------------


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_an_easy_classifier_is_inverted(conditioning):
    generator = made(conditioning=conditioning, vector="hot", width=16, dropout=0.1)
    history = attacked(
        generator=generator, steps=60, batch=32, lr=0.01, observe_at=(20, 40), observed=60
    )
    assert history["step"] == [0, 20, 40, 60]
    assert history["accuracy"][0] < 0.7 and history["accuracy"][-1] == 1
    assert history["worst_class"][-1] == 1
    assert history["ce"][1] > history["ce"][2] > history["ce"][3]
    assert history["confidence"][-1] > history["confidence"][0]
    assert complaint(history) is None
    assert sample(generator, easy(), 60, seed=1).correct.float().mean() > 0.95


def test_the_history_has_every_name_and_all_observations():
    history = attacked(steps=5, observe_at=(2, 4, 9), weights={"kl": 1.0})
    assert set(history) == HISTORY
    assert history["step"] == [0, 2, 4, 5]
    assert {len(values) for values in history.values()} == {4}
    for name, values in history.items():
        assert all(isinstance(value, (int, float)) for value in values)
        assert math.isnan(values[0]) == (name in LOSS_TERMS)
        assert not any(math.isnan(value) for value in values[1:])
    assert attacked(steps=5, observe_at=(5,))["step"] == [0, 5]
    assert attacked(steps=1)["step"] == [0, 1]


def test_terms_are_means_since_the_last_observation(monkeypatch):
    seen = {"cross_entropy": [], "kl_divergence": []}
    for name, values in seen.items():
        term = getattr(losses, name)

        def watch(*given, term=term, values=values):
            values.append(term(*given))
            return values[-1]

        monkeypatch.setattr(losses, name, watch)
    history = attacked(steps=7, observe_at=(3,))
    for name, values in (("ce", seen["cross_entropy"]), ("kl", seen["kl_divergence"])):
        values = [value.item() for value in values]
        assert len(values) == 7
        expected = [sum(values[:3]) / 3, sum(values[3:]) / 4]
        assert history[name][1:] == pytest.approx(expected, rel=1e-5)


def test_terms_compare_the_asked_distribution_and_the_features(monkeypatch):
    given = {}
    for name in ("kl_divergence", "cross_entropy", "cosine_similarity", "orthogonality"):

        def watch(*tensors, name=name, term=getattr(losses, name)):
            if any(tensor.requires_grad for tensor in tensors):  # in a step, not an observation
                given[name] = tensors
            return term(*tensors)

        monkeypatch.setattr(losses, name, watch)
    attacked(CLASSIFIERS["CNN"]())
    (vectors, logits), (same, labels) = given["kl_divergence"], given["cross_entropy"]
    assert logits is same and logits.shape == vectors.shape == (6, 3)
    assert 1 / 3 < vectors.amax() < 1 and torch.equal(vectors.argmax(1), labels)
    assert given["cosine_similarity"][0] is given["orthogonality"][0]
    assert given["cosine_similarity"][0].shape == (6, 7)


def test_observations_are_those_of_samples_by_hand():
    correct = torch.tensor([[2.0, 0, 0], [0, 1, 0], [0, 1, 0], [3, 0, 0], [0, 0, 0], [0, 4, 0]])
    features = torch.tensor([[1.0, 0], [1, 1], [1, 0], [0, 2], [2, 2], [-3, 0]])
    images = torch.zeros(6, 1, 2, 2)
    images[3:] = torch.tensor([2.0, 4.0, 6.0])[:, None, None, None]  # std √2, 2√2, 3√2
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    found = inversion._observation(
        inversion.Samples(images, labels, torch.eye(3)[labels], correct, features)
    )
    assert found["accuracy"] == pytest.approx(3 / 6)
    assert found["worst_class"] == 0
    assert found["confidence"] == pytest.approx(correct.softmax(1).amax(1).mean().item())
    assert found["diversity"] == pytest.approx(1 - (0 + 1 - 1) / 3)
    assert found["pixel_std"] == pytest.approx(2 * 2**0.5, rel=1e-6)


@pytest.mark.parametrize("name", LOSS_TERMS)
def test_only_terms_with_a_weight_act(name, monkeypatch):
    functions = {
        "kl": "kl_divergence",
        "ce": "cross_entropy",
        "cosine": "cosine_similarity",
        "orthogonality": "orthogonality",
    }
    alone, named = made(), made()
    attacked(CLASSIFIERS["CNN"](), alone, weights={name: 1.0})
    for other in set(LOSS_TERMS) - {name}:
        term = getattr(losses, functions[other])
        monkeypatch.setattr(
            losses, functions[other], lambda *given, term=term: term(*given).detach()
        )
    everything = dict.fromkeys(LOSS_TERMS, 1.0)  # but the others have no gradient
    attacked(CLASSIFIERS["CNN"](), named, weights=everything)
    start = made().state_dict()
    for key, value in alone.named_parameters():
        assert torch.equal(value, named.get_parameter(key)), key
    assert not torch.equal(alone.get_parameter("late.0.weight"), start["late.0.weight"])


@pytest.mark.parametrize("name", LOSS_TERMS)
def test_a_term_alone_falls(name):
    history = attacked(
        CLASSIFIERS["CNN"](), made(vector="hot"), steps=40, weights={name: 1.0}, batch=32,
        lr=0.01, observe_at=(3, 35),
    )  # fmt: skip
    assert history[name][-1] < history[name][1]


def test_the_cosine_term_alone_does_not_make_labels():
    history = attacked(
        steps=40, weights={"cosine": 1.0}, batch=32, lr=0.01, observe_at=(5,), observed=60
    )
    assert history["cosine"][-1] < 0.5 * history["cosine"][1]
    assert history["diversity"][-1] > history["diversity"][0]
    assert history["accuracy"][-1] < 0.7


def test_a_weight_scales_its_term():
    """Adam does not see the scale of the loss, but that of one term against another."""

    def after(**weights: float) -> Tensor:
        generator = made()
        attacked(CLASSIFIERS["CNN"](), generator, weights=weights)
        return generator.get_parameter("late.0.weight")

    assert torch.allclose(after(ce=1, cosine=2), after(ce=4, cosine=8), atol=1e-4)
    assert not torch.allclose(after(ce=1, cosine=2), after(ce=2, cosine=1), atol=1e-4)
    assert not torch.allclose(after(cosine=1), after(cosine=-1), atol=1e-4)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_classifier_is_not_changed(name):
    classifier = mixed(CLASSIFIERS[name]())
    before = condition_of(classifier)
    attacked(classifier, weights=dict.fromkeys(LOSS_TERMS, 1.0))
    assert condition_of(classifier) == before


def test_a_seed_gives_the_same_history_and_the_global_random_state_is_left_alone():
    classifier, weights = CLASSIFIERS["CNN"](), dict.fromkeys(LOSS_TERMS, 1.0)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = attacked(classifier, weights=weights, seed=1)
    assert torch.equal(torch.get_rng_state(), state) and torch.initial_seed() == 5
    torch.manual_seed(6)
    assert equal(attacked(classifier, weights=weights, seed=1), one)
    assert not equal(attacked(classifier, weights=weights, seed=2), one)


def test_bfloat16_comes_close_and_float32_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = attacked(CLASSIFIERS["CNN"]())
    rounded = attacked(CLASSIFIERS["CNN"](), dtype=torch.bfloat16)
    assert rounded["ce"][-1] != exact["ce"][-1]
    assert rounded["ce"][-1] == pytest.approx(exact["ce"][-1], abs=0.05)
    generator = made()
    attacked(CLASSIFIERS["CNN"](), generator, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in generator.parameters()} == {torch.float32}


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    from torchvision.models import resnet18  # slow to import

    return resnet18(weights=None, num_classes=10)


@pytest.mark.parametrize("layer", [None, "avgpool"])
def test_a_network_of_torchvision_can_be_inverted(resnet, layer):
    generator = made(10, 3, 32)
    before = condition_of(resnet)
    found = attacked(
        resnet, generator, steps=1, weights=dict.fromkeys(LOSS_TERMS, 1.0), layer=layer, batch=4,
        observed=20,
    )  # fmt: skip
    assert set(found) == HISTORY and math.isfinite(found["ce"][-1])
    assert condition_of(resnet) == before
    assert sample(generator, resnet, 4, seed=0, layer=layer).features.shape == (4, 512)


def test_a_readers_checkpoint_can_be_inverted(tmp_path):
    def own(seed: int) -> nn.Module:
        return CNN(1, 8, 3, widths=(4,), hidden=7, generator=seeded(seed))

    state = {f"module.{name}": value for name, value in own(0).state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "mine.pt")
    loaded = load_checkpoint(tmp_path / "mine.pt", own(1))
    assert equal(attacked(loaded), attacked(own(0)))


# --- what is refused -----------------------------------------------------------------------------


class Single(nn.Module):
    """One logit an image, as [n]."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1)).squeeze(1)


class Picky(nn.Sequential):
    """It asserts its size, as torchvision's vision transformers do."""

    def __init__(self):
        super().__init__(nn.Linear(64, 3))

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("the height is wrong")


@pytest.mark.parametrize(
    ("classifier", "settings", "message"),
    [
        (easy(), {"weights": {"l2": 1.0}}, "weights {'l2': 1.0} .* kl, ce, cosine"),
        (easy(), {"weights": {}}, "at least one step and one weight that is not 0"),
        (easy(), {"weights": {"ce": 0, "kl": 0.0}}, "at least one step and one weight"),
        (easy(), {"steps": 0}, "in 0 steps"),
        (easy(size=7), {}, r"does not take images \[1, 8, 8\]"),
        (CNN(3, 8, 3), {}, r"does not take images \[1, 8, 8\]"),
        (easy(4), {}, r"output is \[4\] an image; the generator was made for 3 classes"),
        (Single(), {}, r"output is \[\] an image; the generator was made for 3 classes"),
        (easy(), {"batch": 1}, "n of at least 2"),
        (easy(), {"observed": 5}, "5 observed images are not two of each class"),
        (Picky(), {}, r"does not take images \[1, 8, 8\]: the height is wrong"),
    ],
)
def test_what_cannot_be_inverted_is_refused(classifier, settings, message):
    before = condition_of(classifier)
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        attacked(classifier, **settings)
    assert condition_of(classifier) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_one_logit_is_refused_for_two_classes_too():
    """Two images give two numbers, which are not the logits of two classes."""
    with pytest.raises(ValueError, match="made for 2 classes"):
        attacked(Single(), made(2))


class Breaks(nn.Module):
    """Its logits are NaN from some training step on."""

    def __init__(self, step: int):
        super().__init__()
        self.net, self.left = easy(), step

    def forward(self, x: Tensor) -> Tensor:
        self.left -= torch.is_grad_enabled()  # observations do not count
        return self.net(x) * (float("nan") if self.left <= 0 else 1)


@pytest.mark.parametrize(
    ("step", "observe_at"), [(1, ()), (4, ()), (4, (3, 6)), (5, (5,)), (7, (4,))]
)
def test_a_loss_that_is_not_finite_names_the_step(step, observe_at):
    with pytest.raises(NonFiniteLoss, match=f"not finite at step {step}: lower the learning rate"):
        attacked(Breaks(step), steps=7, observe_at=observe_at)


def test_an_absurd_learning_rate_diverges():
    classifier = mixed(easy())
    before, state = condition_of(classifier), torch.get_rng_state()
    with pytest.raises(NonFiniteLoss, match="at step 2"):
        attacked(classifier, steps=5, lr=1e30)
    assert condition_of(classifier) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert issubclass(NonFiniteLoss, ArithmeticError)


def test_a_run_whose_last_step_breaks_the_generator_has_diverged():
    with pytest.raises(NonFiniteLoss, match="not finite after step 1"):
        attacked(steps=1, lr=1e30)


def test_divergence_is_noticed_within_a_hundred_steps():
    classifier = Breaks(2)
    with pytest.raises(NonFiniteLoss, match="at step 2"):
        attacked(classifier, made(width=1, latent=1), steps=10_000, batch=2)
    assert classifier.left == 2 - 100


def history(**last: float) -> dict[str, list[float]]:
    good = {"step": 300, "accuracy": 0.97, "pixel_std": 0.3}
    return {name: [0.0, value] for name, value in (good | last).items()}


def test_a_good_run_has_no_complaint():
    assert complaint(history()) is None
    assert complaint(history(accuracy=0.95, pixel_std=0.02)) is None


def test_a_collapsed_run_is_named_before_anything_else():
    for accuracy in (1.0, 0.1):
        assert complaint(history(pixel_std=0.019, accuracy=accuracy)) == (
            "The generator has collapsed: after 300 steps the images of a class differ by 0.95% "
            "of the range of pixels."
        )


def test_a_run_that_did_not_converge_is_named():
    found = complaint(history(accuracy=0.949))
    assert found == (
        "The generator has not converged: after 300 steps the classifier names the wanted label "
        "for 94.9% of its images."
    )
    assert complaint(history(accuracy=0.949), accuracy=0.9) is None
    assert complaint(history(accuracy=0.99), accuracy=0.995) is not None


# --- what the attack is told ---------------------------------------------------------------------


TOLD = [invert, sample, generate, watched, Generator, Generator.forward, Generator.conditions]


@pytest.mark.parametrize("function", TOLD)
def test_the_attack_is_told_of_no_training_data(function):
    names = set(inspect.signature(function).parameters)
    assert not names & {"images", "x", "y", "data", "dataset", "training", "train", "truth"}
    assert "labels" not in names or function is Generator.conditions  # those it asks for


def test_generators_of_one_seed_are_equal():
    one, same = made(), made()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    again = copy.deepcopy(one)
    assert equal(attacked(generator=one), attacked(generator=again))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters()))
