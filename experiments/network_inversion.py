"""Runs of chapters 3 and 4: generators that invert a classifier, and what its features show."""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.manifold import TSNE
from sklearn.model_selection import cross_val_score
from torch import Tensor, nn

from lib import data, features, inversion, losses, metrics, models, train
from lib.results import Result

SIZES = {"digits": 20}  # 8 x 8 pixels are less than one place a class; all other sets keep theirs
MOST = {"digits": 600, "fashion-mnist-900": 300}  # half of what there is; the oracle has the rest
TERMS = inversion.LOSS_TERMS
OBSERVED_AT = (1, 2, 3, 5, 7, *range(10, 100, 5), *range(100, 200, 10), *range(200, 10_000, 50))
PER_CLASS = 100  # images whose diversity is measured
COMPARED = 2000  # images whose features are compared with those of training images
SHOWN = 4  # images of each class

ARCHITECTURES = {
    "regularised CNN": lambda channels, size, classes, generator: models.RegularisedCNN(
        channels, size, classes, generator=generator
    ),
    "CNN": lambda channels, size, classes, generator: models.CNN(
        channels, size, classes, generator=generator
    ),
    "MLP": lambda channels, size, classes, generator: models.MLP(
        channels * size**2, (256, 128), classes, first_std=None, homogeneous=False,
        generator=generator,
    ),
    "ViT": lambda channels, size, classes, generator: models.ViT(
        channels, size, classes, generator=generator
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A trained classifier, what it was trained on, and an independent classifier to judge by.

    The oracle is another architecture, trained on other images of the same classes.
    """

    classifier: nn.Module
    oracle: nn.Module
    training: data.DataSet  # images in [-1, 1], as the classifiers take them
    test: data.DataSet
    classes: tuple[str, ...]


@functools.lru_cache(maxsize=2)
def subject(
    dataset: str,
    seed: int,
    architecture: str,
    n: int,
    classifier_steps: int,
    precision: str,
    device: str,
) -> Subject:
    """Train both classifiers; the last two are kept, so that several attacks meet the same one."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {architecture!r}: {', '.join(ARCHITECTURES)}")
    size = SIZES.get(dataset)
    whole = data.load(dataset, device=device, size=size)
    test = data.load(dataset, split="test", device=device, size=size)
    n = min(n, MOST.get(dataset, n))
    parts = data.split_held_out(whole, n, n, seed=seed)
    shuffle = torch.Generator().manual_seed(seed)
    networks = []
    for part, name, start in zip(parts, (architecture, "CNN"), (seed, seed + 1000)):
        _, channels, side, _ = part.images.shape
        generator = torch.Generator().manual_seed(start)
        network = ARCHITECTURES[name](channels, side, len(whole.classes), generator).to(device)
        with torch.random.fork_rng():
            torch.manual_seed(start)  # dropout
            train.fit(
                network,
                normalised(part.images),
                part.labels,
                steps=classifier_steps,
                lr=1e-3,
                precision=precision,
                seed=start,
            )
        networks.append(network.eval())
    training, test = (
        data.DataSet(x.name, normalised(x.images), x.labels, x.classes)
        for x in (y.take(torch.randperm(len(y), generator=shuffle)) for y in (parts[0], test))
    )
    return Subject(*networks, training, test, whole.classes)


def normalised(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]"""
    return 2 * images - 1


def as_bytes(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255"""
    return (127.5 * (images + 1)).round().to(torch.uint8)


@torch.no_grad()
def described(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [n, classes] and penultimate features [n, d] of images, in evaluation mode."""
    with inversion.watched(network) as look:
        parts = [look(some) for some in images.split(500)]
    return tuple(torch.cat(part) for part in zip(*parts))


def trained_generator(
    of: Subject, *, seed: int, weights: Mapping[str, float], steps: int, precision: str, **settings
) -> tuple[inversion.Generator, dict[str, list[float]]]:
    """A generator, trained against the classifier, and its history."""
    batch, lr = settings.pop("batch"), settings.pop("lr")
    _, channels, size, _ = of.training.images.shape
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = inversion.Generator(len(of.classes), channels, size, **settings)
    generator.to(of.training.images.device)
    history = inversion.invert(
        of.classifier,
        generator,
        steps=steps,
        weights=weights,
        lr=lr,
        batch=batch,
        dtype=train.PRECISIONS[precision],
        seed=seed,
        observe_at=OBSERVED_AT,
        observed=200,
    )
    return generator, history


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
    except inversion.Diverged as error:
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
    test_logits, _ = described(of.classifier, of.test.images[:COMPARED])
    found = {
        "failure": inversion.complaint(history) or "",
        "diverged": 0,
        "generator_seconds": seconds,
        "inversion_accuracy": samples.correct.double().mean().item(),
        "worst_class_accuracy": by_class.min().item(),
        "confidence": samples.confidence.double().mean().item(),
        "asked_confidence": samples.vectors.amax(1).double().mean().item(),
        "test_accuracy": _share(test_logits.argmax(1) == of.test.labels[:COMPARED]),
        "test_confidence": test_logits.softmax(1).amax(1).double().mean().item(),
        "images_compared": len(kept),
        **metrics.diversity(seen, labels, images),
        "clusters": clusters_by_class(seen, labels, len(of.classes)),
        **_unlike(of, images, labels),
        **_convergence(history),
        **_obeyed(made, of, own + 60),
        "accuracy_by_class": by_class,
        "images": as_bytes(images[shown]),
        "shown_labels": labels[shown],
    }
    return found | {f"at_{name}": np.asarray(values) for name, values in history.items()}


def first_of_each(labels: Tensor, count: int, classes: int) -> Tensor:
    """Indices of the first `count` of each class, or as many as there are, class by class."""
    return torch.cat([(labels == k).nonzero()[:count, 0] for k in range(classes)])


def _share(true: Tensor) -> float:
    return true.double().mean().item()


def _by_class(samples: inversion.Samples) -> Tensor:
    """Inversion accuracy of each class [classes]."""
    return torch.stack([samples.correct[samples.labels == k].double().mean()
                        for k in samples.labels.unique()])  # fmt: skip


def clusters_by_class(seen: Tensor, labels: Tensor, classes: int) -> list[int]:
    """Number of clusters in the features of each class; 0 where there are too few images."""
    groups = [seen[labels == k] for k in range(classes)]
    return [features.cluster_count(group) if len(group) >= 20 else 0 for group in groups]


def _unlike(of: Subject, images: Tensor, labels: Tensor) -> dict[str, float]:
    """How unlike the training images these are, in the eyes of the oracle: I09's measures.

    Its features are divided by the root mean square of those of the training images, because KID
    depends on their scale.
    """
    _, known = described(of.oracle, of.training.images[:COMPARED])
    test_images, test_labels = of.test.images[:COMPARED], of.test.labels[:COMPARED]
    test_logits, test = described(of.oracle, test_images)
    logits, made = described(of.oracle, images)
    known, test, made = (x / known.square().mean().sqrt() for x in (known, test, made))
    return {
        "oracle_accuracy": _share(logits.argmax(1) == labels),
        "oracle_test_accuracy": _share(test_logits.argmax(1) == test_labels),
        "oracle_intra": metrics.diversity(made, labels, images)["intra"],
        "oracle_test_intra": metrics.diversity(test, test_labels, test_images)["intra"],
        "kid": metrics.kid(made, known),
        "test_kid": metrics.kid(test, known),
        "nearest_auroc": metrics.auroc(
            metrics.nearest_distance(made, known), metrics.nearest_distance(test, known)
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


def _obeyed(made: inversion.Generator, of: Subject, seed: int, count: int = 500) -> dict:
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
            described(
                of.classifier,
                inversion.generate(made, inversion.Conditions(told, vectors, matrix)),
            )[0].argmax(1)
            for matrix in (matrices, torch.zeros_like(matrices))
        )
    return {
        "follows_matrix": _share(crossed == other),
        "follows_vector": _share(crossed == told),
        "accuracy_blank_matrix": _share(blank == told),
    }


# --- reading the results ------------------------------------------------------------------------

EVERY_CLASS = 0.99  # inversion accuracy that the chosen weights must reach in every class


def chosen_weights(results: Sequence[Result]) -> dict[str, float]:
    """α, β, γ, δ: the largest Vendi score of those settings for which every class is accurate.

    The rule knows the generator and the classifier, no image of any data set. Means over the seeds
    of a setting; of equals the first. Without results, or if no setting is accurate enough, all
    weights are 1.
    """
    found: dict[tuple[float, ...], list[Result]] = {}
    for result in results:
        if "vendi" in result.scalars:
            found.setdefault(tuple(result.parameters[term] for term in TERMS), []).append(result)
    scores = {
        setting: float(np.mean([r["vendi"] for r in runs]))
        for setting, runs in found.items()
        if np.mean([r["worst_class_accuracy"] for r in runs]) >= EVERY_CLASS
    }
    best = max(scores, key=scores.get) if scores else (1.0,) * len(TERMS)
    return dict(zip(TERMS, best))


def loss_checks(seeds: Sequence[int], n: int = 48, d: int = 12) -> dict[str, list[float]]:
    """The terms of the loss against their formulas written out, on random input: I01."""
    names = ("largest_deviation", "cosine_above_bound", "orthogonality_above_floor")
    found: dict[str, list[float]] = {name: [] for name in names}
    for seed in seeds:
        random = np.random.default_rng(seed)
        rows, logits = random.normal(size=(n, d)), random.normal(size=(n, d))
        p = np.exp(random.normal(size=(n, d)))
        p /= p.sum(1, keepdims=True)
        q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = p.argmax(1)
        unit = [row / np.sqrt((row * row).sum()) for row in rows]
        cosines = np.array([[a @ b for b in unit] for a in unit])
        off = [cosines[i, j] for i in range(n) for j in range(n) if i != j]
        exact = [
            np.mean([sum(a * np.log(a / b) for a, b in zip(*pair)) for pair in zip(p, q)]),
            np.mean([-np.log(q[i, label]) for i, label in enumerate(labels)]),
            sum(off) / (n * (n - 1)),
            ((cosines - np.eye(n)) ** 2).sum() / n**2,
        ]
        x, z, t = (torch.from_numpy(a) for a in (rows, logits, p))
        cosine, orthogonality = losses.cosine_similarity(x), losses.orthogonality(x)
        ours = [
            losses.kl_divergence(t, z),
            losses.cross_entropy(z, torch.from_numpy(labels)),
            cosine,
            orthogonality,
        ]
        found["largest_deviation"].append(
            max(abs(a.item() - float(b)) for a, b in zip(ours, exact))
        )
        found["cosine_above_bound"].append(cosine.item() + 1 / (n - 1))
        found["orthogonality_above_floor"].append(orthogonality.item() - (1 / d - 1 / n))
    return found


# --- what the features show: chapter 4 ----------------------------------------------------------

PLANE_POINTS = 60  # of each class, in scatter plots
MESH = 120
TSNE_PER_CLASS = 50
STRONGEST = 16  # units of a class whose overlap is taken
PORTRAYED, PORTRAITS = 3, 8  # units shown of either kind, and the images that fire each most


def interpreted(
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
    generators: int = 3,
    architecture: str = "regularised CNN",
    width: int = 32,
    batch: int = 64,
    lr: float = 2e-3,
    perplexities: tuple[int, ...] = (5, 30, 100),
    units: int = 256,
    active: int = 8,
    judged: int = 2000,
    precision: str = "float32",
    device: str = "cpu",
) -> dict:
    """Penultimate features of inverted images beside those of training and test images.

    Args:
        generators: how many are trained against the same classifier; they are those of `inverted`
            with the same `seed` and `generator` 0, 1, and so on.
        perplexities: of t-SNE.  units, active: of the sparse autoencoders.
        judged: images of each kind whose units are compared, where there are so many.
    """
    of = subject(dataset, seed, architecture, n, classifier_steps, precision, device)
    classes = len(of.classes)
    made = []
    for own in range(100 * seed, 100 * seed + generators):
        generator, _ = trained_generator(
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
        made.append(inversion.sample(generator, of.classifier, 2 * judged, seed=own + 70))
    known = Kind.of(of.classifier, of.training)
    test = Kind.of(of.classifier, of.test)
    inverted_ = [Kind(x.images, x.features, x.logits, x.labels) for x in made]
    return {
        "accuracies": [_share(x.correct) for x in made],
        **_planes(of, inverted_[0], known, test),
        **_embedded(inverted_[0], perplexities, classes, seed),
        **_units(classes, inverted_, known, test, units, active, judged, seed),
    }


@dataclass(frozen=True)
class Kind:
    """Images of one kind, their features and logits, and their labels or those asked for."""

    images: Tensor  # [n, channels, size, size] in [-1, 1]
    features: Tensor  # [n, d]
    logits: Tensor  # [n, classes]
    labels: Tensor  # [n]

    @classmethod
    def of(cls, classifier: nn.Module, images: data.DataSet) -> "Kind":
        logits, found = described(classifier, images.images)
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
    units: int,
    active: int,
    judged: int,
    seed: int,
) -> dict:
    """Sparse autoencoders on penultimate features: which units fire on which images. I15, I16.

    A first dictionary is fitted to equally many training and inverted images, and used to compare
    units. A second one, fitted to training images only, is the anomaly detector. Inverted images
    that are judged were not fitted to; training images are fitted to, test images are not.
    """
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
        name: [
            features.jaccard(a, b) for a, b in zip(strongest["training"], strongest[name])
        ]
        for name in ("test", "inverted")
    }
    return {
        "unexplained": float(np.mean(losses[-50:])),
        "dead_units": _share((torch.cat(list(codes.values())) > 0).sum(0) == 0),
        "overlap_test": overlap["test"],
        "overlap_inverted": overlap["inverted"],
        **{f"rates_{name}": own.half() for name, own in rates.items()},
        **_detected(kinds, units, active, seed, classes),
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
        name: metrics.auroc(scores["inverted"][name], scores["test"][name])
        for name in scores["test"]
    }


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
