"""Backends of other projects, unmodified, run on this package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._utils import _TracebackCapturingWrapper
from joblib.test.backends import ApplyAsyncBackend

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("engine_script.py")


# ---------------------------------------------------- what one of them counts on
class WrappingBackend(ApplyAsyncBackend):
    """Runs batches in a wrapper that returns what they raise, as joblib-spark does."""

    def submit(self, func, callback=None):
        return self.apply_async(_TracebackCapturingWrapper(func), callback)


def fail(x):
    raise KeyError(f"no {x}")


def test_an_error_that_a_wrapper_returned_is_raised():
    with parallel_config(WrappingBackend()), pytest.raises(KeyError, match="no 3"):
        Parallel(n_jobs=2)(delayed(fail if i == 3 else abs)(i) for i in range(5))


# --------------------------------------------------- in an environment of their own
@pytest.fixture
def folder():
    """A folder with a short name: ray makes sockets in it."""
    path = tempfile.mkdtemp(prefix="je")
    yield Path(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def python(request, folder):
    """An interpreter with the engine; the test is skipped where there is none."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    # Our dependencies, and not ourselves: the release that an engine may bring
    # along stands behind the one on PYTHONPATH.
    packages = ["loky", "cloudpickle", "numpy", *request.param]
    command = [str(python), "-m", "pip", "install", "--quiet", *packages]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, check=False
    )
    if done.returncode:
        pytest.skip(f"{request.param} cannot be installed: {done.stderr[-500:]}")
    return python


def run_engine(python, engine, folder):
    home = folder / "home"
    home.mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(home),  # for what they write there
        "ENGINE_FOLDER": str(folder / "t"),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYSPARK_PYTHON": str(python),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [str(python), str(SCRIPT), engine],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    lines = [
        line.partition("OUTCOMES ")[2]
        for line in done.stdout.splitlines()
        if "OUTCOMES " in line
    ]
    assert done.returncode == 0 and lines, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(lines[0])


def check(outcomes, package, error):
    import joblib

    assert outcomes == {
        "version": joblib.__version__,
        "backend": package,
        "squares": [i * i for i in range(20)],
        "all": [0, 1, 4, 9, 16],
        "elsewhere": True,
        "error": {"raised": error, "names it": True},
        "after": [0, 1, 4],
        "nested": [[], [0], [0, 1], [0, 1, 4]],
        "array": [300_000.0 + i for i in range(4)],
        "again": [[0, 1, 4], [0, 1, 4, 9, 16]],
    }


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("python", [["ray"]], indirect=True, ids=["latest"])
def test_ray(python, folder):
    check(run_engine(python, "ray", folder), "ray", "KeyError")


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs java")
@pytest.mark.parametrize(
    "python",
    [["joblibspark", "pyspark", "packaging", "setuptools"]],
    indirect=True,
    ids=["latest"],
)
def test_spark(python, folder):
    # Spark wraps what a task has raised in an exception of its own
    check(run_engine(python, "spark", folder), "joblibspark", "PythonException")
