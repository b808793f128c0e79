"""`Memory(max_size=)`: kept to at each write, by several processes, by last use."""

import os
import subprocess
import sys
import threading
import warnings

import pytest

from joblib import Memory
from joblib._caching import budget
from joblib._caching.ledger import Ledger, OwnLedger
from joblib._caching.turns import turn
from joblib._caching.usage import USAGE_DIRECTORY
from joblib._store_backends import CacheWarning
from joblib.memory import _STORE_BACKENDS
from joblib.test.test_memory_stores import DictStore

RUNS = []


def make_bytes(x, n=1000):
    RUNS.append(x)
    return b"x" * n


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    RUNS.clear()
    monkeypatch.setattr(budget, "_warned", set())


def taken(memory):
    return sum(item.size for item in memory.store_backend.get_items())


# ------------------------------------------------------------------------- what it may be
@pytest.mark.parametrize(
    "size, expected",
    [
        (1, 1),
        (1e6, 1000000),
        ("10G", 10 * 2**30),
        ("1.5k", 1536),
        (" 2 M", 2 * 2**20),
        ("1T", 2**40),
        ("1000", 1000),
    ],
)
def test_sizes(tmp_path, size, expected):
    memory = Memory(tmp_path, verbose=0, max_size=size)
    assert memory.max_size == memory.store_backend.max_size == expected


@pytest.mark.parametrize(
    "size", [0, -1, "-1G", "0K", "", "many", "10 X", "nan", float("inf"), "1e400", 0.5]
)
def test_sizes_that_are_none(tmp_path, size):
    with pytest.raises(ValueError, match="max_size has to be a positive .* got"):
        Memory(tmp_path / "cache", verbose=0, max_size=size)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("size", [True, [1], b"1K"])
def test_sizes_of_another_type(tmp_path, size):
    with pytest.raises(TypeError, match="max_size has to be .* of type"):
        Memory(tmp_path, verbose=0, max_size=size)


def test_no_cache_has_no_size():
    assert Memory(None, max_size="1M").cache(make_bytes)(1) == b"x" * 1000


# ---------------------------------------------------------------------- at each write
def test_each_write_keeps_to_it(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=10_000)
    cached = memory.cache(make_bytes)
    for x in range(50):
        cached(x)
        assert taken(memory) <= 10_000
        assert cached.check_call_in_cache(x)
    assert len(memory.store_backend.get_items()) >= 6
    assert RUNS == list(range(50))


def test_what_was_used_last_stays(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=10_000)
    cached = memory.cache(make_bytes)
    for x in range(30):
        cached(x)
        cached(0)
    assert RUNS == list(range(30))


def test_nothing_is_listed_while_there_is_room(tmp_path, monkeypatch):
    memory = Memory(tmp_path, verbose=0, max_size=100_000)
    store = type(memory.store_backend)
    listings = []
    get_items = store.get_items
    monkeypatch.setattr(
        store, "get_items", lambda self: listings.append(1) or get_items(self)
    )
    cached = memory.cache(make_bytes)
    for x in range(60):
        cached(x)
    assert len(listings) == 1
    for x in range(60, 160):
        cached(x)
    assert len(listings) <= 12
    assert taken(memory) <= 100_000


def test_a_result_that_is_too_big_is_returned_and_not_kept(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=5_000)
    cached = memory.cache(make_bytes)
    cached(1)
    with pytest.warns(
        CacheWarning, match="make_bytes is not kept.* 5000 bytes"
    ) as told:
        assert len(cached(2, 6_000)) == 6_000
        assert len(cached(2, 6_000)) == 6_000
    assert len(told) == 1
    assert RUNS == [1, 2, 2]
    assert cached.check_call_in_cache(1), "others need not go for it"
    reference = cached.call_and_shelve(2, 6_000)
    assert len(reference.get()) == 6_000


def test_a_result_that_needs_all_the_room_stays(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=5_000)
    cached = memory.cache(make_bytes)
    cached(1), cached(2), cached(3, 4_700)
    assert [cached.check_call_in_cache(*a) for a in ((1,), (2,), (3, 4_700))] == [
        False,
        False,
        True,
    ]


def test_a_cache_that_is_too_large_already(tmp_path):
    fill = Memory(tmp_path, verbose=0).cache(make_bytes)
    for x in range(20):
        fill(x)
    memory = Memory(tmp_path, verbose=0, max_size=5_000)
    memory.cache(make_bytes)(100)
    assert taken(memory) <= 5_000


def test_references_and_maps_outlive_what_they_refer_to(tmp_path):
    np = pytest.importorskip("numpy")
    memory = Memory(tmp_path, verbose=0, max_size=20_000, mmap_mode="r")
    cached = memory.cache(lambda x: np.full(1000, x))
    mapped = cached(1)
    reference = cached.call_and_shelve(1)
    for x in range(2, 9):
        cached(x)
    np.testing.assert_array_equal(mapped, np.full(1000, 1))
    with pytest.raises(KeyError, match="does not exist"):
        reference.get()


def test_a_store_that_was_given_is_not_changed(tmp_path):
    store = Memory(tmp_path, verbose=0).store_backend
    assert Memory(store, max_size=1000).store_backend.max_size == 1000
    assert store.max_size is None


def test_it_goes_along_with_functions(tmp_path):
    import pickle

    cached = Memory(tmp_path, verbose=0, max_size=10_000).cache(make_bytes)
    elsewhere = pickle.loads(pickle.dumps(cached))
    for x in range(20):
        elsewhere(x)
    assert taken(Memory(tmp_path, verbose=0)) <= 10_000


def test_entries_that_cannot_be_removed_lose_no_result(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=3_000)
    cached = memory.cache(make_bytes)

    def refuse(location):
        raise PermissionError(13, "read-only", location)

    memory.store_backend.clear_location = refuse
    cached(1)
    with pytest.warns(CacheWarning, match="may grow beyond its max_size") as told:
        for x in range(2, 6):
            assert len(cached(x)) == 1000
    assert len(told) == 1


# ------------------------------------------------------------------ stores of other kinds
@pytest.fixture
def dict_store(monkeypatch):
    monkeypatch.setattr(DictStore, "files", {})
    monkeypatch.setitem(_STORE_BACKENDS, "dict", DictStore)


def test_a_store_of_others_keeps_to_it(dict_store):
    memory = Memory("here", backend="dict", verbose=0, max_size=10_000)
    cached = memory.cache(make_bytes)
    for x in range(30):
        cached(x)
        assert taken(memory) <= 10_000
        assert cached.check_call_in_cache(x)
    assert len(memory.store_backend.get_items()) >= 6


def test_a_store_that_cannot_list_says_so(dict_store, monkeypatch):
    monkeypatch.setattr(DictStore, "get_items", lambda self: None)
    cached = Memory("there", backend="dict", verbose=0, max_size="1K").cache(len)
    with pytest.warns(CacheWarning, match="DictStore cannot list") as told:
        cached("a"), cached("b")
    assert len(told) == 1


# ------------------------------------------------------------------------- the ledger
@pytest.fixture
def ledgers(tmp_path):
    return Ledger(str(tmp_path)), Ledger(str(tmp_path))


def test_processes_count_together(ledgers):
    one, other = ledgers
    assert one.add(5) is None, "nobody has counted"
    assert one.count(lambda: 100) == 100
    assert one.add(5) == 105
    assert other.add(7) is None, "a new process counts for itself, if that is quick"
    assert other.count(lambda: 112) == 112
    assert one.add(1) == 113
    assert other.add(-2) == one.total() == 111


def test_what_is_added_during_a_count_is_not_forgotten(ledgers):
    one, other = ledgers
    one.count(lambda: 100)
    other.total()

    def count():
        assert other.add(7) == 107
        return 100

    assert one.count(count) == 107
    assert one.total() == other.total() == 107


def test_a_slow_count_is_shared_and_an_old_one_is_not(ledgers, monkeypatch):
    from joblib._caching import ledger

    one, other = ledgers
    monkeypatch.setattr(ledger, "_QUICK_COUNT", 0.0)
    one.count(lambda: 100)
    assert other.add(1) == 101
    monkeypatch.setattr(ledger, "_LONGEST_TRUST", 0.0)
    assert other.add(1) is None


@pytest.mark.parametrize(
    "content", [b"", b"joblib", b"\0" * 200, b"joblib x y z t\n" * 9]
)
def test_a_damaged_ledger_is_counted_anew(ledgers, content):
    one, other = ledgers
    one.count(lambda: 100)
    with open(one._path, "wb") as stream:
        stream.write(content)
    assert one.add(1) is None
    one.count(lambda: 50)
    with open(one._path, "ab") as stream:
        stream.write(b"garbage\n+7\n+1")
    assert one.total() == 57, "the last line is just being written"
    with open(one._path, "ab") as stream:
        stream.write(b"2\n")
    assert one.total() == 69


def test_a_ledger_that_is_gone_is_counted_anew(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=10_000)
    cached = memory.cache(make_bytes)
    for x in range(5):
        cached(x)
    memory.clear(warn=False)
    for x in range(30):
        cached(x)
        assert taken(memory) <= 10_000


def test_own_additions():
    own = OwnLedger(step=10)
    assert own.add(1) is None and own.total() is None
    assert own.count(lambda: 100) == 100
    assert own.add(10) == own.total() == 110
    assert own.add(1) is None


def test_turns(tmp_path):
    path = str(tmp_path / "turn")
    with turn(path) as mine:
        with turn(path) as again:
            assert (mine, again) == (True, False)
        script = (
            "import sys; from joblib._caching.turns import turn\n"
            "with turn(sys.argv[1]) as mine: print(mine)"
        )
        assert in_new_process(script, path).strip() == "False"
    assert in_new_process(script, path).strip() == "True"
    with turn(str(tmp_path / "none" / "turn")) as mine:
        assert mine, "where there can be no lock"


# --------------------------------------------------------------- threads and processes
def in_new_process(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment():
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    return {**os.environ, "PYTHONPATH": package}


WRITER = """
import sys, warnings
import joblib
from joblib.test.test_memory_size import make_bytes

warnings.simplefilter("error")
memory = joblib.Memory(sys.argv[1], verbose=0, max_size=50_000)
cached = memory.cache(make_bytes)
print("ready", flush=True)
for line in sys.stdin:
    for x in range(int(line)):
        assert len(cached((x * 7 + int(sys.argv[2])) % 300)) == 1000
    print("done", flush=True)
"""


def test_processes_keep_to_it_together(tmp_path):
    memory = Memory(tmp_path, verbose=0)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(i)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    try:
        for writer in writers:
            assert writer.stdout.readline() == "ready\n"
        for _ in range(3):
            for writer in writers:
                print(120, file=writer.stdin, flush=True)
            for writer in writers:
                assert writer.stdout.readline() == "done\n"
            assert taken(memory) <= 50_000
    finally:
        for writer in writers:
            writer.stdin.close()
            writer.stdout.close()
            assert writer.wait(60) == 0
    for item in memory.store_backend.get_items():
        assert os.path.exists(os.path.join(item.path, "output.pkl"))


def test_threads_keep_to_it_together(tmp_path):
    memory = Memory(tmp_path, verbose=0, max_size=20_000)
    cached = memory.cache(make_bytes)
    failures = []

    def write(offset):
        try:
            for x in range(150):
                assert len(cached((x * 7 + offset) % 100)) == 1000
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    with warnings.catch_warnings():
        # A writer may give up after several attempts: it says so, and returns.
        warnings.simplefilter("ignore", CacheWarning)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert failures == []
    cached(1000)
    assert taken(memory) <= 20_000
    assert os.path.isdir(tmp_path / "joblib" / USAGE_DIRECTORY)


def test_who_stores_waits_for_room_and_not_for_ever(tmp_path, monkeypatch):
    memory = Memory(tmp_path, verbose=0, max_size=10_000)
    cached = memory.cache(make_bytes)
    for x in range(5):
        cached(x)
    pauses = []
    monkeypatch.setattr(budget.time, "sleep", pauses.append)
    path = os.path.join(memory.store_backend.location, USAGE_DIRECTORY, "turn-sizes")
    with turn(path):
        for x in range(5, 8):
            cached(x)
        assert not pauses, "there was room"
        now = [0.0]
        monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(
            budget.time, "sleep", lambda s: now.__setitem__(0, now[0] + s)
        )
        for x in range(8, 11):
            cached(x)
        assert now[0] >= budget._LONGEST_WAIT
    assert taken(memory) > 10_000
    cached(11)
    assert taken(memory) <= 10_000
