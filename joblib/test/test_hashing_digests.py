"""Digests: those of upstream's release 1.6.0, and what makes them differ or agree."""

from __future__ import annotations

import collections
import datetime
import decimal
import functools
import hashlib
import json
import operator
import os
import pickle
import random
import re
import subprocess
import sys
import tracemalloc
import types
from pathlib import Path

import pytest

import joblib
from joblib.hashing import Hasher, NumpyHasher, Pickler
from joblib.test import persistence_objects
from joblib.test.persistence_objects import ADict, Plain

np = pytest.importorskip("numpy")

# {expression: [md5, sha1]}, made by upstream; never to be made again by us.
DIGESTS = json.loads(
    (Path(__file__).parent / "data" / "hash_digests.json").read_text("utf-8")
)
NAMES = {
    **vars(persistence_objects),
    **{
        module.__name__: module
        for module in (
            collections,
            datetime,
            decimal,
            functools,
            operator,
            random,
            re,
            types,
        )
    },
    "np": np,
}


def test_there_are_enough_digests():
    assert len(DIGESTS) >= 200


@pytest.mark.parametrize("expression", DIGESTS)
def test_digests_are_those_of_upstream(expression):
    md5, sha1 = DIGESTS[expression]
    assert joblib.hash(eval(expression, NAMES)) == md5
    assert joblib.hash(eval(expression, NAMES), hash_name="sha1") == sha1


@pytest.mark.parametrize("expression", DIGESTS)
def test_the_hasher_class_agrees_with_the_function(expression):
    assert NumpyHasher().hash(eval(expression, NAMES)) == DIGESTS[expression][0]


def test_digests_do_not_depend_on_numpy_being_loaded():
    script = "import joblib; print(joblib.hash((1, 'a', {'b': [2.5]}, {3}, len)))"
    loaded, bare = (
        subprocess.run(
            [sys.executable, "-c", prefix + script], capture_output=True, text=True
        ).stdout
        for prefix in ("import numpy; ", "")
    )
    assert loaded == bare
    assert len(bare.strip()) == 32


def test_digests_do_not_depend_on_the_process():
    # Hashes of texts differ from process to process, and so does what rests on them.
    script = """
import datetime, joblib
from joblib.test.persistence_objects import Colour
texts = frozenset(map(str, range(20)))
mixed = frozenset([None, "a", "b", b"c", (1, "d"), 2, int, Colour.RED, Colour.BLUE])
days = frozenset(datetime.date(2020, 1, day) for day in range(1, 9))
inner = frozenset([frozenset("ab"), frozenset("bc"), frozenset("cd"), frozenset()])
edges = {edge: len(edge) for edge in inner}
print(*map(joblib.hash, [texts, mixed, days, inner, edges, set(inner), set(edges)]))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in range(4)
    }
    assert len(printed) == 1
    assert len(set(printed.pop().split())) == 6


@pytest.mark.parametrize(
    "members", [[3, 1, 2], [2**61, 5, -1], [1.5, 1j], [(1, 2), (0,), frozenset([9, 3])]]
)
def test_frozen_sets_that_are_the_same_everywhere_keep_their_order(members):
    frozen = frozenset(members)
    listed = pickle._dumps(frozen, protocol=3)
    assert joblib.hash(frozen) == hashlib.md5(listed).hexdigest()


def test_digests_do_not_depend_on_the_order_of_sets_and_dictionaries():
    words = [f"word {i}" for i in range(50)]
    forth = {"set": set(words), "dict": {word: 1 for word in words}}
    back = {"dict": {word: 1 for word in words[::-1]}, "set": set(words[::-1])}
    assert joblib.hash(forth) == joblib.hash(back)


def test_mappings_with_keys_that_do_not_compare_are_told_apart():
    assert joblib.hash(ADict({1: 1, "a": 2})) != joblib.hash(ADict({3: 1, "b": 2}))
    assert joblib.hash(ADict({1: 1, "a": 2})) == joblib.hash(ADict({"a": 2, 1: 1}))


def test_decimals_that_are_no_numbers_are_keys_like_others():
    nan = decimal.Decimal("nan")
    assert joblib.hash({decimal.Decimal(0): 1, nan: 2}) == joblib.hash(
        {nan: 2, decimal.Decimal(0): 1}
    )


@pytest.mark.parametrize("mask", [[0, 1], [1, 0], [0, 0]])
def test_the_mask_counts(mask):
    array = np.ma.masked_array([1, 2], mask=mask)
    assert joblib.hash(array) == joblib.hash(array.copy())
    assert joblib.hash(array) != joblib.hash(np.ma.masked_array([1, 2], mask=[1, 1]))


@pytest.mark.parametrize("hash_name", [None, "md5", "sha1", "xxh3_128"])
def test_a_memmap_is_an_array_if_asked_for(tmp_path, hash_name):
    if hash_name == "xxh3_128":
        pytest.importorskip("xxhash")
    names = {} if hash_name is None else {"hash_name": hash_name}
    array = np.arange(10.0)
    mapped = np.memmap(tmp_path / "m", mode="w+", dtype=float, shape=10)
    mapped[:] = array
    assert joblib.hash(mapped, coerce_mmap=True, **names) == joblib.hash(array, **names)
    assert joblib.hash(mapped, **names) != joblib.hash(array, **names)
    assert joblib.hash([mapped], coerce_mmap=True, **names) == joblib.hash(
        [array], **names
    )


@pytest.mark.parametrize("name", ["sha256", "blake2b", "sha3_512"])
def test_any_algorithm_of_hashlib(name):
    # The whole stream of an atom: protocol 3, the number, the end.
    assert joblib.hash(1, hash_name=name) == (
        hashlib.new(name, b"\x80\x03K\x01.").hexdigest()
    )


def test_xxhash():
    xxhash = pytest.importorskip("xxhash")
    digest = joblib.hash(1, hash_name="xxh3_128")
    assert digest == xxhash.xxh3_128(b"\x80\x03K\x01.").hexdigest()
    strided = np.arange(20.0)[::2]
    assert joblib.hash(strided, hash_name="xxh3_128") != joblib.hash(
        strided.copy(), hash_name="xxh3_128"
    )


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xxhash", None)
    with pytest.raises(ImportError, match="pip install xxhash"):
        joblib.hash(1, hash_name="xxh3_128")


@pytest.mark.parametrize("name", ["invalid", "shake_128", "", None, 5])
def test_unknown_algorithms_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match="Valid options for 'hash_name' are.*xxh3_128"):
        joblib.hash({"a": 1}, hash_name=name)


def test_what_cannot_be_pickled_is_named():
    def local():
        pass

    with pytest.raises(pickle.PicklingError, match="PicklingError while hashing"):
        joblib.hash([local])


def test_a_large_array_that_is_not_contiguous_is_gathered_piecewise(monkeypatch):
    from joblib._persist import array_bytes

    array = np.arange(10000.0).reshape(100, 100)[:, 1:]
    whole = joblib.hash(array)
    monkeypatch.setattr(array_bytes, "GATHER_BYTES", 1000)
    assert len(list(array_bytes.array_chunks(array))) > 50
    assert joblib.hash(array) == whole


@pytest.mark.soak
@pytest.mark.parametrize("hash_name", ["md5", "xxh3_128"])
def test_a_large_array_is_hashed_without_a_copy_of_it(hash_name):
    if hash_name == "xxh3_128":
        pytest.importorskip("xxhash")
    from joblib._persist import array_bytes

    array = np.zeros((10, 10 << 20), dtype="f4")[:, ::2]  # 200 MB of 400
    array += np.arange(10, dtype="f4")[:, None]
    for value in (array, array.T, [array], {"k": array[::-1]}):
        tracemalloc.start()
        try:
            joblib.hash(value, hash_name=hash_name)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 4 * array_bytes.GATHER_BYTES


def test_hashing_keeps_nothing_alive():
    import gc
    import weakref

    value = Plain(x=[1], y=(2, Plain()))
    ref = weakref.ref(value)
    gc.disable()
    try:
        joblib.hash(value)
        joblib.hash([value, {"a": value}])
        del value
        assert ref() is None
    finally:
        gc.enable()


def test_long_memos_and_batches():
    # More than 255 memo entries and more than 1000 items, in every container.
    value = [[i] for i in range(1500)]
    assert joblib.hash(value) == Hasher().hash(value)
    value = {i: (i,) for i in range(1500)}
    assert joblib.hash([value, value]) == Hasher().hash([value, value])


class RoundingHasher(NumpyHasher):
    """Rounds floats, and counts what it is shown."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seen = []

    def save(self, obj):
        self.seen.append(type(obj))
        if isinstance(obj, float):
            obj = round(obj, 3)
        super().save(obj)


def test_a_subclass_is_shown_every_part():
    hasher = RoundingHasher(hash_name="sha1", coerce_mmap=True)
    digest = hasher.hash([1.00001, {"a": (2.0, np.ones(2))}])
    assert digest == joblib.hash([1.0, {"a": (2.0, np.ones(2))}], hash_name="sha1")
    assert hasher.seen.count(float) == 2
    assert {list, dict, str, tuple, np.ndarray} <= set(hasher.seen)


class MemoizingHasher(Hasher):
    """Memoizes strings too, as pickle does."""

    def memoize(self, obj):
        Pickler.memoize(self, obj)


def test_a_subclass_decides_what_is_memoized():
    text = "text"
    assert MemoizingHasher().hash([text, text]) != Hasher().hash([text, text])


def test_a_hasher_goes_on_where_it_is_told_to():
    hasher = Hasher()
    assert hasher.hash(1, return_digest=False) is None
    assert hasher._hash.hexdigest() == joblib.hash(1)
