"""What programs find in multiprocessing that rely on joblib having imported it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import joblib

ROOT = Path(joblib.__file__).resolve().parent.parent


def run(code: str) -> str:
    """Run code in a fresh interpreter; return what it printed."""
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ORDERS = {
    "after": "import joblib, sys; import multiprocessing as mp\n",
    "before": "import multiprocessing as mp; import joblib, sys\n",
    "joblib twice": (
        "import joblib, sys; del sys.modules['joblib']; import joblib\n"
        "import multiprocessing as mp\n"
    ),
    "loky first": "import loky, joblib, sys; import multiprocessing as mp\n",
    "through another module": (
        "import joblib, sys, concurrent.futures.process\nimport multiprocessing as mp\n"
    ),
}


@pytest.fixture(params=ORDERS)
def imports(request):
    """The imports of joblib and of multiprocessing, in some order."""
    return ORDERS[request.param]


@pytest.mark.parametrize("method", ["loky", "loky_init_main"])
def test_the_start_methods_of_loky_are_known(imports, method):
    code = (
        f"mp.set_start_method('{method}')\n"
        "print(mp.get_start_method(), mp.get_context().Process.__name__,\n"
        f"      mp.get_context('{method}') is mp.get_context())"
    )
    expected = {"loky": "LokyProcess", "loky_init_main": "LokyInitMainProcess"}
    assert run(imports + code) == f"{method} {expected[method]} True"


def test_others_are_as_they_were(imports):
    code = (
        "methods = mp.get_all_start_methods()\n"
        "assert 'loky' not in methods and 'spawn' in methods, methods\n"
        "assert mp.get_context('spawn').get_start_method() == 'spawn'\n"
        "for name in 'nonsense', '', 'Loky':\n"
        "    try:\n        mp.get_context(name)\n"
        "    except ValueError as error:\n"
        "        assert repr(name) in str(error), error\n"
        "    else:\n        raise AssertionError(name)"
    )
    run(imports + code)


def test_util_is_there(imports):
    assert run(imports + "print(mp.util.__name__)") == "multiprocessing.util"


def test_loky_waits_until_it_is_asked_for():
    code = (
        "import joblib, multiprocessing as mp, sys\n"
        "mp.get_context('spawn'), mp.util\n"
        "assert 'loky' not in sys.modules\n"
        "mp.get_context('loky')\n"
        "assert 'loky' in sys.modules"
    )
    run(code)


def test_the_module_is_as_without_joblib():
    """Its loader and spec are its own, and the finder has gone."""
    code = (
        "import sys; before = len(sys.meta_path)\n"
        "import joblib, inspect, importlib.util\n"
        "assert importlib.util.find_spec('multiprocessing.context') is not None\n"
        "import multiprocessing.context as context\n"
        "names = [type(finder).__name__ for finder in sys.meta_path]\n"
        "assert 'ContextFinder' not in names, names\n"
        "import multiprocessing.process as process\n"
        "assert type(context.__loader__) is type(process.__loader__)\n"
        "assert context.__spec__.loader is context.__loader__\n"
        "assert 'class BaseContext' in inspect.getsource(context)\n"
        "again = importlib.reload(context)\n"
        "assert again is context"
    )
    run(code)


def test_a_process_starts_by_lokys_method():
    code = (
        "import joblib, multiprocessing as mp\n"
        "if __name__ == '__main__':\n"
        "    mp.set_start_method('loky')\n"
        "    process = mp.get_context().Process(target=print, args=('in a child',))\n"
        "    process.start(); process.join(30)\n"
        "    print(process.exitcode)"
    )
    assert run(code).split() == ["in", "a", "child", "0"]
