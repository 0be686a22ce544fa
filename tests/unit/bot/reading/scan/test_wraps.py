"""Logs that somebody copied from a terminal, which had broken their rows at its width."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import HEALTHY, NAN, frame, header, start, tqdm_frame, validation
from trainmaster.bot.reading.console.facts import TrainFrame
from trainmaster.bot.reading.console.reader import ConsoleReader
from trainmaster.bot.reading.console.wraps import is_wrapped
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file, scan_stream

DRAWS = {"own": frame, "tqdm": tqdm_frame}


def shown(log: str, width: int, *, strips: bool = False, end: str = "\n") -> str:
    """What a terminal of that width shows of ``log``: of redrawn bars the last."""
    lines = [line.rpartition("\r")[2].replace("\x1b[K", "") for line in log.split("\n")]
    pieces = [line[at : at + width] for line in lines for at in range(0, max(1, len(line)), width)]
    return end.join(piece.rstrip() if strips else piece for piece in pieces)


def log_of(style: str, *, losses: tuple[str, ...] = NAN) -> str:
    draw = DRAWS[style]
    epochs = [f"{header()}{draw(epoch, 20)}\n{validation(f'0.7{epoch}')}" for epoch in (1, 2)]
    return f"{start()}{''.join(epochs)}{header()}{draw(3, 11, losses=losses)}\nKilled\n"


def facts_of(report: ScanReport) -> list[object]:
    names = (
        "verdict",
        "crash_kind",
        "last_epoch",
        "last_batch",
        "total_batches",
        "nan_loss_frames",
        "map50",
        "map50_95",
    )
    return [*(getattr(report, name) for name in names), str(report.losses)]


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


@pytest.mark.parametrize("width", [40, 52, 60, 66, 72, 80, 88, 100, 117])
@pytest.mark.parametrize("style", DRAWS)
def test_a_row_that_a_terminal_has_broken_is_read_whole(style: str, width: int) -> None:
    log = log_of(style)
    for broken in (shown(log, width), shown(log, width, strips=True), shown(log, width, end="\r\n")):
        assert facts_of(scan(broken)) == facts_of(scan(log)), broken


def test_a_row_that_was_broken_once_is_left_as_it_is() -> None:
    place = 40
    drawn = frame(2, 3).removeprefix("\r\x1b[K")
    log = f"{start()}{frame(1, 20)}\n{drawn[:place]}\n{drawn[place:]}\n"
    assert scan(log).last_epoch == 1


@pytest.mark.parametrize("width", [37, 48, 50, 60, 66, 73, 80, 96])
@pytest.mark.parametrize("style", DRAWS)
def test_the_only_row_of_a_log_is_read_whole_if_nothing_was_wider(style: str, width: int) -> None:
    drawn = DRAWS[style](2, 11, losses=NAN)
    for begin in (start(), ""):
        broken = shown(f"{begin}{drawn}\nKilled\n", width)
        assert facts_of(scan(broken)) == facts_of(scan(f"{begin}{drawn}\nKilled\n")), broken
        wider = f"{begin}{'Scanning':>90}: 100% 4/4 7/s\n" + broken.removeprefix(begin)
        assert scan(wider).last_batch is None or width > 90


@pytest.mark.parametrize("said", ["Killed", "12 images, 3 corrupt: 100% 4/4", "", "3/10      2.67G      1.2"])
def test_what_follows_a_row_that_ends_early_is_no_part_of_it(said: str) -> None:
    broken = shown(log_of("own", losses=HEALTHY).removesuffix("Killed\n"), 80).rstrip("\n")
    cut = broken[: broken.rindex("\n")]
    report = scan(f"{cut}\n{said}\n")
    assert (report.last_epoch, report.crashed) == (3, said == "Killed")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r\r\n"])
def test_a_live_reader_tells_a_broken_row_as_soon_as_it_is_whole(end: str) -> None:
    log = shown(log_of("own"), 72, end=end)
    reader, facts = ConsoleReader(), []
    for character in log:
        facts += reader.feed(character.encode())
    whole = ConsoleReader()
    assert repr([*facts, *reader.finish()]) == repr([*whole.feed(log.encode()), *whole.finish()])


def test_a_row_without_its_end_is_told_before_what_is_drawn_behind_it() -> None:
    cut = frame(2, 3).removeprefix("\r\x1b[K")[:80]
    reader = ConsoleReader()
    reader.feed(f"{start()}{cut}\n".encode())
    told = [fact for fact in reader.feed((frame(2, 4) + frame(2, 5)).encode()) if isinstance(fact, TrainFrame)]
    assert [fact.batch for fact in told] == [None, 4]
    assert [fact.batch for fact in reader.finish() if isinstance(fact, TrainFrame)] == [5]


def test_a_long_log_from_a_terminal_is_read_as_with_care(tmp_path: Path) -> None:
    path = tmp_path / "pane.txt"
    bars = "\n".join(frame(1, batch % 20) for batch in range(120))
    log = shown(f"{start()}{bars}\n{log_of('own')}", 72)
    assert is_wrapped(log.encode()[1000:])
    filling = (" " * 60_000 + "\n") * 10
    path.write_text(filling + log + filling, encoding="utf-8")
    skimmed = scan_file(path)
    assert facts_of(skimmed) == facts_of(scan_stream(io.BytesIO(path.read_bytes())))
    assert skimmed.last_batch == 11
