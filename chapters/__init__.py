"""What the notebooks open, one folder a chapter."""

from harness import stamp  # noqa: F401  from here on modules keep the text they are loaded from
