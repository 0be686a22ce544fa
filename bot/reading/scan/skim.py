"""The summary of a long log at the speed of a search for single bytes, the same as of reading every byte.

Nearly all of a long log is healthy frames, and only the last of them counts. They consist of digits, spaces and bar
glyphs; every table head, message, error and non-finite loss has one of :data:`TELLING` in it. So the log is searched
for these bytes (C's ``memchr``), the pieces around them are read by the same :class:`SegmentReader` as always, and of
each stretch between them only the end, for the frame that tells the place of what follows.
"""

from __future__ import annotations

import os
import re
from io import FileIO
from pathlib import Path

from trainmaster.bot.reading.console.encodings import utf16_of
from trainmaster.bot.reading.console.facts import ConsoleFact, FatalError, Header, TrainFrame, ValBar, ValRow
from trainmaster.bot.reading.console.frames import Columns
from trainmaster.bot.reading.console.parts import (
    ERROR,
    TAG_BYTES,
    is_tagged,
    last_cuts,
    line_before,
    names_stream,
    whole_piece,
)
from trainmaster.bot.reading.console.reader import MAX_SEGMENT_BYTES, SegmentReader
from trainmaster.bot.reading.console.records import are_over_lines, is_notebook
from trainmaster.bot.reading.console.wraps import is_wrapped
from trainmaster.bot.reading.scan.hits import Hits, run_pattern, val_bars_pattern
from trainmaster.bot.reading.scan.lines import LineCounter
from trainmaster.bot.reading.scan.runs import FrameRun, run_of
from trainmaster.bot.reading.scan.summary import LogSummary
from trainmaster.bot.reading.scan.telling import TELLING, is_quiet
from trainmaster.record import replaced

BLOCK_BYTES = 1024 * 1024
_WINDOW_BYTES = 2 * 1024
_SAMPLE_BYTES = 16 * 1024
"""From the middle of the log, which tells whether a terminal has broken its rows."""
_MAX_WINDOW_BYTES = 32 * 1024 * 1024
_UNEVEN = 4
"""After so many frames of differing widths they are counted by what they consist of."""
_LINE_ENDS = 2
"""So many bytes end a line at most. More of them between two frames are rare, and then nothing is passed over."""
_HEALTHY = TrainFrame, ValBar, ValRow


class NotSkimmableError(Exception):
    """The log has no pieces to skip between, or no training frames; read it with care."""


def skim(path: Path, *, block_bytes: int = BLOCK_BYTES) -> LogSummary:
    """The summary of ``path``.

    Raises:
        NotSkimmableError: it has to be read with care.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        return _Skimmer(stream, block_bytes).run()


class _Skimmer:
    """Offsets count from the beginning of the file, places from the beginning of the block.

    Facts carry the offset of their line until the end, when the few that are listed get its number.
    """

    def __init__(self, stream: FileIO, block_bytes: int) -> None:
        self._stream = stream
        self._size = os.fstat(stream.fileno()).st_size
        self._block = bytearray(block_bytes)
        self._reader = SegmentReader(brief=True)
        self._summary = LogSummary()
        self._read_to = 0
        """Behind the last piece that was read."""
        self._told_to = 0
        """The summary knows the last frame before here. What lies between here and ``_read_to`` tells nothing else."""
        self._line = 0
        """Where the physical line begins that holds the place being looked at."""
        self._line_before = b""
        """The one before the block, where a container's runtime has written it."""
        self._counter = LineCounter()
        self._val_bars: re.Pattern[bytes] | None = None
        """Matches heads of validation bars, one behind the other, that are as the one read last: nothing new."""
        self._val_columns: list[tuple[int, tuple[str, ...] | None]] = [(0, None)]
        """From which offset on which columns hold."""
        self._row_offset = -1
        self._uneven_to = -1
        """Frames before this place of the block can't be counted."""
        self._run: FrameRun | None = None
        """What the frames that were passed over last are like."""
        self._run_end: tuple[bytes, int, int] | None = None
        """The last of them, its offset and its line: to be read, since it has the counter, once the run ends."""
        self._uneven = 0
        """So many non-finite frames in a row were not like the one before."""

    def run(self) -> LogSummary:
        base, head = 0, self._read_at(0, _WINDOW_BYTES)
        if utf16_of(head) or is_notebook(head) or are_over_lines(head) or self._is_wrapped():
            raise NotSkimmableError
        while True:
            self._stream.seek(base)
            length = min(self._stream.readinto(self._block), self._size - base)
            feed = self._block.rfind(b"\n", 0, length)
            end = max(feed, self._block.rfind(b"\r", 0, length)) + 1
            last = length == 0 or base + length >= self._size
            if end == 0 and not last:
                raise NotSkimmableError
            if not last and feed >= 0 and is_tagged(self._block, feed + 1):
                end = feed + 1  # the tag of a line tells what its pieces are
            self._skim_block(base, end)
            self._counter.pass_by(self._block, base, end)
            self._line = base + feed + 1 if feed >= 0 else self._line
            base += end
            if last:
                break
            self._line_before = line_before(self._block, end) if end == feed + 1 else b""
        self._end_run()
        self._read_piece(whole_piece(self._block[:length], end, length, self._line_before), base, at_end=True)
        if self._summary.frame is None:
            raise NotSkimmableError
        self._find_last_row()
        self._summary.renumber(self._counter.numbers(self._stream, self._summary.lines()))
        return self._summary

    def _skim_block(self, base: int, end: int) -> None:
        """Read the telling pieces of the block up to ``end``, where a piece ends."""
        block = self._block
        hits = Hits(block, end)
        self._uneven_to = -1
        floor = self._follow_run(base, 0, end) if self._follows_at_once(base) else 0
        newline = block.find(b"\n", floor, end) % (end + 1)
        while floor < end:
            place = floor if not self._reader.idle else hits.next(floor)
            if place >= end:
                break
            if self._val_bars and self._reader.idle and (bars := self._val_bars.match(block, place, end)):
                floor = bars.end()
                continue
            low = max(0, self._read_to - base)
            start = max(block.rfind(b"\r", low, place), block.rfind(b"\n", low, place), low - 1) + 1
            if newline < start:
                self._line = base + block.rfind(b"\n", newline, start) + 1
                newline = block.find(b"\n", start, end) % (end + 1)
            stop = block.find(b"\r", start, newline) % (newline + 1)
            piece, floor = whole_piece(block, start, stop, self._line_before), stop + 1
            if self._goes_on_with(piece, bytes(block[stop:floor]), base + start):
                floor = self._follow_run(base, floor, end)
                continue
            self._end_run()
            facts = self._read_piece(piece, base + start)
            told = not all(isinstance(fact, Header) for fact in facts)
            if told and (self._counter.asked or self._summary.lines()):
                self._counter.note(block, base, self._line)
            floor = self._read_alike(base, piece, floor, facts, hits)
            if told or self._told_to == base + start:  # nothing untold stands before it
                self._told_to = base + floor
            self._read_to = base + floor

    def _is_wrapped(self) -> bool:
        return is_wrapped(self._read_at(self._size // 2, _SAMPLE_BYTES).partition(b"\n")[2])

    def _read_piece(self, piece: bytes, offset: int, *, at_end: bool = False) -> list[ConsoleFact]:
        reader = self._reader
        if any(reader.tells_error(piece[cut:]) for cut in last_cuts(piece, offset - self._line)):
            raise NotSkimmableError
        columns, val_columns = reader.columns, reader.val_columns
        facts = reader.read_long(piece, self._line, at_end=at_end)
        tells_error = ERROR in piece or any(isinstance(fact, FatalError) for fact in facts)
        if tells_error and names_stream(self._read_at(self._line, TAG_BYTES)):  # amid a line of the other one, maybe
            raise NotSkimmableError
        alone = all(self._stands_alone(fact) for fact in facts)
        if at_end or reader.columns != columns or not alone or self._summary.hangs:
            self._catch_up(offset, columns, val_columns)
        for fact in facts:
            self._add(fact, offset)
        if reader.val_columns != val_columns:
            self._val_columns.append((offset, reader.val_columns))
        head = piece.find(b"Class")
        if head >= 0:
            colon = piece.find(b": ", head)
            self._val_bars = val_bars_pattern(piece[head : colon + 1]) if colon >= 0 else None
        return facts

    def _read_alike(self, base: int, piece: bytes, floor: int, facts: list[ConsoleFact], hits: Hits) -> int:
        """Where reading goes on behind the frames or bars that are like ``piece``, which ends at ``floor``."""
        last, end = facts[-1] if facts else None, hits.end
        self._run = None
        if not isinstance(last, TrainFrame | ValBar):
            return floor
        if len(facts) == 1 and any(byte in piece for byte in TELLING):  # else the next telling byte is far behind them
            self._run = run_of(piece, bytes(self._block[floor - 1 : floor]))
            floor = self._follow_run(base, floor, end)
        if isinstance(last, TrainFrame) and last.nonfinite and self._run_end is None:
            self._uneven += 1
            floor = self._read_run(last, floor, end, hits) if self._uneven > _UNEVEN else floor
        return floor

    def _goes_on_with(self, piece: bytes, separator: bytes, offset: int) -> bool:
        """Whether ``piece`` is one more frame of the run that was followed, if any; it then counts as its last."""
        if self._run is None or self._run_end is None or self._summary.hangs or not self._reader.idle:
            return False
        if not self._follows_at_once(offset):
            return False
        run = self._run.goes_on_with(piece, separator)
        if run is None:
            return False
        self._run = run
        self._pass_over(1)
        self._run_end = piece, offset, offset if separator == b"\n" else self._line
        self._read_to = offset + run.width
        return True

    def _follows_at_once(self, offset: int) -> bool:
        """Whether nothing but line ends lies between what was read and ``offset``. Words without a telling byte may."""
        gap = offset - self._read_to
        return gap <= 0 or (gap <= _LINE_ENDS and not self._read_at(self._read_to, gap).strip(b"\r\n"))

    def _follow_run(self, base: int, place: int, end: int) -> int:
        """Where reading goes on behind the frames from ``place`` on that are like those before them."""
        run = self._run
        count = run.follow(self._block, place, end) if run is not None and self._reader.idle else 0
        if run is None or count == 0:
            return place
        self._uneven = 0
        stop = place + count * run.width
        self._pass_over(count - (self._run_end is None))  # the last one is counted when it is read
        offset = base + stop - run.width
        self._run_end = bytes(self._block[offset - base : stop - 1]), offset, self._line
        self._read_to = base + stop
        if run.separator == b"\n":
            self._run_end = *self._run_end[:2], offset
            self._line = base + stop
            if run.shows_losses:
                self._counter.pass_lines(self._block, base, place, stop, count)
        return stop

    def _pass_over(self, frames: int) -> None:
        if self._run is not None and self._run.nonfinite:
            self._summary.repeat_nonfinite(frames, lines=frames if self._run.separator == b"\n" else 0)

    def _end_run(self) -> None:
        """Read the last frame of the run that was followed, if any."""
        if self._run_end is None:
            return
        piece, offset, line = self._run_end
        self._run_end = None
        if self._run is not None and not self._run.shows_losses:  # bars of a validation, of which one was told
            self._told_to = max(self._told_to, offset + len(piece) + 1)
            return
        line, self._line = self._line, line
        self._told_to = max(self._told_to, offset)  # what was passed over is like the piece before it, which was told
        self._read_piece(piece, offset)
        self._told_to = max(self._told_to, offset + len(piece) + 1)
        self._line = line

    def _read_run(self, frame: TrainFrame, place: int, end: int, hits: Hits) -> int:
        """Where reading goes on behind the non-finite frames of the same epoch that follow, whole and alike."""
        separator = bytes(self._block[place - 1 : place])
        pattern = run_pattern(len(frame.losses), separator)
        epoch = b"%d/%d" % (frame.epoch, frame.epochs)
        stop, pieces = self._counted_run(pattern, separator, epoch, place, hits.other(place))
        if not pieces:
            match = pattern.match(self._block, place, end)
            if match is None or match[2] != epoch:
                return place
            stop = match.end()
            pieces = self._block.count(separator, place, stop)
        frames = pieces - 1  # the last one is read: it has the counter
        self._summary.repeat_nonfinite(frames, lines=frames if separator == b"\n" else 0)
        return self._block.rfind(separator, place, stop - 1) + 1 or place

    def _counted_run(
        self, pattern: re.Pattern[bytes], separator: bytes, epoch: bytes, place: int, stop: int
    ) -> tuple[int, int]:
        """Where a run of frames with nothing else in it ends, ``stop`` at the latest, and how many they are.

        By counting alone: as many ``%`` as pieces, as many of each ``n`` in all as in the first, the first and the last
        alike. None when that does not hold.
        """
        block = self._block
        other = block.find(b"\r\n".replace(separator, b""), place, stop)
        stop = block.rfind(separator, place, other if other >= 0 else stop) + 1
        if stop <= max(place, self._uneven_to):
            return place, 0
        first = pattern.match(block, place, block.find(separator, place, stop) + 1)
        last = pattern.match(block, block.rfind(separator, place, stop - 1) + 1, stop)
        pieces = block.count(separator, place, stop)
        if (
            first is not None
            and last is not None
            and first[2] == epoch == last[2]
            and first[3] == last[3]
            and block.count(b"%", place, stop) == pieces
            and all(block.count(letter, place, stop) == pieces * first[3].count(letter) for letter in (b"n", b"N"))
        ):
            return stop, pieces
        self._uneven_to = stop
        return place, 0

    def _catch_up(self, stop: int, columns: Columns | None, val_columns: tuple[str, ...] | None) -> None:
        """Tell the summary the end of the healthy stretch before ``stop``, back to a frame with its counter.

        A reader of its own reads it, with the columns that held there: telling pieces in between were read already.
        """
        width = _WINDOW_BYTES
        while self._told_to < stop:
            begin = max(self._told_to, stop - width)
            data = self._read_at(begin, stop - begin).replace(b"\r", b"\n")
            skipped = data.find(b"\n") + 1 if begin > self._told_to else 0
            reader = SegmentReader(columns, val_columns, wrapping=self._reader.wrapping, planned=self._reader.planned)
            facts: list[tuple[int, ConsoleFact]] = []
            offset = begin + skipped
            for piece in data[skipped:].split(b"\n"):
                for fact in reader.read_long(piece, self._line):
                    # Heads were read, but before the frames that stand in front of them.
                    if isinstance(fact, (*_HEALTHY, Header)):
                        facts.append((offset, fact))
                    elif is_quiet(fact):
                        facts.append((offset, replaced(fact, line=offset)))
                offset += len(piece) + 1
            if begin == self._told_to or (skipped and _goes_on([fact for _, fact in facts])):
                if any(isinstance(fact, Header) for _, fact in facts):
                    self._summary.goes_back()
                for place, fact in facts:
                    self._add(fact, place)
                self._told_to = stop
            width *= 8
            if width > _MAX_WINDOW_BYTES:
                raise NotSkimmableError

    def _find_last_row(self) -> None:
        """An ``all`` row has no telling byte; of all that were passed over only the last counts."""
        stop = self._size
        while stop > self._row_offset + 1:
            begin = max(0, self._row_offset, stop - BLOCK_BYTES)
            data = self._read_at(begin, stop - begin)
            place = len(data)
            while (place := data.rfind(b"l", 0, place)) >= 0:  # memrchr; no frame has this byte
                if data[max(0, place - 2) : place + 1] == b"all" and self._read_row(begin + place - 2):
                    return
            stop = begin + 2 if begin > max(0, self._row_offset) else 0

    def _read_row(self, offset: int) -> bool:
        """Whether the piece around ``offset`` holds an ``all`` row; it is then the last."""
        begin = max(0, offset - MAX_SEGMENT_BYTES)
        data = self._read_at(begin, 2 * MAX_SEGMENT_BYTES).replace(b"\r", b"\n")[: self._size - begin]
        start = data.rfind(b"\n", 0, offset - begin) + 1
        stop = data.find(b"\n", offset - begin)
        at_end = stop < 0 and begin + len(data) >= self._size
        columns = next(columns for place, columns in reversed(self._val_columns) if place <= offset)
        reader = SegmentReader(None, columns, wrapping=self._reader.wrapping)
        rows = reader.read_long(data[start : stop if stop >= 0 else len(data)], 0, at_end=at_end)
        last = next((fact for fact in reversed(rows) if isinstance(fact, ValRow)), None)
        if last is not None and begin + start > self._row_offset:
            self._summary.row = last
        return last is not None

    def _read_at(self, offset: int, length: int) -> bytes:
        self._stream.seek(offset)
        return self._stream.read(length)

    def _stands_alone(self, fact: ConsoleFact) -> bool:
        """Whether the summary takes ``fact`` the same without what is untold before it: no redrawn frame does."""
        if isinstance(fact, TrainFrame) and fact.batch is not None:
            return self._summary.frame is None or not self._summary.frame.is_redrawn_by(fact)
        return isinstance(fact, Header)

    def _add(self, fact: ConsoleFact, offset: int) -> None:
        self._summary.add(fact)
        if self._summary.late_line is not None:  # which frames share its line is not known of those passed over
            raise NotSkimmableError
        if isinstance(fact, ValRow):
            self._row_offset = offset


def _goes_on(facts: list[ConsoleFact]) -> bool:
    """Whether training went on within ``facts``, whatever stands before them, and its place is told."""
    frames = [fact for fact in facts if isinstance(fact, TrainFrame) and fact.batch is not None]
    validates = any(isinstance(fact, ValBar | ValRow) for fact in facts)
    return bool(frames) and (validates or any(not frames[0].is_redrawn_by(frame) for frame in frames[1:]))
