"""Sizes, directories, durations and log files."""

import logging
import os
import re
import subprocess
import sys

import pytest

from joblib import disk
from joblib.disk import delete_folder, disk_used, memstr_to_bytes, mkdirp, rm_subdirs
from joblib.logger import Logger, PrintTime, format_time, pformat, short_format_time


@pytest.mark.parametrize(
    "text, size",
    [("1K", 1024), ("1.5M", 1536 * 1024), ("2G", 2**31), ("0K", 0), ("1e3K", 1024000)],
)
def test_sizes(text, size):
    assert memstr_to_bytes(text) == size


@pytest.mark.parametrize("text", ["", "K", "12", "1k", "1T", "xG", "nanG", "infG"])
def test_no_sizes(text):
    with pytest.raises(ValueError, match="Invalid literal for size"):
        memstr_to_bytes(text)


def test_a_size_that_is_no_text():
    with pytest.raises(TypeError, match="got 12 of type int"):
        memstr_to_bytes(12)


def test_disk_used_counts_the_files_of_a_directory(tmp_path):
    empty = disk_used(str(tmp_path))
    (tmp_path / "file").write_bytes(os.urandom(512 * 1024))
    assert 512 <= disk_used(str(tmp_path)) - empty < 530
    with pytest.raises(OSError):
        disk_used(str(tmp_path / "none"))


def test_making_directories(tmp_path):
    mkdirp(str(tmp_path / "a" / "b"))
    mkdirp(str(tmp_path / "a" / "b"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        mkdirp(str(tmp_path / "file"))


def test_removing_subdirectories_leaves_files_and_targets_of_links(tmp_path):
    (tmp_path / "top" / "a" / "b").mkdir(parents=True)
    (tmp_path / "top" / "file").write_text("")
    (tmp_path / "other" / "c").mkdir(parents=True)
    os.symlink(tmp_path / "other", tmp_path / "top" / "link")
    rm_subdirs(str(tmp_path / "top"))
    assert os.listdir(tmp_path / "top") == ["file"]
    assert (tmp_path / "other" / "c").exists()
    with pytest.raises(OSError):
        rm_subdirs(str(tmp_path / "none"))


def test_deleting_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    delete_folder(str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    delete_folder(str(tmp_path / "a"))
    (tmp_path / "empty").mkdir()
    delete_folder(str(tmp_path / "empty"), allow_non_empty=False)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_must_be_empty_gets_time_to_become_so(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("")
    waits = []

    def wait(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            (tmp_path / "a" / "file").unlink()

    monkeypatch.setattr(disk.time, "sleep", wait)
    delete_folder(str(tmp_path / "a"), allow_non_empty=False)
    assert waits == [disk.RM_SUBDIRS_RETRY_TIME] * 3
    (tmp_path / "b" / "c").mkdir(parents=True)
    with pytest.raises(OSError, match="Expected empty folder .*b but got 1 files"):
        delete_folder(str(tmp_path / "b"), allow_non_empty=False)
    assert len(waits) == 3 + disk.RM_SUBDIRS_N_RETRY


@pytest.mark.parametrize(
    "seconds, long, short",
    [
        (0, "0.0s, 0.0min", "   0.0s"),
        (60, "60.0s, 1.0min", "  60.0s"),
        (61, "61.0s, 1.0min", " 1.0min"),
        (6000, "6000.0s, 100.0min", "100.0min"),
    ],
)
def test_durations(seconds, long, short):
    assert format_time(seconds) == long
    assert short_format_time(seconds) == short


def test_pformat_cuts_depth_and_arrays():
    assert pformat([1, [2, [3, [4]]]]) == "[1, [2, [3, [...]]]]"
    np = pytest.importorskip("numpy")
    before = np.get_printoptions()
    assert len(pformat(np.arange(10000))) < 60
    assert np.get_printoptions() == before


def test_a_logger_names_itself(caplog):
    caplog.set_level(logging.DEBUG)

    class Speaking(Logger):
        def __repr__(self):
            return "me"

    speaking = Speaking(depth=1, name="special")
    speaking.debug("100%")
    speaking.info("b")
    speaking.warn([1])
    assert [(r.name, r.levelname, r.getMessage()) for r in caplog.records] == [
        ("special", "DEBUG", "[me]: 100%"),
        ("special", "INFO", "[me]: b"),
        ("special", "WARNING", "[me]: [1]"),
    ]
    assert speaking.format([1, [2]]) == "[1, [...]]"
    assert Logger()._name == "joblib"


def test_print_time_keeps_the_logs_of_earlier_runs(tmp_path, capsys):
    log = tmp_path / "sub" / "times.log"
    for run in range(12):
        print_time = PrintTime(logfile=str(log))
        print_time(f"run {run}")
        print_time(f"all of {run}", total=True)
    # however long it took
    assert re.search(
        r"run 11: \S+s, \S+min\nall of 11: \S+s, \S+ min\n", log.read_text()
    )
    for back in range(1, 10):
        text = (log.parent / f"times.log.{back}").read_text()
        assert f"run {11 - back}: " in text
    assert len(os.listdir(log.parent)) == 10
    assert re.search(r"run 11: \S+s, \S+min", capsys.readouterr().err)


def test_print_time_options(tmp_path, capsys):
    with pytest.raises(ValueError, match="both logfile and logdir"):
        PrintTime(logfile="a", logdir="b")
    print_time = PrintTime(logdir=str(tmp_path))
    assert print_time.logfile == str(tmp_path / "joblib.log")
    os.remove(print_time.logfile)
    os.rmdir(tmp_path)
    print_time("goes on")
    assert "Cannot write to the log file" in capsys.readouterr().err


def test_importing_them_is_light():
    program = (
        "import sys; before = set(sys.modules); import joblib.logger, joblib.disk;"
        "print(*sorted(set(sys.modules) - before))"
    )
    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    loaded = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert "joblib.logger" in loaded
    assert not {"logging", "pprint", "shutil", "numpy"} & set(loaded)
