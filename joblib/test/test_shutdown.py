"""`joblib.shutdown` ends what is kept for the next call."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import joblib
from joblib import Parallel, delayed
from joblib._backends import ending

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")


def pid_of(_):
    return os.getpid()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def say_and_wait(path):
    open(path, "x").close()
    threading.Event().wait(60)


def test_workers_end_and_the_next_call_has_new_ones():
    before = set(Parallel(2, backend="loky")(delayed(pid_of)(n) for n in range(8)))
    assert all(map(is_alive, before))
    joblib.shutdown()
    assert not any(map(is_alive, before))
    joblib.shutdown()
    after = set(Parallel(2, backend="loky")(delayed(pid_of)(n) for n in range(8)))
    assert not before & after


def test_workers_of_other_threads_end(tmp_path):
    found = []
    done, ended = threading.Event(), threading.Event()

    def call():
        found.extend(Parallel(2, backend="loky")(delayed(pid_of)(n) for n in range(8)))
        done.set()
        ended.wait(60)

    thread = threading.Thread(target=call)
    thread.start()
    assert done.wait(60)
    joblib.shutdown()
    assert not any(map(is_alive, set(found)))
    ended.set()
    thread.join()


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_a_call_that_is_running_fails(backend, tmp_path):
    caught = []
    path = tmp_path / "started"

    def call():
        try:
            Parallel(2, backend=backend)(
                delayed(say_and_wait)(tmp_path / str(n)) for n in range(2)
            )
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    path = tmp_path / "0"
    while not path.exists():  # the test's timeout is the limit
        thread.join(0.01)
        assert thread.is_alive()
    joblib.shutdown()
    thread.join(30)
    assert not thread.is_alive()
    [error] = caught
    assert "shut" in str(error) or "terminated" in str(error)


def test_idle_threads_end():
    Parallel(3, backend="threading")(delayed(pid_of)(n) for n in range(8))
    joblib.shutdown()
    assert not [t for t in threading.enumerate() if t.name == "joblib-thread"]
    assert Parallel(3, backend="threading")(delayed(abs)(n) for n in range(3))


def test_one_that_fails_keeps_no_other_from_ending():
    class Pool:
        ended = False

    def fail(pool):
        raise OSError("not this one")

    def end(pool):
        pool.ended = True

    bad, good = Pool(), Pool()
    ending.remember(bad, fail)
    ending.remember(good, end)
    with pytest.raises(OSError, match="not this one"):
        joblib.shutdown()
    assert good.ended
    joblib.shutdown()


def test_it_loads_nothing():
    code = (
        "import joblib, sys; joblib.shutdown(); "
        "sys.exit(bool({'loky', 'multiprocessing', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
