"""Entries that were damaged: at every byte, and by whatever stands in their place."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import warnings

import pytest

from joblib import Memory
from joblib._store_backends import CacheWarning

pytestmark = pytest.mark.slow

RUNS = []
KINDS = ["plain", "array", "compressed", "mapped"]
FILES = ["output.pkl", "metadata.json", "func_code.py"]


def work(x):
    RUNS.append(x)
    return {"value": x, "text": "some text"}


def make_array(x):
    import numpy as np

    RUNS.append(x)
    return np.arange(4) + x


async def work_async(x):
    RUNS.append(x)
    return {"value": x}


@pytest.fixture(autouse=True)
def runs():
    RUNS.clear()


class Place:
    """A cached function with one entry, its files, and what is told while it is used."""

    def __init__(self, kind, directory, caplog, **options):
        function = make_array if kind in ("array", "mapped") else work
        if function is make_array:
            pytest.importorskip("numpy")
        self.memory = Memory(
            directory,
            verbose=0,
            compress=("zlib", 3) if kind == "compressed" else False,
            mmap_mode="r" if kind == "mapped" else None,
        )
        self.cached = self.memory.cache(function, **options)
        self.expected = self.call()
        self.call_id = self.cached.func_id, self.cached._get_args_id(1)
        self.caplog = caplog
        RUNS.clear()

    def call(self):
        value = self.cached(1)
        return value.tolist() if hasattr(value, "tolist") else value

    def path(self, name):
        root = os.path.join(self.memory.store_backend.location, self.call_id[0])
        return os.path.join(root, *self.call_id[1 : 1 + (name != "func_code.py")], name)

    def read(self, name):
        with open(self.path(name), "rb") as stream:
            return stream.read()

    def write(self, name, content):
        with open(self.path(name), "wb") as stream:
            stream.write(content)

    def told(self, function):
        """Call a function; return what it returned and what was told meanwhile."""
        self.caplog.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = function()
        told = [str(warning.message) for warning in caught]
        return value, told + [record.getMessage() for record in self.caplog.records]

    def check_stored_right(self):
        """The next call is a hit, and nothing is left behind."""
        runs = len(RUNS)
        value, told = self.told(self.call)
        assert (value, told) == (self.expected, [])
        assert len(RUNS) == runs
        assert sorted(os.listdir(os.path.dirname(self.path("output.pkl")))) == [
            "metadata.json",
            "output.pkl",
        ]


@pytest.fixture(params=KINDS)
def place(request, tmp_path, caplog):
    return Place(request.param, tmp_path / "cache", caplog)


# -------------------------------------------------------------------- at every byte
def test_an_output_cut_at_every_byte(place):
    whole = place.read("output.pkl")
    for length in range(len(whole)):
        place.write("output.pkl", whole[:length])
        value, told = place.told(place.call)
        assert value == place.expected
        (message,) = told
        assert os.path.dirname(place.path("output.pkl")) in message
        place.check_stored_right()
    assert len(RUNS) == len(whole)


def test_metadata_cut_at_every_byte(tmp_path, caplog):
    place = Place("plain", tmp_path, caplog, cache_validation_callback=has_time)
    whole = place.read("metadata.json")
    for length in range(len(whole)):
        place.write("metadata.json", whole[:length])
        value, told = place.told(place.call)
        assert value == place.expected
        (message,) = told
        assert os.path.dirname(place.path("output.pkl")) in message
        place.check_stored_right()
    assert len(RUNS) == len(whole)


def has_time(metadata):
    return metadata["time"] > 0


def test_code_cut_at_every_byte(place):
    from joblib.memory import _FUNCTION_HASHES

    whole = place.read("func_code.py")
    silent = []
    for length in range(len(whole)):
        _FUNCTION_HASHES.clear()
        RUNS.clear()
        place.write("func_code.py", whole[:length])
        value, told = place.told(place.call)
        assert value == place.expected
        if len(RUNS) == 0:  # what is left computes the same
            assert told == []
            assert whole[length:].isspace()
            continue
        if whole[:length].endswith(b"\n") and whole[:length].count(b"\n") > 1:
            assert told in ([], told[:1])  # as if lines had been added since
            silent.append(length)
        else:
            (message,) = told
            assert place.call_id[0] in message
        assert place.read("func_code.py") == whole
        place.check_stored_right()
    assert len(silent) <= whole.count(b"\n")


@pytest.mark.parametrize("kind", ["plain", "array", "compressed"])
def test_an_output_with_a_flipped_byte(kind, tmp_path, caplog):
    """It is no hit, or right, or what was changed is plain data.

    A plain pickle says nothing by which a changed character could be told. With
    compression there are checksums.
    """
    place = Place(kind, tmp_path, caplog)
    whole = place.read("output.pkl")
    wrong = 0
    for position in range(len(whole)):
        for change in (0x80, 0xFF):
            RUNS.clear()
            flipped = bytearray(whole)
            flipped[position] ^= change
            place.write("output.pkl", bytes(flipped))
            value, told = place.told(place.call)
            if RUNS:
                assert value == place.expected
                (message,) = told
                assert place.call_id[1] in message
            else:
                assert told == []
                wrong += value != place.expected
            if RUNS:
                place.check_stored_right()
    if kind == "compressed":
        assert wrong == 0


def test_metadata_with_a_flipped_byte(tmp_path, caplog):
    place = Place("plain", tmp_path, caplog)
    whole = place.read("metadata.json")
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x80
        place.write("metadata.json", bytes(flipped))
        assert place.told(place.call) == (place.expected, [])
        _, told = place.told(lambda: place.cached.call_and_shelve(1))
        assert all(place.call_id[1] in message for message in told)
        assert len(told) <= 1
    assert RUNS == []


# ------------------------------------------------------------- what stands in its place
def become_directory(path):
    os.remove(path)
    os.mkdir(path)


def become_full_directory(path):
    become_directory(path)
    with open(os.path.join(path, "file"), "w") as stream:
        stream.write("x")


def become_empty(path):
    open(path, "wb").close()


def become_dangling_link(path):
    os.remove(path)
    os.symlink(path + ".nowhere", path)


def become_link_to_itself(path):
    os.remove(path)
    os.symlink(os.path.basename(path), path)


def become_garbage(path):
    with open(path, "wb") as stream:
        # not the first bytes of any compressed file, of which more would be told
        stream.write(b"garbage" + os.urandom(64))


NOTHING_THERE = [os.remove, become_dangling_link, become_link_to_itself]
SUBSTITUTES = [
    become_directory,
    become_full_directory,
    become_empty,
    become_dangling_link,
    become_link_to_itself,
    become_garbage,
    os.remove,
]


@pytest.mark.parametrize("damage", SUBSTITUTES, ids=lambda f: f.__name__)
def test_something_else_in_place_of_an_output(place, damage):
    damage(place.path("output.pkl"))
    value, told = place.told(place.call)
    assert value == place.expected
    assert RUNS == [1]
    gone = damage in NOTHING_THERE
    assert len(told) == (0 if gone else 1), told
    assert all(place.call_id[1] in message for message in told)
    place.check_stored_right()


@pytest.mark.parametrize("damage", SUBSTITUTES, ids=lambda f: f.__name__)
def test_something_else_in_place_of_metadata(tmp_path, caplog, damage):
    place = Place("plain", tmp_path / "1", caplog)
    damage(place.path("metadata.json"))
    assert place.told(place.call) == (place.expected, []), "a hit needs none"
    place = Place("plain", tmp_path / "2", caplog, cache_validation_callback=has_time)
    damage(place.path("metadata.json"))
    value, told = place.told(place.call)
    assert value == place.expected
    assert RUNS == [1]
    gone = damage in NOTHING_THERE
    assert len(told) == (0 if gone else 1), told
    assert all(place.call_id[1] in message for message in told)
    place.check_stored_right()


@pytest.mark.parametrize("damage", SUBSTITUTES, ids=lambda f: f.__name__)
def test_something_else_in_place_of_the_code(place, damage):
    damage(place.path("func_code.py"))
    value, told = place.told(place.call)
    assert value == place.expected
    assert RUNS == [1]
    assert len(told) == 1, told
    assert all(place.call_id[0] in message for message in told)
    place.check_stored_right()


@pytest.mark.parametrize("damage", [shutil.rmtree, become_empty])
@pytest.mark.parametrize("level", ["entry", "function", "cache"])
def test_a_whole_directory_that_is_gone_or_a_file(place, damage, level):
    path = os.path.dirname(place.path("output.pkl"))
    if level != "entry":
        path = os.path.join(place.memory.store_backend.location, place.call_id[0])
    if level == "cache":
        path = place.memory.store_backend.location
    shutil.rmtree(path)
    if damage is become_empty:
        become_empty(path)
    for _ in range(2):
        RUNS.clear()
        value, told = place.told(place.call)
        assert value == place.expected
        assert RUNS == [1]
        if damage is shutil.rmtree:
            assert told == []
            break
        (message,) = told
        assert path in message
    else:
        os.remove(path)
        place.call()
    place.check_stored_right()


# ------------------------------------------- each way of calling, each kind of trouble
WAYS = ["__call__", "call", "call_and_shelve", "async", "async call_and_shelve"]


def ways_of_calling(place):
    def in_a_loop():
        cached = place.memory.cache(work_async)
        return asyncio.run(cached(1))

    def shelve_in_a_loop():
        cached = place.memory.cache(work_async)

        async def main():
            return (await cached.call_and_shelve(1)).get()

        return asyncio.run(main())

    return {
        "__call__": place.call,
        "call": lambda: place.cached.call(1)[0],
        "call_and_shelve": lambda: place.cached.call_and_shelve(1).get(),
        "async": in_a_loop,
        "async call_and_shelve": shelve_in_a_loop,
    }


@pytest.mark.parametrize("kind", ["plain", "compressed"])
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_takes_nothing(kind, way, tmp_path, caplog, monkeypatch):
    place = Place(kind, tmp_path, caplog)
    place.memory.clear(warn=False)
    call = ways_of_calling(place)[way]

    def refuse(path, mode="rb"):
        if "w" in mode and "output" in path:
            raise OSError(28, "No space left on device", path)
        return open(path, mode)

    place.memory.store_backend._open_item = refuse
    for _ in range(2):
        value, told = place.told(call)
        assert value["value"] == 1
        (message,) = told
        assert "No space left" in message
    assert len(RUNS) == 2
    del place.memory.store_backend._open_item
    value, told = place.told(call)
    assert (value["value"], told) == (1, [])


def make_unpicklable(x):
    RUNS.append(x)
    return [b"a" * 50_000, (i for i in ()), b"b" * 50_000]


async def make_unpicklable_async(x):
    return make_unpicklable(x)


class FailsInTheMiddle:
    def __reduce__(self):
        raise RuntimeError("half way")


def make_failing(x):
    RUNS.append(x)
    return [b"a" * 50_000, FailsInTheMiddle()]


@pytest.mark.parametrize("function", [make_unpicklable, make_failing])
@pytest.mark.parametrize("compress", [False, True])
def test_a_result_that_cannot_be_stored(function, compress, tmp_path, caplog):
    place = Place("plain", tmp_path, caplog)
    memory = Memory(tmp_path, verbose=0, compress=compress)
    cached = memory.cache(function)
    ways = [
        lambda: cached(1),
        lambda: cached.call(1)[0],
        lambda: cached.call_and_shelve(1).get(),
    ]
    if function is make_unpicklable:
        in_loop = memory.cache(make_unpicklable_async)
        ways.append(lambda: asyncio.run(in_loop(1)))
    for way in ways:
        value, told = place.told(way)
        assert value[0] == b"a" * 50_000
        (message,) = told
        assert "Unable to cache to disk" in message
        assert memory.store_backend.location in message
    assert not cached.check_call_in_cache(1)
    names = {name for _, _, names in os.walk(tmp_path) for name in names}
    assert names == {"output.pkl", "metadata.json", "func_code.py", ".gitignore"}
    assert len(memory.store_backend.get_items()) <= 3


class CannotShowItself:
    def __repr__(self):
        raise RuntimeError("no repr")

    def __reduce__(self):
        return CannotShowItself, ()


class ShowsItselfBadly:
    def __repr__(self):
        return "\ud800 surrogates \x00"

    def __reduce__(self):
        return ShowsItselfBadly, ()


@pytest.mark.parametrize("argument", [CannotShowItself(), ShowsItselfBadly()])
def test_an_argument_that_cannot_be_shown(argument, tmp_path, caplog):
    place = Place("plain", tmp_path, caplog)
    cached = place.memory.cache(first_of)
    for _ in range(2):
        assert place.told(lambda: cached(argument, 5)) == (5, [])
    assert RUNS == [5]
    metadata = cached.call_and_shelve(argument, 5).metadata
    assert metadata["input_args"]["y"] == "5"
    assert json.loads(json.dumps(metadata)) == metadata


def first_of(x, y):
    RUNS.append(y)
    return y


def test_no_damage_is_told_as_a_cache_warning_and_logged_too(tmp_path, caplog):
    place = Place("plain", tmp_path, caplog)
    place.write("output.pkl", b"\x80")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CacheWarning)
        assert place.call() == place.expected
    assert len(caplog.records) == 1
