"""Full disks, killed writers and awkward paths: the old file or the new, and no debris."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import subprocess
import sys

import pytest

import joblib
from joblib._persist import atomic, leftovers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="POSIX file semantics"),
]

NAMED = "from joblib._persist import atomic\natomic._open_nameless = lambda d: None\n"


@pytest.fixture(params=["nameless", "named"])
def way(request, monkeypatch):
    if request.param == "named":
        monkeypatch.setattr(atomic, "_open_nameless", lambda directory: None)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("only Linux has files without a name")
    return request.param


def preamble(way):
    return NAMED if way == "named" else ""


FULL_DISK = """
import errno, os, resource, sys
import joblib
path, method = sys.argv[1:]
value = [bytes(1000)] * 10 + [str(i) for i in range(5000)]
try:
    import numpy as np
except ImportError:
    pass
else:
    draw = np.random.default_rng(0)
    value = [draw.random(20_000), value, np.asfortranarray(draw.random((90, 90)))]
joblib.dump(value, path + "2", compress=int(method) if method == "0" else method)
size = os.path.getsize(path + "2")
os.unlink(path + "2")
for part in range(12):
    limit = size * part // 12
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        joblib.dump(value, path, compress=0 if method == "0" else method)
    except OSError as error:
        assert error.errno == errno.EFBIG and path in str(error), error
    else:
        raise SystemExit(f"no error at {limit} of {size}")
    assert joblib.load(path) == "old"
    assert os.listdir(os.path.dirname(path)) == ["file"], os.listdir()
print("done", part)
"""


@pytest.mark.parametrize("method", ["0", "zlib", "gzip", "bz2", "xz", "lz4", "zstd"])
def test_a_disk_that_is_full_at_any_point(way, method, tmp_path):
    for name, library in (("lz4", "lz4.frame"), ("zstd", "zstandard")):
        if method == name:
            pytest.importorskip(library)
    path = tmp_path / "file"
    joblib.dump("old", path)
    done = subprocess.run(
        [sys.executable, "-c", preamble(way) + FULL_DISK, str(path), method],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["done", "11"], done.stderr


DUMP_FOREVER = """
import itertools, sys
import joblib
for i in itertools.count(int(sys.argv[2])):
    joblib.dump([i] * 3000, sys.argv[1])
    if i % 50 == 0:
        print(i, flush=True)
"""


def kill_at_random_moments(way, directory, times):
    path = directory / "file"
    draw = random.Random(0)
    for attempt in range(times):
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                preamble(way) + DUMP_FOREVER,
                str(path),
                str(attempt * 10**6),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            for _ in range(draw.randrange(1, 4)):
                assert process.stdout.readline()
            # Somewhere within one of the dumps that follow.
            for _ in range(draw.randrange(3000)):
                pass
            process.send_signal(signal.SIGKILL)
        found = joblib.load(path)
        assert len(found) == 3000 and len(set(found)) == 1
        assert found[0] // 10**6 == attempt
        # One temporary at most, whatever was left before; and it goes with a write.
        assert len(os.listdir(directory)) <= 2
    joblib.dump("last", path)
    assert joblib.load(path) == "last"
    assert os.listdir(directory) == ["file"]


def test_writers_that_are_killed(way, tmp_path):
    kill_at_random_moments(way, tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(280)
def test_many_writers_that_are_killed(way, tmp_path):
    kill_at_random_moments(way, tmp_path, 60)


KILLED_WITH_A_NAME = """
import os, signal, sys
import joblib
from joblib._persist import atomic
def die(*names):
    os.kill(os.getpid(), signal.SIGKILL)
atomic.os.replace = atomic.concurrency_safe_rename = die
joblib.dump("new", sys.argv[1])
"""


def test_what_a_killed_writer_left_goes_with_the_next_write(way, tmp_path):
    path = tmp_path / "file"
    joblib.dump("old", path)
    for _ in range(2):
        code = preamble(way) + KILLED_WITH_A_NAME
        done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
        assert done.returncode == -signal.SIGKILL
        assert joblib.load(path) == "old"
        assert len(os.listdir(tmp_path)) == 2  # not more the second time
    joblib.dump("new", path)
    assert joblib.load(path) == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_the_file_of_a_living_writer_stays(way, tmp_path):
    path = str(tmp_path / "file")
    joblib.dump("old", path)
    with atomic.replacing(path) as file:
        file.write(b"\x80\x04K\x01.")
        file.flush()
        joblib.dump("another", path)
        assert joblib.load(path) == "another"
    assert joblib.load(path) == 1
    assert os.listdir(tmp_path) == ["file"]


def test_file_systems_without_locks(way, tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(leftovers.fcntl, "flock", flock)
    for value in ("old", "new"):
        joblib.dump(value, tmp_path / "file")
        assert joblib.load(tmp_path / "file") == value
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_errors_at_the_end_of_a_large_object(way, error, tmp_path):
    class Fails:
        def __reduce__(self):
            raise error("at the end")

    path = tmp_path / "file"
    joblib.dump("old", path)
    for compress in (0, "gzip"):
        with pytest.raises(error, match="at the end"):
            joblib.dump([list(range(200_000)), Fails()], path, compress=compress)
    assert joblib.load(path) == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_long_and_foreign_names(way, tmp_path):
    for name in ("n" * 255, "\u00e9t\u00e9 \u4e2d", "with space", ".hidden", "%s{}"):
        for value in (1, 2):
            assert joblib.dump(value, tmp_path / name) == [str(tmp_path / name)]
            assert joblib.load(tmp_path / name) == value
    with pytest.raises(OSError) as info:
        joblib.dump(1, tmp_path / ("n" * 256))
    assert info.value.errno == errno.ENAMETOOLONG
    assert len(os.listdir(tmp_path)) == 5


def test_chains_and_loops_of_links(way, tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "file"
    joblib.dump("old", target)
    (tmp_path / "second").symlink_to("there/file")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    joblib.dump("new", tmp_path / "first")
    assert joblib.load(target) == "new"
    assert os.readlink(tmp_path / "second") == "there/file"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError) as info:
        joblib.dump(1, tmp_path / "loop")
    assert info.value.errno == errno.ELOOP
    assert os.listdir(tmp_path / "there") == ["file"]


def test_a_second_name_keeps_the_old_content(way, tmp_path):
    path, second = tmp_path / "file", tmp_path / "second"
    joblib.dump("old", path)
    os.link(path, second)
    joblib.dump("new", path)
    assert (joblib.load(path), joblib.load(second)) == ("new", "old")


def test_a_directory_that_hands_on_its_group(way, tmp_path):
    tmp_path.chmod(0o2775)
    plain = tmp_path / "plain"
    plain.touch()
    joblib.dump(1, tmp_path / "file")
    joblib.dump(2, tmp_path / "file")
    new, expected = (tmp_path / "file").stat(), plain.stat()
    assert (new.st_gid, new.st_mode) == (expected.st_gid, expected.st_mode)


def test_a_pipe_is_written_to(tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    code = "import sys, joblib; print(joblib.load(sys.argv[1]))"
    reader = subprocess.Popen(
        [sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True
    )
    with reader:
        joblib.dump("through", path)
        assert reader.stdout.read().strip() == "through"
    assert stat.S_ISFIFO(os.stat(path).st_mode)
