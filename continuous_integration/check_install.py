"""Installs this package over upstream's, as a user would, and looks at the result.

In a fresh environment: scikit-learn with upstream's joblib, then ``pip install`` of
this package from a clean copy of its source. pip must find nothing to complain
about, the package must be ours and whole, and its tests must not be in it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

import venvs

SCRATCH = venvs.ROOT / "build" / "install"
UPSTREAM = venvs.UPSTREAM

LOOK = """
import importlib.metadata, importlib.util, pathlib, re, sys
import joblib, joblib.parallel, joblib.memory, joblib.externals.loky, sklearn
from sklearn.utils.parallel import Parallel, delayed

source = pathlib.Path(sys.argv[1], "joblib", "__init__.py").read_text()
written = re.search(r'^__version__ = "(.+)"', source, re.MULTILINE).group(1)
assert joblib.__version__ == importlib.metadata.version("joblib") == written, written
assert importlib.util.find_spec("joblib.test") is None, "tests were installed"
home = pathlib.Path(joblib.__file__).parent
assert (home / "py.typed").exists(), "py.typed is missing"
ours = {str(p.relative_to(sys.argv[1])) for p in pathlib.Path(sys.argv[1]).rglob("*.py")}
here = {str(p.relative_to(home.parent)) for p in home.rglob("*.py")}
strays = sorted(p for p in here - ours)
assert not strays, f"files that are not ours are left: {strays}"
lost = sorted(p for p in ours - here if p.startswith("joblib/"))
lost = [p for p in lost if not p.startswith("joblib/test/")]
assert not lost, f"files of ours were not installed: {lost}"
assert joblib.externals.loky is sys.modules["loky"], "loky is a copy"
assert Parallel(n_jobs=2)(delayed(abs)(i) for i in range(-3, 0)) == [3, 2, 1]
print("joblib", joblib.__version__, "serves scikit-learn", sklearn.__version__)
"""


def main() -> int:
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    source, venv = SCRATCH / "source", SCRATCH / "venv"
    venvs.create(venv, sys.executable)
    inside = venvs.interpreter_of(venv)
    venvs.install(inside, [f"joblib=={UPSTREAM}", "scikit-learn"])
    venvs.copy_source(source)
    venvs.install(inside, [str(source)])
    # The build leaves its traces in the copy; what is compared must be the source.
    venvs.copy_source(source)
    for command in (["-m", "pip", "check"], ["-c", LOOK, str(source)]):
        done = subprocess.run([str(inside), *command], cwd=SCRATCH, timeout=120)
        if done.returncode != 0:
            return 1
    shutil.rmtree(SCRATCH)
    return 0


if __name__ == "__main__":
    sys.exit(main())
