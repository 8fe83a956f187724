"""Runs of chapter 4: what the features of inverted images show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.manifold import TSNE
from sklearn.model_selection import cross_val_score
from torch import Tensor, nn

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
from lib import features, matching
from lib.data import DataSet
from lib.inversion import sample
from lib.predict import logits_and_features

# The generators of chapter 3: their training, their conditions, the weights α, β, γ, δ of the loss.
INVERSION = {
    "steps": 500,
    "batch": 64,
    "lr": 2e-3,
    "conditioning": "vector-matrix",
    "vector": "soft",
    "matrix": "row and column",
    "width": 32,
    **dict.fromkeys(TERMS, 1.0),
}
# How their features are looked at: generators against the same classifier, the perplexities of
# t-SNE, the units of the sparse autoencoders and how many fire at most, and the images of each
# kind that are judged, where there are so many.
LOOK = {
    "generators": 3,
    "perplexities": (5, 30, 100),
    "units": 256,
    "active": 8,
    "judged": 2000,
}
PLANE_POINTS = 60  # of each class, in scatter plots
MESH = 120
TSNE_PER_CLASS = 50
STRONGEST = 16  # units of a class whose overlap is taken
PORTRAYED, PORTRAITS = 3, 8  # units shown of either kind, and the images that fire each most
NORMS = 1000  # lengths of feature vectors that are kept, of each kind


def interpreted(
    dataset: str,
    seed: int,
    n: int,
    classifier_steps: int,
    inversion: Mapping[str, Any] = {},
    look: Mapping[str, Any] = {},
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """Penultimate features of inverted images beside those of training and test images.

    Args:
        n, classifier_steps: training images and steps of the classifier, a regularised CNN.
        inversion, look: what differs from `INVERSION` and `LOOK`. The generators are those of
            chapter 3's `inverted` with the same `seed` and `generator` 0, 1, and so on.

    Raises ValueError for a setting that there is not.
    """
    inversion, look = _filled(INVERSION, inversion), _filled(LOOK, look)
    weights = {term: inversion.pop(term) for term in TERMS}
    of = subject(dataset, seed, "regularised CNN", n, classifier_steps, precision, device)
    classes = len(of.classes)
    made = []
    for own in range(100 * seed, 100 * seed + look["generators"]):
        generator, _ = trained_generator(
            of, seed=own, weights=weights, precision=precision, **inversion
        )
        images = sample(generator, of.classifier, 2 * look["judged"], seed=own + 70)
        made.append(Kind(images.images, images.features, images.logits, images.labels))
    known = Kind.of(of.classifier, of.training)
    test = Kind.of(of.classifier, of.test)
    return {
        "accuracies": [share(x.predicted == x.labels) for x in made],
        **_planes(of, made[0], known, test),
        **_embedded(made[0], look["perplexities"], classes, seed),
        **_units(classes, made, known, test, look, seed),
        **_shown(classes, made[0], known, test),
    }


def _filled(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults with what is given in their place; ValueError for a name that they lack."""
    if unknown := sorted(given.keys() - defaults.keys()):
        raise ValueError(f"no setting is called {unknown[0]!r}: {', '.join(defaults)}")
    return {**defaults, **given}


@dataclass(frozen=True)
class Kind:
    """Images of one kind, their features and logits, and their labels or those asked for."""

    images: Tensor  # [n, channels, size, size] in [-1, 1]
    features: Tensor  # [n, d]
    logits: Tensor  # [n, classes]
    labels: Tensor  # [n]

    @classmethod
    def of(cls, classifier: nn.Module, images: DataSet) -> "Kind":
        logits, found = logits_and_features(classifier, images.images)
        return cls(images.images, found, logits, images.labels)

    @property
    def predicted(self) -> Tensor:
        """Classes that the classifier names [n]."""
        return self.logits.argmax(1)

    def take(self, which: Tensor | slice) -> "Kind":
        return Kind(
            self.images[which], self.features[which], self.logits[which], self.labels[which]
        )


def _head(of: Subject):
    """From features to logits: the last linear layer."""
    return [layer for layer in of.classifier.modules() if isinstance(layer, nn.Linear)][-1]


@torch.no_grad()
def _planes(of: Subject, made: Kind, known: Kind, test: Kind) -> dict:
    """PCA planes of inverted and of training features, and the decision regions in them. I12."""
    classes = len(of.classes)
    found = {}
    for name, own in {"inverted": made, "training": known}.items():
        plane = features.principal_plane(own.features)
        found |= {
            f"{name}_explained": plane.explained.tolist(),
            f"{name}_agreement": features.region_agreement(
                plane, _head(of), own.features, own.predicted
            ),
        }
        for kind, which in {"inverted": made, "training": known, "test": test}.items():
            some = which.take(first_of_each(which.labels, PLANE_POINTS, classes))
            found[f"{name}_plane_{kind}"] = plane.project(some.features).half()
            found[f"{name}_plane_{kind}_labels"] = some.labels.to(torch.uint8)
            flat = plane.lift(plane.project(some.features))
            kept = _head(of)(flat).argmax(1) == some.predicted
            found[f"{name}_plane_{kind}_kept"] = kept.to(torch.uint8)
        drawn = {name, "inverted"}  # training images would make the other plane too wide
        points = torch.cat([found[f"{name}_plane_{kind}"].float() for kind in sorted(drawn)])
        xs, ys, regions = features.decision_regions(plane, _head(of), points, resolution=MESH)
        found |= {f"{name}_xs": xs, f"{name}_ys": ys, f"{name}_regions": regions.to(torch.uint8)}
    return found


def _embedded(made: Kind, perplexities: Sequence[int], classes: int, seed: int) -> dict:
    """t-SNE maps of inverted features, and clusters a class in the features and in the maps. I13.

    t-SNE can show clusters that are not there, and the other way round, so the features decide.
    """
    some = made.take(made.predicted == made.labels)
    some = some.take(first_of_each(some.labels, TSNE_PER_CLASS, classes))
    found = {
        "tsne_labels": some.labels.to(torch.uint8),
        "clusters_in_features": clusters_by_class(some.features, some.labels, classes),
    }
    for perplexity in perplexities:
        points = TSNE(
            perplexity=min(perplexity, (len(some.labels) - 1) // 3), random_state=seed, init="pca"
        ).fit_transform(some.features.cpu().numpy())
        found[f"tsne_{perplexity}"] = points.astype(np.float16)
        found[f"clusters_in_tsne_{perplexity}"] = clusters_by_class(
            torch.from_numpy(points), some.labels.cpu(), classes
        )
    return found


def _units(
    classes: int,
    made: Sequence[Kind],
    known: Kind,
    test: Kind,
    look: Mapping[str, Any],
    seed: int,
) -> dict:
    """Sparse autoencoders on penultimate features: which units fire on which images. I15, I16.

    A first dictionary is fitted to equally many training and inverted images, and used to compare
    units. A second one, fitted to training images only, is the anomaly detector. Inverted images
    that are judged were not fitted to; training images are fitted to, test images are not.
    """
    units, active, judged = look["units"], look["active"], look["judged"]
    fitted = torch.cat([x.features[:judged] for x in made])
    count = min(len(fitted), len(known.features))
    mixed, losses = features.fit_sparse_autoencoder(
        torch.cat([_spread(fitted, count), known.features[:count]]),
        units=units,
        active=active,
        seed=seed,
    )
    fresh = [x.take(slice(judged, None)) for x in made]
    kinds = {
        "training": known.take(slice(judged)),
        "test": test.take(slice(judged)),
        "inverted": fresh[0],
    }
    codes = {name: _codes(mixed, kind) for name, kind in kinds.items()}
    rates = {
        name: features.firing_rates(codes[name], kind.labels, classes)
        for name, kind in kinds.items()
    }
    strongest = {
        name: features.strongest_units(own, STRONGEST).cpu() for name, own in rates.items()
    }
    overlap = {
        name: [features.jaccard(a, b) for a, b in zip(strongest["training"], strongest[name])]
        for name in ("test", "inverted")
    }
    return {
        "unexplained": float(np.mean(losses[-50:])),
        "dead_units": share((torch.cat(list(codes.values())) > 0).sum(0) == 0),
        "overlap_test": overlap["test"],
        "overlap_inverted": overlap["inverted"],
        **{f"rates_{name}": own.half() for name, own in rates.items()},
        **_detected(kinds, units, active, seed, classes),
        **_detected_by_direction(kinds, units, active, seed, classes),
        **_told_apart(mixed, fresh, classes),
        **_portraits(kinds, codes),
    }


def _spread(rows: Tensor, count: int) -> Tensor:
    """`count` rows, evenly over all of them."""
    return rows[torch.linspace(0, len(rows) - 1, count, device=rows.device).long()]


@torch.no_grad()
def _codes(autoencoder: features.SparseAutoencoder, kind: Kind) -> Tensor:
    return autoencoder.encode(kind.features)


def _detected(
    kinds: Mapping[str, Kind], units: int, active: int, seed: int, classes: int
) -> dict[str, float]:
    """AUROC of telling inverted images from test images, by scores that have seen neither. I15."""
    training = kinds["training"]
    autoencoder, _ = features.fit_sparse_autoencoder(
        training.features, units=units, active=active, seed=seed
    )
    rates = features.firing_rates(_codes(autoencoder, training), training.labels, classes)
    scores: dict[str, dict[str, Tensor]] = {}
    for name in ("inverted", "test"):
        kind, codes = kinds[name], _codes(autoencoder, kinds[name])
        with torch.no_grad():
            left = (kind.features - autoencoder.decode(codes)).square().sum(1)
        scores[name] = {
            "auroc_units": features.firing_surprise(codes, kind.predicted, rates),
            "auroc_reconstruction": left,
            "auroc_confidence": -kind.logits.softmax(1).amax(1),
            "auroc_norm": -kind.features.norm(dim=1),
        }
    return {
        name: matching.auroc(scores["inverted"][name], scores["test"][name])
        for name in scores["test"]
    }


def _detected_by_direction(
    kinds: Mapping[str, Kind], units: int, active: int, seed: int, classes: int
) -> dict[str, float]:
    """The detectors on features of norm 1: does anything but their length give images away?"""
    found = _detected(
        {
            name: replace(kind, features=torch.nn.functional.normalize(kind.features, dim=1))
            for name, kind in kinds.items()
        },
        units,
        active,
        seed,
        classes,
    )
    return {f"{name}_direction": found[name] for name in ("auroc_units", "auroc_reconstruction")}


def _told_apart(
    autoencoder: features.SparseAutoencoder, made: Sequence[Kind], classes: int
) -> dict[str, float]:
    """Can a linear probe tell which generator made an image of a class? I16.

    Accuracy of a ridge classifier in 5-fold cross-validation, mean over the classes, on the codes
    and on the features themselves; guessing is right once in the number of generators.
    """
    if len(made) < 2:
        return {}
    inputs = {
        "probe_codes": torch.cat([_codes(autoencoder, x) for x in made]),
        "probe_features": torch.cat([x.features for x in made]),
    }
    labels = torch.cat([x.labels for x in made])
    makers = torch.cat([torch.full_like(x.labels, i) for i, x in enumerate(made)])
    found = {}
    for name, x in inputs.items():
        x = (x / x.square().mean().sqrt()).cpu().numpy()
        found[name] = float(np.mean([
            cross_val_score(RidgeClassifier(), x[own], makers.cpu().numpy()[own], cv=5).mean()
            for own in ((labels == k).cpu().numpy() for k in range(classes))
        ]))  # fmt: skip
    return found


def _portraits(kinds: Mapping[str, Kind], codes: Mapping[str, Tensor]) -> dict:
    """Images that fire a unit most, for the units that tell inverted from training images most."""
    share = {name: (own > 0).double().mean(0) for name, own in codes.items()}
    order = (share["inverted"] - share["training"]).argsort()
    chosen = torch.cat([order[:PORTRAYED], order.flip(0)[:PORTRAYED]])
    both = torch.cat([codes["training"], codes["inverted"]])
    images = torch.cat([kinds["training"].images, kinds["inverted"].images])
    best = both[:, chosen].T.topk(PORTRAITS, dim=1).indices  # [units shown, images]
    return {
        "portrait_units": chosen,
        "portrait_images": as_bytes(images[best.flatten()]),
        "portrait_is_inverted": (best >= len(codes["training"])).to(torch.uint8),
        **{f"portrait_share_{name}": share[name][chosen].float() for name in codes},
    }


def _shown(classes: int, made: Kind, known: Kind, test: Kind) -> dict:
    """An image of each class, made and real, and the lengths of feature vectors of each kind."""
    pictures = {"inverted": made, "training": known}
    lengths = {"inverted": made, "training": known, "test": test}
    return {
        **{
            f"shown_{name}": as_bytes(kind.images[first_of_each(kind.labels, 1, classes)])
            for name, kind in pictures.items()
        },
        **{
            f"norms_{name}": kind.features[:NORMS].norm(dim=1).half()
            for name, kind in lengths.items()
        },
    }
