"""Upstream's release in a process of its own, asked to do what is done here too.

The interpreter named by ``JOBLIB_UPSTREAM_PYTHON`` must have upstream's release and
nothing of ours; `make test` makes such an environment. One process serves all tests
of a file: it takes a line of JSON for each job and answers with another.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path

PYTHON = os.environ.get("JOBLIB_UPSTREAM_PYTHON")
HERE = Path(__file__).resolve().parent
ANSWER_SECONDS = 50.0  # less than the time a test has


class UpstreamError(Exception):
    """A job raised an error over there; `kind` is the name of its type."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class Upstream:
    """A process with upstream's release that does the jobs of these test modules.

    ``upstream.compat_files.dump(...)`` calls that function over there, with
    arguments and a result that JSON can hold.
    """

    def __init__(self):
        # What it prints stands here, for the message when it dies.
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [PYTHON, str(HERE / "upstream_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            cwd=tempfile.gettempdir(),
        )

    def __getattr__(self, module):
        return _Jobs(self, module)

    def do(self, job, args, kwargs):
        """Have one job done and return its result."""
        request = {"job": job, "args": args, "kwargs": kwargs}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._read_line(job))
        if "error" in answer:
            raise UpstreamError(*answer["error"])
        return answer["result"]

    def _read_line(self, job):
        deadline = time.monotonic() + ANSWER_SECONDS
        pipe = self._process.stdout.fileno()
        received = b""
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                self.close()
                raise TimeoutError(f"no answer to {job} in {ANSWER_SECONDS:.0f} s")
            part = os.read(pipe, 1 << 20)
            if not part:
                self._log.seek(0)
                text = self._log.read().decode(errors="replace")
                raise EOFError(f"the process with upstream's release ended:\n{text}")
            received += part
        return received

    def close(self):
        """End the process."""
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


class _Jobs:
    """The functions of one module, done over there."""

    def __init__(self, upstream, module):
        self._upstream, self._module = upstream, module

    def __getattr__(self, function):
        job = f"{self._module}.{function}"
        return lambda *args, **kwargs: self._upstream.do(job, args, kwargs)


class Ours:
    """The same in this process: ``Ours().compat_files.dump(...)``."""

    def __getattr__(self, module):
        return importlib.import_module(f"joblib.test.{module}")
