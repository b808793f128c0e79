"""`python -m joblib cache`: what it shows, what it removes, what it refuses."""

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import joblib
from joblib import Memory
from joblib.__main__ import main
from joblib._caching import console, places, tables

LONG_AGO = 1_000_000_000


def square_of_a_number_with_a_name_that_is_rather_long(x, text=""):
    return x**2


def make_bytes(n):
    return b"x" * n


class Shown(str):
    """Text that shows itself as it is, whatever that does to a terminal."""

    __slots__ = ()

    def __repr__(self):
        return str(self)


def recency(entry):
    """Put the squares first, then the bytes: 20,000, 3,000,000 and 1,000."""
    if "make_bytes" not in entry.func_id:
        return 0
    return 3 if entry.bytes < 10_000 else 2 if entry.bytes > 1_000_000 else 1


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    memory = Memory(tmp_path / "cache", verbose=0)
    square = memory.cache(square_of_a_number_with_a_name_that_is_rather_long)
    for x in range(3):
        square(x, Shown("日本語の長い文字列\x1b[31m\nnext e\u0301" * 3))
    cached = memory.cache(make_bytes)
    for n in (1000, 20_000, 3_000_000):
        cached(n)
    cached(1000), cached(1000)
    # The clock of files is too coarse to tell in which order all this was.
    for age, entry in enumerate(sorted(memory.entries(), key=recency)):
        path = os.path.join(entry.path, "output.pkl")
        os.utime(path, (LONG_AGO + age, os.stat(path).st_mtime))
    return tmp_path / "cache"


def run(capsys, *arguments):
    code = main(["cache", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (code == 0) == (captured.err == ""), captured.err
    return code, captured.out if code == 0 else captured.err


def entries(cache):
    return Memory(cache, verbose=0).entries()


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in Path(path).rglob("*"))


# ------------------------------------------------------------------------------- tables
def test_a_list_fits_a_terminal(cache, capsys):
    code, shown = run(capsys, "list", cache)
    title, *rows, total = shown.splitlines()
    assert title.split() == ["SIZE", "TIME", "HITS", "LAST", "USE", "ID", "CALL"]
    assert len(rows) == 6
    assert total == "6 results, 2.9M"
    starts = {tables.width_of(row[: row.index("ago")]) for row in rows}
    assert len(starts) == 1, "columns are aligned"
    for row in rows:
        assert tables.width_of(row) <= 80
        assert row.isprintable()
    squares = [row for row in rows if "rather_long(" in row]
    assert len(squares) == 3 and all("x=" in row for row in squares)
    assert rows[0].split()[-1].endswith("make_bytes(n=1000)")


@pytest.mark.parametrize(
    "order, first",
    [("size", "n=3000000"), ("hits", "n=1000"), ("function", "make_bytes")],
)
def test_a_list_is_sorted(cache, capsys, order, first):
    _, shown = run(capsys, "list", cache, "--sort", order)
    assert first in shown.splitlines()[1]
    _, turned = run(capsys, "list", cache, "--sort", order, "--reverse")
    assert first not in turned.splitlines()[1]


def test_a_list_is_cut(cache, capsys):
    _, shown = run(capsys, "list", cache, "--limit", 2)
    assert len(shown.splitlines()) == 4
    assert shown.endswith("6 results, 2.9M; 4 more: --limit 0 shows all\n")
    assert len(run(capsys, "list", cache, "--limit", 0)[1].splitlines()) == 8


@pytest.mark.parametrize(
    "name, count",
    [
        ("make_bytes", 3),
        (f"{__name__}.make_bytes", 3),
        ("*square*", 3),
        ("bytes", 0),
        ("*", 6),
    ],
)
def test_functions_are_named_in_several_ways(cache, capsys, name, count):
    _, shown = run(capsys, "list", cache, "--function", name, "--json")
    assert len(json.loads(shown)) == count


def test_json_of_a_list(cache, capsys):
    _, shown = run(capsys, "list", cache, "--json", "--sort", "hits")
    (first, *rest) = json.loads(shown)
    assert len(rest) == 5
    duration = first.pop("duration")
    moments = [
        datetime.datetime.fromisoformat(first.pop(key))
        for key in ("created", "last_use")
    ]
    assert all(moment.tzinfo is not None for moment in moments)
    assert moments[1].year == 2001 and duration >= 0
    (entry,) = [e for e in entries(cache) if e.hits]
    assert first == {
        "function": entry.function,
        "func_id": entry.func_id,
        "args_id": entry.args_id,
        "path": entry.path,
        "arguments": {"n": "1000"},
        "bytes": entry.bytes,
        "hits": 2,
    }


def test_sizes_are_summed_by_function(cache, capsys):
    _, shown = run(capsys, "size", cache)
    lines = shown.splitlines()
    assert lines[0] == str(cache / "joblib")
    assert lines[2].split()[1:3] == ["3", "2"] and lines[2].endswith(".make_bytes")
    assert all(tables.width_of(line) <= 80 for line in lines[1:])
    content = json.loads(run(capsys, "size", cache, "--json")[1])
    assert content["entries"] == 6
    assert content["bytes"] == sum(entry.bytes for entry in entries(cache))
    assert [f["entries"] for f in content["functions"]] == [3, 3]


def test_an_entry_is_shown(cache, capsys):
    entry = next(e for e in entries(cache) if e.hits)
    _, by_id = run(capsys, "show", cache, entry.args_id[:6])
    _, by_path = run(capsys, "show", entry.path)
    assert by_id == by_path
    for text in (entry.path, entry.args_id, "  n = 1000", "hits       2", "2001-09-0"):
        assert text in by_id
    (content,) = json.loads(run(capsys, "show", cache, entry.args_id, "--json")[1])
    assert content["hits"] == 2
    _, of_function = run(capsys, "show", cache, "make_bytes")
    assert of_function.count("arguments") == 3
    assert "make_bytes" in run(capsys, "show", cache)[1], "the cache as a whole"
    code, message = run(capsys, "show", cache, "none")
    assert code == 2 and "no result and no function" in message


def test_an_empty_cache(tmp_path, capsys):
    Memory(tmp_path, verbose=0).cache(make_bytes)
    assert run(capsys, "list", tmp_path) == (0, "no results\n")
    assert run(capsys, "list", tmp_path, "--json") == (0, "[]\n")
    assert run(capsys, "clear", tmp_path, "--yes")[0] == 0


# ------------------------------------------------------------------------------ removal
@pytest.mark.parametrize(
    "limits, left",
    [
        (["--max-items", "4"], 4),
        (["--max-size", "1M"], 1),
        (["--max-size", "0"], 0),
        (["--max-age", "30d"], 0),
        (["--max-age", "9999w"], 6),
        (["--max-items", "5", "--max-size", "1G"], 5),
    ],
)
def test_pruning(cache, capsys, limits, left):
    kept = {entry.path for entry in entries(cache)[:left]}
    before = files_below(cache)
    _, told = run(capsys, "prune", cache, *limits, "--dry-run", "--json")
    dry = json.loads(told)
    assert dry["dry_run"] and files_below(cache) == before
    content = json.loads(run(capsys, "prune", cache, *limits, "--json")[1])
    assert content == {**dry, "dry_run": False}
    assert content["removed_entries"] == 6 - left
    if "--max-size" not in limits:
        assert {entry.path for entry in entries(cache)} == kept
    assert content["entries"] == len(entries(cache))
    assert content["bytes"] == sum(entry.bytes for entry in entries(cache))
    _, told = run(capsys, "prune", cache, "--max-items", 6)
    assert told.startswith("removed 0 results, 0; ")


def test_clearing_all(cache, capsys):
    content = json.loads(run(capsys, "clear", cache, "--yes", "--json")[1])
    assert (content["removed_entries"], content["entries"]) == (6, 0)
    assert files_below(cache) == [".gitignore", "joblib"]


def test_clearing_a_function(cache, capsys):
    _, told = run(capsys, "clear", cache, "--yes", "--function", "make_bytes")
    assert told.startswith("removed 3 results, 2.9M; 3 results, ")
    assert {entry.function.split(".")[-1][:6] for entry in entries(cache)} == {"square"}
    assert not any("make_bytes" in name for name in files_below(cache))
    code, message = run(capsys, "clear", cache, "--yes", "--function", "make_bytes")
    assert code == 2 and "no results of a function" in message


@pytest.mark.parametrize("below", ["", "joblib"])
def test_what_is_no_entry_is_never_removed(cache, capsys, below):
    entry = entries(cache)[0]
    function = Path(entry.path).parent
    precious = [
        cache / "data.csv",
        cache / "joblib" / "notes.txt",
        function / "results.npy",
        Path(entry.path) / "my own notes",
        function / ("a" * 32) / "something",
        cache / "joblib" / "module" / "deep" / "file.py",
    ]
    for path in precious:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    code, message = run(capsys, "clear", cache / below, "--yes")
    assert code == 1 and f"not removed: {entry.path}: it holds files" in message
    assert all(path.read_text() == "precious" for path in precious)
    left = {p for p in cache.rglob("*") if p.is_file()}
    assert left == {*precious, cache / ".gitignore"}
    assert entries(cache) == []


@pytest.mark.parametrize("command", ["list", "show", "size", "prune", "clear"])
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text(""), "is no directory"),
        (lambda p: p.mkdir(), "there is no directory 'joblib'"),
        (lambda p: (p / "joblib").mkdir(parents=True), None),
        (
            lambda p: (
                (p / "joblib").mkdir(parents=True),
                (p / "joblib" / "parallel.py").write_text("precious"),
            ),
            "holds other files",
        ),
    ],
)
def test_places_that_are_no_caches(tmp_path, capsys, command, make, message):
    make(tmp_path / "place")
    before = files_below(tmp_path)
    options = {"prune": ["--max-items", 0], "clear": ["--yes"]}.get(command, [])
    code, told = run(capsys, command, tmp_path / "place", *options)
    if message is None:
        assert code == 0, "an empty cache is one"
    else:
        assert code == 2 and message in told
    assert files_below(tmp_path) == before


def test_a_module_called_joblib_is_not_taken_for_the_cache(tmp_path, capsys):
    place = tmp_path / "joblib"
    memory = Memory(place, verbose=0)
    memory.cache(joblib.hash)(1)
    (entry,) = memory.entries()
    assert entry.path.startswith(str(place / "joblib" / "joblib"))
    for path in (place, place / "joblib"):
        (shown,) = json.loads(run(capsys, "list", path, "--json")[1])
        assert shown["function"] == "joblib.hashing.hash"
    assert places.find_entry(entry.path)[0] == str(place / "joblib")


def test_remote_places_are_referred_to_memory(capsys):
    code, message = run(capsys, "list", "s3://bucket/cache")
    assert code == 2 and "entries()" in message


# ---------------------------------------------------------------------------- questions
class Terminal:
    def __init__(self, answer):
        self.answer = answer

    def isatty(self):
        return True

    def readline(self):
        return self.answer


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "what?\n"])
def test_clearing_asks_first(cache, capsys, monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    code, told = run(capsys, "clear", cache)
    assert code == 2
    assert told.startswith("Remove 6 results, 2.9M bytes, of 2 functions from")
    assert told.endswith("nothing was removed\n")
    assert len(entries(cache)) == 6


def test_a_yes_clears(cache, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert main(["cache", "clear", str(cache)]) == 0
    assert capsys.readouterr().out.startswith("removed 6 results")
    assert entries(cache) == []


def test_where_nobody_can_be_asked_nothing_is_removed(cache, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    code, told = run(capsys, "clear", cache)
    assert code == 2 and "--yes" in told
    assert len(entries(cache)) == 6


@pytest.mark.parametrize(
    "options, message",
    [
        (["prune", "."], None),
        (["prune", ".", "--max-size", "many"], "SIZE has to be a positive"),
        (["prune", ".", "--max-size", "-1"], "max-size"),
        (["prune", ".", "--max-age", "30"], "such as 30d or 12h, got '30'"),
        (["prune", ".", "--max-age", "1e9d"], "such as 30d"),
        (["prune", ".", "--max-age", "99999999999w"], "such as 30d"),
        (["prune", ".", "--max-items", "-1"], "max-items"),
        (["list", ".", "--limit", "x"], "expected a number from 0 on, got 'x'"),
        (["list", ".", "--sort", "x"], "invalid choice"),
        (["list"], "PATH"),
        ([], "COMMAND"),
    ],
)
def test_wrong_command_lines(capsys, options, message):
    if message is None:
        assert main(["cache", *options]) == 2
        message = "prune needs a limit"
    else:
        with pytest.raises(SystemExit) as ended:
            main(["cache", *options])
        assert ended.value.code == 2
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------- as a process
def process(*arguments, **options):
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    environment = {**os.environ, "PYTHONPATH": package, "COLUMNS": "80"}
    environment.update(options.pop("environment", {}))
    return subprocess.Popen(
        [sys.executable, "-m", "joblib", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 0
    assert "cache" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"joblib {joblib.__version__}\n"


def test_a_terminal_that_knows_ascii_only(cache):
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    shown, told = process("cache", "list", cache, environment=ascii_only).communicate(
        timeout=60
    )
    assert told == b"" and b"6 results" in shown and shown.isascii()


def test_a_reader_that_has_seen_enough(cache):
    child = process("cache", "list", cache)
    child.stdout.close()
    told = child.stderr.read()
    child.stderr.close()
    assert child.wait(60) == 1
    assert told == b""


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    from joblib import __main__

    def interrupt(arguments=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(__main__, "main", interrupt)
    assert __main__._run() == 130
    assert capsys.readouterr().err == "\n"


def test_numpy_is_not_needed(cache):
    script = (
        "import sys, joblib.__main__\n"
        "code = joblib.__main__.main(sys.argv[1:])\n"
        "heavy = {'numpy', 'multiprocessing', 'asyncio', 'loky'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else code)"
    )
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run(
        [sys.executable, "-c", script, "cache", "list", str(cache)],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")


# --------------------------------------------------------------------------- formatting
@pytest.mark.parametrize(
    "size, shown",
    [(0, "0"), (999, "999"), (1000, "1.0K"), (1536, "1.5K"), (10_000, "9.8K")]
    + [(10_240, "10K"), (1_048_000, "1.0M"), (5 * 2**30, "5.0G"), (2**50, "1.0P")],
)
def test_sizes(size, shown):
    assert tables.format_size(size) == shown


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (None, "-"),
        (0.00012, "0.1ms"),
        (0.25, "250ms"),
        (0.9999, "1.0s"),
        (59.94, "59.9s"),
    ]
    + [(59.99, "1m00s"), (3599.6, "1h00m"), (7500, "2h05m"), (2 * 86400, "2d00h")],
)
def test_durations(seconds, shown):
    assert tables.format_seconds(seconds) == shown


@pytest.mark.parametrize(
    "seconds, shown",
    [(-5, "now"), (0.5, "now"), (99, "99s ago"), (100, "1m ago"), (7200, "2h ago")]
    + [(47 * 3600, "47h ago"), (86400 * 3, "3d ago")],
)
def test_ages(seconds, shown):
    assert tables.format_age(seconds) == shown


@pytest.mark.parametrize("width", range(8, 60))
def test_calls_are_cut_to_a_width(width):
    call = tables.cut_call("package.módulo.関数の名前", "(x='日本語', y=\n3)", width)
    assert tables.width_of(call) <= width
    assert call.isprintable()


def test_ages_of_command_lines():
    assert console._age("1.5h") == datetime.timedelta(hours=1.5)
    assert console._age(" 2w ") == datetime.timedelta(weeks=2)
