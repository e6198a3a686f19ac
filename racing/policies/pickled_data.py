"""A pickle read as data: nothing that it names is imported, nothing that it wants called is called.

Python's own unpickler does what a pickle says, which may be anything. Here its instructions are followed on paper: a
class is a `Name`, an object made of it a `Made` with its arguments and its state. Whoever reads takes from these what
it knows, and leaves the rest alone.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MOST_INSTRUCTIONS = 200_000  # a space with its bounds takes a hundred
_MARK = object()


@dataclass(frozen=True)
class Name:
    """A class or a function, which was not looked up."""

    path: str  # dotted


@dataclass
class Made:
    """An object that was not made. maker: a Name, as a rule; state: what it was to be filled with."""

    maker: Any
    arguments: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)  # added later, keys and values in turn for a mapping

    @property
    def path(self) -> str:
        """Name of what makes it, '' where that is none."""
        return self.maker.path if isinstance(self.maker, Name) else ""


class Mapping(list[tuple[Any, Any]]):
    """A dict as pairs: what is read is not hashed, either."""

    def texts(self) -> dict[str, Any]:
        """The entries whose keys are texts."""
        return {key: value for key, value in self if isinstance(key, str)}


def read_pickle(data: bytes) -> Any:
    """Return what a pickle describes: None, numbers, texts, bytes, lists, tuples, Mapping, Name, Made.

    Raises ValueError for anything that is no pickle of protocol 0 to 5, or that needs more than is in it.
    """
    try:
        return _Reader().read(data)
    except ValueError as error:
        raise ValueError(f"a pickle in it is damaged, {error}") from error
    except (LookupError, TypeError, AttributeError, ArithmeticError, MemoryError, struct.error) as error:
        raise ValueError(f"a pickle in it is damaged ({type(error).__name__})") from error


class _Reader:
    """The machine that a pickle is written for, without its dangerous half."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """Follow all instructions; the last one left on the stack is the result."""
        for number, (instruction, argument, _) in enumerate(pickletools.genops(data)):
            if number > MOST_INSTRUCTIONS:
                raise ValueError(f"it has more than {MOST_INSTRUCTIONS:,} instructions")
            if instruction.name == "STOP":
                (result,) = self.last(1)
                if result is _MARK:
                    raise TypeError("a mark for a result")
                return result
            act = _ACTIONS.get(instruction.name)
            if act is None:
                raise ValueError(f"its instruction {instruction.name} is not read")
            act(self, argument)
        raise ValueError("it has no end")

    def since_mark(self) -> list[Any]:
        """Take off the stack what was put there since the last mark."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("no mark")
        taken = self.stack[at + 1 :]
        del self.stack[at:]
        return taken

    def last(self, count: int) -> list[Any]:
        """Take the last `count` off the stack."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def add(self, values: list[Any]) -> None:
        """Add values to the list, set or object on top of the stack."""
        top = self.stack[-1]
        (top.items if isinstance(top, Made) else top).extend(values)

    def add_pairs(self, values: list[Any]) -> None:
        """Add keys and values, in turn, to the mapping or object on top of the stack."""
        top = self.stack[-1]
        if isinstance(top, Made):
            top.items.extend(values)
        else:
            top.extend(zip(values[::2], values[1::2], strict=True))

    def make(self, maker: Any, arguments: Any) -> None:
        """Put an object that is not made on the stack."""
        self.push(Made(maker, tuple(arguments) if isinstance(arguments, list | tuple) else (arguments,)))

    def fill(self, state: Any) -> None:
        """Note the state of the object on top of the stack."""
        if not isinstance(self.stack[-1], Made):
            raise TypeError("a state for what is no object")
        self.stack[-1].state = state


def _name(module: Any, name: Any) -> Name:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise TypeError("a name that is no text")
    return Name(f"{module}.{name}")


def _mapping(values: list[Any]) -> Mapping:
    return Mapping(zip(values[::2], values[1::2], strict=True))


_Action = Callable[[_Reader, Any], object]


def _constant(value: Any) -> _Action:
    return lambda reader, _: reader.push(value)


def _literal(reader: _Reader, argument: Any) -> None:
    reader.push(argument)


_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
)
_ACTIONS: dict[str, _Action] = {
    **dict.fromkeys(_LITERALS, _literal),
    **dict.fromkeys(("PROTO", "FRAME"), lambda r, _: None),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": _constant(_MARK),
    "POP": lambda r, _: r.last(1),
    "POP_MARK": lambda r, _: r.since_mark(),
    "DUP": lambda r, _: r.push(r.stack[-1]),
    # Containers
    "EMPTY_TUPLE": _constant(()),
    "TUPLE": lambda r, _: r.push(tuple(r.since_mark())),
    "TUPLE1": lambda r, _: r.push(tuple(r.last(1))),
    "TUPLE2": lambda r, _: r.push(tuple(r.last(2))),
    "TUPLE3": lambda r, _: r.push(tuple(r.last(3))),
    "EMPTY_LIST": lambda r, _: r.push([]),
    "LIST": lambda r, _: r.push(r.since_mark()),
    "EMPTY_SET": lambda r, _: r.push([]),
    "FROZENSET": lambda r, _: r.push(r.since_mark()),
    "EMPTY_DICT": lambda r, _: r.push(Mapping()),
    "DICT": lambda r, _: r.push(_mapping(r.since_mark())),
    "APPEND": lambda r, _: r.add(r.last(1)),
    "APPENDS": lambda r, _: r.add(r.since_mark()),
    "ADDITEMS": lambda r, _: r.add(r.since_mark()),
    "SETITEM": lambda r, _: r.add_pairs(r.last(2)),
    "SETITEMS": lambda r, _: r.add_pairs(r.since_mark()),
    # What was seen before
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda r, n: r.push(r.memo[int(n)])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda r, n: r.memo.update({int(n): r.stack[-1]})),
    "MEMOIZE": lambda r, _: r.memo.update({len(r.memo): r.stack[-1]}),
    # Objects
    "GLOBAL": lambda r, name: r.push(_name(*name.split(" ", 1))),
    "STACK_GLOBAL": lambda r, _: r.push(_name(*r.last(2))),
    "REDUCE": lambda r, _: r.make(*r.last(2)),
    "NEWOBJ": lambda r, _: r.make(*r.last(2)),
    "NEWOBJ_EX": lambda r, _: r.make(*r.last(3)[:2]),
    "BUILD": lambda r, _: r.fill(*r.last(1)),
    "INST": lambda r, name: r.make(_name(*name.split(" ", 1)), r.since_mark()),
    "OBJ": lambda r, _: (lambda taken: r.make(taken[0], taken[1:]))(r.since_mark()),
}
