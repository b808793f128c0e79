"""Jobs that write and read files, done by either release; see `upstream`."""

from __future__ import annotations

import functools
import io
import pathlib
import socket
import threading

import joblib
from joblib.test.compat_objects import OBJECTS
from joblib.test.describing import describe


@functools.lru_cache(maxsize=4)
def _made(name):
    return OBJECTS[name]()


def _through_a_socket(path, write):
    """Call `write` with a file that can neither be told nor sought; keep its bytes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reading, received = theirs.makefile("rb"), []
        thread = threading.Thread(target=lambda: received.append(reading.read()))
        thread.start()
        try:
            with ours.makefile("wb", buffering=0) as file:
                write(file)
        finally:
            ours.shutdown(socket.SHUT_RDWR)
            thread.join()
            reading.close()
    pathlib.Path(path).write_bytes(received[0])


def dump(name, path, to="path", **options):
    """Write an object of the catalogue to `path`, in one of several ways."""
    obj = _made(name)
    if isinstance(options.get("compress"), list):  # JSON has no tuples
        options["compress"] = tuple(options["compress"])
    if to == "path":
        joblib.dump(obj, path, **options)
    elif to == "Path":
        joblib.dump(obj, pathlib.Path(path), **options)
    elif to == "file":
        with open(path, "wb") as file:
            joblib.dump(obj, file, **options)
    elif to == "middle of a file":
        with open(path, "wb") as file:
            file.write(b"12345")
            joblib.dump(obj, file, **options)
            file.write(b"rest")
    elif to == "memory":
        file = io.BytesIO()
        joblib.dump(obj, file, **options)
        pathlib.Path(path).write_bytes(file.getvalue())
    elif to == "socket":
        _through_a_socket(path, lambda file: joblib.dump(obj, file, **options))
    else:
        raise ValueError(to)


def _load(path, by, options):
    if by == "path":
        return joblib.load(path, **options)
    if by == "Path":
        return joblib.load(pathlib.Path(path), **options)
    if by == "memory":
        return joblib.load(io.BytesIO(pathlib.Path(path).read_bytes()), **options)
    with open(path, "rb") as file:
        if by == "middle of a file":
            file.seek(5)
        obj = joblib.load(file, **options)
        assert by == "file" or file.read() == b"rest"
        return obj


def read(path, by="path", loosely=False, **options):
    """Return the description of what a file holds."""
    return describe(_load(path, by, options), loosely)


def read_both(path):
    """Return the strict and the loose description of what a file holds."""
    obj = joblib.load(path)
    return [describe(obj), describe(obj, loosely=True)]


def change_mapped(path, mmap_mode):
    """Change the mapped arrays of a list; return what they are now, and the file."""
    arrays = joblib.load(path, mmap_mode=mmap_mode)
    refused = 0
    for array in arrays:
        try:
            array[...] = array + 1
        except ValueError:
            refused += 1
        else:
            array.flush()
    return [describe(arrays), refused]
