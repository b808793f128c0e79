"""Runs upstream's test files against this package as it is installed.

1. Upstream's release is fetched with pip; of it only ``joblib/test/`` is unpacked,
   the rest is deleted unread.
2. This package is built and installed, without tests, into a scratch directory.
3. Upstream's tests are laid over it and run there.
4. What failed is compared with conformance_known.txt, which may only shrink: a
   failure outside the list is an error, and so is a listed test that passes or
   no longer exists.
5. A test that failed without being listed is run again by itself. If it then
   passes it is reported as flaky, by name, and not counted as a failure.

Run it as ``make conformance`` or with the interpreter of an environment that has
the `test` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

import known as known_failures
import venvs

HERE = Path(__file__).resolve().parent
ROOT = venvs.ROOT
UPSTREAM = venvs.UPSTREAM
FEWEST = 1500  # upstream's release has 1571 tests; far fewer means they were not found
TEST_TIMEOUT = 60  # seconds, for one test
RUN_TIMEOUT = 1200  # seconds, for all of them
MOST_RERUNS = 20  # more failures than this are no accident
RERUN_TIMEOUT = 600  # seconds, for all that are run again
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

CONFTEST = '''\
"""Fixtures that upstream's dask tests ask for, and a guard against a mix-up."""
from pathlib import Path

import joblib

here = Path(__file__).resolve().parent
if Path(joblib.__file__).resolve().parent.parent != here:
    raise RuntimeError(f"the joblib under test is {joblib.__file__}, not in {here}")

from distributed.utils_test import cleanup, loop, loop_in_thread  # noqa: E402, F401
'''


def fetch_tests(cache: Path) -> Path:
    """Return the directory of upstream's test files, fetched if need be."""
    tests = cache / f"upstream-{UPSTREAM}"
    if tests.is_dir():
        return tests
    download = cache / "download"
    shutil.rmtree(download, ignore_errors=True)
    download.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    pip += ["--only-binary", ":all:", "--dest", str(download), f"joblib=={UPSTREAM}"]
    try:
        subprocess.run(pip, check=True, timeout=600)
        (wheel,) = download.glob(f"joblib-{UPSTREAM}-*.whl")
    except (subprocess.SubprocessError, ValueError) as error:
        raise SystemExit(
            f"cannot fetch upstream's release {UPSTREAM} ({error}); pip must be able "
            "to reach the package index it is configured with"
        ) from error
    unpacked = cache / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.startswith("joblib/test/")]
        archive.extractall(unpacked, names)
    shutil.rmtree(download)
    (unpacked / "joblib" / "test").rename(tests)
    shutil.rmtree(unpacked)
    return tests


def install_ours(target: Path, scratch: Path) -> None:
    """Build this package from a clean copy and install it into `target`."""
    source = scratch / "source"
    venvs.copy_source(source)
    shutil.rmtree(target, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    pip += ["--no-build-isolation", "--target", str(target), str(source)]
    try:
        subprocess.run(pip, check=True, timeout=300)
    except subprocess.SubprocessError as error:
        raise SystemExit(f"cannot build and install this package: {error}") from error
    if (target / "joblib" / "test").exists():
        raise SystemExit("the installed package holds tests: mend pyproject.toml")
    if not (target / "joblib" / "py.typed").exists():
        raise SystemExit("the installed package lacks py.typed: mend pyproject.toml")


def lay_tests(tests: Path, target: Path) -> None:
    """Put upstream's tests and a configuration of their own beside our package."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tests, target / "joblib" / "test", ignore=ignored)
    (target / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    ini = f"[pytest]\ntimeout = {TEST_TIMEOUT}\n"
    ini += "asyncio_default_fixture_loop_scope = function\n"
    (target / "pytest.ini").write_text(ini, encoding="utf-8")


def run_pytest(
    target: Path, arguments: list[str], timeout: float
) -> tuple[list[str], dict[str, str], bool]:
    """Run pytest in `target`.

    Returns
    -------
    collected : list of str
    outcomes : dict
        Outcome by test.
    finished : bool
        False if the run was ended because time was up.
    """
    record = target / "outcomes.jsonl"
    record.unlink(missing_ok=True)
    env = dict(os.environ, RECORD_OUTCOMES=str(record))
    env["PYTHONPATH"] = os.pathsep.join([str(target), str(HERE)])
    argv = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-rfE"]
    argv += ["-p", "no:cacheprovider", "-p", "record_outcomes"]
    argv += ["--continue-on-collection-errors", *arguments]
    process = subprocess.Popen(
        argv, cwd=target, env=env, stdin=subprocess.DEVNULL, start_new_session=True
    )
    finished = True
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        finished = False
    finally:
        end_group(process)
    collected, outcomes = [], {}
    if record.exists():
        for line in record.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if "found" in entry:
                collected.append(entry["found"])
            else:
                outcomes[entry["test"]] = entry["outcome"]
    return collected, outcomes, finished


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and the children it left in its group."""
    if os.name == "nt":
        process.kill()
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    process.wait(30)


def run_again(target: Path, tests: list[str]) -> list[str]:
    """Run tests one by one, each in a process of its own; return those that pass."""
    passed = []
    deadline = time.monotonic() + RERUN_TIMEOUT
    for test in tests:
        if time.monotonic() > deadline:
            print(f"\n-- no time left to run the others again, from {test} on")
            break
        print(f"\n-- again, by itself: {test}", flush=True)
        _, outcomes, _ = run_pytest(target, [test], 2 * TEST_TIMEOUT)
        if outcomes.get(test) == "passed":
            passed.append(test)
    return passed


def write_report(path: Path, counts: dict[str, int], problems: list[str]) -> None:
    """Write the counts in junit's form, one failure per problem."""
    passed, skipped = counts["passed"], counts["skipped"]
    tests = passed + skipped + len(problems)
    lines = [
        f'<testsuites><testsuite name="conformance" tests="{tests}" '
        f'failures="{len(problems)}" errors="0" skipped="{skipped}">'
    ]
    for text in problems:
        lines.append(f"<testcase name={quoteattr(text)}><failure/></testcase>")
    lines.append("</testsuite></testsuites>\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def show(title: str, tests: list[str]) -> None:
    """Print a list of tests under a title, if there is any."""
    if tests:
        print(f"\n{title}:")
        for test in tests:
            print(f"  {test}")


def main() -> int:
    # what it has started is to end with it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "conformance")
    parser.add_argument("--report", type=Path, help="junit file to write")
    parser.add_argument("--timeout", type=float, default=RUN_TIMEOUT, help="seconds")
    options = parser.parse_args()

    listed = (HERE / "conformance_known.txt").read_text(encoding="utf-8")
    known = known_failures.parse(listed, VERSION)
    tests = fetch_tests(options.cache.resolve())
    # No dot in the name: upstream's tests of functions of the main module fail in a
    # directory with one, whichever joblib they run against.
    name = VERSION.replace(".", "")
    target = options.cache.resolve() / f"python{name}"
    install_ours(target, options.cache.resolve() / f"build{name}")
    lay_tests(tests, target)

    start = time.monotonic()
    collected, outcomes, finished = run_pytest(target, ["joblib"], options.timeout)
    seconds = time.monotonic() - start
    verdict = known_failures.compare(collected, outcomes, known)
    flaky = []
    if 0 < len(verdict.unexpected) <= MOST_RERUNS:
        flaky = run_again(target, [t for t in verdict.unexpected if "::" in t])
        outcomes.update(dict.fromkeys(flaky, "passed"))
        verdict = known_failures.compare(collected, outcomes, known)

    show("FLAKY: failed once, passed when run again by itself", flaky)
    show("UNEXPECTED: failed, and not in conformance_known.txt", verdict.unexpected)
    show("MENDED: passes; take it out of conformance_known.txt", verdict.mended)
    show("GONE: in conformance_known.txt, but no such test", verdict.gone)
    show("UNFINISHED: found, but has no outcome", verdict.unfinished)

    counts = {
        how: sum(outcome == how for outcome in outcomes.values())
        for how in ("passed", "skipped")
    }
    problems = [f"unexpected: {test}" for test in verdict.unexpected]
    problems += [f"mended: {test}" for test in verdict.mended]
    problems += [f"gone: {test}" for test in verdict.gone]
    problems += [f"unfinished: {test}" for test in verdict.unfinished]
    if not finished:
        problems.append(f"the run was ended after {options.timeout:.0f} s")
    if len(collected) < FEWEST:
        problems.append(
            f"{len(collected)} tests were found, at least {FEWEST} expected"
        )
    if options.report:
        write_report(options.report, counts, problems)

    total = len(collected)
    share = 100 * counts["passed"] / total if total else 0.0
    print(f"\nconformance with upstream {UPSTREAM}, Python {VERSION}, {seconds:.0f} s")
    print(f"  {total} tests: {counts['passed']} passed ({share:.1f} %), ", end="")
    print(f"{counts['skipped']} skipped or expected to fail upstream,")
    print(f"  {len(verdict.expected)} failed as listed, ", end="")
    print(f"{len(verdict.unexpected)} failed unexpectedly, {len(flaky)} flaky")
    if verdict.skipped_listed:
        print(f"  {len(verdict.skipped_listed)} of the listed were skipped")
    for problem in problems:
        if not problem.startswith(("unexpected", "mended", "gone", "unfinished")):
            print(f"  ERROR: {problem}")
    print("  conformance " + ("FAILED" if problems else "passed"), flush=True)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
