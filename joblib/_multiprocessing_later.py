"""What a program finds in multiprocessing that imports it after joblib.

``import joblib`` once brought multiprocessing and loky with it, and programs rely on
two traces of that: ``multiprocessing.set_start_method("loky")`` knows the method, and
``multiprocessing.util`` is there without an import of its own. Importing either costs
more than all of joblib, so both are left until a program asks: the first finder of
modules waits for multiprocessing, and loky is imported when its method is asked for.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

#: the part of multiprocessing that knows the start methods
NAME = "multiprocessing.context"
LOKY_METHODS = ("loky", "loky_init_main")


class StartMethods(dict[str, Any]):
    """The start methods by name; those of loky are registered when asked for."""

    def __missing__(self, name: str) -> Any:
        if name not in LOKY_METHODS:
            raise KeyError(name)
        importlib.import_module("loky.backend.context")  # puts them here
        return dict(self)[name]


def complete(context: ModuleType) -> None:
    """Give multiprocessing, which is there or on its way, what it had with joblib."""
    methods = context._concrete_contexts
    if not isinstance(methods, StartMethods):
        context._concrete_contexts = StartMethods(methods)  # type: ignore[attr-defined]
    importlib.import_module("multiprocessing.util")


class ContextLoader:
    """Loads `NAME` as its own loader does, and completes it."""

    def __init__(self, finder: ContextFinder, loader: Any) -> None:
        self.finder = finder
        self.loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)  # what others ask of it: source, resources

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the loader to make the module."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, which is as any other from now on."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.finder.remove()
        complete(module)


class ContextFinder:
    """Stands before all others, for one name, until that has been imported."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of `NAME` as others find it, with a loader of ours."""
        if name != NAME:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if type(finder).__name__ == type(self).__name__ or find is None:
                continue
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = ContextLoader(self, spec.loader)  # type: ignore[assignment]
                return spec
        return None

    def remove(self) -> None:
        """Let other imports go their way."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]


def install() -> None:
    """Complete multiprocessing when it is imported, or now if it has been."""
    context = sys.modules.get(NAME)
    if context is not None and hasattr(context, "_concrete_contexts"):
        complete(context)
    elif not any(type(finder).__name__ == "ContextFinder" for finder in sys.meta_path):
        sys.meta_path.insert(0, ContextFinder())
