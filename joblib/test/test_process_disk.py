"""Files that can't be written: arguments are told of, results come back all the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial

import pytest

from joblib._memmap.folders import TemporaryFolder
from joblib._memmap.placing import Place

pytest.importorskip("numpy")
pytest.importorskip("resource")

PROGRAM = """
import os, resource, sys
import numpy as np
from joblib import Parallel, delayed, parallel_config

def total(array, *rest):
    return float(array.sum())

def make(n):
    return np.full(n, 2.0)

def main(backend):
    # for this process and for its workers: no file of more than 1.5 MB
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    parallel = Parallel(2, backend=backend)
    try:
        parallel(delayed(total)(np.ones(500_000)) for _ in range(3))
    except Exception as error:
        print(type(error).__name__, type(error.__cause__).__name__, error)
    table = np.ones(100), list(range(10 ** 6))
    with parallel_config(backend, n_jobs=2, scatter=[table]):
        try:
            Parallel()(delayed(total)(*table) for _ in range(3))
            Parallel()(delayed(len)(table) for _ in range(3))
        except Exception as error:
            print(type(error).__name__, type(error.__cause__).__name__, error)
    arrays = parallel(delayed(make)(500_000) for _ in range(3))
    print([float(array.sum()) for array in arrays])
    print(parallel(delayed(total)(np.ones(100_000)) for _ in range(3)))

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_a_full_folder(backend, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    files = tmp_path / "files"
    done = subprocess.run(
        [sys.executable, str(program), backend],
        env={**os.environ, "JOBLIB_TEMP_FOLDER": str(files)},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    array, scattered, results, small = done.stdout.splitlines()
    for line in (array, scattered):
        assert line.startswith("PicklingError OSError Could not pickle the task")
        assert str(files) in line
        assert "JOBLIB_TEMP_FOLDER" in line
    assert "an array of 4000000 bytes" in array
    assert "scatter[0]" in scattered
    assert results == str([1_000_000.0] * 3)
    assert small == str([100_000.0] * 3)
    assert os.listdir(files) == []


# -------------------------------------------------- a small file system in memory
IN_MEMORY = """
import os, sys
import numpy as np
import joblib._memmapping_reducer as places
from joblib import Parallel, delayed, parallel_config
from joblib.pool import MemmappingPool

places.SYSTEM_SHARED_MEM_FS = sys.argv[2]
places.SYSTEM_SHARED_MEM_FS_MIN_SIZE = 1_000_000

def where(array, *rest):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return "nowhere" if array is None else os.path.dirname(array.filename)

def make(n):
    return np.full(n, 2.0)

def total(*arrays):
    return sum(float(array.sum()) for array in arrays)

def main(backend):
    small, large = np.ones(300_000), np.ones(1_000_000)  # 2.4 and 8 MB
    with Parallel(2, backend=backend) as parallel:
        print(*set(parallel(delayed(where)(small) for _ in range(3))))
        # 2.4 MB of the 6 are taken
        print(*set(parallel(delayed(where)(large, small) for _ in range(3))))
        print(parallel(delayed(total)(small, large) for _ in range(3)))
    # results, for which there is no room
    arrays = Parallel(2, backend=backend)(delayed(make)(1_000_000) for _ in range(3))
    print([float(array.sum()) for array in arrays])
    table = b"x" * 8_000_000
    with parallel_config(backend, n_jobs=2, scatter=[table]):
        print(Parallel()(delayed(len)(table) for _ in range(3)))
    pool = MemmappingPool(2)
    print(pool.apply(where, (large,)))
    pool.terminate()
    # a folder that the user has named is the only one
    try:
        Parallel(2, backend=backend, temp_folder=sys.argv[2])([delayed(where)(large)])
    except Exception as error:
        print(type(error).__name__, error)

if __name__ == "__main__":
    main(sys.argv[1])
"""


@pytest.fixture(scope="module")
def small_memory(tmp_path_factory):
    """A file system in memory that has room for 6 MB."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    path = str(tmp_path_factory.mktemp("memory"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", path]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("there is no program to mount a file system")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", path], check=True, timeout=20)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_memory_without_room(backend, small_memory, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(IN_MEMORY)
    next_folder = tmp_path / "next"
    next_folder.mkdir()
    env = {**os.environ, "TMPDIR": str(next_folder)}
    env.pop("JOBLIB_TEMP_FOLDER", None)
    done = subprocess.run(
        [sys.executable, str(program), backend, small_memory],
        env=env,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
    small, large, totals, results, scattered, pool, named = done.stdout.splitlines()
    assert small.startswith(small_memory + os.sep)
    # the array that had no room, and none of those before it
    assert large.startswith(str(next_folder) + os.sep)
    assert totals == str([1_300_000.0] * 3)
    assert results == str([2_000_000.0] * 3)
    assert scattered == str([8_000_000] * 3)
    assert pool.startswith(str(next_folder) + os.sep)
    assert named.startswith("PicklingError")
    assert f"an array of 8000000 bytes to '{small_memory}" in named
    left = [name for name in os.listdir(next_folder) if "joblib" in name]
    assert (os.listdir(small_memory), left) == ([], [])


# ------------------------------------------------------------------- the place
def write_text(text, path):
    with open(path, "x") as file:
        file.write(text)


def refuse_in(folder, path):
    write_text("a part", path)
    if path.startswith(folder):
        raise OSError(28, "No space left on device")


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two folders, the second of which is that for temporary files."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(second))
    return str(first), str(second)


def test_a_place_moves_once(two):
    first, second = two
    place = Place(TemporaryFolder(os.path.join(first, "x")), may_move=True)
    kept = place.write("kept", partial(write_text, "here"))
    assert os.path.dirname(kept) == place.path == os.path.join(first, "x")
    moved = place.write("moved", partial(refuse_in, first))
    assert os.path.dirname(moved) == place.path == os.path.join(second, "x")
    assert os.listdir(os.path.join(first, "x")) == ["kept"]
    with pytest.raises(OSError, match="No space left"):
        place.write("nowhere", partial(refuse_in, ""))
    assert os.listdir(place.path) == ["moved"]
    place.delete()
    place.delete()
    assert os.listdir(first) == os.listdir(second) == []


def test_a_place_that_the_user_named_stays(two):
    first, second = two
    place = Place(TemporaryFolder(os.path.join(first, "x")), may_move=False)
    with pytest.raises(OSError, match="No space left"):
        place.write("nowhere", partial(refuse_in, first))
    assert os.listdir(place.path) == []
    place.delete()


def test_a_folder_that_cannot_be_made(two):
    first, second = two
    write_text("no folder", first)
    place = Place(TemporaryFolder(os.path.join(first, "x")), may_move=True)
    assert place.write("a", partial(write_text, "b")).startswith(second)
    place.delete()


def test_threads_that_find_a_place_full_move_it_once(two):
    first, second = two
    place = Place(TemporaryFolder(os.path.join(first, "x")), may_move=True)
    together = threading.Barrier(4)

    def refuse(path):
        if path.startswith(first):
            together.wait(20)
        refuse_in(first, path)

    paths = []
    threads = [
        threading.Thread(target=lambda n=n: paths.append(place.write(str(n), refuse)))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {os.path.dirname(path) for path in paths} == {os.path.join(second, "x")}
    place.delete()
