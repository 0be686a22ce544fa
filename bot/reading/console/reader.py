"""A console log of Ultralytics, any version and task, streamed: bytes in, facts out.

Formats were read from the wheels of 8.0.200 to 8.4.190 and from logs of YOLOv5 to YOLO26. Nothing in the bytes makes
the reader raise.
"""

from __future__ import annotations

from trainmaster.bot.reading.console.encodings import WideText, too_short_for_utf16, utf16_of
from trainmaster.bot.reading.console.facts import (
    ConsoleFact,
    FatalError,
    Header,
    KeptBack,
    PlainBar,
    RunBanner,
    Started,
    TrainFrame,
    ValBar,
    ValRow,
)
from trainmaster.bot.reading.console.frames import (
    TELLING,
    Bar,
    Columns,
    Frame,
    find_all_row,
    find_bar,
    find_frames,
    find_header,
    find_val_header,
    named_losses,
    nonfinite_of_row,
    own_loop,
)
from trainmaster.bot.reading.console.messages import read_message
from trainmaster.bot.reading.console.parts import ERROR, CutLines, RecordParts, last_cuts
from trainmaster.bot.reading.console.text import Wrapping
from trainmaster.bot.reading.console.traceback import TracebackReader
from trainmaster.bot.reading.console.wraps import Piece, WrappedRows
from trainmaster.bot.reading.nonfinite_text import as_python_spells
from trainmaster.record import replaced

MAX_SEGMENT_BYTES = 64 * 1024
"""A piece without line feed or carriage return that is longer is read in parts."""
_MAX_RECORD_BYTES = 1024 * 1024
"""A longer piece is read in parts even if it is a record: journald's of 48 KiB, as a list of bytes, has 200 KiB."""
_RECORD_BEGINS = (b'{"', b"[{", b'": "', b'":"')
_RECORD_HEAD_BYTES = 200
_LAST_FRAMES_BYTES = 600
"""Of a part of a long piece that holds healthy frames only, so many bytes hold the last of them."""
_JUNK_SHARE = 3
"""Text of which more than one in so many characters could not be decoded is none; of random bytes it is two in five."""
_MAX_TEXT_CHARACTERS = 4_096
"""Of a longer piece only beginning and end are searched for tables and messages, but all of it for frames."""


class SegmentReader:
    """Reads the pieces between carriage returns and line feeds, in order; keeps only what later pieces need."""

    def __init__(
        self,
        columns: Columns | None = None,
        val_columns: tuple[str, ...] | None = None,
        *,
        wrapping: Wrapping | None = None,
        planned: int | None = None,
        brief: bool = False,
    ) -> None:
        self.planned = planned
        """How many epochs the run has, as far as the log has said."""
        self._brief = brief
        """Whether of a long piece of healthy frames and nothing else only the last need be told."""
        self.wrapping = wrapping or Wrapping()
        self.columns = columns
        """Of the training table that was announced last."""
        self.val_columns = val_columns
        """Of the validation table that was announced last."""
        self._yolov5 = False
        self._masks = False
        self._awaits_bar = False
        self._traceback = TracebackReader()
        self._parts = RecordParts()

    @property
    def idle(self) -> bool:
        """Whether the next piece can be read without those before it, but for the names of columns."""
        return self._traceback.idle and not self._awaits_bar

    def read(self, segment: bytes, line: int, *, at_end: bool = False) -> list[ConsoleFact]:
        """The facts of ``segment``. ``at_end``: it is the last of the file and has no line end."""
        facts: list[ConsoleFact] = []
        for text in self.wrapping.texts(segment, self._parts):
            facts += self._read_whole(text, line, at_end=at_end)
        for text in self._parts.rest() if at_end else []:
            facts += [replaced(fact, late=True) for fact in self._read_whole(text, line, at_end=at_end)]
        return facts

    def _read_whole(self, spelt: str, line: int, *, at_end: bool) -> list[ConsoleFact]:
        facts: list[ConsoleFact] = []
        text = as_python_spells(spelt) if ".#" in spelt or "nan(" in spelt else spelt
        frames, rests = find_frames(text, at_end=at_end, memory=self.columns is None or self.columns.memory)
        for frame in frames:
            losses = named_losses(frame, self.columns, yolov5=self._yolov5, masks=self._masks)
            epochs = self._total_of(frame)
            if losses is None or epochs is None:
                continue
            facts.append(
                TrainFrame(
                    line=line,
                    epoch=frame.epoch,
                    epochs=epochs,
                    batch=frame.batch,
                    batches=frame.batches,
                    losses=tuple(losses.items()),
                )
            )
            self._awaits_bar = False
        for rest in rests:
            if rest and not (frames and rest.isspace()):
                facts += self._read_text(rest, line, at_end=at_end)
        return facts

    def is_row(self, line: bytes) -> bool:
        """Whether ``line`` is one frame with all its losses."""
        memory = self.columns is None or self.columns.memory
        frames, _ = find_frames(line.decode("utf-8", "replace"), at_end=False, memory=memory)
        told = [named_losses(one, self.columns, yolov5=self._yolov5, masks=self._masks) for one in frames]
        return len(told) == 1 and told[0] is not None

    def tells_error(self, piece: bytes) -> bool:
        """Whether ``piece`` begins with an error of the process."""
        said = self.wrapping.bare(piece.decode("utf-8", "replace"))[0].strip()
        return said.startswith(ERROR.decode()) or isinstance(read_message(said, 0), FatalError)

    def _total_of(self, frame: Frame) -> int | None:
        """How many epochs there are. Where a narrow terminal cut digits off, as the log has said; None where nobody
        knows."""
        if not frame.cut_total:
            self.planned = frame.epochs
            return frame.epochs
        known, shown = self.planned, str(frame.epochs or "")
        return known if known is not None and frame.epoch <= known and str(known).startswith(shown) else None

    def read_long(self, segment: bytes, line: int, *, at_end: bool = False) -> list[ConsoleFact]:
        """As :meth:`read`, for a piece of any length."""
        facts: list[ConsoleFact] = []
        if not segment and not at_end:
            return facts
        start = 0
        while len(segment) - start >= longest_piece(segment, start):
            part, _ = split_long(segment[start : start + MAX_SEGMENT_BYTES])
            start += len(part)
            facts += self.read_part(part, line)
        return facts + self.read(segment[start:], line, at_end=at_end)

    def read_part(self, part: bytes, line: int) -> list[ConsoleFact]:
        """As :meth:`read`, for a part of a long piece."""
        if self._brief and self.idle and not any(byte in part for byte in TELLING):
            part = part[_frame_start(part, len(part) - _LAST_FRAMES_BYTES) :]
        return self.read(part, line)

    def _read_text(self, text: str, line: int, *, at_end: bool) -> list[ConsoleFact]:
        if "\ufffd" in text:
            said = self.wrapping.bare(text)[0]
            if _JUNK_SHARE * said.count("\ufffd") > len(said):
                return []
        if len(text) > _MAX_TEXT_CHARACTERS:
            text = f"{text[: _MAX_TEXT_CHARACTERS // 2]} {text[-_MAX_TEXT_CHARACTERS // 2 :]}"
        columns = find_header(text)
        if columns is not None:
            self.columns, self._awaits_bar = columns, True
            return [Header(line=line, losses=columns.losses)]
        val_columns = find_val_header(text)
        if val_columns is not None:
            self.val_columns = val_columns
            self._masks = self._masks or "Mask(" in text
        facts: list[ConsoleFact] = []
        bar, rest = find_bar(text)
        if bar is not None:
            known = self._read_bar(bar, line)
            facts += [known] if known else []
            rest = rest if known or rest.strip() else text
        row = find_all_row(rest, self.val_columns, at_end=at_end)
        if row is not None:
            nonfinite = nonfinite_of_row(rest, self.val_columns)
            return [*facts, ValRow(line=line, map50=row[0], map50_95=row[1], nonfinite=nonfinite)]
        message = self._read_message(rest, line)
        return [*facts, message] if message else facts

    def _read_bar(self, bar: Bar, line: int) -> ConsoleFact | None:
        if "mAP" in bar.label or find_val_header(bar.label) is not None:
            self._awaits_bar = False
            return ValBar(line=line, batch=bar.batch, batches=bar.batches)
        own = own_loop(bar)
        if own is None and not (self._awaits_bar and not bar.label.strip()):
            return None
        epoch, epochs = own or (None, None)
        return PlainBar(line=line, epoch=epoch, epochs=epochs, batch=bar.batch, batches=bar.batches)

    def _read_message(self, text: str, line: int) -> ConsoleFact | None:
        bare, leveled = self.wrapping.bare(text)
        logged = leveled and not self._traceback.goes_on_with(bare)
        belongs, fact = self._traceback.read(text if logged else bare, line)
        if belongs:
            return fact
        stripped = bare.strip()
        if not stripped:
            return None
        fact = read_message(stripped, line)
        if isinstance(fact, Started):
            self.planned = fact.epochs
        if isinstance(fact, RunBanner):
            self._yolov5 = fact.version.startswith("YOLOv5")
        return fact


class ConsoleReader:
    """Bytes of a log as they come, cut anywhere. Memory is bounded whatever the bytes are."""

    def __init__(self, *, brief: bool = False) -> None:
        self.line = 1
        """The physical line that the next byte belongs to."""
        self._segments = SegmentReader(brief=brief)
        self._cut_lines = CutLines()
        self._rows = WrappedRows(self._segments.is_row)
        self._begins_line = True
        self._passed = 0
        """So many bytes of the line were read."""
        self._pending = b""
        self._begun = False
        self._utf16: WideText | None = None

    def feed(self, data: bytes) -> list[ConsoleFact]:
        """The facts that ``data`` completes. What follows the last line end or carriage return waits."""
        facts: list[ConsoleFact] = []
        if not self._begun:
            data, self._pending = self._pending + data, b""
            if too_short_for_utf16(data):
                self._pending = data
                return facts
            self._begun = True
            if encoding := utf16_of(data):
                self._utf16 = WideText(encoding, data)
        if self._utf16:
            data = self._utf16.utf8(data)
        *lines, last = (self._pending + data).split(b"\n")
        for line in lines:
            self._read_line(line, facts)
            self.line += 1
        if self._may_end_a_row(last):
            self._pending = last
            return facts
        *segments, self._pending = last.split(b"\r")
        self._read_segments(segments, facts)
        start = 0
        while len(self._pending) - start >= longest_piece(self._pending, start):
            part, _ = split_long(self._pending[start : start + MAX_SEGMENT_BYTES])
            start += len(part)
            self._read_pieces(self._rows.rest(), facts)
            facts += self._segments.read_part(part, self.line)
            self._begins_line = False
            self._passed += len(part)
        self._pending = self._pending[start:] if start else self._pending
        return facts

    def finish(self) -> list[ConsoleFact]:
        """The facts of the last piece, which has no end. Nothing may be fed afterwards."""
        facts: list[ConsoleFact] = []
        if self._may_end_a_row(self._pending):
            self._read_line(self._pending, facts)
            self._pending = b""
        last = self._cut_lines.begun(self._pending) if self._begins_line else self._pending
        self._pending = b""
        taken = self._begins_line and self._is_of_row(last, facts)
        rows = self._rows.rest()
        if taken and rows and rows[-1].number == self.line:
            taken, rows = False, rows[:-1]
        self._read_pieces(rows, facts)
        if rest := self._cut_lines.rest():
            self._read_segment(rest, facts)
        return facts if taken else facts + self._segments.read_long(last, self.line, at_end=True)

    def _may_end_a_row(self, piece: bytes) -> bool:
        """Whether the carriage return at the end of ``piece`` may be the first half of a line's end, and its line one
        that a terminal has broken."""
        bare = piece.rstrip(b"\r")
        return bare != piece and b"\r" not in bare and self._begins_line and self._rows.wants(bare)

    def _is_of_row(self, line: bytes, facts: list[ConsoleFact]) -> bool:
        """Whether ``line`` belongs to a row that a terminal has broken. What comes before it is read."""
        if self._rows.passes(line):
            return False
        bare = line.rstrip(b"\r")
        if b"\r" in bare:
            self._read_pieces(self._rows.rest(), facts)
            return False
        pieces, taken = self._rows.put(bare, self.line)
        self._read_pieces(pieces, facts)
        return taken

    def _read_pieces(self, pieces: list[Piece], facts: list[ConsoleFact]) -> None:
        for piece in pieces:
            facts += self._segments.read_long(piece.line, piece.number)

    def _read_line(self, line: bytes, facts: list[ConsoleFact]) -> None:
        if self._begins_line and self._is_of_row(line, facts):
            return
        segments = line.split(b"\r")
        last = segments.pop()
        self._read_segments(segments, facts)
        cut = next((cut for cut in last_cuts(last, self._passed) if self._segments.tells_error(last[cut:])), 0)
        if cut or (self._begins_line and self._cut_lines.is_broken_by(last)):
            facts.append(KeptBack(line=self.line))
        if cut:
            self._read_segments([last[:cut]], facts)
            last = last[cut:]
        if self._begins_line and last:
            last = self._cut_lines.begun(last)
        self._read_segment(self._cut_lines.ended(last), facts)
        self._begins_line, self._passed = True, 0

    def _read_segments(self, segments: list[bytes], facts: list[ConsoleFact]) -> None:
        """Read pieces of one line that are not its last."""
        if segments:
            self._read_pieces(self._rows.rest(), facts)
        for segment in segments:
            self._read_segment(self._cut_lines.begun(segment) if self._begins_line else segment, facts)
            self._begins_line = False
            self._passed += len(segment) + 1

    def _read_segment(self, segment: bytes, facts: list[ConsoleFact]) -> None:
        if segment:
            self._rows.redraws = self._rows.redraws or not self._begins_line
            facts += self._segments.read_long(segment, self.line)


def longest_piece(piece: bytes, start: int) -> int:
    """So many bytes of ``piece`` from ``start`` on are read at once, if it has them. A record is read whole."""
    if start or len(piece) < MAX_SEGMENT_BYTES:
        return MAX_SEGMENT_BYTES
    head = piece[:_RECORD_HEAD_BYTES]
    return _MAX_RECORD_BYTES if any(begin in head for begin in _RECORD_BEGINS) else MAX_SEGMENT_BYTES


def split_long(segment: bytes) -> tuple[bytes, bytes]:
    """``segment`` of at least :data:`MAX_SEGMENT_BYTES` parted, before a frame where there is one."""
    start = _frame_start(segment, MAX_SEGMENT_BYTES)
    cut = start if start > MAX_SEGMENT_BYTES // 2 else MAX_SEGMENT_BYTES
    return segment[:cut], segment[cut:]


def _frame_start(segment: bytes, before: int) -> int:
    """Where the last frame of ``segment`` begins that shows its memory ``before`` a place; 0 when there is none."""
    place = segment.rfind(b"G ", 0, max(0, before))
    # A frame begins with "12/100     12.8G"; 64 bytes hold the widest beginning.
    start = segment.rfind(b"/", max(0, place - 64), place) if place > 64 else -1
    while start > 0 and segment[start - 1 : start].isdigit():
        start -= 1
    return max(0, start)
