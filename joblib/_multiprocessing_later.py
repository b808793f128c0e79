"""What a program finds in multiprocessing that imports it after joblib.

``import joblib`` once brought multiprocessing and loky with it, and programs rely on
two traces of that: ``multiprocessing.set_start_method("loky")`` knows the method, and
``multiprocessing.util``, ``.pool`` and others are there without imports of their own.
Importing any of it costs more than all of joblib, so it is left until a program asks:
a finder of modules waits for multiprocessing, and adds what imports the rest then.
Nothing is imported while multiprocessing is: another thread may be about it, too.
"""

from __future__ import annotations

import importlib
import sys
from _thread import get_ident
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

PACKAGE = "multiprocessing"
#: the part of it that knows the start methods, and is imported with it
NAME = "multiprocessing.context"
LOKY_METHODS = ("loky", "loky_init_main")
#: the parts that came with ``import joblib``
PARTS = (
    "connection",
    "pool",
    "queues",
    "resource_tracker",
    "spawn",
    "synchronize",
    "util",
)


class StartMethods(dict[str, Any]):
    """The start methods by name; those of loky are registered when asked for."""

    def __missing__(self, name: str) -> Any:
        if name not in LOKY_METHODS:
            raise KeyError(name)
        importlib.import_module("loky.backend.context")  # puts them here
        return dict(self)[name]


def _part(name: str) -> Any:
    """Stand in for a part of multiprocessing that has not been imported."""
    if name in PARTS:
        try:
            return importlib.import_module(f"{PACKAGE}.{name}")
        except ImportError:  # no semaphores on this platform
            pass
    raise AttributeError(f"module {PACKAGE!r} has no attribute {name!r}")


def complete(context: ModuleType) -> None:
    """Give multiprocessing, of which `context` is there, what it had with joblib."""
    methods = getattr(context, "_concrete_contexts", None)
    if type(methods) is dict:
        context._concrete_contexts = StartMethods(methods)  # type: ignore[attr-defined]
    package = sys.modules.get(PACKAGE)
    if package is not None:
        vars(package).setdefault("__getattr__", _part)


class ContextLoader:
    """Loads `NAME` as its own loader does, and completes it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)  # what others ask of it, such as its source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the loader to make the module."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, which is as any other from now on."""
        spec = module.__spec__
        if spec is not None:
            spec.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        complete(module)


class ContextFinder:
    """Stands before all others, for one name."""

    def __init__(self) -> None:
        self._asking: set[int] = set()  # threads that are asking the others

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the spec of `NAME` as others find it, with a loader of ours."""
        if name != NAME:
            return None
        thread = get_ident()
        if thread in self._asking:  # by one of the others, which asks all in its turn
            return None
        self._asking.add(thread)
        try:
            spec = self._ask(name, path, target)
        finally:
            self._asking.discard(thread)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = ContextLoader(spec.loader)  # type: ignore[assignment]
        return spec

    def _ask(self, *query: Any) -> ModuleSpec | None:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None:
                spec: ModuleSpec | None = find(*query)
                if spec is not None:
                    return spec
        return None


def install() -> None:
    """Complete multiprocessing when it is imported, or now if it has been."""
    context = sys.modules.get(NAME)
    if hasattr(context, "_concrete_contexts"):
        complete(context)  # type: ignore[arg-type]
    if not any(type(finder).__name__ == "ContextFinder" for finder in sys.meta_path):
        sys.meta_path.insert(0, ContextFinder())
