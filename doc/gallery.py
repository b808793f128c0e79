"""What the gallery of examples asks for: their order, and a clean start for each."""

from __future__ import annotations

from typing import Any

import joblib

#: from the first that one reads to the last
ORDER = [
    "quick_tour.py",
    "distributed_training.py",
    "random_forests.py",
    "out_of_core_arrays.py",
    "generators.py",
    "tracing_a_slow_run.py",
    "cached_pipeline.py",
    "custom_backend.py",
]


class Order:
    """Sorts the files of the gallery; those that are not listed come last.

    Parameters
    ----------
    source_dir : str
        Where they are.
    """

    def __init__(self, source_dir: str) -> None:
        self.source_dir = source_dir

    def __call__(self, filename: str) -> tuple[int, str]:
        """Return the place of a file."""
        place = ORDER.index(filename) if filename in ORDER else len(ORDER)
        return place, filename


def reset(gallery_conf: dict[str, Any], fname: str) -> None:
    """End the workers that an example has left for the next call."""
    joblib.shutdown()
