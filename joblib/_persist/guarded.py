"""The C unpickler, kept from handing numpy states that numpy would not have written.

Where a state might be numpy's, the file it reads from (`joblib._persist.interposed`)
turns the opcode that sets it into a call back to here.
"""

from __future__ import annotations

import pickle
import sys
from typing import Any

from .dtype_check import set_state
from .failures import CorruptFileError
from .interposed import Interposed


class GuardedUnpickler(pickle.Unpickler):
    """The C unpickler, reading through an `Interposed` file.

    Parameters
    ----------
    file : file object
        The file, decompressed.
    """

    def __init__(self, file: Any) -> None:
        self.source = Interposed(file)
        super().__init__(self.source)

    def watch_for(self, found: Any) -> None:
        """Take note of a thing that the stream has named."""
        # Arrays, too, are made of a state with a dtype in it.
        if found is getattr(sys.modules.get("numpy"), "dtype", self):
            self.source.watch()

    def find_class(self, module: str, name: str) -> Any:
        """Return the thing that the stream names."""
        found = super().find_class(module, name)
        self.watch_for(found)
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Set a state; or refuse what stands for an object outside the file."""
        if type(pid) is not tuple or len(pid) != 2:
            raise CorruptFileError(f"a reference to an outside object, {pid!r}")
        return set_state(*pid)
