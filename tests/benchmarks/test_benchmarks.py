"""The benchmarks run and print what they promise; nothing is asserted about time."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def printed(*command: str) -> str:
    result = subprocess.run(
        [sys.executable, *command], cwd=BENCHMARKS.parent, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        (
            "attack_step.py",
            ["--threads", "1"],
            [
                "measuring m = 10:",
                "m = 100, rounds 1",
                "plain",
                "gram",
                "lossless, rank 100",
                "truncated, rank",
            ],
        ),
        (
            "inversion.py",
            ["--threads", "1"],
            [
                "28 × 28 × 1, straight",
                "32 × 32 × 3, ours bfloat16",
                "÷ straightforward",
                "times as",
            ],
        ),
        (
            "minibatch.py",
            ["--threads", "1"],
            ["MLP, 28 × 28 × 1", "ViT, 32 × 32 × 3", "fit bfloat16", "float32 ÷ plain", "once:"],
        ),
        (
            "reconstruction.py",
            ["--threads", "1"],
            ["28 × 28 × 1, straight", "32 × 32 × 3, ours bfloat16", "up to", "÷ straightforward"],
        ),
        ("training.py", [], ["loss-scaled, 0.01", "constant, 0.01", "seeds 0", "× loss-scaled"]),
    ],
)
def test_quick_runs_print_environment_and_table(script, options, expected):
    text = printed(str(BENCHMARKS / script), "--quick", *options)
    for part in ["Python", "torch", "1 threads used", "load", *expected]:
        assert part in text


def test_the_shared_helper_is_harmless_as_a_script():
    """`make bench` runs every file in the folder."""
    assert printed(str(BENCHMARKS / "timing.py")) == ""
