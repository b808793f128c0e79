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


@pytest.mark.parametrize("part", ["util", "pool", "connection", "synchronize"])
def test_parts_are_there(imports, part):
    code = (
        f"print(mp.{part}.__name__, hasattr(mp, 'nothing'))\n"
        f"from multiprocessing import {part}\n"
        f"assert {part} is mp.{part} is sys.modules['multiprocessing.{part}']"
    )
    assert run(imports + code) == f"multiprocessing.{part} False"


def test_threads_that_import_it_at_once():
    """Nothing more is imported while it is: two threads might wait for each other."""
    code = (
        "import joblib, importlib, sys, threading\n"
        "import multiprocessing.reduction\n"
        "errors = []\n"
        "def fetch(name):\n"
        "    try:\n"
        "        barrier.wait()\n"
        "        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        errors.append(error)\n"
        "sys.setswitchinterval(1e-5)\n"
        "for turn in range(60):\n"
        "    for name in [n for n in sys.modules if n.startswith('multiprocessing')]:\n"
        "        del sys.modules[name]\n"
        "    barrier = threading.Barrier(3)\n"
        "    names = 'multiprocessing', 'multiprocessing.util', 'multiprocessing.pool'\n"
        "    threads = [threading.Thread(target=fetch, args=(name,)) for name in names]\n"
        "    for thread in threads: thread.start()\n"
        "    for thread in threads: thread.join()\n"
        "    assert not errors, (turn, errors)\n"
        "    import multiprocessing.context as context\n"
        "    assert type(context._concrete_contexts).__name__ == 'StartMethods'\n"
    )
    run(code)


@pytest.mark.parametrize("first", [True, False])
def test_a_finder_that_asks_all_others(first):
    finder = (
        "import sys\n"
        "class Asks:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        for finder in sys.meta_path:\n"
        "            if finder is not self:\n"
        "                spec = finder.find_spec(name, path, target)\n"
        "                if spec is not None:\n"
        "                    return spec\n"
        "sys.meta_path.insert(0, Asks())\n"
    )
    imports = "import joblib\n" + finder if first else finder + "import joblib\n"
    assert run(imports + "import multiprocessing as mp; mp.get_context('loky')") == ""


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
    """Its loader and spec are its own; it can be looked into, and loaded again."""
    code = (
        "import copy, joblib, inspect, importlib.util, sys\n"
        "spec = importlib.util.find_spec('multiprocessing.context')\n"
        "assert 'BaseContext' in copy.copy(spec.loader).get_source(spec.name)\n"
        "del sys.modules['multiprocessing']\n"
        "import multiprocessing.context as context\n"
        "import multiprocessing.process as process\n"
        "assert type(context.__loader__) is type(process.__loader__)\n"
        "assert context.__spec__.loader is context.__loader__\n"
        "assert 'class BaseContext' in inspect.getsource(context)\n"
        "importlib.reload(context)\n"
        "assert context._default_context.get_context('loky').Process.__name__ == 'LokyProcess'"
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
