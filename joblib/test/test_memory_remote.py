"""Caches at URLs: what they answer, what they ask for it, and what they do in trouble."""

from __future__ import annotations

import asyncio
import collections
import copy
import datetime
import json
import os
import pathlib
import pickle
import sys
import threading
import time
import warnings

import pytest

from joblib import Memory, expires_after
from joblib._caching import locations, seals
from joblib._store_backends import (
    CacheWarning,
    FileSystemStoreBackend,
    RemoteStoreBackend,
)
from joblib.memory import MemorizedFunc, MemorizedResult

fsspec = pytest.importorskip("fsspec")
memory_fs = pytest.importorskip("fsspec.implementations.memory")

RUNS = []
PLACES = ["memory://cache/of results", "fsspec", "simplecache::memory://cache"]


def work(x, y=0):
    RUNS.append(x)
    return {"value": x, "text": "t" * 20}


class FaultyFileSystem(memory_fs.MemoryFileSystem):
    """Files in memory whose requests are counted, and fail as they are told to."""

    protocol = "faulty"
    store = {}
    pseudo_dirs = [""]
    cachable = False
    asked = []
    plan = {}  # request -> exception, or a function called before the request

    def _note(self, request):
        self.asked.append(request)
        trouble = self.plan.get(request) or self.plan.get("all")
        if isinstance(trouble, BaseException):
            raise trouble
        if trouble is not None:
            trouble(request)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("faulty://", "memory://"))

    def cat_file(self, path, **kwargs):
        self._note("cat_file")
        return super().cat_file(path, **kwargs)

    def pipe_file(self, path, value, **kwargs):
        self._note("pipe_file")
        return super().pipe_file(path, value, **kwargs)

    def info(self, path, **kwargs):
        self._note("info")
        return super().info(path, **kwargs)

    def find(self, path, **kwargs):
        self._note("find")
        return super().find(path, **kwargs)

    def rm(self, path, **kwargs):
        self._note("rm")
        return super().rm(path, **kwargs)

    def mv(self, path1, path2, **kwargs):
        self._note("mv")
        return super().mv(path1, path2, **kwargs)


class FaultyObjectStore(FaultyFileSystem):
    """The same, of the kind where what is put appears at once."""

    protocol = ("faulty", "s3")


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    RUNS.clear()
    monkeypatch.setattr(memory_fs.MemoryFileSystem, "store", {})
    monkeypatch.setattr(memory_fs.MemoryFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(FaultyFileSystem, "store", {})
    monkeypatch.setattr(FaultyFileSystem, "pseudo_dirs", [""])
    monkeypatch.setattr(FaultyFileSystem, "asked", [])
    monkeypatch.setattr(FaultyFileSystem, "plan", {})
    fsspec.register_implementation("faulty", FaultyObjectStore, clobber=True)


def make_memory(place, tmp_path, **options):
    options.setdefault("verbose", 0)
    if place == "fsspec":  # no object store: files are renamed
        return Memory(str(tmp_path / "plain"), backend="fsspec", **options)
    return Memory(place, **options)


@pytest.fixture(params=PLACES)
def memory(request, tmp_path):
    return make_memory(request.param, tmp_path)


@pytest.fixture
def faulty():
    return Memory("faulty://cache", verbose=0)


def fail_all(error=None):
    FaultyFileSystem.plan["all"] = error or ConnectionError("the network is down")


# ----------------------------------------------------------------- what a location is
@pytest.mark.parametrize(
    "location",
    [
        "memory://cache",
        "s3://bucket/prefix",
        "gcs://b",
        "simplecache::s3://bucket",
        "filecache::dir::sftp://host/path",
        "S3://B",
        "abfss://container@account/x",
    ],
)
def test_urls(location):
    assert locations.is_url(location)
    assert locations.join(location, "joblib") == f"{location}/joblib"
    assert locations.join(location + "/", "joblib") == f"{location}/joblib"


@pytest.mark.parametrize(
    "location",
    [
        "cache",
        "/tmp/a:b",
        "C:\\data",
        "C:/data",
        "C://data",
        "./memory://x",
        "/memory://x",
        "a b://c",
        "",
        "a::b",
        "host:path",
        "://x",
        "~/x",
        pathlib.Path("memory://cache"),
        3,
        None,
    ],
)
def test_what_is_no_url(location):
    assert not locations.is_url(location)
    if isinstance(location, str):
        assert locations.join(location, "joblib") == os.path.join(location, "joblib")


def test_an_ordinary_path_with_odd_characters_is_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a:b", "x::y", "100%25", "a#b?c"):
        store = Memory(name, verbose=0).store_backend
        assert type(store) is FileSystemStoreBackend
        assert (tmp_path / name / "joblib").is_dir()


def test_a_file_url_is_the_path_it_stands_for(tmp_path):
    directory = tmp_path / "a b%"
    url = directory.as_uri()
    assert "%20" in url
    cached = Memory(url, verbose=0).cache(work)
    cached(1)
    assert type(cached.store_backend) is FileSystemStoreBackend
    assert Memory(directory, verbose=0).cache(work).check_call_in_cache(1)
    assert os.path.samefile(cached.store_backend.location, directory / "joblib")


@pytest.mark.skipif(os.name == "nt", reason="such a URL is one of a share there")
@pytest.mark.parametrize("url", ["file://host/tmp/x", "file://relative", "file://"])
def test_a_file_url_of_another_machine(url):
    with pytest.raises(ValueError, match="three slashes"):
        Memory(url)


class RemotePath:
    """What objects of universal_pathlib look like."""

    def __init__(self, text, **storage_options):
        self.text, self.storage_options = text, storage_options

    def __str__(self):
        return self.text

    def __fspath__(self):
        raise NotImplementedError


class LocalPath:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def test_objects_that_stand_for_paths(tmp_path):
    memory = Memory(RemotePath("faulty://there", one=1, two=2), verbose=0)
    assert memory.store_backend.location == "faulty://there/joblib"
    assert memory.store_backend._connection._options == {"one": 1, "two": 2}
    given = {"storage_options": {"two": 3}}
    path = RemotePath("faulty://there", one=1, two=2)
    memory = Memory(path, verbose=0, backend_options=given)
    assert memory.store_backend._connection._options == {"one": 1, "two": 3}
    assert given == {"storage_options": {"two": 3}}
    cached = MemorizedFunc(work, path, verbose=0)
    assert isinstance(cached.store_backend, RemoteStoreBackend)
    store = Memory(LocalPath(str(tmp_path)), verbose=0).store_backend
    assert store.location == str(tmp_path / "joblib")
    with pytest.warns(UserWarning, match="nothing will be cached"):
        assert Memory(LocalPath(b"bytes")).store_backend is None


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(ValueError, match="s4://bucket/joblib is no place.*memory"):
        Memory("s4://bucket")
    with pytest.raises(ValueError, match="is no place for a cache"):
        Memory("nocache::memory://x")
    with pytest.raises(TypeError, match="storage_options has to be a mapping.* str"):
        Memory("memory://x", backend_options={"storage_options": "secret"})
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ImportError, match=r"pip install joblib\[remote\]"):
        Memory("memory://x")


def test_the_package_of_a_protocol_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ImportError, match="one more package: .*s3fs"):
        Memory("s3://bucket")


# ------------------------------------------------------------------ all that Memory does
def test_calls(memory):
    cached = memory.cache(work)
    for _ in range(3):
        assert cached(1) == {"value": 1, "text": "t" * 20}
    assert cached(2)["value"] == 2
    assert RUNS == [1, 2]
    assert cached.check_call_in_cache(1)
    assert not cached.check_call_in_cache(3)
    assert cached.call(1)[0]["value"] == 1
    assert RUNS == [1, 2, 1]


def test_another_memory_of_the_same_place_hits(memory):
    memory.cache(work)(1)
    again = Memory(memory.location, memory.backend, verbose=0)
    assert again.cache(work)(1)["value"] == 1
    assert RUNS == [1]


def test_references(memory):
    cached = memory.cache(work)
    for reference in (cached.call_and_shelve(1), cached.call_and_shelve(1)):
        assert isinstance(reference, MemorizedResult)
        assert reference.metadata["input_args"] == {"x": "1", "y": "0"}
        assert pickle.loads(pickle.dumps(reference)).get()["value"] == 1
    assert RUNS == [1]
    reference.clear()
    reference.clear()
    with pytest.raises(KeyError, match="may have been cleared"):
        reference.get()
    assert not cached.check_call_in_cache(1)


def test_pickled_caches_work_elsewhere(memory):
    cached = memory.cache(work)
    cached(1)
    for other in (pickle.loads(pickle.dumps(cached)), copy.deepcopy(cached)):
        assert other(1)["value"] == 1
    assert pickle.loads(pickle.dumps(memory)).cache(work)(1)["value"] == 1
    assert RUNS == [1]


def test_arrays_and_compression(tmp_path):
    np = pytest.importorskip("numpy")

    def make(n):
        RUNS.append(n)
        return [np.arange(n), {"zeros": np.zeros(n)}]

    sizes = []
    for place in PLACES:
        for compress in (False, True, ("gzip", 3)):
            memory = make_memory(place, tmp_path, compress=compress)
            memory.clear(warn=False)
            cached = memory.cache(make)
            for _ in range(2):
                numbers, rest = cached(5000)
                np.testing.assert_array_equal(numbers, np.arange(5000))
                np.testing.assert_array_equal(rest["zeros"], np.zeros(5000))
            (item,) = memory.store_backend.get_items()
            sizes.append(item.size)
    assert len(RUNS) == 9
    assert all(size < 40_000 for size in sizes[1::3] + sizes[2::3])
    assert all(size > 80_000 for size in sizes[::3])


def test_mapping_is_not_possible_and_told_once():
    np = pytest.importorskip("numpy")
    with pytest.warns(UserWarning, match="cannot be memory-mapped") as caught:
        cached = Memory("memory://cache", mmap_mode="r", verbose=0).cache(np.ones)
        for _ in range(2):
            array = cached(3)
            assert not isinstance(array, np.memmap)
            np.testing.assert_array_equal(array, np.ones(3))
    assert len(caught) == 1


def test_coroutine_functions(memory):
    async def work_async(x):
        RUNS.append(x)
        return x + 1

    async def main():
        cached = memory.cache(work_async)
        assert [await cached(1), await cached(1)] == [2, 2]
        return (await cached.call_and_shelve(1)).get()

    assert asyncio.run(main()) == 2
    assert RUNS == [1]


def test_validation(memory, monkeypatch):
    cached = memory.cache(work, cache_validation_callback=expires_after(seconds=50))
    assert [cached(1)["value"], cached(1)["value"]] == [1, 1]
    assert RUNS == [1]
    later = time.time() + 60
    monkeypatch.setattr(time, "time", lambda: later)
    assert not cached.check_call_in_cache(1)
    assert cached(1)["value"] == 1
    assert RUNS == [1, 1]


def test_clearing(memory):
    cached, other = memory.cache(work), memory.cache(divmod)
    cached(1), other(7, 2)
    cached.clear(warn=False)
    assert not cached.check_call_in_cache(1)
    assert other.check_call_in_cache(7, 2)
    assert cached(1)["value"] == 1
    memory.clear(warn=False)
    assert memory.store_backend.get_items() == []
    assert cached(1)["value"] == 1
    assert RUNS == [1, 1, 1]
    memory.clear(warn=False)
    memory.clear(warn=False)


def test_clearing_leaves_what_others_keep_there():
    fsspec.filesystem("memory").pipe_file("/bucket/data/precious", b"1")
    fsspec.filesystem("memory").pipe_file("/bucket/precious", b"2")
    memory = Memory("memory://bucket", verbose=0)
    memory.cache(work)(1)
    memory.clear(warn=False)
    assert sorted(memory_fs.MemoryFileSystem.store) == [
        "/bucket/data/precious",
        "/bucket/precious",
    ]
    with pytest.raises(ValueError, match="is not below"):
        memory.store_backend.clear_location("memory://bucket/data")
    with pytest.raises(ValueError, match="is not below"):
        memory.store_backend.clear_location("memory://bucket/joblib2")


def test_eviction_goes_by_the_time_of_storing(memory):
    cached = memory.cache(work)
    before = datetime.datetime.now() - datetime.timedelta(seconds=5)
    for x in range(4):
        cached(x)
        last = datetime.datetime.now()
        while datetime.datetime.now() == last:
            pass
    items = memory.store_backend.get_items()
    assert len(items) == 4
    for item in items:
        assert item.path.startswith(memory.store_backend.location + "/")
        assert item.size > 100
        after = datetime.datetime.now() + datetime.timedelta(seconds=5)
        assert before < item.last_access < after
    memory.reduce_size(items_limit=1)
    assert [cached.check_call_in_cache(x) for x in range(4)] == [False] * 3 + [True]
    memory.reduce_size(bytes_limit=0)
    assert memory.store_backend.get_items() == []
    memory.reduce_size(age_limit=datetime.timedelta(0))
    assert cached(1)["value"] == 1


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, 0.0),
        ({"mtime": 5.5}, 5.5),
        ({"created": 7}, 7.0),
        ({"created": 7, "LastModified": 8}, 8.0),
        ({"mtime": "1970-01-01T00:01:00Z"}, 60.0),
        ({"mtime": "1970-01-01T01:01:00+01:00"}, 60.0),
        ({"mtime": "yesterday"}, 0.0),
        ({"last_modified": datetime.datetime(1970, 1, 1, 0, 1)}, 60.0),
    ],
)
def test_times_of_file_systems(given, expected):
    from joblib._caching.connection import _changed

    assert _changed(given) == expected


def test_git_is_not_told_of_remote_places(tmp_path):
    memory = Memory(str(tmp_path), backend="fsspec", verbose=0)
    memory.cache(work)(1)
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["func_code.py", "metadata.json", "output.pkl"]


def test_many_threads(memory):
    cached = memory.cache(work)
    failures = []

    def call(offset):
        try:
            for i in range(60):
                x = (i + offset) % 6
                assert cached(x) == {"value": x, "text": "t" * 20}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forked processes are POSIX")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_connects_anew(tmp_path):
    memory = make_memory("fsspec", tmp_path)
    cached = memory.cache(work)
    cached(1)
    mine = cached.store_backend._connection._connect()[0]
    pid = os.fork()
    if pid == 0:
        fine = cached(1)["value"] == 1 and len(RUNS) == 1
        fine = fine and cached.store_backend._connection._connect()[0] is not mine
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_credentials_are_not_shown(recwarn):
    secret = "faulty://me:hidden@cache/x"
    options = {"storage_options": {"key": "hidden"}}
    memory = Memory(secret, verbose=0, backend_options=options)
    cached = memory.cache(work)
    cached(1)
    reference = cached.call_and_shelve(1)
    fail_all()
    assert cached(2)["value"] == 2
    shown = [memory, cached, reference, memory.store_backend]
    shown += [memory.store_backend._connection, *(w.message for w in recwarn)]
    assert len(shown) == 6
    assert "hidden" not in "".join(map(repr, shown))


# -------------------------------------------------------------------- requests made
def requests():
    counted = dict(collections.Counter(FaultyFileSystem.asked))
    FaultyFileSystem.asked.clear()
    return counted


def test_a_hit_is_one_request(faulty):
    cached = faulty.cache(work)
    assert requests() == {"info": 1}
    cached(1)
    requests()
    for _ in range(3):
        cached(1)
        assert requests() == {"cat_file": 1}
    cached(2)
    assert requests() == {"cat_file": 1, "pipe_file": 2}
    assert cached.check_call_in_cache(1)
    assert requests() == {"cat_file": 1}
    reference = cached.call_and_shelve(1)
    assert requests() == {"cat_file": 2}
    reference.get()
    assert requests() == {"cat_file": 1}
    again = Memory("faulty://cache", verbose=0).cache(work)
    again(1)
    assert requests() == {"info": 1, "cat_file": 2}
    again(1)
    assert requests() == {"cat_file": 1}


def test_files_are_renamed_where_a_put_is_not_whole(monkeypatch):
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    cached = Memory("faulty://cache", verbose=0).cache(work)
    cached(1)
    assert FaultyFileSystem.asked.count("pipe_file") == 3
    assert FaultyFileSystem.asked.count("mv") == 3
    FaultyFileSystem.plan["mv"] = OSError("cannot be renamed")
    with pytest.warns(CacheWarning, match="cannot be renamed"):
        assert cached(2)["value"] == 2
    names = {name.rpartition("/")[2] for name in FaultyFileSystem.store}
    assert names == {"func_code.py", "output.pkl", "metadata.json"}
    assert not cached.check_call_in_cache(2)


def test_a_server_that_replaces_nothing(monkeypatch):
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    cached = Memory("faulty://cache", verbose=0).cache(work)
    cached(1)
    move = FaultyFileSystem.mv

    def refuse_to_replace(self, path1, path2, **kwargs):
        if self._strip_protocol(path2) in self.store:
            raise FileExistsError(path2)
        move(self, path1, path2, **kwargs)

    monkeypatch.setattr(FaultyFileSystem, "mv", refuse_to_replace)
    cached.call(1)
    assert cached(1)["value"] == 1
    assert RUNS == [1, 1]


# ------------------------------------------------------- code that changes elsewhere
def version(number):
    """Make another version of one function, in a module of its own."""
    source = f"def compute(x):\n    return x * {number}\n"
    return from_source(source)


def from_source(source):
    import linecache

    name = f"<version {hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    space = {"__name__": "module_of_versions"}
    exec(compile(source, name, "exec"), space)
    return space["compute"]


@pytest.mark.filterwarnings("ignore::joblib.memory.JobLibCollisionWarning")
def test_results_of_new_code_are_not_taken_for_those_of_the_old(memory):
    def connect(number):
        again = Memory(memory.location, memory.backend, verbose=0)
        return again.cache(version(number))

    old, new = connect(2), connect(3)
    assert [old(5), old(5)] == [10, 10]
    assert [new(5), new(5)] == [15, 15]
    # What this one knows of the place is of the past, and costs no request: the
    # result itself says that it is of other code.
    assert [old(5), new(5), old(5), new(5)] == [10, 15, 10, 15]
    assert old.check_call_in_cache(5), "it took the place over at its last call"
    assert not new.check_call_in_cache(5)
    assert [old.call_and_shelve(5).get(), new.call_and_shelve(5).get()] == [10, 15]


def test_a_late_result_of_old_code_is_no_hit(memory):
    old = Memory(memory.location, memory.backend, verbose=0).cache(version(2))
    old(1)
    new = memory.cache(version(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert new(1) == 3
    old(7)  # does not know of the new code, and stores
    assert new(7) == 21


def test_comments_change_and_results_stay(memory):
    one = "def compute(x):\n    return [x, 2]\n"
    two = "def compute(x):\n    '''Now with a docstring.'''\n    return [x, 2]\n"
    for source in (one, two, two, one):
        cached = Memory(memory.location, memory.backend, verbose=0)
        cached = cached.cache(from_source(source))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert cached.call_and_shelve(1).get() == [1, 2]
            if source is one and not RUNS:
                RUNS.append(cached.call_and_shelve(1).metadata["time"])
            assert cached.call_and_shelve(1).metadata["time"] == RUNS[0]
    changed = one.replace("2", "3")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert memory.cache(from_source(changed))(1) == [1, 3]


def test_entries_copied_from_a_local_cache_are_hit(tmp_path):
    local = Memory(tmp_path, verbose=0).cache(work)
    local(1)
    remote = fsspec.filesystem("memory")
    remote.put(str(tmp_path / "joblib"), "/copied/joblib", recursive=True)
    cached = Memory("memory://copied", verbose=0).cache(work)
    assert cached(1)["value"] == 1
    assert cached.check_call_in_cache(1)
    assert RUNS == [1]


# ------------------------------------------------------------------------- damage
def names_of(suffix):
    return [n for n in memory_fs.MemoryFileSystem.store if n.endswith(suffix)]


def test_an_output_that_is_cut_or_changed_anywhere_is_no_hit(caplog, recwarn):
    cached = Memory("memory://cache", verbose=0).cache(work)
    cached(1)
    (name,) = names_of("output.pkl")
    remote = fsspec.filesystem("memory")
    whole = remote.cat_file(name)
    for length in range(len(whole)):
        remote.pipe_file(name, whole[:length])
        assert cached(1) == {"value": 1, "text": "t" * 20}
        remote.pipe_file(name, whole[:length] + b"\xa5" + whole[length + 1 :])
        assert cached(1) == {"value": 1, "text": "t" * 20}
    payload = len(whole) - seals.SEAL_LENGTH
    changed = [record.getMessage() for record in caplog.records]
    assert sum("does not match its checksum" in text for text in changed) >= payload
    assert all(name.rpartition("/")[0] in text for text in changed)
    assert list(recwarn) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_damaged_metadata(memory, content):
    cached = memory.cache(work)
    cached(1)
    store = cached.store_backend
    call_id = cached.func_id, cached._get_args_id(1)
    store._write_bytes(content, store._path(call_id, "metadata.json"))
    assert cached(1)["value"] == 1
    with pytest.warns(CacheWarning, match=call_id[1]):
        assert cached.call_and_shelve(1).metadata == {}
    assert RUNS == [1]


def test_what_cannot_be_pickled_leaves_nothing(memory):
    cached = memory.cache(lambda: [b"x" * 100_000, (i for i in ())])
    with pytest.warns((CacheWarning, FutureWarning), match="Unable to cache"):
        assert len(cached()) == 2
    assert memory.store_backend.get_items() == []


def test_a_file_that_nobody_closes_is_not_stored():
    store = Memory("memory://cache", verbose=0).store_backend
    stream = store._open_item(store._path(["f", "key"], "output.pkl"), "wb")
    stream.write(b"half")
    del stream
    assert memory_fs.MemoryFileSystem.store == {}
    with pytest.raises(ZeroDivisionError):
        with store._open_item(store._path(["f", "key"], "output.pkl"), "wb") as stream:
            stream.write(b"half")
            raise ZeroDivisionError
    assert memory_fs.MemoryFileSystem.store == {}


# ---------------------------------------------------------------------- the network
@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("the network is down"),
        PermissionError("access denied"),
        TimeoutError("too slow"),
        asyncio.TimeoutError("too slow"),
        RuntimeError("an error of some library"),
    ],
)
def test_trouble_is_a_miss_with_one_warning(faulty, error):
    cached = faulty.cache(work)
    cached(1)
    fail_all(error)
    for _ in range(2):
        with pytest.warns(CacheWarning) as caught:
            assert cached(1)["value"] == 1
        (warning,) = caught
        assert cached._get_args_id(1) in str(warning.message)
        assert str(error) in str(warning.message)
        assert warning.filename == __file__
    assert RUNS == [1, 1, 1]
    FaultyFileSystem.plan.clear()
    assert cached(1)["value"] == 1
    assert RUNS == [1, 1, 1]


def test_trouble_when_references_are_made_or_loaded(faulty):
    cached = faulty.cache(work)
    reference = cached.call_and_shelve(1)
    fail_all()
    with pytest.warns(CacheWarning, match="cannot be read"):
        with pytest.raises(KeyError, match="the network is down"):
            reference.get()
    for x in (1, 2, 2):
        with pytest.warns(CacheWarning) as caught:
            assert cached(x)["value"] == x
        assert len(caught) == 1
        with pytest.warns(CacheWarning) as caught:
            assert cached.call_and_shelve(x).get()["value"] == x
        assert len(caught) == 1
    with pytest.warns(CacheWarning, match="looked for"):
        assert not cached.check_call_in_cache(1)


def test_trouble_on_writing_only(faulty):
    cached = faulty.cache(work)
    cached(1)
    FaultyFileSystem.plan["pipe_file"] = OSError("no space for you")
    with pytest.warns(CacheWarning, match="no space for you") as caught:
        assert cached(2)["value"] == 2
    assert len(caught) == 1
    assert cached(1)["value"] == 1
    assert RUNS == [1, 2]


def test_trouble_at_every_request(faulty):
    """Whichever request fails, values are right and the next call is served."""
    for number in range(12):
        faulty.clear(warn=False)
        left = [number]

        def fail_at(request, left=left):
            left[0] -= 1
            if left[0] == -1:
                raise ConnectionError("once")

        FaultyFileSystem.plan["all"] = fail_at
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cached = Memory("faulty://cache", verbose=0).cache(version(number))
            for x in (1, 1, 2):
                assert cached(x) == x * number
                reference = cached.call_and_shelve(x)
                try:
                    assert reference.get() == x * number
                except KeyError as error:
                    assert "ConnectionError: once" in str(error)
        told = [w for w in caught if issubclass(w.category, CacheWarning)]
        assert len(told) <= 1, [str(w.message) for w in told]
        FaultyFileSystem.plan.clear()
        assert cached(1) == number
        assert cached.check_call_in_cache(1)


def test_a_process_that_cannot_read_the_code_takes_no_results_over(faulty):
    """Its place may have been taken by other code, which it could not see."""
    new = Memory("faulty://cache", verbose=0).cache(version(3))
    new(1)
    old = Memory("faulty://cache", verbose=0).cache(version(2))
    left = [3]

    def fail_first(request):
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError("at first")

    FaultyFileSystem.plan["cat_file"] = fail_first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert [old(1), old(1), old(1)] == [2, 2, 2]
        assert [new(1), new(1)] == [3, 3]


def test_access_is_asked_for_at_once():
    FaultyFileSystem.plan["info"] = PermissionError("wrong key")
    with pytest.raises(PermissionError, match="faulty://cache/joblib: wrong key.*stor"):
        Memory("faulty://cache", verbose=0)


def test_a_network_that_is_down_at_first():
    fail_all()
    with pytest.warns(CacheWarning, match="faulty://cache/joblib cannot be reached"):
        memory = Memory("faulty://cache", verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cached = memory.cache(work)
        assert cached(1)["value"] == 1
    assert len(caught) == 1
    FaultyFileSystem.plan.clear()
    assert cached(1)["value"] == cached(1)["value"] == 1
    assert RUNS == [1, 1]


def test_a_partial_listing_evicts_what_it_shows(faulty, monkeypatch):
    cached = faulty.cache(work)
    for x in range(4):
        cached(x)
    find = FaultyFileSystem.find

    def find_some(self, path, **kwargs):
        found = find(self, path, **kwargs)
        return dict(list(found.items())[::2]) if kwargs.get("detail") else found

    monkeypatch.setattr(FaultyFileSystem, "find", find_some)
    shown = len(faulty.store_backend.get_items())
    faulty.reduce_size(items_limit=0)
    assert shown > 0
    for x in range(4):
        assert cached(x)["value"] == x


def test_limits_that_cannot_be_kept_are_an_error(faulty):
    FaultyFileSystem.plan["find"] = ConnectionError("no list")
    with pytest.raises(OSError, match="no list"):
        faulty.reduce_size(items_limit=0)


# ------------------------------------------------------------------------ local copies
def test_local_copies_are_used_while_they_are_right(tmp_path, monkeypatch):
    options = {"storage_options": {"simplecache": {"cache_storage": str(tmp_path)}}}
    memory = Memory("simplecache::faulty://cache", verbose=0, backend_options=options)
    cached = memory.cache(work)
    cached(1), cached(1)
    requests()
    assert cached(1)["value"] == 1
    assert requests() == {"info": 1}, "one question, no transfer"
    (copied,) = tmp_path.iterdir()
    # Another process stores something else there.
    other = Memory("faulty://cache", verbose=0).cache(work)
    call_id = other.func_id, other._get_args_id(1)
    other(1)
    other.store_backend.dump_item(call_id, "changed")
    assert cached(1) == "changed"
    # What cannot be written, or was damaged, does not matter.
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    assert cached(1)["value"] == 1


@pytest.mark.parametrize("number", [1, 2])
def test_metadata_are_json_as_in_a_local_cache(memory, number):
    cached = memory.cache(work)
    cached(number)
    store = cached.store_backend
    path = store._path((cached.func_id, cached._get_args_id(number)), "metadata.json")
    with store._open_item(path, "rb") as stream:
        assert json.load(stream)["input_args"] == {"x": str(number), "y": "0"}
