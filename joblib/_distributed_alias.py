"""Makes ``import distributed.joblib`` work where distributed has no such module.

The backend for dask once lived in distributed, and ``import distributed.joblib``
registered it. Scripts from then still say so, after their import of joblib. The
finder below stands behind all others and answers for that one name, so a
`distributed` that does have the module is left alone; neither dask nor distributed
is imported before a script asks for them. A script that imports
``distributed.joblib`` before joblib has to swap the two lines.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

NAME = "distributed.joblib"


class DistributedJoblib:
    """Finder and loader of `NAME`."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of the one module known here."""
        return ModuleSpec(name, self) if name == NAME else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Hand on the backend, which is registered under its names anyway."""
        backend = importlib.import_module("joblib._dask")
        module.__doc__ = "The joblib backend for dask, where it used to live."
        module.DaskDistributedBackend = (  # type: ignore[attr-defined]
            backend.DaskDistributedBackend
        )


def install() -> None:
    """Put the finder behind all others, once."""
    if not any(
        type(finder).__name__ == "DistributedJoblib" for finder in sys.meta_path
    ):
        sys.meta_path.append(DistributedJoblib())
