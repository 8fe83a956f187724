"""Runs of chapter 6: reconstructions of a classifier's training data, and what they rest on."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from chapters.shared import as_bytes, first_of_each, normalised, share
from chapters.victims import Parts, Training, Victim, oracles, parts, patch_for, victim
from lib import data, diversity, inversion, likeness, matching, models, rowspace, train
from lib.generator import MATRICES, Generator
from lib.losses import NonFiniteLoss
from lib.predict import logits_and_features

COMPARED = 2000  # images whose features are compared
SHOWN = 3  # images of each class
PAIRS = 6  # reconstructions beside their nearest real images
BATCH, WIDTH, GENERATOR_RATE = 32, 16, 4e-3  # of the generator
OBSERVED, OBSERVED_EVERY = 200, 50  # images, and steps, along its training
PREMISED = 500  # images of each kind whose gradients are measured


# --- the attack -----------------------------------------------------------------------------------


def reconstructed(
    dataset: str,
    seed: int,
    n: int,
    weights: Mapping[str, float],
    aside: Mapping[str, int],
    classifier_steps: int,
    steps: int,
    vector: str = "hot",
    perturbation: str = "adversarial",
    radius: float = 0.03,
    gradient: str = "single images",
    output: str = "tanh",
    generator: int = 0,
    half: int = 0,
    architecture: str = "regularised CNN",
    width: int = 32,
    unregularised: str = "",
    shortcut: str = "",
    fresh: int = 2000,
    pictures: bool = False,
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """Train a generator on the loss of paper 002 and judge its images.

    Args:
        seed: draws the images, the classifier and, with `generator`, the generator.
        weights: of the terms of the loss, by name; 0 for what is missing.
        aside: {"held_out": ..., "known": ...}, numbers of images as for `parts`.
        vector, output: "hot" or "soft"; "tanh", or "linear", whose pixels are not bounded.
        half: 1 attacks a classifier of the rivals instead.
        architecture, width, unregularised: whom it attacks; the last names a regulariser that
            the classifier does without, as for `victim`.
        shortcut: "planted" for a patch that tells the class of each training image, "control"
            for none, where the patches' places are looked at all the same.
        fresh: images that are judged.  pictures: whether some of them are kept.

    A generator that diverges has a `failure` and nothing else; one that collapses or does not
    converge has a `failure` beside its measures.
    """
    images = parts(dataset, seed, n, **aside, device=device)
    training = Training(classifier_steps, precision)
    of = victim(
        images.other_half if half else images,
        training,
        seed=seed + 5000 * half,
        architecture=architecture,
        width=width,
        without=unregularised,
        planted=shortcut == "planted",
    )
    loss = likeness.ReconstructionLoss(
        of.classifier, radius=radius, perturbation=perturbation, gradient=gradient
    )
    own = 100 * seed + 10 * half + generator
    made = _generator(of.parts, own, vector, output, device)
    try:
        history = inversion.invert(
            of.classifier,
            made,
            steps=steps,
            weights=weights,
            batch=BATCH,
            lr=GENERATOR_RATE,
            dtype=train.PRECISIONS[precision],
            seed=own,
            observe_at=range(OBSERVED_EVERY, steps, OBSERVED_EVERY),
            observed=OBSERVED,
            objective=loss,
        )
    except NonFiniteLoss as error:
        return {"failure": str(error), "diverged": 1}
    samples = inversion.sample(made, of.classifier, fresh, seed=own + 50)
    found = {
        "failure": inversion.complaint(history) or "",
        "diverged": 0,
        "inversion_accuracy": share(samples.correct),
        "confidence": samples.confidence.double().mean().item(),
        "pixels_outside": share(samples.images.abs() > 1 + 1e-6),
        **_fit(of),
        **judged(of, oracles(images, training, seed=seed), samples.images, samples.labels, own),
    }
    if pictures:
        found |= _pictures(of, samples.images, samples.labels)
    if shortcut:
        found["patch_intensity"] = _patch_intensity(of.parts, samples.images, samples.labels)
    terms = ("step", "accuracy", *(name for name in loss.names if weights.get(name)))
    return found | {f"at_{name}": np.asarray(history[name]) for name in terms}


def judged(
    of: Victim, judges: Sequence[nn.Module], images: Tensor, labels: Tensor, seed: int
) -> dict:
    """All scores of reconstructions [m, c, h, w] of these labels; pixels are cut to [−1, 1]."""
    images = images.clamp(-1, 1)
    return {
        "contrast": ((images + 1) / 2).flatten(1).std(1).double().mean().item(),
        **_alike(of, judges, images, labels),
        **_calibrated(of, images, seed),
        **_nearer(of, images),
    }


def _generator(of: Parts, seed: int, vector: str, output: str, device: str) -> Generator:
    if output not in ("tanh", "linear"):
        raise ValueError(f"output is {output!r}, known: 'tanh', 'linear'")
    channels, size, _ = of.shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Generator(of.classes, channels, size, vector=vector, width=WIDTH)
    if output == "linear":
        made.late[-1] = nn.Identity()
    return made.to(device)


# --- scores -----------------------------------------------------------------------------------------


def _fit(of: Victim) -> dict[str, float]:
    """How well the classifier fits, and how well its loss tells members from others."""
    logits, losses = {}, {}
    for name, images, labels in (
        ("training", of.images[:COMPARED], of.labels[:COMPARED]),
        ("held_out", of.held_out, of.parts.held_out.labels),
    ):
        found, _ = logits_and_features(of.classifier, images)
        logits[f"{name}_accuracy"] = share(found.argmax(1) == labels)
        losses[name] = nn.functional.cross_entropy(found, labels, reduction="none")
    return {
        **logits,
        "membership_auroc": matching.auroc(-losses["training"], -losses["held_out"]),
        "parameters": models.count_parameters(of.classifier),
        "training_pixels": of.images.numel(),
    }


def _alike(of: Victim, judges: Sequence[nn.Module], images: Tensor, labels: Tensor) -> dict:
    """Likeness to the training images in the eyes of the oracles.

    KID is of the first one's features, divided by the root mean square of those of the training
    images, because it depends on their scale.
    """
    judge, second = judges
    _, known = logits_and_features(judge, of.images[:COMPARED])
    real_logits, real = logits_and_features(judge, of.held_out)
    logits, seen = logits_and_features(judge, images)
    scale = known.square().mean().sqrt()
    right = logits.argmax(1) == labels
    return {
        "oracle_accuracy": share(right),
        "oracle_by_class": torch.stack(
            [right[labels == k].double().mean() for k in range(of.parts.classes)]
        ),
        "second_oracle_accuracy": share(logits_and_features(second, images)[0].argmax(1) == labels),
        "oracle_test_accuracy": share(real_logits.argmax(1) == of.parts.held_out.labels),
        "kid": diversity.kid(seen / scale, known / scale),
        "test_kid": diversity.kid(real / scale, known / scale),
        "diversity": diversity.diversity(seen, labels, images)["intra"],
        "nearest_auroc": matching.auroc(
            diversity.nearest_distance(seen, known), diversity.nearest_distance(real, known)
        ),
    }


def _calibrated(of: Victim, images: Tensor, seed: int) -> dict:
    """Are training images matched better than held-out ones, and than by the nulls?

    Nulls know the classes and no training image: as many real images of others, and the means of
    their classes; against an MLP also the rows of its first layer, and mixtures of them.
    """
    classes, held_out, known = of.parts.classes, of.held_out, of.parts.known
    targets = _targets(of)
    others = of.dressed(known)
    means = torch.stack([others[known.labels == k].mean(0) for k in range(classes)])
    nulls = {"strangers": others[: len(images)], "means": means}
    first = next(m for m in of.classifier.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))
    if isinstance(first, nn.Linear) and first.in_features == targets[0].numel():
        weight = first.weight.detach()
        nulls["rows"] = weight.reshape(-1, *targets.shape[1:])
        nulls["span"] = rowspace.random_mixtures(
            weight, tuple(targets.shape[1:]), len(images), seed=seed, rank=min(weight.shape)
        )
    found = {}
    for name, pool in {"": images, **nulls}.items():
        near, far = matching.ncc(targets, pool), matching.ncc(held_out, pool)
        score = matching.calibrate(near, far)
        prefix = f"{name}_" if name else ""
        found |= {
            f"{prefix}auroc": score.auroc,
            f"{prefix}tpr_at_1_percent": score.tpr_at_1_percent,
            f"{prefix}hits": score.hits,
            f"{prefix}excess": score.excess,
        }
    return found


def _targets(of: Victim) -> Tensor:
    """As many training images of each class as are held out, or all of them."""
    classes = of.parts.classes
    return of.images[first_of_each(of.labels, len(of.held_out) // classes, classes)]


def _pictures(of: Victim, images: Tensor, labels: Tensor) -> dict:
    """Images of each class, and those most like a real one beside the nearest of either kind."""
    images, targets, held_out = images.clamp(-1, 1), _targets(of), of.held_out
    near, far = (matching.ncc(real, images) for real in (targets, held_out))
    best = torch.maximum(near.amax(0), far.amax(0)).argsort(descending=True)[:PAIRS]
    beside = (targets[near[:, best].argmax(0)], held_out[far[:, best].argmax(0)])
    shown = first_of_each(labels, SHOWN, of.parts.classes)
    return {
        "images": as_bytes(images[shown]),
        "shown_labels": labels[shown],
        "pairs": as_bytes(torch.stack([images[best], *beside])),
        "pairs_ncc": torch.stack([near[:, best].amax(0), far[:, best].amax(0)]),
    }


def _nearer(of: Victim, images: Tensor) -> dict[str, float]:
    """Share of reconstructions nearer to an image of the own half than of the other: T13."""
    if of.parts.rivals is None:
        return {}
    rivals = of.dressed(of.parts.rivals)
    own, other = (matching.ncc(x[:COMPARED], images).amax(0) for x in (of.images, rivals))
    return {"own_half_share": share(own > other)}


def _patch_intensity(of: Parts, images: Tensor, labels: Tensor) -> float:
    """Mean intensity inside the patch of the own class over that outside: S13."""
    inside = patch_for(of).masks().to(images.device)[labels][:, None].expand_as(images)
    pixels = (images.clamp(-1, 1) + 1) / 2
    return (pixels[inside].mean() / pixels[~inside].mean().clamp(min=1e-12)).item()


# --- the premises -----------------------------------------------------------------------------------


def premises(
    dataset: str,
    seed: int,
    n: int,
    weights: Mapping[str, float],
    aside: Mapping[str, int],
    classifier_steps: int,
    steps: int,
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """What differs between training images, held-out images and inverted ones: T01 to T03.

    weights: of the inversion loss.  Gradients are of PREMISED images of each kind, for the labels
    that they have or were asked to have, in float32.
    """
    images = parts(dataset, seed, n, **aside, device=device)
    of = victim(images, Training(classifier_steps, precision), seed=seed)
    kinds = {
        "training": (of.images, of.labels),
        "held_out": (of.held_out, images.held_out.labels),
    }
    for vector in ("soft", "hot"):
        made = _generator(images, 100 * seed, vector, "tanh", device)
        inversion.invert(
            of.classifier,
            made,
            steps=steps,
            weights=weights,
            batch=BATCH,
            lr=GENERATOR_RATE,
            dtype=train.PRECISIONS[precision],
            seed=100 * seed,
            observed=OBSERVED,
        )
        samples = inversion.sample(made, of.classifier, PREMISED, seed=100 * seed + 50)
        kinds[f"inverted_{vector}"] = (samples.images, samples.labels)
    found: dict = {}
    values: dict[tuple[str, str], Tensor] = {}
    for kind, (some, labels) in kinds.items():
        x, y = some[:PREMISED].float(), labels[:PREMISED]
        logits, _ = logits_and_features(of.classifier, x)
        of_kind = {
            "confidence": logits.softmax(1).gather(1, y[:, None])[:, 0],
            **{
                f"{f}_gradient": likeness.input_gradient_norms(of.classifier, x, y, of=f)
                for f in ("output", "probability", "loss")
            },
            "weight_gradient": torch.cat(
                [
                    likeness.weight_gradient_norms(of.classifier, *part).detach()
                    for part in zip(x.split(100), y.split(100))
                ]
            ),
        }
        for signal, value in of_kind.items():
            values[signal, kind] = value
            found[f"{signal}_{kind}"] = value
            found[f"{signal}_{kind}_mean"] = value.double().mean().item()
            found[f"{signal}_{kind}_median"] = value.double().median().item()
    for signal in {signal for signal, _ in values}:
        up = 1 if signal == "confidence" else -1
        found[f"{signal}_membership_auroc"] = matching.auroc(
            up * values[signal, "training"], up * values[signal, "held_out"]
        )
    return found | _fit(of)


# --- the formulas -----------------------------------------------------------------------------------


def formulas(dataset: str, seed: int, images: int = 4, radius: float = 0.05) -> dict:
    """The terms of the loss against their definitions, written out, on real images: T04 to T07, S14.

    The network is small and in float64, so that finite differences can be taken over every weight.
    """
    shown = data.load(dataset, size=data.side(dataset))
    x = normalised(shown.images[:images].double())
    y = shown.labels[:images]
    torch.manual_seed(seed)
    _, channels, size, _ = x.shape
    network = models.RegularisedCNN(channels, size, len(shown.classes), width=2, hidden=6)
    network = network.double().eval()

    def losses() -> Tensor:
        with torch.no_grad():
            return nn.functional.cross_entropy(network(x), y, reduction="none")

    slopes = torch.cat([_slopes(p, losses) for p in network.parameters()])  # [weights, images]
    single = likeness.weight_gradient_norms(network, x, y).detach()
    batch = likeness.batch_gradient_norm(network, x, y).detach()
    pixels = (x + 1) / 2
    stretched = 3 * pixels - 1
    moved = [
        (likeness.perturbed(x, radius, uphill=uphill) - x).abs().max().item()
        for uphill in (None, lambda some: nn.functional.cross_entropy(network(some), y))
    ]
    return {
        "finite_difference_error": max(
            (single - slopes.norm(dim=0)).abs().max().item(),
            (batch - slopes.mean(1).norm()).abs().item(),
        ),
        "batch_and_single_differ": (single.mean() - batch).item(),
        "variation_deviation": abs(
            likeness.variation(pixels).item() - _variation_written_out(pixels.numpy())
        ),
        "pixels_deviation": abs(
            likeness.outside_range(stretched).item()
            - sum(max(0, -v) + max(0, v - 1) for v in stretched.flatten().tolist()) / images
        ),
        "pixels_inside_range": likeness.outside_range(pixels).item(),
        "moved_beyond_bound": max(moved) - radius,
        **_labels_agree(len(shown.classes), seed),
    }


def _labels_agree(classes: int, seed: int, count: int = 1000) -> dict[str, float]:
    """Share of conditions whose vector and matrix both name the label, for both matrices: S14."""
    found = {}
    for matrix in MATRICES:
        made = Generator(classes, 1, 16, matrix=matrix, width=2)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            labels = torch.randint(classes, (count,))
            asked = made.conditions(labels)
        hot = asked.matrices[:, 0]
        whole = torch.maximum(hot.amin(1), hot.amin(2))  # [count, classes]: a column or a row of 1
        named = (whole.argmax(1) == labels) & (whole.sum(1) == 1)
        agree = named & (asked.vectors.argmax(1) == labels)
        found[f"labels_agree_{matrix.replace(' ', '_')}"] = share(agree)
    return found


def _slopes(parameter: Tensor, losses: Callable[[], Tensor], step: float = 1e-6) -> Tensor:
    """Central differences of the loss of each image by each entry [entries, images]."""
    entries = parameter.data.reshape(-1)
    found = []
    for i in range(len(entries)):
        before = entries[i].item()
        entries[i] = before + step
        up = losses()
        entries[i] = before - step
        found.append((up - losses()) / (2 * step))
        entries[i] = before
    return torch.stack(found)


def _variation_written_out(images: np.ndarray) -> float:
    n, channels, height, width = images.shape
    total = 0.0
    for i, c, h, w in np.ndindex(n, channels, height, width):
        here = images[i, c, h, w]
        total += (images[i, c, h + 1, w] - here) ** 2 if h + 1 < height else 0.0
        total += (images[i, c, h, w + 1] - here) ** 2 if w + 1 < width else 0.0
    return total / n


def examples(dataset: str, planted: bool = False) -> dict:
    """The first test image of each class, to be shown beside made ones."""
    test = data.load(dataset, split="test", size=data.side(dataset))
    first = test.take(first_of_each(test.labels, 1, len(test.classes)))
    images = first.images
    if planted:
        of = Parts(first, None, first, first)
        images = patch_for(of).plant(images, first.labels)
    return {"images": (255 * images).round().to(torch.uint8)}
