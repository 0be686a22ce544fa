"""The file around a checkpoint: a zip of stored entries (torch since 1.6). Loads no torch, unpacks nothing to disk."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from mmap import ACCESS_READ, mmap
from typing import BinaryIO, Final

from trainmaster.trainer.checkpoints.limits import MAX_DIRECTORY_BYTES, LimitError

LEGACY_MAGIC: Final = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""How a file of torch before 1.6 begins: a pickle of one long number (torch/serialization.py, MAGIC_NUMBER)."""

MAPPED_FROM_BYTES: Final = 48 * 1024 * 1024

_VERSION: Final = re.compile(rb"([1-9]|10)\s*")
"""That torch loads (caffe2/serialize/versions.h)."""

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_ALIGNMENT_BYTES: Final = 64
_END: Final = struct.Struct("<4s4H2IH")
_END_MAGIC: Final = b"PK\5\6"
_END_64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_BYTES: Final = 20
_ELSEWHERE: Final = 0xFFFF_FFFF
_LOCAL_START: Final = _LOCAL_MAGIC + bytes(2)
_DIRECTORY_START: Final = b"PK\x01\x02" + bytes(4)
_END_START: Final = struct.pack("<4sQ2H8x", b"PK\x06\x06", 44, 0x031E, 45)


class Format(StrEnum):
    """What a file is by its first and last bytes."""

    ZIP = "zip"
    TORN_ZIP = "torn zip"
    LEGACY = "legacy"
    TAR = "tar"
    PICKLE = "pickle"
    EMPTY = "empty"
    ZEROS = "zeros"
    OTHER = "other"


class DamageError(Exception):
    """The file is not what was once written whole."""


class ForeignZipError(DamageError):
    """The zip is no checkpoint that ``torch.save`` wrote, whole or damaged."""


@dataclass(frozen=True, slots=True)
class Container:
    """The entries of a checkpoint by name without its root folder, as views into the file."""

    entries: dict[str, memoryview]
    as_written: bool
    """Every byte around the entries is what ``torch.save`` puts there. The entries' own bytes have a CRC-32; a damage
    or an addition between them shows in nothing else."""
    has_sums: bool
    """False of a file saved under ``torch.serialization.set_crc32_options(False)``, whose damage shows in nothing."""


def content_of(stream: BinaryIO) -> bytes | mmap:
    """All bytes of the file ``stream``: read when it is small, mapped when it is large.

    Hazard: a mapped file that somebody truncates in place meanwhile, as stock Ultralytics does on saving, ends this
    process with SIGBUS. Reading costs as much time as hashing, and as much memory as the file.
    """
    if stream.seek(0, 2) >= MAPPED_FROM_BYTES:
        return mmap(stream.fileno(), 0, access=ACCESS_READ)
    stream.seek(0)
    return stream.read()


def format_of(content: bytes | mmap) -> Format:
    """What ``content``, the whole file, is."""
    start = content[:512]
    if not start:
        return Format.EMPTY
    if not start.strip(b"\0"):
        return Format.ZEROS
    if start.startswith(_LOCAL_MAGIC[: len(start)]):
        tail = content[-65_557:]  # the end record and the longest comment that it may have
        return Format.ZIP if b"PK\x05\x06" in tail else Format.TORN_ZIP
    if start.startswith(LEGACY_MAGIC):
        return Format.LEGACY
    if start[257:262] == b"ustar":
        return Format.TAR
    if start[0] == 0x80 and len(start) > 1 and start[1] in range(2, 6):
        return Format.PICKLE
    return Format.OTHER


def open_container(content: bytes | mmap) -> Container:
    """All entries of the zip that ``content`` is; each checked against its CRC-32 where the file has any.

    Raises:
        ForeignZipError: a model exported by TorchScript, a data set: another kind of zip.
        DamageError: an entry is missing, cut short, doubled, or not what it was when written.
        LimitError: it has more entries than any checkpoint.
    """
    _refuse_giant_directory(content)
    try:
        # A mapping is file enough for reading, though no IO[bytes] by its type.
        with zipfile.ZipFile(BytesIO(content) if isinstance(content, bytes) else content) as archive:  # type: ignore[arg-type]
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise DamageError(f"truncated or damaged: {error}") from error
    names = {info.filename.partition("/")[2] for info in infos}
    if len({name.lower() for name in names}) != len(names):
        raise DamageError("two entries differ in capital letters alone: what is checked need not be what is loaded")
    if "constants.pkl" in names or "data.pkl" not in names:
        raise ForeignZipError("a zip, but no checkpoint of torch.save")
    if sum(info.compress_size for info in infos) > len(content):
        raise DamageError("its entries lie over one another: they claim more bytes than the file has")
    roots = {info.filename.partition("/")[0] for info in infos}
    if len(roots) != 1:
        raise DamageError(f"its entries lie under {len(roots)} folders, torch writes one")
    begins = min((info.header_offset for info in infos), default=0)
    if begins:
        raise DamageError(
            f"{begins} bytes lie before its first entry: a save that was begun twice, and torch can't load it"
        )
    view = memoryview(content)
    has_sums = any(info.CRC for info in infos)
    entries: dict[str, memoryview] = {}
    for info in infos:
        name = info.filename.partition("/")[2]
        if name in entries:
            raise DamageError(f"two entries are called {name!r}: what is checked need not be what is loaded")
        entries[name] = _content(view, info, has_sums=has_sums)
    if not _VERSION.fullmatch(bytes(entries.get("version", b"3"))):
        raise DamageError("its format is of a version that torch can't load")
    try:
        as_written = _is_as_written(view, infos)
    except struct.error:  # more entries, or a longer name, than its fields can count
        as_written = False
    return Container(entries, as_written=as_written, has_sums=has_sums)


def _refuse_giant_directory(content: bytes | mmap) -> None:
    """Before anybody makes a record of each entry. A directory whose size is told elsewhere is of 4 GiB or none of
    torch's; torch repeats the size in the record before."""
    last = len(content) - _END.size
    at = last if content[last : last + 4] == _END_MAGIC else content.rfind(_END_MAGIC, 0, last + 3)
    if at < 0:
        return
    sizes = [_END.unpack(content[at : at + _END.size])[5]]
    before = content[max(0, at - _END_64.size - _LOCATOR_BYTES) : at]
    if before.startswith(b"PK\6\6"):
        sizes.append(_END_64.unpack(before[: _END_64.size])[8])
    sizes = [size for size in sizes if size != _ELSEWHERE]
    if any(size > MAX_DIRECTORY_BYTES for size in sizes):
        raise LimitError(f"the directory of its entries is {max(sizes)} bytes long")


def _is_as_written(view: memoryview, infos: Sequence[zipfile.ZipInfo]) -> bool:
    """Whether nothing lies around the entries but what torch writes there: no time, no attributes, padding of Z, sizes
    behind the numbers (caffe2/serialize/inline_container.cc and its miniz). Above 4 GiB the records differ: False."""
    if view.nbytes >= 1 << 32:
        return False
    place, directory = 0, b""
    for info in infos:
        name = info.filename.encode()
        sums = struct.pack("<3I", info.CRC, info.file_size, info.file_size)
        padding = -(place + 34 + len(name)) % _ALIGNMENT_BYTES
        flags = 0x0808 if info.file_size else 0x0800  # nothing follows an entry that holds nothing
        head = _LOCAL_START + struct.pack("<H18x2H", flags, len(name), padding + 4) + name
        head += b"FB" + struct.pack("<H", padding) + b"Z" * padding
        data_start = place + len(head)
        tail_start = data_start + info.file_size
        tail = b"PK\7\10" + sums if info.file_size else b""
        end = tail_start + len(tail)
        if info.header_offset != place or view[place:data_start] != head or view[tail_start:end] != tail:
            return False
        directory += _DIRECTORY_START + struct.pack("<H6x", flags) + sums
        directory += struct.pack("<H12xI", len(name), place) + name
        place = end
    sizes = struct.pack("<4Q", len(infos), len(infos), len(directory), place)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, place + len(directory), 1)
    end_record = struct.pack("<4s4x2H2IH", b"PK\5\6", len(infos), len(infos), len(directory), place, 0)
    return view[place:] == directory + _END_START + sizes + locator + end_record


def _content(view: memoryview, info: zipfile.ZipInfo, *, has_sums: bool) -> memoryview:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise DamageError(f"{info.filename} is compressed; torch stores")
    header = view[info.header_offset : info.header_offset + _LOCAL_HEADER.size]
    if header.nbytes < _LOCAL_HEADER.size:
        raise DamageError(f"{info.filename} begins behind the end of the file")
    magic, *_, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
    content = view[start : start + info.file_size]
    if magic != _LOCAL_MAGIC or content.nbytes != info.file_size:
        raise DamageError(f"{info.filename} is cut short")
    if has_sums and zlib.crc32(content) != info.CRC:
        raise DamageError(f"{info.filename} is not what it was when written (CRC-32)")
    return content
