"""The repository's commands: `python continuous_integration/run.py COMMAND`.

Each command makes the virtual environment it needs, runs its steps one after the
other, each within a time limit, and ends with a table of what was run. The exit
code is 0 only if every step passed. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import venvs
from venvs import ROOT

if sys.version_info < (3, venvs.OLDEST):
    sys.exit(
        f"joblib needs Python 3.{venvs.OLDEST} or newer; this is "
        f"{sys.version.split()[0]}. Name another: make PYTHON=python3.11 COMMAND"
    )

BUILD = ROOT / "build"
REPORTS = BUILD / "reports"
PACKAGE = ROOT / "joblib"
# The one environment of the repository, and what each command needs in it.
HOME = ".venv"
# Upstream's release and nothing of ours, for the tests that compare the two.
UPSTREAM_HOME = ".venv-upstream"
SKLEARN_QUICK = ["sklearn.utils.tests.test_parallel"]
SKLEARN_FULL = [
    *SKLEARN_QUICK,
    "sklearn.ensemble.tests.test_forest",
    "sklearn.ensemble.tests.test_bagging",
    "sklearn.model_selection.tests.test_search",
]
UNIT_TIMEOUT = 1200  # seconds
SOAK_TIMEOUT = 1800  # besides the time that calls are made for, twice
SOAK_SECONDS = 600  # for which `make soak` makes calls of all kinds
UPSTREAM_TIMEOUT = 600


class Step(NamedTuple):
    """One line of the closing table."""

    title: str
    passed: bool
    seconds: float
    note: str


class Counts(NamedTuple):
    """What a pytest run reported."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        words = [f"{self.failed} failed"] if self.failed else []
        words.append(f"{self.passed} passed")
        if self.skipped:
            words.append(f"{self.skipped} skipped")
        return ", ".join(words)


class Runner:
    """Runs the steps of a command and remembers how each of them ended."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.steps: list[Step] = []
        self.totals: list[Counts] = []

    def run(
        self,
        title: str,
        argv: list[str | Path],
        timeout: float,
        *,
        cwd: Path = ROOT,
        env: dict[str, str] | None = None,
        report: Path | None = None,
        may_skip: bool = True,
        output: Path | None = None,
    ) -> bool:
        """Run one command; it fails on a non-zero exit and when time is up.

        Parameters
        ----------
        timeout : float
            Seconds after which the command and its children are ended.
        report : Path, optional
            The junit file that the command writes; it must be there and must
            count at least one test, or else the step fails.
        may_skip : bool
            Whether tests may be skipped; else a skipped one fails the step.
        output : Path, optional
            Where to keep what the command prints until it has ended: for one that
            runs beside others.
        """
        headline = f"\n== {title} " + "=" * max(0, 70 - len(title))
        if output is None:
            print(headline, flush=True)
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.unlink(missing_ok=True)
        start = time.monotonic()
        words = [str(a) for a in argv]
        code = execute(words, timeout, cwd, child_environment(env), output)
        seconds = time.monotonic() - start
        if output is not None:
            told = output.read_text(errors="replace")
            print(f"{headline}\n{told}", flush=True)
        passed = code == 0
        note = "" if passed else f"exit code {code}"
        if code is None:
            note = f"ended after {timeout:.0f} s: it did not finish"
        if report is not None:
            counts = read_report(report)
            self.totals.append(counts or Counts(0, 1, 0))
            if counts is None:
                passed, note = False, note or "no report was written"
            else:
                passed = passed and counts.passed > 0 and counts.failed == 0
                passed = passed and (may_skip or counts.skipped == 0)
                note = "; ".join(filter(None, [str(counts), note]))
        self.steps.append(Step(title, passed, seconds, note))
        return passed

    def fail(self, title: str, note: str) -> None:
        """Count a step that could not be run as failed."""
        print(f"\n== {title}: {note}", flush=True)
        self.steps.append(Step(title, False, 0.0, note))

    def finish(self, command: str) -> int:
        """Print the table of steps and the totals; return the exit code."""
        if not self.steps:
            return 0
        print("\n== summary " + "=" * 62)
        for step in self.steps:
            word = "ok" if step.passed else "FAILED"
            print(f"{word:7}{step.seconds:7.1f} s  {step.title:34}{step.note}")
        good = all(step.passed for step in self.steps)
        minutes, seconds = divmod(round(time.monotonic() - self.start), 60)
        verdict = "passed" if good else "FAILED"
        print(f"make {command} {verdict} in {minutes} min {seconds} s", flush=True)
        if self.totals:
            passed, failed, skipped = map(sum, zip(*self.totals, strict=True))
            print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
        return 0 if good else 1


def child_environment(extra: dict[str, str] | None) -> dict[str, str]:
    """Return this environment without what would change the package's behaviour."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "PYTEST_ADDOPTS")
        and not name.startswith("JOBLIB_")
    }
    env.update(extra or {})
    return env


def execute(
    argv: list[str],
    timeout: float,
    cwd: Path,
    env: dict[str, str],
    output: Path | None = None,
) -> int | None:
    """Run a command in a process group of its own; None if time was up."""
    with output.open("wb") if output else nullcontext() as out:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=None if out is None else subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # On time-out, on Ctrl-C, and for children that a command left behind.
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process and of the children in its group."""
    if os.name == "nt":
        process.kill()
    else:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except (ProcessLookupError, PermissionError):
                break
            if number == signal.SIGTERM:
                time.sleep(0.5)
    process.wait(30)


def read_report(path: Path) -> Counts | None:
    """Read the counts of a junit file, None if there is none."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    tests = failed = skipped = 0
    for suite in root.iter("testsuite"):
        tests += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return Counts(max(0, tests - failed - skipped), failed, skipped)


def home(extras: str, python: str = sys.executable) -> Path:
    """Return the interpreter of the repository's environment."""
    return venvs.ensure(HOME, extras, python)


def tag(python: Path) -> str:
    """Return the version of an interpreter as text, such as '3.12'."""
    version = venvs.version_of(python)
    if version is None:
        raise venvs.SetupError(f"{python} does not run")
    return f"{version[0]}.{version[1]}"


# -- the steps ---------------------------------------------------------------


def step_lint(runner: Runner, python: Path) -> None:
    runner.run("ruff check", [python, "-m", "ruff", "check", "."], 120)
    runner.run("ruff format", [python, "-m", "ruff", "format", "--check", "."], 120)
    private = sorted(
        path.relative_to(ROOT)
        for path in PACKAGE.glob("_*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
        if not path.name.startswith("__")
    )
    runner.run("mypy", [python, "-m", "mypy", *private], 300)
    report = REPORTS / "layers.xml"
    layers = [PACKAGE / "test" / "test_layers.py", f"--junitxml={report}", "-q"]
    runner.run("layers", [python, "-m", "pytest", *layers], 120, report=report)


def step_unit(
    runner: Runner, python: Path, slow: bool = True, beside_others: bool = False
) -> None:
    title = f"unit tests, Python {tag(python)}"
    report = REPORTS / f"unit-{tag(python)}.xml"
    output = REPORTS / f"unit-{tag(python)}.txt" if beside_others else None
    texts = [ROOT / "README.rst", *sorted((ROOT / "doc").glob("*.rst"))]
    argv = [python, "-m", "pytest", "-q", "joblib", "continuous_integration", *texts]
    argv += ["--doctest-modules", "--doctest-glob=*.rst", "--durations=25"]
    if not slow:
        argv += ["-m", "not soak and not slow and not upstream"]
    argv.append(f"--junitxml={report}")
    runner.run(title, argv, UNIT_TIMEOUT, report=report, output=output)


def step_soak(
    runner: Runner, python: Path, seconds: int = 0, output: Path | None = None
) -> None:
    report = REPORTS / "soak.xml"
    # with the output of those that pass, which are their figures
    argv = [python, "-m", "pytest", "-q", "-rP", "-m", "soak", "joblib"]
    runner.run(
        "soak tests",
        [*argv, f"--junitxml={report}"],
        SOAK_TIMEOUT + 2 * seconds,
        env={"JOBLIB_SOAK_SECONDS": str(seconds)} if seconds else None,
        report=report,
        output=output,
    )


def step_upstream(runner: Runner, python: Path) -> None:
    title = "compatibility with upstream"
    try:
        other = venvs.ensure_upstream(UPSTREAM_HOME, python)
    except venvs.SetupError as error:
        runner.fail(title, str(error))
        return
    report = REPORTS / "upstream.xml"
    argv = [python, "-m", "pytest", "-q", "-m", "upstream", "joblib"]
    runner.run(
        title,
        [*argv, f"--junitxml={report}"],
        UPSTREAM_TIMEOUT,
        env={"JOBLIB_UPSTREAM_PYTHON": str(other)},
        report=report,
        may_skip=False,
    )


def step_conformance(runner: Runner, python: Path, extra: list[str]) -> None:
    report = REPORTS / f"conformance-{tag(python)}.xml"
    script = ROOT / "continuous_integration" / "conformance.py"
    argv = [python, script, "--report", report, *extra]
    title = f"conformance, Python {tag(python)}"
    runner.run(title, argv, 2000, report=report)


def step_sklearn(runner: Runner, python: Path, modules: list[str]) -> None:
    scratch = BUILD / "sklearn"
    scratch.mkdir(parents=True, exist_ok=True)
    # A configuration of its own: neither ours nor scikit-learn's applies to its tests
    # when they run from an installed scikit-learn.
    ini = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
    (scratch / "pytest.ini").write_text(ini, encoding="utf-8")
    report = REPORTS / "sklearn.xml"
    options = ["-q", "-p", "no:cacheprovider", "--timeout=300", f"--junitxml={report}"]
    argv = [python, "-m", "pytest", *options, "--pyargs", *modules]
    runner.run("scikit-learn's tests", argv, 1800, cwd=scratch, report=report)


def step_demo(runner: Runner, python: Path) -> None:
    example = ROOT / "examples" / "distributed_training.py"
    runner.run("demo", [python, example], 180)


def step_install(runner: Runner, python: Path) -> None:
    script = ROOT / "continuous_integration" / "check_install.py"
    runner.run("install over upstream", [python, script], 900)


# -- the commands ------------------------------------------------------------


def command_demo(runner: Runner, options: argparse.Namespace) -> None:
    """Set up and run examples/distributed_training.py."""
    step_demo(runner, home("demo"))


def command_lint(runner: Runner, options: argparse.Namespace) -> None:
    """Check the style, the types and the layers."""
    step_lint(runner, home("test,lint,demo,pictures"))


def command_unit(runner: Runner, options: argparse.Namespace) -> None:
    """Run this package's own tests and doctests."""
    step_unit(runner, home("test,lint,demo,pictures"))


def command_soak(runner: Runner, options: argparse.Namespace) -> None:
    """Run those of this package's own tests that take long, for as long as it takes."""
    step_soak(runner, home("test,lint,demo,pictures"), SOAK_SECONDS)


def command_upstream(runner: Runner, options: argparse.Namespace) -> None:
    """Compare files, digests and caches with those of upstream's release."""
    step_upstream(runner, home("test,lint,demo,pictures"))


def command_conformance(runner: Runner, options: argparse.Namespace) -> None:
    """Run upstream's test files against this package."""
    step_conformance(runner, home("test,lint,demo,pictures"), options.arguments)


def command_test(runner: Runner, options: argparse.Namespace) -> None:
    """Set up and pass every check; other Pythons run the unit tests but slow ones."""
    python = home("test,lint,demo,bench,pictures")
    step_lint(runner, python)
    step_asv_check(runner, python)
    step_unit(runner, python)
    # Beside one another, since tests wait most of their time.
    with ThreadPoolExecutor(1) as pool:
        soak = pool.submit(step_soak, runner, python, output=REPORTS / "soak.txt")
        step_upstream(runner, python)
        step_conformance(runner, python, options.arguments)
        soak.result()
    step_sklearn(runner, python, SKLEARN_QUICK)
    step_demo(runner, python)
    step_install(runner, python)
    others = other_environments(runner, python)
    # All at a time: most of the time tests wait, for processes that start or end.
    with ThreadPoolExecutor(max(1, len(others))) as pool:
        unit = partial(step_unit, runner, slow=False, beside_others=True)
        list(pool.map(unit, others))


def command_test_all_pythons(runner: Runner, options: argparse.Namespace) -> None:
    """Run the unit and the conformance tests on every Python found here."""
    python = home("test,lint,demo,pictures")
    for each in [python, *other_environments(runner, python)]:
        step_unit(runner, each)
        step_conformance(runner, each, options.arguments)


def other_environments(runner: Runner, main: Path) -> list[Path]:
    """Make an environment for each further Python version on this machine."""
    made = []
    for version, found in venvs.find_pythons().items():
        if version == venvs.version_of(main):
            continue
        name = f"{HOME}-{version[0]}.{version[1]}"
        try:
            made.append(venvs.ensure(name, "test", found))
        except venvs.SetupError as error:
            runner.fail(f"environment {name}", str(error))
    return made


def command_test_sklearn(runner: Runner, options: argparse.Namespace) -> None:
    """Run scikit-learn's own tests of its parallel estimators."""
    step_sklearn(runner, home("test,lint,demo,pictures"), SKLEARN_FULL)


def command_bench(runner: Runner, options: argparse.Namespace) -> None:
    """Measure this joblib, upstream's release and peers side by side."""
    mine, theirs = venvs.ensure_pair(".venv-bench", ".venv-bench-upstream")
    made = BUILD / "bench"
    made.mkdir(parents=True, exist_ok=True)
    argv = [mine, ROOT / "benchmarks" / "compare.py", mine, theirs]
    for kind in ("json", "rst", "svg"):
        argv += [f"--{kind}", made / f"comparison.{kind}"]
    runner.run("comparison", [*argv, *options.arguments], 3600)
    print(f"the table, its figures and a plot are in {made.relative_to(ROOT)}")


def asv_in(python: Path) -> tuple[list[str | Path], list[str | Path]]:
    """Return how asv is called, and its options for the environment it is called in."""
    config = ROOT / "benchmarks" / "asv.conf.json"
    return [python, "-m", "asv"], ["--config", config]


def step_asv_check(runner: Runner, python: Path) -> None:
    asv, config = asv_in(python)
    runner.run("asv machine", [*asv, "machine", "--yes", *config], 60)
    runner.run("asv check", [*asv, "check", *config, "-E", "existing:same"], 300)


def command_asv(runner: Runner, options: argparse.Namespace) -> None:
    """Run the asv benchmarks once each, in this environment."""
    python = home("bench")
    step_asv_check(runner, python)
    asv, config = asv_in(python)
    quick = ["--quick", "--show-stderr", "-E", "existing:same", *options.arguments]
    runner.run("asv run", [*asv, "run", *config, *quick], 3600)


def command_doc(runner: Runner, options: argparse.Namespace) -> None:
    """Build the documentation into doc/_build/html; a warning is an error."""
    python = home("doc")
    built = ROOT / "doc" / "_build" / "html"
    argv = [python, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q"]
    if runner.run("sphinx", [*argv, ROOT / "doc", built], 600):
        print(f"open {(built / 'index.html').relative_to(ROOT)}")


def command_movie(runner: Runner, options: argparse.Namespace) -> None:
    """Record a nested search, and draw doc/_static/movie.svg."""
    out = ROOT / "doc" / "_static" / "movie.svg"
    runner.run("movie", [home("demo"), ROOT / "doc" / "movie.py", out], 300)


def command_clean(runner: Runner, options: argparse.Namespace) -> None:
    """Remove what these commands made, the environments included."""
    made = [BUILD, ROOT / "dist", ROOT / "doc" / "_build", ROOT / "doc" / "generated"]
    made += [ROOT / "doc" / "auto_examples"]
    made += [*ROOT.glob(".venv*"), *ROOT.glob("*.egg-info"), ROOT / ".asv"]
    made += [ROOT / f".{tool}_cache" for tool in ("mypy", "pytest", "ruff")]
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


COMMANDS = {
    "demo": command_demo,
    "test": command_test,
    "test-all-pythons": command_test_all_pythons,
    "test-sklearn": command_test_sklearn,
    "unit": command_unit,
    "soak": command_soak,
    "upstream": command_upstream,
    "lint": command_lint,
    "conformance": command_conformance,
    "bench": command_bench,
    "asv": command_asv,
    "doc": command_doc,
    "movie": command_movie,
    "clean": command_clean,
}


def usage() -> str:
    """Return the list of commands."""
    lines = [
        f"  make {name:18}{(function.__doc__ or '').strip()}"
        for name, function in COMMANDS.items()
    ]
    tail = "Without make: python continuous_integration/run.py COMMAND"
    return "\n".join(["Commands:", *lines, "", tail])


def main() -> int:
    # a step is to be ended with whatever it has started, as on Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("command", nargs="?", default="help")
    options, options.arguments = parser.parse_known_args()
    if options.command not in COMMANDS:
        print(usage())
        return 0 if options.command in ("help", "-h", "--help") else 2
    os.chdir(ROOT)
    runner = Runner()
    try:
        COMMANDS[options.command](runner, options)
    except venvs.SetupError as error:
        runner.fail("set up", str(error))
    except KeyboardInterrupt:
        runner.fail("interrupted", "the steps after this one were not run")
    return runner.finish(options.command)


if __name__ == "__main__":
    sys.exit(main())
