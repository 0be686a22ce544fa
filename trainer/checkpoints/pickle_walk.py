"""Read a pickle without running it: every callable it names stays a name, and every call becomes a note of the call.

Loads neither torch nor anything that the pickle names. The arguments of opcodes are decoded by the standard library's
``pickletools``; what an opcode does is done here on inert records.
"""

from __future__ import annotations

import pickletools
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from trainmaster.trainer.checkpoints.limits import MAX_NAMES, MAX_STEPS, LimitError
from trainmaster.trainer.checkpoints.pickled import (
    DICTS,
    MAX_DIMENSIONS,
    Made,
    Name,
    Storage,
    Use,
    WalkError,
    dict_of,
    pairs_of,
    storage_of,
    tensor_of,
    with_state,
)

MAX_PICKLE_BYTES: Final = 64 * 1024 * 1024
"""No checkpoint comes near (yolo11x: 0.5 MB); above it a file is out to eat memory."""

MAX_NUMBER_BITS: Final = 256
"""Nothing in a checkpoint needs more; Python neither prints nor turns into a float one of some thousand bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """All that a pickle holds: its ``value`` and the names it uses."""

    value: Any
    uses: dict[Name, Use]
    num_bytes: int


def walk(content: bytes) -> Walked:
    """The first pickle in ``content``, read without running anything.

    Raises:
        WalkError: torn, malformed, or made in a way that torch does not write.
        LimitError: larger than any checkpoint's.
    """
    if len(content) > MAX_PICKLE_BYTES:
        raise LimitError(f"its pickle is {len(content)} bytes long")
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools decodes text as Python source, whose escapes may be odd
            num_bytes = machine.run(content)
        return Walked(value=machine.stack.pop(), uses=machine.uses, num_bytes=num_bytes)
    except (WalkError, LimitError):
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, MemoryError, struct.error) as error:
        raise WalkError(f"its pickle is damaged ({type(error).__name__}: {error})") from error


_MARK: Final = object()
_ARGUMENT_READERS: Final = {
    ord(opcode.code): opcode.arg.reader if opcode.arg is not None else None for opcode in pickletools.opcodes
}
_STOP, _GET, _LONG_GET, _PUT, _LONG_PUT, _BYTE, _TEXT, _NO_ITEMS, _MARK_HERE = b".hjqrKX)("
_whole_at = struct.Struct("<I").unpack_from
_TENSOR_MAKERS: Final = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"})
_PARAMETER_MAKERS: Final = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
_NEW_OBJECT: Final = frozenset({"_reconstructor", "__newobj__", "__newobj_ex__"})


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.uses: dict[Name, Use] = {}
        self._noted: dict[int, tuple[Any, Use]] = {}
        self._storages: dict[str, Storage] = {}
        self._steps: dict[int, Callable[[Any], object]] = {
            ord(code): step for codes, step in self._table() for code in codes
        }

    def _table(self) -> Iterator[tuple[str, Callable[[Any], object]]]:
        yield "JMFGSTUV\x8c\x8dBC\x8e\x96", self.stack.append
        yield "IL\x8a\x8b", self._whole_number
        yield "\x80\x95\x98", lambda _: None
        yield "N", lambda _: self.stack.append(None)
        yield "\x88", lambda _: self.stack.append(True)
        yield "\x89", lambda _: self.stack.append(False)
        yield ")", lambda _: self.stack.append(())
        yield "(", lambda _: self.stack.append(_MARK)
        yield "0", lambda _: self.stack.pop()
        yield "1", lambda _: self._popped_mark()
        yield "2", lambda _: self.stack.append(self.stack[-1])
        yield "hjg", lambda index: self.stack.append(self.memo[int(index)])
        yield "qrp", lambda index: self.memo.__setitem__(int(index), self.stack[-1])
        yield "\x94", lambda _: self.memo.__setitem__(len(self.memo), self.stack[-1])
        yield "}", lambda _: self.stack.append({})
        yield "]\x8f", lambda _: self.stack.append([])
        yield "t", lambda _: self.stack.append(tuple(self._popped_mark()))
        yield "l\x91", lambda _: self.stack.append(self._popped_mark())
        yield "\x85", lambda _: self.stack.append((self.stack.pop(),))
        yield "\x86", lambda _: self.stack.append(self._popped(2))
        yield "\x87", lambda _: self.stack.append(self._popped(3))
        yield "d", lambda _: self.stack.append(pairs_of(self._popped_mark()))
        yield "a", lambda _: _extend(self.stack[-2], [self.stack.pop()])
        yield "e\x90", lambda _: self._with_marked(_extend)
        yield "s", lambda _: self._set_items(list(self._popped(2)))
        yield "u", lambda _: self._set_items(self._popped_mark())
        yield "c", lambda text: self._name(*str(text).split(" ", 1))
        yield "\x93", lambda _: self._name(*self._popped(2))
        yield "i", lambda text: self._instance(str(text))
        yield "o", lambda _: self._object()
        yield "R", lambda _: self._reduce(*self._popped(2))
        yield "\x81", lambda _: self._new(*self._popped(2))
        yield "\x92", lambda _: self._new_ex(*self._popped(3))
        yield "b", lambda _: self._build(self.stack.pop())
        yield "Q", lambda _: self.stack.append(self._storage(storage_of(self.stack.pop())))
        yield "P", self._refuse_text_reference
        yield "\x82\x83\x84", self._extension
        yield "\x97", lambda _: self.stack.append(Made("a buffer from outside"))

    def run(self, content: bytes) -> int:
        """Carry out the first pickle in ``content``; its length. Its value is on top of the stack."""
        stack, memo, steps, stream = self.stack, self.memo, self._steps, BytesIO(content)
        position = 0
        for _ in range(MAX_STEPS):
            if (code := content[position]) == _STOP:
                return position + 1
            position += 1
            # The commonest opcodes by hand: three quarters of a checkpoint's, at a third of the time.
            if code == _GET:
                stack.append(memo[content[position]])
                position += 1
            elif code == _LONG_PUT:
                memo[_whole_at(content, position)[0]] = stack[-1]
                position += 4
            elif code == _BYTE:
                stack.append(content[position])
                position += 1
            elif code == _NO_ITEMS:
                stack.append(())
            elif code == _MARK_HERE:
                stack.append(_MARK)
            elif code == _LONG_GET:
                stack.append(memo[_whole_at(content, position)[0]])
                position += 4
            elif code == _PUT:
                memo[content[position]] = stack[-1]
                position += 1
            elif code == _TEXT:
                end = position + 4 + _whole_at(content, position)[0]
                stack.append(content[position + 4 : end].decode("utf-8", "surrogatepass"))
                position = end
            elif (reader := _ARGUMENT_READERS[code]) is None:
                steps[code](None)
            else:
                stream.seek(position)
                steps[code](reader(stream))
                position = stream.tell()
        raise LimitError(f"its pickle has more than {MAX_STEPS} steps, which no checkpoint has")

    def _whole_number(self, number: int) -> None:
        if number.bit_length() > MAX_NUMBER_BITS:
            raise WalkError(f"its pickle holds a number of {number.bit_length()} bits")
        self.stack.append(number)

    def _popped(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise WalkError("its pickle takes more than it holds")
        taken = tuple(self.stack[-count:])
        del self.stack[-count:]
        return taken

    def _popped_mark(self) -> list[Any]:
        taken: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            taken.append(item)
        taken.reverse()
        return taken

    def _with_marked(self, act: Callable[[Any, list[Any]], None]) -> None:
        items = self._popped_mark()
        act(self.stack[-1], items)

    def _set_items(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        pairs = target.pairs if isinstance(target, Made) else target
        pairs.update(pairs_of(flat))

    def _use(self, name: Any, use: Use) -> None:
        noted = self._noted.get(id(name))
        if noted is not None and noted[1] >= use:
            return
        self._noted[id(name)] = (name, use)  # holds the name, so that no other can get its id
        if not isinstance(name, Name):  # calls what another call gave: nothing in a checkpoint does
            name = Name("(a result of another call)", "()")
        self.uses[name] = max(use, self.uses.get(name, use))
        if len(self.uses) > MAX_NAMES:
            raise LimitError(f"its pickle names more than {MAX_NAMES} classes and functions")

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise WalkError("its pickle names something by what is no text")
        found = Name(module, name)
        self._use(found, Use.NAMED)
        self.stack.append(found)

    def _instance(self, text: str) -> None:
        args = tuple(self._popped_mark())
        maker = Name(*text.split(" ", 1))
        self._use(maker, Use.CALLED)
        self.stack.append(Made(maker, args))

    def _object(self) -> None:
        maker, *args = self._popped_mark()
        self._use(maker, Use.CALLED)
        self.stack.append(Made(maker, tuple(args)))

    def _extension(self, code: Any) -> None:
        self._use(Name("copyreg", f"extension {code}"), Use.CALLED)
        self.stack.append(Made("an extension"))

    def _refuse_text_reference(self, _: Any) -> None:
        raise WalkError("its pickle refers to its storages in a way torch does not write")

    def _storage(self, found: Storage) -> Storage:
        """The first reference to a storage says what it is: torch reads it once, and takes no look at later ones."""
        known = self._storages.setdefault(found.key, found)
        if (known.type_name, known.num_items) != (found.type_name, found.num_items):
            raise WalkError(f"its pickle says two things of storage {found.key}")
        return known

    def _new(self, maker: Any, args: Any) -> None:
        self._use(maker, Use.MADE)
        self.stack.append(_made(maker, args))

    def _new_ex(self, maker: Any, args: Any, keywords: Any) -> None:
        self._use(maker, Use.MADE)
        self.stack.append(Made(maker, (args, keywords)) if keywords else _made(maker, args))

    def _reduce(self, maker: Any, args: Any) -> None:
        if not isinstance(args, tuple):
            raise WalkError("its pickle calls something without arguments")
        if _is_own_forward(maker, args):
            self.stack.append(Made("a method of a module in the file"))
            return
        if _is_getattr(maker) and len(args) == 2 and isinstance(args[0], Name):  # what protocol 2 has for a dotted name
            self._name(args[0].module, f"{args[0].name}.{args[1]}")
            return
        self._use(maker, Use.CALLED if args else Use.CALLED_BARE)
        self.stack.append(self._result(maker, args) if isinstance(maker, Name) else Made(maker, args))

    def _result(self, maker: Name, args: tuple[Any, ...]) -> Any:
        if maker.module in {"torch._utils", "torch._tensor"}:
            if maker.name in _TENSOR_MAKERS:
                return tensor_of(args, is_typed=maker.name == "_rebuild_tensor_v3")
            if maker.name in _PARAMETER_MAKERS:
                return with_state(args[0], args[3]) if len(args) > 3 else args[0]
            if maker.name == "_rebuild_from_type_v2":  # calls its first argument with its third
                if getattr(args[0], "name", "") == maker.name:
                    raise WalkError("its pickle rebuilds a tensor by rebuilding by rebuilding")
                self._reduce(args[0], args[2])
                return with_state(self.stack.pop(), args[3])
        elif maker.module in {"copyreg", "copy_reg"} and maker.name in _NEW_OBJECT:
            self._use(args[0], Use.MADE)
            if maker.name == "_reconstructor" and not (isinstance(args[1], Name) and args[1].name == "object"):
                self._use(args[1], Use.CALLED)
            return _made(args[0], args[2:] if maker.name == "_reconstructor" else args[1:])
        elif (maker.module, maker.name) == ("torch", "Size") and len(args[0]) <= MAX_DIMENSIONS:
            return tuple(args[0])
        return _made(maker, args)

    def _build(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, Made) and target.state is None:
            target.state = state
        elif not isinstance(target, dict):  # an OrderedDict's own attributes are no content; a tensor's would be
            raise WalkError("its pickle gives a state to something that takes none, or has one")


def _is_own_forward(maker: Any, args: tuple[Any, ...]) -> bool:
    """Whether a module has a way of its own through itself, as a fused one of Ultralytics' has: no more is called."""
    is_made = _is_getattr(maker) and len(args) == 2 and isinstance(args[0], Made) and isinstance(args[0].maker, Name)
    return is_made and isinstance(args[1], str) and args[1].startswith("forward") and args[1].isidentifier()


def _is_getattr(maker: Any) -> bool:
    return isinstance(maker, Name) and maker.name == "getattr" and maker.module in {"builtins", "__builtin__"}


def _made(maker: Any, args: Any) -> Any:
    """What an instance of ``maker`` is: a dict where it is one, so that nothing hides in a dict of another making."""
    if isinstance(maker, Name) and (maker.module, maker.name) in DICTS and isinstance(args, tuple):
        held = dict_of(args)
        if held is not None:
            return held
    return Made(maker, args)


def _extend(target: Any, items: list[Any]) -> None:
    (target.items if isinstance(target, Made) else target).extend(items)
