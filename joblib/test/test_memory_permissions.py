"""A cache that may not be read or written: values are returned, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs permissions of POSIX")

# Run by a user who is bound by permissions; what is imported is so before that.
PROGRAM = """
import asyncio, linecache, logging, os, pprint, shutil, sys, traceback, warnings
from pathlib import Path

from joblib import Memory, memory
from joblib._store_backends import CacheWarning

base, trouble = sys.argv[1:]
RUNS = []

def work(x):
    RUNS.append(x)
    return {"value": [x] * 3}

async def work_async(x):
    RUNS.append(x)
    return {"value": [x] * 3}

def use(location, **options):
    cached = Memory(location, verbose=0, **options).cache(work)
    waited = Memory(location, verbose=0, **options).cache(work_async)
    return {
        "call": cached,
        "forced": lambda x: cached.call(x)[0],
        "shelved": lambda x: cached.call_and_shelve(x).get(),
        "async": lambda x: asyncio.run(waited(x)),
        "mapped": Memory(location, verbose=0, mmap_mode="r").cache(work),
        "compressed": Memory(location, verbose=0, compress=3).cache(work),
    }

for way in use(base + "/warm").values():
    way(1), way(1)
with warnings.catch_warnings():  # what says that something is wrong is loaded, too
    warnings.simplefilter("ignore")
    warnings.warn("as such", CacheWarning)
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

location = Path(base) / "cache"
for way in use(location).values():
    assert way(1) == {"value": [1] * 3}
files = {path: path.read_bytes() for path in location.rglob("*") if path.is_file()}
modes = {path: path.stat().st_mode & 0o777 for path in location.rglob("*")}

def forbid(path, mode):
    path.chmod(mode)

for path in sorted(location.rglob("*"), reverse=True):
    if trouble == "cache" and path.is_dir():
        forbid(path, 0o555)
    elif trouble == "function" and path.is_dir() and path.name.startswith("work"):
        forbid(path, 0o555)
    elif trouble == path.name:
        forbid(path, 0)
if trouble == "cache":
    forbid(location, 0o555)

for name, way in use(location).items():
    for x in (1, 2):  # what is there, what is not
        memory._FUNCTION_HASHES.clear()  # as in a new process
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert way(x) == {"value": [x] * 3}, (name, x)
        said = [str(w.message) for w in caught if issubclass(w.category, CacheWarning)]
        assert len(said) == len(set(said)), (name, x, said)
        if x == 2 and trouble in ("cache", "function"):
            assert said, (name, x)

location.chmod(0o755)
for path, mode in sorted(modes.items()):
    if path.exists():
        path.chmod(mode)
if trouble in ("cache", "function", "func_code.py"):
    for path, content in files.items():
        # A forced call writes anew what it may.
        assert path.read_bytes() == content or trouble == "function", path
    RUNS.clear()
    memory._FUNCTION_HASHES.clear()
    ways = use(location)
    assert ways["call"](1) == ways["async"](1) == {"value": [1] * 3}
    assert RUNS == [], "what was there is hit again"
left = [path.name for path in location.rglob("*") if path.is_file()]
known = {"output.pkl", "metadata.json", "func_code.py", ".gitignore", "hits", "sizes"}
assert set(left) <= known, left
print("all is well")
"""

TROUBLES = ["cache", "function", "output.pkl", "metadata.json", "func_code.py"]


@pytest.fixture
def base():
    # Not below the test's own folder, which others may not enter.
    path = tempfile.mkdtemp(prefix="joblib-permissions-")
    os.chmod(path, 0o777)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_permissions(base, trouble):
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, base, trouble],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all is well\n"
