"""The sign for a result that is not there."""

from __future__ import annotations

from typing import Any

MISS: Any = object()  # what no function returns
