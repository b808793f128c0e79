"""When results were used and how often; what is in a cache; what killed writers left."""

import datetime
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from joblib import Memory
from joblib._caching import scanning, usage, writing
from joblib.memory import _STORE_BACKENDS
from joblib.test.test_memory_stores import DictStore

LONG_AGO = 1_000_000_000


def double(x, y=0):
    return 2 * x


@pytest.fixture(autouse=True)
def nothing_noted():
    usage.write_notes()
    usage._forget()


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path, verbose=0)


def output_of(cached, *args):
    call_id = cached.func_id, cached._get_args_id(*args)
    return Path(cached.store_backend._path(call_id, "output.pkl"))


def set_last_use(path, moment):
    os.utime(path, (moment, path.stat().st_mtime))


def hits_of(memory):
    return {entry.arguments["x"]: entry.hits for entry in memory.entries()}


def in_new_process(script, *arguments):
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=60,
    )


# -------------------------------------------------------------------------- the last use
def test_a_load_makes_a_result_the_last_to_go(memory):
    cached = memory.cache(double)
    for x in range(4):
        cached(x)
        set_last_use(output_of(cached, x), LONG_AGO + x)
    written = output_of(cached, 0).stat().st_mtime_ns
    before = time.time()
    cached(0)
    memory.reduce_size(items_limit=2)
    assert [cached.check_call_in_cache(x) for x in range(4)] == [
        True,
        False,
        False,
        True,
    ]
    stat = output_of(cached, 0).stat()
    assert before - 0.001 <= stat.st_atime <= time.time()
    assert stat.st_mtime_ns == written, "when it was written is still known"


def test_a_reference_that_is_loaded_is_a_use(memory):
    cached = memory.cache(double)
    reference = cached.call_and_shelve(1)
    set_last_use(output_of(cached, 1), LONG_AGO)
    reference.get()
    (entry,) = memory.entries()
    assert entry.last_use > datetime.datetime(2020, 1, 1)
    assert entry.hits == 1


def test_results_go_in_the_order_of_their_use_within_a_tick_of_the_clock(memory):
    cached = memory.cache(double)
    for x in range(3):
        cached(x)
    cached(0)
    cached(3)
    memory.reduce_size(items_limit=2)
    assert [cached.check_call_in_cache(x) for x in range(4)] == [
        True,
        False,
        False,
        True,
    ]


def test_a_time_that_was_set_after_the_use_stays(memory):
    cached = memory.cache(double)
    cached(1), cached(1), cached(1)
    set_last_use(output_of(cached, 1), LONG_AGO)
    memory.store_backend.get_items()
    assert output_of(cached, 1).stat().st_atime == LONG_AGO


def test_files_of_others_are_noted_in_the_journal(memory, monkeypatch):
    cached = memory.cache(double)
    for x in range(3):
        cached(x)
        set_last_use(output_of(cached, x), LONG_AGO + x)

    def refuse(*args, **kwargs):
        raise PermissionError(1, "not yours")

    monkeypatch.setattr(os, "utime", refuse)
    cached(0)
    memory.reduce_size(items_limit=1)
    assert [cached.check_call_in_cache(x) for x in range(3)] == [True, False, False]


def test_a_cache_that_refuses_notes_serves_results(memory, monkeypatch, recwarn):
    cached = memory.cache(double)
    cached(1)

    def refuse(*args, **kwargs):
        raise OSError(30, "read-only")

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(usage, "journal_path", lambda location: "/dev/null/none")
    assert cached(1) == 2
    usage.write_notes()
    assert not recwarn.list


# -------------------------------------------------------------------------------- hits
def test_hits_are_counted(memory):
    cached = memory.cache(double)
    for x in (1, 2, 2, 3, 3, 3):
        cached(x)
    assert hits_of(memory) == {"1": 0, "2": 1, "3": 2}
    cached(1)
    assert hits_of(memory) == {"1": 1, "2": 1, "3": 2}


def test_notes_are_written_once_a_second(memory, monkeypatch):
    now = [LONG_AGO * 2.0]
    monkeypatch.setattr(usage.time, "time", lambda: now[0])
    writes = []
    monkeypatch.setattr(usage, "_append", lambda location, lines: writes.extend(lines))
    cached = memory.cache(double)
    for _ in range(100):
        cached(1)
    assert len(writes) == 1
    now[0] += 1.5
    cached(1)
    assert len(writes) == 2
    assert sum(int(line.split()[0]) for line in writes) == 100
    now[0] -= 3600  # a clock that was set back
    cached(1)
    assert len(writes) == 3


def test_notes_in_memory_are_bounded(memory, monkeypatch):
    monkeypatch.setattr(usage, "_MOST_NOTES", 10)
    usage.note_use("root", "some file")
    for number in range(1000):
        usage.note_use("root", f"file {number}")
        assert len(usage._notes) <= 11


def test_processes_add_up(memory, tmp_path):
    memory.cache(double)(1)
    script = (
        "import sys, joblib; from joblib.test.test_memory_usage import double\n"
        "cached = joblib.Memory(sys.argv[1], verbose=0).cache(double)\n"
        "[cached(1) for _ in range(10)]"
    )
    for _ in range(2):
        done = in_new_process(script, str(tmp_path))
        assert done.returncode == 0, done.stderr
    assert hits_of(memory) == {"1": 20}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_process_noted_is_not_its_childs(memory):
    cached = memory.cache(double)
    for _ in range(6):
        cached(1)
    child = os.fork()
    if child == 0:
        try:
            cached(1)
            usage.write_notes()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert hits_of(memory) == {"1": 6}


def test_threads_note_at_once(memory):
    cached = memory.cache(double)
    cached(1)
    threads = [
        threading.Thread(target=lambda: [cached(1) for _ in range(200)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (hits,) = hits_of(memory).values()
    assert 0 < hits <= 800


def test_the_journal_is_shortened(memory, monkeypatch):
    cached = memory.cache(double)
    cached(1), cached(1), cached(2), cached(2)
    assert hits_of(memory) == {"1": 1, "2": 1}
    root = memory.store_backend.location
    journal = Path(usage.journal_path(root))
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines * 3000) + "garbage\n5 0 gone/entry\n")
    cached(1)
    assert hits_of(memory) == {"1": 3001, "2": 3000}
    assert len(journal.read_text().splitlines()) == 3
    assert hits_of(memory) == {"1": 3001, "2": 3000}
    # The same while it is being written, when it grows large.
    monkeypatch.setattr(usage, "_LARGE_JOURNAL", 10)
    for _ in range(5):
        cached(1)
        usage.write_notes()
        assert len(journal.read_text().splitlines()) <= 12
    assert hits_of(memory) == {"1": 3006, "2": 3000}


def test_a_cache_that_was_removed_is_not_made_again(memory, tmp_path):
    cached = memory.cache(double)
    cached(1), cached(1), cached(1)
    shutil.rmtree(tmp_path)
    usage.write_notes()
    assert not tmp_path.exists()


# ------------------------------------------------------------------------------ entries
def test_entries_tell_all(memory):
    before = datetime.datetime.now() - datetime.timedelta(seconds=1)
    cached = memory.cache(double)
    cached(1, y="é")
    cached(2)
    cached(1, y="é")
    entry, other = memory.entries()
    assert entry.function == f"{__name__}.double"
    assert entry.func_id == cached.func_id
    assert entry.args_id == cached._get_args_id(1, y="é")
    assert entry.arguments == {"x": "1", "y": "'é'"}
    assert entry.bytes == sum(p.stat().st_size for p in Path(entry.path).iterdir())
    assert 0 <= entry.duration < 1
    assert before < entry.created <= entry.last_use <= datetime.datetime.now()
    assert entry.hits == 1
    assert Path(entry.path, "output.pkl").exists()
    assert entry.get() == 2
    for part in ("double(x=1, y='é')", "1 hits", f"{entry.bytes} bytes"):
        assert part in repr(entry)
    assert other.arguments["x"] == "2"


def test_an_entry_is_deleted(memory):
    cached = memory.cache(double)
    cached(1), cached(2)
    entry = next(e for e in memory.entries() if e.arguments["x"] == "1")
    entry.delete()
    entry.delete()
    assert [cached.check_call_in_cache(x) for x in (1, 2)] == [False, True]
    with pytest.raises(KeyError):
        entry.get()
    assert entry.bytes > 0 and "double" in repr(entry)


def test_no_location_no_entries():
    assert Memory(None).entries() == []


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"duration": "x", "input_args": 3}', b"\xff"]
)
def test_damaged_metadata_are_no_error(memory, content, recwarn):
    memory.cache(double)(1)
    (entry,) = memory.entries()
    path = Path(entry.path, "metadata.json")
    path.unlink() if content is None else path.write_bytes(content)
    (entry,) = memory.entries()
    assert (entry.arguments, entry.duration) == ({}, None)
    assert entry.created is not None
    assert "double()" in repr(entry)
    assert entry.get() == 2
    assert not recwarn.list


def test_entries_of_a_store_of_others(monkeypatch):
    monkeypatch.setattr(DictStore, "files", {})
    monkeypatch.setitem(_STORE_BACKENDS, "dict", DictStore)
    memory = Memory("nowhere", backend="dict", verbose=0)
    cached = memory.cache(double)
    cached(1)
    (entry,) = memory.entries()
    assert entry.function == f"{__name__}.double"
    assert entry.arguments == {"x": "1", "y": "0"}
    assert (entry.get(), entry.hits) == (2, None)
    assert entry.created.year >= 2026
    entry.delete()
    assert memory.entries() == []


def test_links_are_not_followed(memory, tmp_path):
    memory.cache(double)(1)
    (entry,) = memory.entries()
    root = Path(memory.store_backend.location)
    try:
        os.symlink(root, root / "again")
        os.symlink(entry.path, root / ("a" * 32))
    except OSError:
        pytest.skip("this system has no symbolic links for us")
    assert len(memory.entries()) == len(memory.store_backend.get_items()) == 1


# ------------------------------------------------------------- what killed writers left
def leave(path, age=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half a resu")
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


def suffix_of(pid, machine=None):
    return f"{machine or writing.machine()}{'0' * 20}-{pid}-1-0"


def dead_pid():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_names_tell_whose_files_are_left():
    own = writing.unique_suffix()
    assert not writing.is_owner_gone(f"output.pkl.{own}")
    assert not writing.is_owner_gone("output.pkl")
    assert not writing.is_owner_gone("output.pkl.thread-1-pid-2")
    assert not writing.is_owner_gone(f"output.pkl.{suffix_of(dead_pid(), 'e' * 12)}")
    assert not writing.is_owner_gone(f"output.pkl.{suffix_of(10**30)}")
    if os.name != "nt":
        assert writing.is_owner_gone(f"output.pkl.{suffix_of(dead_pid())}")


@pytest.mark.skipif(os.name == "nt", reason="asks for a process as POSIX does")
@pytest.mark.parametrize("with_result", [False, True])
def test_leftovers_go_and_what_is_being_written_stays(memory, with_result):
    cached = memory.cache(double)
    cached(1)
    directory = output_of(cached, 1).parent
    if not with_result:
        output_of(cached, 1).unlink()
        (directory / "metadata.json").unlink()
    left = leave(directory / f"output.pkl.{suffix_of(dead_pid())}")
    upstream = leave(directory / "output.pkl.0123-17-1", age=7200)
    writing_now = leave(directory / f"output.pkl.{writing.unique_suffix()}")
    just_now = leave(directory / "output.pkl.4567-17-1")
    if with_result:
        cached.call(1)  # who writes an entry again tidies it up
    else:
        memory.reduce_size(items_limit=100)
    assert not left.exists() and not upstream.exists()
    assert writing_now.exists() and just_now.exists()


def test_an_entry_of_leftovers_alone_goes_as_a_whole(memory):
    cached = memory.cache(double)
    left = leave(output_of(cached, 1).with_name("output.pkl.0123"), age=7200)
    memory.reduce_size(items_limit=100)
    assert not left.parent.exists()
    assert left.parent.parent.exists()


def test_a_file_that_somebody_still_reads_is_left_to_the_server(memory):
    cached = memory.cache(double)
    cached(1)
    directory = output_of(cached, 1).parent
    (directory / ".nfs0000001").write_bytes(b"x" * 100)
    assert scanning.remove_entry(str(directory))
    assert os.listdir(directory) == [".nfs0000001"]
    assert memory.entries() == []
    memory.reduce_size(bytes_limit=0)
    (item,) = memory.store_backend.get_items()
    assert item.size == 0


def test_the_layout_of_notes(memory):
    cached = memory.cache(double)
    cached(1), cached(1)
    assert [entry.hits for entry in memory.entries()] == [1]
    root = Path(memory.store_backend.location)
    assert sorted(p.name for p in root.iterdir()) == [".usage", __name__.split(".")[0]]
    (line,) = (root / ".usage" / "hits").read_text().splitlines()
    hits, last, entry = line.split(" ")
    assert (hits, last) == ("1", "0")
    assert json.loads((root / entry / "metadata.json").read_text())["duration"] >= 0
    memory.clear(warn=False)
    assert list(root.iterdir()) == []
