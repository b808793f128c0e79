"""Virtual environments for the repository's commands: made once, then reused.

An environment holds the package in editable mode and the extras that a command
asks for. A stamp file beside its interpreter says what was installed; as long as
the stamp still holds, getting the environment ready costs nothing.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UPSTREAM = "1.6.0"  # the release that this package stands in for
# What both releases work with must be the same: its versions are part of files.
SHARED_WITH_UPSTREAM = ("numpy", "scipy", "pandas", "scikit-learn", "lz4")
OLDEST, NEWEST = 10, 13  # the minor versions of Python 3 that the package supports
INSTALL_TIMEOUT = 1800  # seconds


class SetupError(Exception):
    """An environment could not be made; the message says what to do."""


def interpreter_of(venv: Path) -> Path:
    """Return the path of the interpreter inside an environment."""
    if os.name == "nt":
        return venv / "Scripts" / "python.exe"
    return venv / "bin" / "python"


def version_of(python: str | Path) -> tuple[int, int] | None:
    """Return (major, minor) as the interpreter itself says, None if it cannot run.

    A name on PATH proves nothing: version managers put shims there for
    interpreters that are not switched on.
    """
    code = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=60
        )
        major, minor = done.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return (int(major), int(minor))


def find_pythons() -> dict[tuple[int, int], str]:
    """Find one working interpreter for each supported version on this machine."""
    pyenv = Path(os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")))
    found: dict[tuple[int, int], str] = {}
    for minor in range(OLDEST, NEWEST + 1):
        named = shutil.which(f"python3.{minor}")
        candidates = [named] if named else []
        candidates += sorted(
            str(p) for p in pyenv.glob(f"versions/3.{minor}.*/bin/python")
        )
        for candidate in candidates:
            if version_of(candidate) == (3, minor):
                found[3, minor] = candidate
                break
    return found


def fingerprint(python: Path, extras: str) -> str:
    """Say in one line what an environment holds, so that a change can be seen."""
    declared = (ROOT / "pyproject.toml").read_bytes()
    source = (ROOT / "joblib" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r"^__version__ = .*$", source, re.MULTILINE)
    digest = hashlib.sha256(declared)
    digest.update(version.group().encode() if version else b"")
    return f"{version_of(python)} {ROOT} [{extras}] {digest.hexdigest()}\n"


def ensure(name: str, extras: str, python: str = sys.executable) -> Path:
    """Return the interpreter of environment `name`, with the extras installed.

    Parameters
    ----------
    name : str
        Directory of the environment, relative to the repository.
    extras : str
        Comma-separated extras of pyproject.toml.
    python : str
        The interpreter to make the environment with, if it has to be made.
    """
    venv = ROOT / name
    inside = interpreter_of(venv)
    if version_of(inside) is None:
        shutil.rmtree(venv, ignore_errors=True)
        print(f"-- making {name} with {python}", flush=True)
        create(venv, python)
    stamp = venv / f"installed-{extras.replace(',', '-')}.txt"
    expected = fingerprint(inside, extras)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == expected:
        return inside
    print(f"-- installing .[{extras}] into {name}", flush=True)
    install(inside, ["-e", f".[{extras}]"])
    stamp.write_text(expected, encoding="utf-8")
    return inside


def ensure_upstream(name: str, main: Path) -> Path:
    """Return the interpreter of an environment with upstream's release.

    Parameters
    ----------
    name : str
        Directory of the environment, relative to the repository.
    main : Path
        The interpreter of the environment whose Python and libraries it shares.
    """
    code = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(m.version(n))"
    try:
        done = subprocess.run(
            [str(main), "-c", code, *SHARED_WITH_UPSTREAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise SetupError(
            f"{main} lacks one of {', '.join(SHARED_WITH_UPSTREAM)}, which the extra "
            f"'test' brings: {error.stderr.strip()[-300:]}"
        ) from None
    pairs = zip(SHARED_WITH_UPSTREAM, done.stdout.split(), strict=True)
    wanted = [f"joblib=={UPSTREAM}", *(f"{n}=={version}" for n, version in pairs)]
    venv = ROOT / name
    inside = interpreter_of(venv)
    if version_of(inside) != version_of(main):
        shutil.rmtree(venv, ignore_errors=True)
        print(f"-- making {name} with {main}", flush=True)
        create(venv, str(main))
    stamp = venv / "installed-upstream.txt"
    expected = "\n".join(wanted)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == expected:
        return inside
    print(f"-- installing {' '.join(wanted)} into {name}", flush=True)
    install(inside, ["--only-binary", ":all:", *wanted])
    stamp.write_text(expected, encoding="utf-8")
    return inside


def copy_source(target: Path) -> None:
    """Copy what a build needs, and nothing that earlier builds left behind."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.rst", "LICENSE.txt"):
        shutil.copy(ROOT / name, target)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "joblib", target / "joblib", ignore=ignored)


def create(venv: Path, python: str) -> None:
    """Make an empty environment that has pip."""
    plain = [python, "-m", "venv", str(venv)]
    if subprocess.run(plain, capture_output=True, timeout=300).returncode == 0:
        return
    # Some systems ship venv without the bundled pip: the outer pip fills it in.
    shutil.rmtree(venv, ignore_errors=True)
    inside = str(interpreter_of(venv))
    for command in (
        [python, "-m", "venv", "--without-pip", str(venv)],
        [python, "-m", "pip", "--python", inside, "install", "--quiet", "pip"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise SetupError(
                f"cannot make a virtual environment with {python}: "
                f"{' '.join(command)!r} failed: {done.stderr.strip()[-500:]}\n"
                "Install the venv and pip modules of this Python "
                "(python3-venv and python3-pip on Debian and Ubuntu)."
            )


def install(python: Path, arguments: list[str]) -> None:
    """Run `pip install` in an environment; once more if the first try fails."""
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    for attempt in (1, 2):
        try:
            done = subprocess.run(command, cwd=ROOT, timeout=INSTALL_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise SetupError(
                f"{' '.join(command)!r} took more than {INSTALL_TIMEOUT} s: "
                "is the package index within reach?"
            ) from None
        if done.returncode == 0:
            return
        print(f"-- pip failed (try {attempt} of 2)", flush=True)
    raise SetupError(
        f"{' '.join(command)!r} failed twice; what pip printed above says why"
    )


def ensure_pair(
    mine: str, theirs: str, python: str = sys.executable
) -> tuple[Path, Path]:
    """Return the interpreters of two environments that differ in joblib alone.

    Parameters
    ----------
    mine, theirs : str
        Directories of the environments, relative to the repository: one gets this
        package as it stands, installed and not in place, the other upstream's release.
    python : str
        The interpreter to make them with.
    """
    insides = []
    for name in (mine, theirs):
        inside = interpreter_of(ROOT / name)
        if version_of(inside) is None:
            shutil.rmtree(ROOT / name, ignore_errors=True)
            print(f"-- making {name} with {python}", flush=True)
            create(ROOT / name, python)
        insides.append(inside)
    first, second = insides
    print(f"-- installing .[peers] into {mine}", flush=True)
    install(first, [".[peers]"])
    install(first, ["--force-reinstall", "--no-deps", "."])
    listed = subprocess.run(
        [str(first), "-m", "pip", "freeze"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split("\n")
    same = [line for line in listed if "==" in line and not line.startswith("joblib")]
    print(f"-- installing joblib=={UPSTREAM} and the same beside it", flush=True)
    install(second, ["--only-binary", ":all:", f"joblib=={UPSTREAM}", *same])
    return first, second
