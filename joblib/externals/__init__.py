"""``joblib.externals.loky`` and ``.cloudpickle``: the installed packages, aliased.

Both used to be copies inside joblib, and many programs import them, or one of
their submodules, from here. ``import joblib.externals.loky.process_executor``
gives the module object ``loky.process_executor`` itself, so that classes,
caches and patches are shared with those who import loky by its own name.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

ALIASED = ("loky", "cloudpickle")

_PREFIX = __name__ + "."


class _AliasLoader(Loader):
    """Gives out a module that is imported under its real name."""

    def __init__(self, real_name: str) -> None:
        self.real_name = real_name
        self.real_spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self.real_name)
        self.real_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The code has run already. The import system has put the alias's spec
        # on the module on its way here: give the module its own back.
        module.__spec__ = self.real_spec

    def get_code(self, fullname: str) -> CodeType | None:
        """Return what ``python -m`` runs."""
        spec = importlib.util.find_spec(self.real_name)
        loader = spec.loader if spec is not None else None
        if isinstance(loader, InspectLoader):
            return loader.get_code(self.real_name)
        return None


class _AliasFinder(MetaPathFinder):
    """Finds ``joblib.externals.<package>[.submodule]``."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PREFIX):
            return None
        real_name = fullname[len(_PREFIX) :]
        if real_name.partition(".")[0] not in ALIASED:
            return None
        if importlib.util.find_spec(real_name) is None:
            return None
        return ModuleSpec(fullname, _AliasLoader(real_name))


# First in line: the path of an aliased package would lead the ordinary finder
# to its submodules, and have it load each a second time under the alias.
if not any(isinstance(finder, _AliasFinder) for finder in sys.meta_path):
    sys.meta_path.insert(0, _AliasFinder())


def __getattr__(name: str) -> Any:
    if name in ALIASED:
        return importlib.import_module(_PREFIX + name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
