"""What raw numbers are, told from their bits: finite or not, zero or not. Needs no torch, and numpy only for speed."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final

from trainmaster.trainer.checkpoints.domains import ANYTHING, Domain


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatFormat:
    """A floating-point format by its bits; little-endian, as torch writes it."""

    name: str
    num_bytes: int
    magnitude_mask: int
    infinity: int
    """The bits of infinity: with the sign off, everything from here up is infinite or NaN."""
    code: str
    """For ``struct``; empty where it has none."""

    @property
    def sign(self) -> int:
        """The bit of the sign."""
        return self.magnitude_mask + 1

    @property
    def largest(self) -> int:
        """The bits of the largest finite number, to which ``nan_to_num_`` turns an infinity."""
        return self.infinity - 1

    def bits_of(self, magnitude: float) -> int:
        """The bits of the smallest number of the format that is larger than ``magnitude``; infinity if none is."""
        return _bits_above(self, magnitude)


F16: Final = FloatFormat(name="float16", num_bytes=2, magnitude_mask=0x7FFF, infinity=0x7C00, code="e")
BF16: Final = FloatFormat(name="bfloat16", num_bytes=2, magnitude_mask=0x7FFF, infinity=0x7F80, code="")
F32: Final = FloatFormat(name="float32", num_bytes=4, magnitude_mask=0x7FFF_FFFF, infinity=0x7F80_0000, code="f")
F64: Final = FloatFormat(
    name="float64", num_bytes=8, magnitude_mask=0x7FFF_FFFF_FFFF_FFFF, infinity=0x7FF0_0000_0000_0000, code="d"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a run of numbers holds. ``zero`` is never said of no numbers at all."""

    finite: bool
    zero: bool
    at_limit: bool
    """A value is as large as the format can say: an infinity was scrubbed to it, or it overflowed."""
    exploded: bool = False
    """A value is beyond what its domain holds."""
    negative: bool = False
    """A value is below zero, where none can be."""


EMPTY: Final = Content(finite=True, zero=False, at_limit=False)

Look = Callable[[memoryview, FloatFormat, Domain], Content]

CHUNK_BYTES: Final = 256 * 1024
"""Both ways work through the file in pieces that stay in the processor's cache."""


def looker(numpy: ModuleType | None) -> Look:
    """The way to look at numbers: by ``numpy`` where there is one, else by the standard library alone."""
    if numpy is None:
        return look_plainly
    return lambda view, form, domain: look_with_numpy(numpy, view, form, domain)


def is_same(first: memoryview, second: memoryview) -> bool:
    """Whether two stretches of bytes are equal; two memoryviews are compared number by number, bytes at once."""
    return first.nbytes == second.nbytes and all(
        bytes(first[start : start + CHUNK_BYTES]) == bytes(second[start : start + CHUNK_BYTES])
        for start in range(0, first.nbytes, CHUNK_BYTES)
    )


def look_with_numpy(numpy: Any, view: memoryview, form: FloatFormat, domain: Domain = ANYTHING) -> Content:
    """What ``view`` (whole numbers of ``form``) holds, measured by ``domain``."""
    if not view.nbytes:
        return EMPTY
    bits = numpy.frombuffer(view, dtype=f"<u{form.num_bytes}")
    step = CHUNK_BYTES // form.num_bytes
    mask = bits.dtype.type(form.magnitude_mask)
    pieces = [bits[start : start + step] for start in range(0, bits.size, step)]
    largest = max(int((piece & mask).max()) for piece in pieces)
    negative = domain.nonnegative and any(int(piece.max()) > form.sign for piece in pieces)
    return Content(
        finite=largest < form.infinity,
        zero=largest == 0,
        at_limit=largest == form.largest,
        exploded=form.bits_of(domain.largest) <= largest < form.infinity,
        negative=negative and largest < form.infinity,
    )


def look_plainly(view: memoryview, form: FloatFormat, domain: Domain = ANYTHING) -> Content:
    """What ``view`` (whole numbers of ``form``) holds, measured by ``domain``."""
    if not view.nbytes:
        return EMPTY
    finite, zero, at_limit, exploded, negative = True, True, False, False, False
    bound = form.bits_of(domain.largest)
    suspects = _suspect_top_bytes(form, min(bound, form.largest))
    for start in range(0, view.nbytes, CHUNK_BYTES):
        chunk = bytes(view[start : start + CHUNK_BYTES])
        if b"\1" in chunk[form.num_bytes - 1 :: form.num_bytes].translate(suspects):
            finite = finite and not _any_at_least(chunk, form, form.infinity)
            at_limit = at_limit or _any_at_least(chunk, form, form.largest)
            exploded = exploded or _any_at_least(chunk, form, bound)
        zero = zero and not chunk[:4096].translate(None, b"\0\x80") and not _any_at_least(chunk, form, 1)
        negative = negative or (domain.nonnegative and _any_negative(chunk, form))
    return Content(
        finite=finite,
        zero=zero,
        at_limit=at_limit and finite,
        exploded=exploded and finite,
        negative=negative and finite,
    )


@cache
def _bits_above(form: FloatFormat, magnitude: float) -> int:
    low, high = 0, form.infinity  # magnitudes are ordered as their bits are
    while low < high:
        middle = (low + high) // 2
        (value,) = numbers(memoryview(middle.to_bytes(form.num_bytes, "little")), form)
        low, high = (low, middle) if value > magnitude else (middle + 1, high)
    return low


@cache
def _suspect_top_bytes(form: FloatFormat, least: int) -> bytes:
    """A translation table: 1 for the top bytes that a number with the bits ``least`` or above can have, else 0."""
    shift = 8 * (form.num_bytes - 1)
    lowest, highest = least >> shift, form.magnitude_mask >> shift
    return bytes(lowest <= (top & 0x7F) <= highest for top in range(256))


def _any_at_least(chunk: bytes, form: FloatFormat, threshold: int) -> bool:
    """Whether the magnitude bits of any number in ``chunk`` reach ``threshold`` (at least 1).

    All numbers at once, as one large integer: with the sign bits off, adding what lacks to the sign bit sets it in
    exactly the numbers sought, and no carry leaves a number.
    """
    width = form.num_bytes
    count = len(chunk) // width
    magnitudes = int.from_bytes(chunk, "little") & _repeated(form.magnitude_mask, width, count)
    return bool((magnitudes + _repeated(form.sign - threshold, width, count)) & _repeated(form.sign, width, count))


def _any_negative(chunk: bytes, form: FloatFormat) -> bool:
    """Whether any number in ``chunk`` is below zero; as in :func:`_any_at_least`, for those with a sign."""
    width = form.num_bytes
    count = len(chunk) // width
    signs = int.from_bytes(chunk, "little") & _repeated(form.sign, width, count)
    if not signs:
        return False
    magnitudes = int.from_bytes(chunk, "little") & _repeated(form.magnitude_mask, width, count)
    return bool((magnitudes + _repeated(form.magnitude_mask, width, count)) & signs)


@cache
def _repeated(number: int, width: int, count: int) -> int:
    return int.from_bytes(number.to_bytes(width, "little") * count, "little")


def numbers(view: memoryview, form: FloatFormat) -> Iterator[float]:
    """The numbers themselves; for the few tensors that are looked at one by one."""
    if form.code:
        for (number,) in struct.iter_unpack(f"<{form.code}", view):
            yield number
    else:  # bfloat16 is the upper half of float32
        for (high,) in struct.iter_unpack("<H", view):
            yield struct.unpack("<f", struct.pack("<I", high << 16))[0]
