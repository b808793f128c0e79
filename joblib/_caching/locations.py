"""What a location means: a path of this machine, or the URL of a remote place."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

if TYPE_CHECKING:
    from collections.abc import Mapping

# Two letters at least: "C://data" is a path of Windows. A chain such as
# "simplecache::s3://bucket" is named by its last link.
_URL = re.compile(r"(?:[a-z][a-z0-9_+.-]+::)*([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_USER = re.compile(r"(://)[^/@]*@")


def is_url(location: object) -> bool:
    """Tell whether a location is a URL; ordinary paths with odd characters are none."""
    return isinstance(location, str) and _URL.match(location) is not None


def resolve(location: Any) -> tuple[Any, dict[str, Any]]:
    """Turn what a user gives as a location into text.

    Parameters
    ----------
    location : object
        Text, a path, or an object that stands for a remote path, as those of
        universal_pathlib do: its text is a URL, its ``storage_options`` are options.

    Returns
    -------
    location : str or object
        Text; anything that is no location is passed on.
    storage_options : dict
        Options that came with it.
    """
    options = getattr(location, "storage_options", None)
    if options is not None and is_url(str(location)):
        return str(location), dict(options)
    if isinstance(location, os.PathLike):
        try:
            path = os.fspath(location)
        except (NotImplementedError, TypeError):
            return location, {}
        if isinstance(path, str):
            return path, {}
    return location, {}


def with_storage_options(
    options: Mapping[str, Any] | None, of_location: Mapping[str, Any]
) -> dict[str, Any]:
    """Add the options of a location to those of a store, where they are not given."""
    added = dict(options or {})
    if of_location:
        given = added.get("storage_options") or {}
        added["storage_options"] = {**of_location, **given}
    return added


def join(location: str, name: str) -> str:
    """Join a location and a name: with a slash where the location is a URL."""
    if not is_url(location):
        return os.path.join(location, name)
    if location.endswith("://"):
        return location + name
    return f"{location.rstrip('/')}/{name}"


def local_path(location: str) -> str | None:
    """Return the path that a ``file://`` URL stands for; None for other locations.

    Parameters
    ----------
    location : str
        Percent signs are decoded, as `pathlib.Path.as_uri` writes them.

    Raises
    ------
    ValueError
        When the URL names another machine.
    """
    if not location.lower().startswith("file://"):
        return None
    host, slash, rest = location[len("file://") :].partition("/")
    path = url2pathname(slash + rest)
    if host in ("", "localhost") and path:
        return path
    if host and os.name == "nt":
        return f"\\\\{host}{path}"
    raise ValueError(
        "A file URL has three slashes and an absolute path, such as "
        f"'file:///tmp/cache', got {location!r}."
    )


def without_user(location: str) -> str:
    """Return a URL without user name and password, to be shown."""
    return _USER.sub(r"\1", location)
