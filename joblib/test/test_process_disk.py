"""Files that can't be written: arguments are told of, results come back all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
