"""A reader of pickles that runs nothing: an own, small machine for the opcodes of plain data.

It knows numbers, texts, tuples, lists and the memo, in protocols 0 to 5, and hands the few calls
that numpy's arrays are made of to :mod:`fusekit.formats.pickle_values`. Texts are never copied
out of the file: a pack of thousands of images costs a few bytes for each.
"""

from __future__ import annotations

from functools import partial
from typing import IO, TYPE_CHECKING, Final

from fusekit.errors import FormatError
from fusekit.formats.pickle_bytes import PickleBytes
from fusekit.formats.pickle_values import Meanings, named

if TYPE_CHECKING:
    from collections.abc import Callable

    from fusekit.formats.pickle_values import Spelling, Value

_NEWEST: Final = 5
#: A pair of images takes 10 to 80 steps. This bounds memory and time together.
_MAX_STEPS: Final = 1 << 22
_MAX_LONG: Final = 8  # bytes; no number of a pack needs more

#: Opcodes of texts with a length before them: bytes of the length, spelling, are they bytes.
_TEXTS: Final[dict[bytes, tuple[int, Spelling, bool]]] = {
    b"U": (1, "plain", True), b"T": (4, "plain", True),  # Python 2's str
    b"C": (1, "plain", True), b"B": (4, "plain", True), b"\x8e": (8, "plain", True),
    b"\x96": (8, "plain", True),
    b"\x8c": (1, "utf-8", False), b"X": (4, "utf-8", False), b"\x8d": (8, "utf-8", False),
}  # fmt: skip
#: Opcodes of texts that end with their line.
_LINES: Final[dict[bytes, tuple[Spelling, bool]]] = {
    b"S": ("literal", True),
    b"V": ("escapes", False),
}
_UNSIGNED: Final = {b"K": 1, b"M": 2}
_CONSTANTS: Final[dict[bytes, Value]] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_SHORT_TUPLES: Final = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_BINARY_PUTS: Final = {b"q": 1, b"r": 4}
_BINARY_GETS: Final = {b"h": 1, b"j": 4}
#: What other opcodes would give, for the error.
_REFUSED: Final = {
    **dict.fromkeys((b"F", b"G"), "a decimal number"),
    **dict.fromkeys((b"}", b"d", b"s", b"u"), "a dictionary"),
    **dict.fromkeys((b"\x8f", b"\x90", b"\x91"), "a set"),
    **dict.fromkeys((b"o", b"\x81", b"\x92"), "an object of a class"),
    **dict.fromkeys((b"P", b"Q"), "an object kept elsewhere"),
    **dict.fromkeys((b"\x82", b"\x83", b"\x84"), "an extension"),
    **dict.fromkeys((b"\x97", b"\x98"), "a buffer kept elsewhere"),
}


def read_pickle(file: IO[bytes], where: str) -> tuple[Value, int]:
    """Read the one value that a pickle holds.

    Args:
        file: At its start; it can seek.
        where: What to call it in errors.

    Returns:
        The value, and where the pickle ends. Lists and tuples may hold themselves.

    Raises:
        FormatError: It is cut off or broken, holds anything but plain data and numpy arrays, or
            takes more steps than any verification pack.
    """
    source = PickleBytes(file, where)
    return _Machine(source).run(), source.at


class _Machine:
    """The stack and the memo."""

    def __init__(self, source: PickleBytes) -> None:
        self._source = source
        self._meanings = Meanings(source.content, source.where)
        self._stack: list[Value] = []
        self._marks: list[int] = []
        self._memo: dict[int, Value] = {}
        self._others: dict[bytes, Callable[[], None]] = {
            b"\x80": self._protocol, b"\x95": self._frame, b"(": self._mark, b"0": self._drop,
            b"1": self._drop_to_mark, b"2": self._again, b"I": self._number, b"L": self._number,
            b"\x8a": partial(self._long, 1), b"\x8b": partial(self._long, 4),
            b"p": self._put_line, b"g": self._get_line, b"\x94": self._memoize,
            b"c": self._global, b"i": self._global, b"\x93": self._stack_global,
            b"R": self._call, b"b": self._build, b"]": self._list, b"t": self._tuple_of_mark,
            b"l": self._list_of_mark, b"a": self._append, b"e": self._appends,
        }  # fmt: skip

    def run(self) -> Value:
        for _ in range(_MAX_STEPS):
            opcode = self._source.take(1)
            if opcode == b".":
                value = self._pop()
                if self._stack or self._marks:
                    self._source.fail("holds more than one value")
                return value
            self._step(opcode)
        where, found = self._source.where, f"the pickle takes more than {_MAX_STEPS:,} steps"
        raise FormatError(where, found, "a verification pack")

    def _step(self, opcode: bytes) -> None:
        source, push = self._source, self._stack.append
        if opcode in _TEXTS:
            width, spelling, is_bytes = _TEXTS[opcode]
            push(source.text(source.unsigned(width), spelling, is_bytes=is_bytes))
        elif opcode in _BINARY_PUTS:
            self._memo[source.unsigned(_BINARY_PUTS[opcode])] = self._top()
        elif opcode in _BINARY_GETS:
            push(self._remembered(source.unsigned(_BINARY_GETS[opcode])))
        elif opcode in _CONSTANTS:
            push(_CONSTANTS[opcode])
        elif opcode in _UNSIGNED:
            push(source.unsigned(_UNSIGNED[opcode]))
        elif opcode == b"J":
            push(source.signed(4))
        elif opcode in _SHORT_TUPLES:
            push(tuple(reversed([self._pop() for _ in range(_SHORT_TUPLES[opcode])])))
        elif opcode in _LINES:
            spelling, is_bytes = _LINES[opcode]
            push(source.text_line(spelling, is_bytes=is_bytes))
        elif opcode in self._others:
            self._others[opcode]()
        elif opcode in _REFUSED:
            raise FormatError(
                source.where, f"the pickle holds {_REFUSED[opcode]}, at byte {source.at - 1}",
                "images and booleans, as bytes or numpy arrays",
            )  # fmt: skip
        else:
            source.fail(f"has the unknown opcode {opcode!r}")

    def _pop(self) -> Value:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            self._source.fail("takes a value that is not there")
        return self._stack.pop()

    def _top(self) -> Value:
        self._stack.append(self._pop())
        return self._stack[-1]

    def _pop_to_mark(self) -> list[Value]:
        if not self._marks:
            self._source.fail("takes a mark that is not there")
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _remembered(self, number: int) -> Value:
        if number not in self._memo:
            self._source.fail(f"takes value {number} of its memo, which is not there")
        return self._memo[number]

    def _protocol(self) -> None:
        protocol = self._source.unsigned(1)
        if protocol > _NEWEST:
            found = f"a pickle of protocol {protocol}"
            raise FormatError(self._source.where, found, f"0 to {_NEWEST}")

    def _frame(self) -> None:
        self._source.check_left(self._source.unsigned(8))

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _drop(self) -> None:
        if self._marks and len(self._stack) == self._marks[-1]:
            self._marks.pop()  # as Python's own: a mark is dropped like a value
        else:
            self._pop()

    def _drop_to_mark(self) -> None:
        self._pop_to_mark()

    def _again(self) -> None:
        self._stack.append(self._top())

    def _number(self) -> None:
        self._stack.append(self._source.number_line())

    def _long(self, width: int) -> None:
        count = self._source.unsigned(width)
        if count > _MAX_LONG:
            self._source.fail(f"has a number of {count:,} bytes")
        self._stack.append(self._source.signed(count))

    def _put_line(self) -> None:
        self._memo[self._source.number_line()] = self._top()

    def _get_line(self) -> None:
        self._stack.append(self._remembered(self._source.number_line()))

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    def _global(self) -> None:
        module, name = (self._source.line().decode("utf-8", "replace") for _ in range(2))
        self._stack.append(named(f"{module}.{name}", self._source.where))

    def _stack_global(self) -> None:
        name, module = self._meanings.word(self._pop()), self._meanings.word(self._pop())
        self._stack.append(named(f"{module}.{name}", self._source.where))

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        self._stack.append(self._meanings.call(function, arguments))

    def _build(self) -> None:
        state = self._pop()
        self._meanings.build(self._top(), state)

    def _list(self) -> None:
        self._stack.append([])

    def _tuple_of_mark(self) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def _list_of_mark(self) -> None:
        self._stack.append(self._pop_to_mark())

    def _append(self) -> None:
        value = self._pop()
        self._target().append(value)

    def _appends(self) -> None:
        values = self._pop_to_mark()
        self._target().extend(values)

    def _target(self) -> list[Value]:
        target = self._top()
        if not isinstance(target, list):
            self._source.fail("appends to what is no list")
        return target
