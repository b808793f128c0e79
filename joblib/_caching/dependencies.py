"""What else a function depends on: the code of others, as one digest.

Functions, classes and modules are looked at once, when they are named: what a process
has imported stays what it was, though its files may change. Files are looked at again
whenever they have another time or size.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import os
import sys
import types
from typing import TYPE_CHECKING, Any

from .codetext import parse, tree_text
from .content import Content, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CHUNK = 1 << 20  # bytes


class Dependencies:
    """Functions, classes, modules and files that results depend on.

    Parameters
    ----------
    named : iterable
        As of ``Memory.cache(depends=)``.

    Raises
    ------
    TypeError
        When one of them is of another kind.
    OSError
        When a file cannot be read.
    """

    def __init__(self, named: Iterable[Any]) -> None:
        if isinstance(named, (str, bytes, os.PathLike)) or not hasattr(
            named, "__iter__"
        ):
            raise TypeError(
                "depends must be a list of functions, classes, modules or files; got "
                f"{named!r} of type {type(named).__name__}."
            )
        named = list(named)
        self._files = [
            _File(one) for one in named if isinstance(one, (str, os.PathLike))
        ]
        self._functions = [one for one in named if isinstance(one, types.FunctionType)]
        self._codes = [function.__code__ for function in self._functions]
        self._objects = [
            one for one in named if not isinstance(one, (str, os.PathLike))
        ]
        self._text = self._read()

    def __bool__(self) -> bool:
        return bool(self._text or self._files)

    def digest(self) -> str:
        """Return the digest of all, as they count now."""
        codes = self._codes
        if codes and any(
            function.__code__ is not code
            for function, code in zip(self._functions, codes, strict=True)
        ):
            # As tools for notebooks do that reload edited modules.
            self._codes = [function.__code__ for function in self._functions]
            self._text = self._read()
        if not self._files:
            return self._text
        return digest_of(";".join((self._text, *(file.text() for file in self._files))))

    def _read(self) -> str:
        if not self._objects:
            return ""
        return digest_of(";".join(map(_describe, self._objects)))

    def __getstate__(self) -> dict[str, Any]:
        # What is named need not be picklable, and is what it is in this process.
        return {**self.__dict__, "_objects": [], "_functions": [], "_codes": []}


class _File:
    """A file by its content."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(path)
        self._stamp: tuple[int, ...] | None = None
        self._digest = ""
        self.text()

    def text(self) -> str:
        """Return what stands for the content; it is read again when it has changed."""
        stat = os.stat(self._path)
        stamp = stat.st_mtime_ns, stat.st_ino, stat.st_size
        if stamp != self._stamp:
            self._digest = _digest_file(self._path)
            self._stamp = stamp
        return f"file:{self._digest}"


def _describe(named: Any) -> str:
    if isinstance(named, types.ModuleType):
        return _describe_module(named)
    options = getattr(named, "_key_options", None)
    if getattr(type(named), "_is_cached_function", False):
        text = Content(named.func, with_classes=True).text
        if options is not None:  # what it depends on in turn
            depends = options.depends.digest() if options.depends is not None else ""
            text = f"{text}:{options.version}:{depends}"
        return text
    if not callable(named):
        raise TypeError(
            "depends takes functions, classes, modules and files (paths); got "
            f"{named!r} of type {type(named).__name__}. A value can be given as "
            "version=."
        )
    return Content(named, with_classes=True, opened=True).text


def _describe_module(module: types.ModuleType) -> str:
    """Tell the code of a module; of a package, that of all modules in it."""
    folders = list(getattr(module, "__path__", ()))
    if folders:
        files = [
            (os.path.relpath(path, folder), path)
            for folder in folders
            for path in _walk(folder)
        ]
    else:
        path = getattr(module, "__file__", None)
        if path is None:  # part of Python, or made up in this process
            return f"module:{module.__name__}:{sys.version_info[:3]}"
        files = [("", path)]
    texts = [f"{name}={_describe_code(path)}" for name, path in sorted(files)]
    return f"module:{module.__name__}:{','.join(texts)}"


def _walk(folder: str) -> Iterator[str]:
    suffixes = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
    for root, directories, names in os.walk(folder):
        directories[:] = [name for name in directories if name != "__pycache__"]
        for name in names:
            if name.endswith(suffixes):
                yield os.path.join(root, name)


def _describe_code(path: str) -> str:
    if path.endswith(".py"):
        with open(path, "rb") as stream:
            tree = parse(stream.read())
        if tree is not None:
            return digest_of(tree_text(tree))
    return _digest_file(path)


def _digest_file(path: str) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
