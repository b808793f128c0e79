"""`joblib.externals` hands out the installed packages themselves."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import joblib


@pytest.mark.parametrize(
    "name",
    [
        "loky",
        "loky.process_executor",
        "loky.reusable_executor",
        "loky.backend.context",
        "loky.backend.resource_tracker",
        "cloudpickle",
        "cloudpickle.cloudpickle",
    ],
)
def test_an_alias_is_the_module_itself(name):
    alias = importlib.import_module("joblib.externals." + name)
    assert alias is importlib.import_module(name)
    assert alias.__name__ == name
    assert alias.__spec__.name == name


def test_forms_of_import():
    import loky

    import joblib.externals.loky.process_executor
    from joblib.externals import loky as taken
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    assert taken is loky
    assert joblib.externals.loky is loky
    assert TerminatedWorkerError is loky.process_executor.TerminatedWorkerError
    # reached by attribute, after a plain `import joblib`
    code = "import joblib; joblib.externals.loky.get_reusable_executor"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_what_is_not_there():
    with pytest.raises(ModuleNotFoundError, match=r"joblib\.externals\.loky\.nothing"):
        importlib.import_module("joblib.externals.loky.nothing")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("joblib.externals.nothing")
    with pytest.raises(AttributeError, match="nothing"):
        joblib.externals.nothing  # noqa: B018


def test_nothing_is_loaded_before_it_is_named():
    code = (
        "import sys, joblib.externals\n"
        "assert not {'loky', 'cloudpickle', 'multiprocessing'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_wrap_non_picklable_objects():
    import pickle

    wrapped = joblib.wrap_non_picklable_objects(lambda x: x + 1)
    assert wrapped(1) == 2
    again = pickle.loads(pickle.dumps(wrapped))
    assert again(1) == 2
    bare = joblib.wrap_non_picklable_objects(lambda x: x + 1, keep_wrapper=False)
    assert type(pickle.loads(pickle.dumps(bare))).__name__ == "function"


def test_an_alias_can_be_run_as_a_program():
    # as a copy of loky starts its workers, where this is the joblib that it finds
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "joblib.externals.loky.backend.popen_loky_posix",
            "--help",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "--pipe" in done.stdout
