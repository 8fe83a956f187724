"""Runs of chapter 3: generators that invert a classifier."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from chapters.shared import (
    TERMS,
    Subject,
    as_bytes,
    clusters_by_class,
    first_of_each,
    share,
    subject,
    trained_generator,
)
from lib import data, diversity, inversion, matching
from lib.generator import Conditions, Generator, generate
from lib.losses import NonFiniteLoss
from lib.predict import logits_and_features

PER_CLASS = 100  # images whose diversity is measured
COMPARED = 2000  # images whose features are compared with those of training images
SHOWN = 4  # images of each class


def inverted(
    dataset: str,
    seed: int,
    steps: int,
    n: int,
    classifier_steps: int,
    conditioning: str = "vector-matrix",
    vector: str = "soft",
    matrix: str = "row and column",
    kl: float = 1.0,
    ce: float = 1.0,
    cosine: float = 1.0,
    orthogonality: float = 1.0,
    generator: int = 0,
    architecture: str = "regularised CNN",
    width: int = 32,
    batch: int = 64,
    lr: float = 2e-3,
    fresh: int = 10_000,
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """Invert a classifier, then judge the generator's images.

    Args:
        seed: draws the training images, the classifier and, with `generator`, the generator;
            generators of one seed invert the same classifier.
        kl, ce, cosine, orthogonality: α, β, γ and δ.
        fresh: images on which the inversion accuracy is measured.

    A generator that diverges, or that no class obeys, has a `failure` and nothing else; one that
    collapses or does not converge has a `failure` beside its measures.
    """
    of = subject(dataset, seed, architecture, n, classifier_steps, precision, device)
    own = 100 * seed + generator
    start = time.perf_counter()
    try:
        made, history = trained_generator(
            of,
            seed=own,
            weights=dict(zip(TERMS, (kl, ce, cosine, orthogonality))),
            steps=steps,
            precision=precision,
            conditioning=conditioning,
            vector=vector,
            matrix=matrix,
            width=width,
            batch=batch,
            lr=lr,
        )
    except NonFiniteLoss as error:
        return {"failure": str(error), "diverged": 1}
    seconds = time.perf_counter() - start
    samples = inversion.sample(made, of.classifier, fresh, seed=own + 50)
    by_class = _by_class(samples)
    good = samples.correct.nonzero()[:, 0]
    if samples.labels[good].bincount(minlength=1).amax() < 2:
        sentence = inversion.complaint(history) or "No class has two images as wanted."
        return {"failure": sentence, "diverged": 0}
    kept = good[first_of_each(samples.labels[good], PER_CLASS, len(of.classes))]
    labels, seen, images = samples.labels[kept], samples.features[kept], samples.images[kept]
    shown = first_of_each(labels, SHOWN, len(of.classes))
    test_logits, _ = logits_and_features(of.classifier, of.test.images[:COMPARED])
    found = {
        "failure": inversion.complaint(history) or "",
        "diverged": 0,
        "generator_seconds": seconds,
        "inversion_accuracy": samples.correct.double().mean().item(),
        "worst_class_accuracy": by_class.min().item(),
        "confidence": samples.confidence.double().mean().item(),
        "asked_confidence": samples.vectors.amax(1).double().mean().item(),
        "test_accuracy": share(test_logits.argmax(1) == of.test.labels[:COMPARED]),
        "test_confidence": test_logits.softmax(1).amax(1).double().mean().item(),
        "images_compared": len(kept),
        **diversity.diversity(seen, labels, images),
        "clusters": clusters_by_class(seen, labels, len(of.classes)),
        **_unlike(of, images, labels),
        **_convergence(history),
        **_obeyed(made, of, own + 60),
        "accuracy_by_class": by_class,
        "images": as_bytes(images[shown]),
        "shown_labels": labels[shown],
    }
    return found | {f"at_{name}": np.asarray(values) for name, values in history.items()}


def _by_class(samples: inversion.Samples) -> Tensor:
    """Inversion accuracy of each class [classes]."""
    return torch.stack([samples.correct[samples.labels == k].double().mean()
                        for k in samples.labels.unique()])  # fmt: skip


def _unlike(of: Subject, images: Tensor, labels: Tensor) -> dict[str, float]:
    """How unlike the training images these are, in the eyes of the oracle: I09's measures.

    Its features are divided by the root mean square of those of the training images, because KID
    depends on their scale.
    """
    _, known = logits_and_features(of.oracle, of.training.images[:COMPARED])
    test_images, test_labels = of.test.images[:COMPARED], of.test.labels[:COMPARED]
    test_logits, test = logits_and_features(of.oracle, test_images)
    logits, made = logits_and_features(of.oracle, images)
    known, test, made = (x / known.square().mean().sqrt() for x in (known, test, made))
    return {
        "oracle_accuracy": share(logits.argmax(1) == labels),
        "oracle_test_accuracy": share(test_logits.argmax(1) == test_labels),
        "oracle_intra": diversity.diversity(made, labels, images)["intra"],
        "oracle_test_intra": diversity.diversity(test, test_labels, test_images)["intra"],
        "kid": diversity.kid(made, known),
        "test_kid": diversity.kid(test, known),
        "nearest_auroc": matching.auroc(
            diversity.nearest_distance(made, known), diversity.nearest_distance(test, known)
        ),
    }


def _convergence(history: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Steps to an accuracy, and how much steeper than on average it rises at its steepest.

    A run that does not get there counts as its last step. The way up, until 95 % of the last
    accuracy, is cut into ten equal parts, so that the noise of single observations does not
    count as a slope: `jump` is 1 for an even rise and 10 if all of it happens in one part.
    """
    step, accuracy = np.asarray(history["step"]), np.asarray(history["accuracy"])
    top = int(np.flatnonzero(accuracy >= 0.95 * accuracy[-1])[0])
    rise = accuracy[top] - accuracy[0]
    parts = np.diff(np.interp(np.linspace(step[0], step[top], 11), step, accuracy))
    return {
        "steps_to_half": _first(step, accuracy >= 0.5),
        "steps_to_95": _first(step, accuracy >= 0.95),
        "jump": float(10 * parts.max() / rise) if top and rise > 0 else 1.0,
    }


def _first(step: np.ndarray, reached: np.ndarray) -> float:
    return float(step[reached][0]) if reached.any() else float(step[-1])


def _obeyed(made: Generator, of: Subject, seed: int, count: int = 500) -> dict:
    """Whom does the generator obey when its vector names one class and its matrix another? I02."""
    if made.conditioning != "vector-matrix":
        return {}
    device, classes = of.training.images.device, len(of.classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        told = torch.arange(count, device=device) % classes
        other = (told + torch.randint(1, classes, (count,), device=device)) % classes
        vectors, matrices = made.conditions(told).vectors, made.conditions(other).matrices
        crossed, blank = (
            logits_and_features(
                of.classifier,
                generate(made, Conditions(told, vectors, matrix)),
            )[0].argmax(1)
            for matrix in (matrices, torch.zeros_like(matrices))
        )
    return {
        "follows_matrix": share(crossed == other),
        "follows_vector": share(crossed == told),
        "accuracy_blank_matrix": share(blank == told),
    }


def examples(dataset: str) -> dict:
    """The first test image of each class, to be shown beside made ones."""
    test = data.load(dataset, split="test", size=data.side(dataset))
    first = first_of_each(test.labels, 1, len(test.classes))
    return {"images": (255 * test.images[first]).round().to(torch.uint8)}
