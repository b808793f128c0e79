"""Unpickle by an allow-list: opcodes that act only on what the file may act on.

A name that is not trusted becomes an inert object, and from there on nothing is
called any more: the rest of the stream is only walked through, for the names in it.
They are all told of in one error in the end, or as soon as the stream breaks.

    name      -> judged by the policy; imported only if trusted
    call      -> of what a name has given, as its rule says; never of anything else
    state     -> once, for an object that this file has made
    items     -> into containers that this file has made
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

from . import trust_numpy
from .failures import CorruptFileError, UntrustedTypeError
from .trust import Policy
from .trust_libraries import check_state
from .trust_values import TIME_ZONE, Grant, check_plain, time_zone

_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined,unused-ignore]
_CONTAINERS = (list, dict, set)


class _Inert:
    """Stands for what is not trusted; can be stored and does nothing."""

    def __repr__(self) -> str:
        return "<not trusted>"


INERT = _Inert()


def is_inert(obj: Any) -> bool:
    """Whether an object stands for what is not trusted."""
    return type(obj) is _Inert


def _count_references(make: Callable[[], Any]) -> int:
    """How many references an object has that `make` has just made for us alone."""
    obj = make()
    references = sys.getrefcount(obj)
    return references


_FRESH = _count_references(lambda: _Inert())


def _python_name(module: str, name: str) -> tuple[str, str]:
    """What a name of Python 2 is called in Python 3."""
    import _compat_pickle

    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


class _Insistent:
    """Reads on from a file that gives less than it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0:
            part = self._file.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class ListedUnpickler(_Unpickler):  # type: ignore[misc]
    """Unpickle an object by an allow-list.

    Parameters
    ----------
    file : file object
        Decompressed.
    policy : Policy
        The allow-list.
    descriptions : tuple of type
        NumpyArrayWrapper, NDArrayWrapper and ZNDArrayWrapper; empty for a pickle in
        which no arrays can lie.
    refused : set of str
        Where to note names that are not trusted.
    """

    def __init__(
        self,
        file: Any,
        policy: Policy,
        descriptions: tuple[Any, ...],
        refused: set[str],
    ) -> None:
        # What is not buffered may give less than asked for.
        super().__init__(_Insistent(file) if isinstance(file, io.RawIOBase) else file)
        self.file_handle = file
        self._policy = policy
        self._descriptions = descriptions
        self._refused = refused
        self.has_ended = False
        self._found: dict[tuple[str, str], Any] = {}
        # By id, what may be called or made; both hold on to the objects.
        self._grants: dict[int, Grant] = {id(time_zone): TIME_ZONE}
        # Names whose objects a file may call, but not have.
        self._uncalled: set[str] = set()
        # By id: objects made by this file, and whether they wait for a state.
        self._made: dict[int, Any] = {}
        self._stateless: set[int] = set()
        # By id: containers that were there before, or may have been.
        self._foreign: dict[int, Any] = {}

    def load(self) -> Any:
        """Return the object.

        Raises
        ------
        UntrustedTypeError
            If there were names that are not trusted.
        """
        try:
            obj = super().load()
        except Exception as exc:
            if self._refused:
                raise UntrustedTypeError(self._refused) from exc
            raise
        self.has_ended = True
        self._refused |= self._uncalled
        if self._refused:
            raise UntrustedTypeError(self._refused)
        return obj

    # Names

    def find_class(self, module: str, name: str) -> Any:
        """Return what the file may have for a name: the object, or an inert one."""
        key = module, name
        if key in self._found:
            return self._found[key]
        if self.proto < 3 and self.fix_imports:
            module, name = _python_name(module, name)
        grant = self._policy.judge(module, name)
        if grant is None:
            value = self.refuse(f"{module}.{name}")
        else:
            value = grant.value
            if grant.rule.value is not None:
                self._uncalled.add(grant.name)
            known = self._grants.get(id(value))
            if known is None or known.rule.call is None:
                self._grants[id(value)] = grant
            if type(value) in _CONTAINERS:
                self._foreign[id(value)] = value
        self._found[key] = value
        return value

    def get_extension(self, code: int) -> None:
        """Push what a registered number stands for; its name is judged as others."""
        registered: dict[int, tuple[str, str]] = vars(copyreg)["_inverted_registry"]
        if code not in registered:
            raise CorruptFileError(f"an unregistered extension code, {code}")
        self.append(self.find_class(*registered[code]))

    def refuse(self, name: str) -> Any:
        """Note a name that is not trusted; return what stands for it."""
        self._refused.add(name)
        return INERT

    def may_make(self, cls: Any) -> bool:
        """Whether the file has named a class, and may make instances of it."""
        grant = self._grants.get(id(cls))
        return grant is not None and grant.rule.make

    # Calls and instances

    def _keep(self, obj: Any, references: int) -> None:
        """Note an object that a call has returned: is it new, or someone's?"""
        if references > _FRESH:
            self._foreign[id(obj)] = obj
        else:
            self._made[id(obj)] = obj
            self._stateless.add(id(obj))

    def _call(self, func: Any, args: Any) -> Any:
        if is_inert(func):
            return INERT
        grant = self._grants.get(id(func))
        if grant is None:
            raise CorruptFileError(
                f"an object of type {type(func).__name__} is called: only what is "
                "trusted by its name may be"
            )
        if self._refused and not self._is_needed(grant, args):
            return INERT
        if grant.rule.call is None:
            return self.refuse(grant.name)
        if type(args) is not tuple:
            raise CorruptFileError("a call without a tuple of arguments")
        self._uncalled.discard(grant.name)
        obj = grant.rule.call(self, *args)
        references = sys.getrefcount(obj)
        self._keep(obj, references)
        return obj

    def _is_needed(self, grant: Grant, args: Any) -> bool:
        """Whether a call must be made, to walk on, although a name was refused."""
        if grant.rule.pure:
            return True
        return grant.name == "copyreg._reconstructor" and any(
            args[0] is one for one in self._descriptions
        )

    def _make(self, cls: Any, args: Any, kwargs: Any) -> Any:
        if is_inert(cls):
            return INERT
        if self._refused and not any(cls is one for one in self._descriptions):
            return INERT
        grant = self._grants.get(id(cls))
        if grant is None or not isinstance(cls, type):
            raise CorruptFileError("an instance is made of what is no class by name")
        if not grant.rule.make:
            return self.refuse(grant.name)
        if type(args) is not tuple or type(kwargs) is not dict:
            raise CorruptFileError("an instance is made without a tuple of arguments")
        if grant.rule.plain:
            check_plain(grant.name, (*args, *kwargs.values()))
        obj: Any = cls.__new__(cls, *args, **kwargs)
        references = sys.getrefcount(obj)
        self._keep(obj, references)
        return obj

    def load_reduce(self) -> None:
        """Call; for the opcode REDUCE."""
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def load_newobj(self) -> None:
        """Make an instance; for NEWOBJ."""
        args = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], args, {})

    def load_newobj_ex(self) -> None:
        """Make an instance; for NEWOBJ_EX."""
        kwargs = self.stack.pop()
        args = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], args, kwargs)

    def _instantiate(self, klass: Any, args: Any) -> None:
        # The opcodes INST and OBJ, of classes of Python 2.
        self.append(
            self._call(klass, tuple(args)) if args else self._make(klass, (), {})
        )

    # State and items

    def load_build(self) -> None:
        """Set an object's state; for BUILD."""
        state = self.stack.pop()
        obj = self.stack[-1]
        np: Any = sys.modules.get("numpy")
        is_dtype = np is not None and issubclass(type(obj), np.dtype)
        is_description = any(type(obj) is one for one in self._descriptions)
        if is_inert(obj) or (self._refused and not is_dtype and not is_description):
            return
        if id(obj) not in self._stateless:
            raise CorruptFileError(
                f"a state is set on an object of type {type(obj).__name__} that was "
                "there before, or has one"
            )
        self._stateless.discard(id(obj))
        if is_dtype:
            self._replace(obj, trust_numpy.dtype_with_state(obj, state))
        elif is_description:
            self._replace(obj, self._take_array(obj, state))
        else:
            self._set_state(obj, state)

    def _set_state(self, obj: Any, state: Any) -> None:
        cls = type(obj)
        np: Any = sys.modules.get("numpy")
        if np is not None and issubclass(cls, np.ndarray):
            trust_numpy.check_array_state(obj, state)
        check_state(obj, state)
        set_state = getattr(cls, "__setstate__", None)
        if set_state is not None:
            for part in state if type(state) is tuple else (state,):
                if type(part) is dict and not part.keys().isdisjoint(_NO_KEYS):
                    raise CorruptFileError(
                        "a state that would change an object's class"
                    )
            set_state(obj, state)
            return
        slots: Any = None
        if type(state) is tuple and len(state) == 2:
            state, slots = state
        if state:
            if type(state) is not dict:
                raise CorruptFileError("an object's attributes are no dictionary")
            attributes = obj.__dict__
            for key, value in state.items():
                attributes[sys.intern(key) if type(key) is str else key] = value
        if slots:
            if type(slots) is not dict:
                raise CorruptFileError("an object's slots are no dictionary")
            for key, value in slots.items():
                if type(key) is not str or key.startswith("__"):
                    raise CorruptFileError(f"an object has no slot {key!r}")
                setattr(obj, key, value)

    def _replace(self, old: Any, new: Any) -> None:
        """Put an object in the place of one on top of the stack, and in the memo."""
        self.stack[-1] = new
        if new is old:
            return
        for key in reversed(self.memo):
            if self.memo[key] is old:
                self.memo[key] = new
                break

    def _take_array(self, wrapper: Any, state: Any) -> Any:
        raise CorruptFileError("an array is described where none can be")

    def _container(self, obj: Any) -> bool:
        """Whether items may be put into an object; False if they are to be dropped."""
        if is_inert(obj) or (self._refused and type(obj) not in (list, dict)):
            return False
        if type(obj) in _CONTAINERS:
            sound = id(obj) not in self._foreign
        else:
            sound = id(obj) in self._made
        if not sound:
            raise CorruptFileError(
                f"items are put into an object of type {type(obj).__name__} that this "
                "file has not made"
            )
        return True

    def _extend(self, obj: Any, items: list[Any]) -> None:
        if not self._container(obj):
            return
        cls = type(obj)
        if hasattr(cls, "extend"):
            cls.extend(obj, items)
        else:
            for item in items:
                cls.append(obj, item)

    def load_append(self) -> None:
        """Append one item; for APPEND."""
        item = self.stack.pop()
        self._extend(self.stack[-1], [item])

    def load_appends(self) -> None:
        """Append items; for APPENDS."""
        items = self.pop_mark()
        self._extend(self.stack[-1], items)

    def load_additems(self) -> None:
        """Add to a set; for ADDITEMS."""
        items = self.pop_mark()
        obj = self.stack[-1]
        if not self._container(obj):
            return
        if type(obj) is set:
            obj.update(items)
        else:
            for item in items:
                type(obj).add(obj, item)

    def _set_items(self, items: list[Any]) -> None:
        obj = self.stack[-1]
        if self._container(obj):
            for key, value in zip(items[::2], items[1::2], strict=True):
                # Once nothing is called any more, hashing other keys may fail.
                if not self._refused or type(key) is str:
                    obj[key] = value

    def load_setitem(self) -> None:
        """Set one item; for SETITEM."""
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        """Set items; for SETITEMS."""
        self._set_items(self.pop_mark())

    dispatch = {
        **_Unpickler.dispatch,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.ADDITEMS[0]: load_additems,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


_NO_KEYS = {"__class__", "__dict__"}
