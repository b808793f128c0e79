"""Stores: files that appear whole, eviction, registration, stores of others."""

import datetime
import io
import os
import pickle
import random
from pathlib import PurePosixPath

import pytest

from joblib import Memory, register_store_backend
from joblib._caching.eviction import select_items_to_delete
from joblib._store_backends import (
    CacheItemInfo,
    FileSystemStoreBackend,
    StoreBackendBase,
    StoreBackendMixin,
    concurrency_safe_write,
)
from joblib.memory import _STORE_BACKENDS, _store_backend_factory

NOW = datetime.datetime(2026, 1, 1)


def double(x):
    return 2 * x


# ------------------------------------------------------------------------- eviction
def items(*sizes):
    """Make items of these sizes, the first used longest ago: hours before NOW."""
    return [
        CacheItemInfo(str(i), size, NOW - datetime.timedelta(hours=len(sizes) - i))
        for i, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    "limits, gone",
    [
        ((None, None, None), ""),
        ((60, None, None), ""),
        ((59, None, None), "0"),
        ((45, None, None), "01"),
        ((0, None, None), "012"),
        ((None, 3, None), ""),
        ((None, 1, None), "01"),
        ((None, 0, None), "012"),
        ((None, None, datetime.timedelta(hours=3)), ""),
        ((None, None, datetime.timedelta(hours=1, minutes=30)), "01"),
        ((None, None, datetime.timedelta(0)), "012"),
        ((59, 1, None), "01"),
        ((30, 2, datetime.timedelta(hours=2, minutes=30)), "01"),
    ],
)
def test_the_least_recently_used_go_first(limits, gone):
    stored = items(10, 20, 30)
    random.Random(0).shuffle(stored)
    deleted = select_items_to_delete(stored, *limits, NOW)
    assert "".join(item.path for item in deleted) == gone


@pytest.mark.parametrize(
    "limits, error",
    [
        ({"bytes_limit": -1}, ValueError),
        ({"bytes_limit": "-1K"}, ValueError),
        ({"bytes_limit": "many"}, ValueError),
        ({"bytes_limit": [1]}, TypeError),
        ({"items_limit": -1}, ValueError),
        ({"items_limit": "3"}, TypeError),
        ({"age_limit": datetime.timedelta(seconds=-1)}, ValueError),
        ({"age_limit": 3}, TypeError),
    ],
)
def test_limits_that_make_no_sense(tmp_path, limits, error):
    with pytest.raises(error, match="limit|size"):
        Memory(tmp_path, verbose=0).reduce_size(**limits)


def test_reduce_size_keeps_what_was_used_last(tmp_path, capsys):
    memory = Memory(tmp_path, verbose=0)
    cached = memory.cache(double)
    for x in range(5):
        cached(x)
        path = os.path.join(
            memory.store_backend.location, cached.func_id, cached._get_args_id(x)
        )
        os.utime(os.path.join(path, "output.pkl"), (1000 + x, 1000))
    memory.reduce_size()
    assert len(memory.store_backend.get_items()) == 5
    memory.reduce_size(items_limit=2)
    assert [cached.check_call_in_cache(x) for x in range(5)] == [False] * 3 + [True] * 2
    assert capsys.readouterr().out == ""
    Memory(tmp_path, verbose=11).reduce_size(bytes_limit="0K")
    assert capsys.readouterr().out.count("Deleting item CacheItemInfo(path=") == 2
    assert memory.store_backend.get_items() == []


def test_items_are_what_is_on_disk(tmp_path):
    memory = Memory(tmp_path, verbose=0)
    cached = memory.cache(double)
    cached(1)
    root = memory.store_backend.location
    entry = os.path.join(root, cached.func_id, cached._get_args_id(1))
    (item,) = memory.store_backend.get_items()
    assert item.path == entry
    assert item.size == sum(
        os.path.getsize(os.path.join(entry, f)) for f in os.listdir(entry)
    )
    accessed = os.path.getatime(os.path.join(entry, "output.pkl"))
    assert item.last_access == datetime.datetime.fromtimestamp(accessed)


def test_what_a_dead_process_was_removing_is_swept_up(tmp_path):
    memory = Memory(tmp_path, verbose=0)
    memory.cache(double)(1)
    left = tmp_path / "joblib" / "module" / ".removed-0123"
    (left / ("a" * 32)).mkdir(parents=True)
    (left / ("a" * 32) / "output.pkl").write_bytes(b"")
    assert len(memory.store_backend.get_items()) == 1
    memory.reduce_size(items_limit=10)
    assert not left.exists()
    assert len(memory.store_backend.get_items()) == 1


def test_links_are_removed_and_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    memory = Memory(tmp_path / "cache", verbose=0)
    try:
        os.symlink(precious, os.path.join(memory.store_backend.location, "link"))
    except OSError:
        pytest.skip("this system has no symbolic links for us")
    memory.clear(warn=False)
    assert os.listdir(memory.store_backend.location) == []
    assert (precious / "file").exists()


# ------------------------------------------------------------------ files that are whole
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")

    def write(text, name):
        with open(name, "w") as stream:
            stream.write(text[:2])
            assert target.read_text() == "old"
            if text == "broken":
                raise RuntimeError("in the middle")
            stream.write(text[2:])

    temporary = concurrency_safe_write("new", str(target), write)
    assert os.path.dirname(temporary) == str(tmp_path)
    with open(temporary) as stream:
        assert (target.read_text(), stream.read()) == ("old", "new")
    os.remove(temporary)
    with pytest.raises(RuntimeError, match="in the middle"):
        concurrency_safe_write("broken", str(target), write)
    assert os.listdir(tmp_path) == ["file"]


def test_an_output_appears_under_its_name_when_it_is_complete(tmp_path):
    store = FileSystemStoreBackend()
    store.configure(str(tmp_path))

    class Observer:
        def __reduce__(self):
            assert not store.contains_item(("f", "key"))
            return str, ("observed",)

    store.dump_item(("f", "key"), Observer())
    assert store.load_item(("f", "key")) == "observed"
    assert os.listdir(tmp_path / "f" / "key") == ["output.pkl"]


def test_metadata_and_code_come_back(tmp_path):
    store = FileSystemStoreBackend()
    store.configure(str(tmp_path))
    store.store_metadata(("f", "key"), {"time": 1.5, "input_args": {"x": "'é'"}})
    assert store.get_metadata(("f", "key"))["input_args"] == {"x": "'é'"}
    assert store.get_metadata(("f", "other")) == {}
    assert not store.contains_path(["g"])
    store.store_cached_func_code(["g"])
    assert store.contains_path(["g"])
    code = "def g():\n    return 'é\u4e2d'\n"
    store.store_cached_func_code(["g"], code)
    assert store.get_cached_func_code(["g"]) == code
    assert store.get_cached_func_info(["g"]) == {"location": str(tmp_path / "g")}
    store.clear_path(["g"])
    assert not store.contains_path(["g"])
    store.clear_path(["g"])
    with pytest.raises(OSError):
        store.get_cached_func_code(["g"])
    with pytest.raises(KeyError, match="does not exist"):
        store.load_item(("f", "none"))


@pytest.mark.parametrize("below", ["", "joblib"])
def test_git_is_told_to_leave_results_alone(tmp_path, below):
    store = FileSystemStoreBackend()
    store.configure(str(tmp_path / below))
    ignore = tmp_path / ".gitignore"
    assert ignore.read_text().splitlines()[1] == "*"
    ignore.write_text("mine")
    store.configure(str(tmp_path / below))
    assert ignore.read_text() == "mine"


def test_mapping_and_compression_exclude_each_other(tmp_path):
    with pytest.warns(UserWarning, match="cannot be memmapped"):
        FileSystemStoreBackend().configure(
            str(tmp_path), backend_options={"compress": True, "mmap_mode": "r"}
        )


# -------------------------------------------------------------------- stores of others
class DictStore(StoreBackendBase, StoreBackendMixin):
    """A store in a dict, made of no more than the contract."""

    files = {}

    def configure(self, location, verbose=0, backend_options=None):
        self.location, self.compress, self.mmap_mode = location, False, None
        self.options = backend_options

    def _open_item(self, f, mode):
        if mode == "rb":
            if f not in self.files:
                raise FileNotFoundError(f)
            return io.BytesIO(self.files[f])
        files = self.files

        class Stream(io.BytesIO):
            def close(self):
                files[f] = self.getvalue()
                super().close()

        return Stream()

    def _item_exists(self, location):
        return any(f == location or f.startswith(location + os.sep) for f in self.files)

    def _move_item(self, src, dst):
        self.files[dst] = self.files.pop(src)

    def create_location(self, location):
        pass

    def clear_location(self, location):
        for name in [f for f in self.files if f.startswith(location)]:
            del self.files[name]

    def get_items(self):
        return [
            CacheItemInfo(str(PurePosixPath(f).parent), len(content), NOW)
            for f, content in self.files.items()
            if f.endswith("output.pkl")
        ]


@pytest.fixture
def dict_store(monkeypatch):
    monkeypatch.setattr(DictStore, "files", {})
    monkeypatch.setitem(_STORE_BACKENDS, "dict", None)
    register_store_backend("dict", DictStore)


def test_a_store_of_others_does_all_that_memory_does(dict_store):
    runs = []

    def work(x):
        runs.append(x)
        return x, "result"

    memory = Memory("nowhere", backend="dict", verbose=0, backend_options={"a": 1})
    assert memory.store_backend.options["a"] == 1
    cached = memory.cache(work)
    assert cached(1) == cached(1) == (1, "result")
    assert cached.call_and_shelve(1).get() == (1, "result")
    assert cached.check_call_in_cache(1)
    assert runs == [1]
    assert len(memory.store_backend.get_items()) == 1
    memory.reduce_size(items_limit=0)
    assert not cached.check_call_in_cache(1)
    cached(1), cached(2)
    cached.clear(warn=False)
    assert cached(2) == (2, "result")
    memory.clear(warn=False)
    assert DictStore.files == {}
    assert runs == [1, 1, 2, 2]


def test_functions_that_collide_in_a_store_of_others(dict_store):
    memory = Memory("nowhere", backend="dict", verbose=0)

    def make(sign):
        if sign > 0:

            def work(x):
                return x

        else:

            def work(x):
                return -x

        return memory.cache(work)

    plus, minus = make(1), make(-1)
    with pytest.warns(match="Possible name collisions"):
        assert [plus(1), minus(1), plus(1), minus(2), plus(2)] == [1, -1, 1, -2, 2]


def test_registration(dict_store):
    with pytest.raises(ValueError, match="should be a string, got 3"):
        register_store_backend(3, DictStore)
    for wrong in (None, dict, DictStore()):
        with pytest.raises(ValueError, match="should inherit StoreBackendBase"):
            register_store_backend("wrong", wrong)
    assert "wrong" not in _STORE_BACKENDS
    with pytest.raises(TypeError, match="'dict', 'fsspec', 'local'"):
        _store_backend_factory("wrong", "somewhere")
    store = _store_backend_factory("dict", "somewhere")
    assert _store_backend_factory("local", store) is store
    assert _store_backend_factory("local", None) is None


def test_a_subclass_that_opens_files_its_own_way_is_asked(tmp_path):
    opened = []

    class Counting(FileSystemStoreBackend):
        @staticmethod
        def _open_item(path, mode):
            opened.append((os.path.basename(path).partition(".")[0], mode))
            return open(path, mode)

    store = Counting()
    store.configure(str(tmp_path))
    store.dump_item(("f", "key"), 1)
    assert store.load_item(("f", "key"), verbose=0) == 1
    assert opened == [("output", "wb"), ("output", "rb")]
    assert pickle.loads(pickle.dumps(CacheItemInfo("p", 1, NOW))) == ("p", 1, NOW)
