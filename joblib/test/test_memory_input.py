"""What `Memory` says to input that makes no sense: one table."""

from __future__ import annotations

import pickle
import warnings

import pytest

from joblib import Memory

SILENT = {"verbose": 0}


def work(x, y=0):
    return x


TABLE = [
    # what is asked, the error or warning, words of it
    ("location", lambda m, p: Memory(3, **SILENT), UserWarning, "int as a location"),
    ("location", lambda m, p: Memory(["x"], **SILENT), UserWarning, "list as a loc"),
    ("location", lambda m, p: Memory(b"x", **SILENT), UserWarning, "bytes as a loc"),
    ("store", lambda m, p: Memory(p, "s3", **SILENT), TypeError, "backend s3"),
    ("store", lambda m, p: Memory(p, None, **SILENT), TypeError, "backend None"),
    ("store", lambda m, p: Memory(p, ["x"], **SILENT), TypeError, "backend"),
    ("ignored", lambda m, p: m.cache(work, ignore=["z"])(1), ValueError, "'z' is not"),
    ("ignored", lambda m, p: m.cache(work, ignore="y")(1), ValueError, "be a list"),
    ("bytes", lambda m, p: m.reduce_size(bytes_limit=-1), ValueError, "bytes_limit"),
    ("bytes", lambda m, p: m.reduce_size(bytes_limit="-1K"), ValueError, "bytes_limit"),
    ("bytes", lambda m, p: m.reduce_size(bytes_limit="x"), ValueError, "size"),
    ("items", lambda m, p: m.reduce_size(items_limit=-1), ValueError, "items_limit"),
    (
        "callback",
        lambda m, p: m.cache(work, cache_validation_callback=3),
        ValueError,
        "3",
    ),
    ("function", lambda m, p: m.cache(3), TypeError, "needs a function"),
    (
        "argument",
        lambda m, p: m.cache(work)(1, y=(i for i in ())),
        TypeError,
        "Argument 'y' of .*work",
    ),
    (
        "argument",
        lambda m, p: m.cache(work)(lambda: 1),
        pickle.PicklingError,
        "Argument 'x' of .*work",
    ),
    ("arguments", lambda m, p: m.cache(work)(), ValueError, "x"),
    ("arguments", lambda m, p: m.cache(work)(1, 2, 3), ValueError, "work"),
]


@pytest.mark.parametrize("what, ask, kind, words", TABLE)
def test_bad_input(what, ask, kind, words, tmp_path):
    memory = Memory(tmp_path, **SILENT)
    if issubclass(kind, Warning):
        with pytest.warns(kind, match=words):
            assert ask(memory, str(tmp_path)).store_backend is None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(kind, match=words):
            ask(memory, str(tmp_path))
