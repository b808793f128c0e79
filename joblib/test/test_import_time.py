"""What importing the package must not load: the price every user would pay."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import joblib

ROOT = Path(joblib.__file__).resolve().parent.parent

HEAVY = [
    "asyncio",
    "cloudpickle",
    "concurrent.futures",
    "dask",
    "distributed",
    "loky",
    "lz4",
    "multiprocessing",
    "numpy",
    "pandas",
    "psutil",
    "tqdm",
    "xxhash",
    "zstandard",
]


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a statement loads in a fresh interpreter."""
    # Only what the statement adds counts: site-packages may hold .pth files that
    # load modules into every interpreter.
    code = (
        "import json, sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        check=True,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import joblib",
        "from joblib import Parallel, delayed",
        "from joblib import parallel_config, parallel_backend",
    ],
)
def test_heavy_modules_stay_out(statement):
    loaded = loaded_by(statement)
    assert "joblib" in loaded
    assert sorted(loaded & set(HEAVY)) == []


def test_importing_the_package_loads_nothing_of_it_but_the_front():
    ours = {name for name in loaded_by("import joblib") if name.startswith("joblib.")}
    # finders for `import distributed.joblib` and `import multiprocessing`: they have
    # to be there beforehand
    assert ours == {"joblib._distributed_alias", "joblib._multiprocessing_later"}


@pytest.mark.parametrize("options", ["n_jobs=1", "n_jobs=2, prefer='threads'"])
def test_a_loop_loads_only_what_it_runs_on(options):
    statement = (
        "from joblib import Parallel, delayed\n"
        f"Parallel({options})(delayed(abs)(i) for i in range(4))"
    )
    # What the standard library has for the number of CPUs and for time-outs may come.
    foreign = set(HEAVY) - {"multiprocessing", "concurrent.futures"}
    loaded = loaded_by(statement)
    assert "joblib.parallel" in loaded
    assert sorted(loaded & foreign) == []


def test_every_public_name_is_there():
    assert set(joblib.__all__) <= set(dir(joblib))
    for name in joblib.__all__:
        assert getattr(joblib, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = joblib.no_such_name
