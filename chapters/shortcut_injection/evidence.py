"""Chapter 1: from results to the measures of its claims, one function a claim."""

from chapters.shortcut_injection.reading import cells, in_four_sets, without_diverged
from harness.results import Result, Runs

Measures = dict[str, list[float]]

INJECTION = (
    "pixels_in_two_masks",
    "mask_pixels",
    "not_white_inside",
    "changed_outside",
    "clean_changed",
    "patch_pixels_accuracy",
)


@in_four_sets
def S01(alone: Runs) -> dict[str, Measures]:
    """What the planted images are, and what a logistic regression reads off the patch pixels."""
    return {
        alone.title(dataset): {
            measure: alone.where(dataset=dataset).values(measure) for measure in INJECTION
        }
        for dataset in alone.of("dataset")
    }


@in_four_sets
@without_diverged
def S02(planted: Runs) -> dict[str, Measures]:
    """Our two measures against a second implementation: arithmetic, not a finding."""
    return {
        cell: {"definition_error": own.values("definition_error")}
        for cell, own in cells(planted).items()
    }


@in_four_sets
@without_diverged
def S10(prolonged: Runs) -> dict[str, Measures]:
    """How clean accuracy moves after its best epoch, where training was long enough to ask."""
    return {
        cell: {
            measure: own.values(measure)
            for measure in ("rank_correlation_epoch_clean", "drop_from_best_clean")
        }
        for cell, own in cells(prolonged).items()
        if all(_long_enough(result) for result in own)
    }


def _long_enough(result: Result) -> bool:
    """Whether it lasted ten times as long as the shortcut took to be learned."""
    return result.parameters["epochs"] >= 10 * result["epochs_to_shortcut"]
