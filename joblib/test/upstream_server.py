"""The other end of `upstream.Upstream`: run by the interpreter with upstream's release.

It shares the modules of this directory that hold objects and jobs, under their usual
names, so that what they define is the same class on both sides.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASE = "1.6.0"


def import_upstream():
    """Import upstream's release, and make this directory part of its tests."""
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE]
    import joblib
    import joblib.test

    if joblib.__version__ != RELEASE or HERE.parent.samefile(joblib.__path__[0]):
        sys.exit(f"this is {joblib.__path__[0]} {joblib.__version__}, not {RELEASE}")
    # First: upstream's tests may have modules of the same names.
    joblib.test.__path__.insert(0, str(HERE))


def answer(line):
    """Do one job; return what to say about it."""
    request = json.loads(line)
    module, _, function = request["job"].partition(".")
    try:
        job = getattr(importlib.import_module(f"joblib.test.{module}"), function)
        return {"result": job(*request["args"], **request["kwargs"])}
    except Exception as exc:
        traceback.print_exc()
        return {"error": [type(exc).__name__, str(exc)]}


def main():
    # What a job prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import_upstream()
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        print(json.dumps(answer(line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
