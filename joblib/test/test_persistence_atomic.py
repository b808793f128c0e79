"""`dump` to a path replaces the file when the new one is complete, and not before."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

import joblib
from joblib._persist import atomic

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file semantics")


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not me")


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    """The two ways of keeping a file out of sight until it is complete."""
    if request.param == "named":
        monkeypatch.setattr(atomic, "_open_nameless", lambda directory: None)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("only Linux has files without a name")
    return request.param


@pytest.mark.parametrize("compress", [0, "gzip"])
def test_new_and_old_files(way, compress, tmp_path):
    path = tmp_path / "file"
    for value in ([1], list(range(100)), [2]):
        assert joblib.dump(value, path, compress=compress) == [str(path)]
        assert joblib.load(path) == value
        assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("compress", [0, "gzip", "bz2"])
@pytest.mark.parametrize(
    "value", [Unpicklable(), [list(range(10**5)), Unpicklable()], lambda: None]
)
def test_an_object_that_cannot_be_pickled_leaves_the_old_file(
    way, value, compress, tmp_path
):
    path = tmp_path / "file"
    joblib.dump("old", path)
    before = path.read_bytes()
    with pytest.raises(Exception, match="not me|[Cc]an't pickle"):
        joblib.dump(value, path, compress=compress)
    assert path.read_bytes() == before
    with pytest.raises(Exception, match="not me|[Cc]an't pickle"):
        joblib.dump(value, tmp_path / "other", compress=compress)
    assert os.listdir(tmp_path) == ["file"]


FULL_DISK = """
import resource, sys
import joblib
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
value = [bytes(1000)] * 10 + [str(i) for i in range(100_000)]
if sys.argv[2] == "arrays":
    import numpy as np
    value = [np.arange(1000), np.arange(50_000)]
try:
    joblib.dump(value, sys.argv[1])
except OSError as error:
    print(error.errno)
"""


@posix
@pytest.mark.parametrize("kind", ["objects", "arrays"])
def test_a_full_disk_leaves_the_old_file(kind, tmp_path):
    if kind == "arrays":
        pytest.importorskip("numpy")
    path = tmp_path / "file"
    joblib.dump("old", path)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), kind],
        capture_output=True,
        text=True,
        timeout=60,
    )
    import errno

    assert done.stdout.strip() == str(errno.EFBIG), done.stderr
    assert joblib.load(path) == "old"
    assert os.listdir(tmp_path) == ["file"]


DUMP_FOREVER = """
import itertools, sys
import joblib
for i in itertools.count():
    joblib.dump([i] * 200_000, sys.argv[1])
    print(i, flush=True)
"""


@posix
@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="needs files without a name")
def test_a_process_that_is_killed_leaves_a_whole_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", DUMP_FOREVER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            # Any moment will do, as long as it is one of many dumps.
            for _ in range(1 + attempt):
                assert process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        found = joblib.load(path)
        assert len(found) == 200_000 and len(set(found)) == 1
    leftovers = [name for name in os.listdir(tmp_path) if name != "file"]
    # Between taking a name and taking the old file's place there are microseconds.
    assert len(leftovers) <= 1


def test_readers_see_the_old_file_or_the_new(way, tmp_path):
    path = tmp_path / "file"
    joblib.dump("old", path)
    with open(path, "rb") as reader:
        joblib.dump("new", path)
        assert joblib.load(reader) == "old"
    assert joblib.load(path) == "new"


@posix
def test_permissions_are_those_of_a_plain_open(way, tmp_path):
    path, plain = tmp_path / "file", tmp_path / "plain"
    old = os.umask(0o027)
    try:
        joblib.dump(1, path)
        plain.touch()
    finally:
        os.umask(old)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o604)
    joblib.dump(2, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@posix
@pytest.mark.skipif(os.name != "nt" and os.getuid() == 0, reason="root may do anything")
def test_a_read_only_file_is_refused(way, tmp_path):
    path = tmp_path / "file"
    joblib.dump("old", path)
    path.chmod(0o400)
    with pytest.raises(PermissionError):
        joblib.dump("new", path)
    assert joblib.load(path) == "old"


@posix
def test_links_keep_pointing(way, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    joblib.dump("old", target)
    link.symlink_to("target")
    joblib.dump("new", link)
    assert link.is_symlink() and joblib.load(target) == "new"
    target.unlink()
    joblib.dump("again", link)  # dangling until now
    assert link.is_symlink() and joblib.load(target) == "again"


@posix
def test_what_is_no_file_is_written_in_place(tmp_path):
    assert joblib.dump("value", os.devnull) == [os.devnull]
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("name", ["missing/file", "directory", ""])
def test_paths_that_cannot_be_written_raise_what_open_raises(name, tmp_path):
    (tmp_path / "directory").mkdir()
    path = os.path.join(tmp_path, name) if name else ""
    with pytest.raises(OSError) as expected:
        open(path, "wb")
    with pytest.raises(type(expected.value)) as info:
        joblib.dump(1, path)
    assert info.value.errno == expected.value.errno


def test_an_interrupt_leaves_the_old_file(way, tmp_path):
    class Interrupts:
        def __reduce__(self):
            raise KeyboardInterrupt

    path = tmp_path / "file"
    joblib.dump("old", path)
    with pytest.raises(KeyboardInterrupt):
        joblib.dump([1, Interrupts()], path)
    assert joblib.load(path) == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_appears_meanwhile_is_replaced(tmp_path):
    path = str(tmp_path / "file")
    with atomic.replacing(path) as file:
        file.write(b"ours")
        with open(path, "wb") as other:
            other.write(b"theirs")
    with open(path, "rb") as file:
        assert file.read() == b"ours"
    assert os.listdir(tmp_path) == ["file"]
