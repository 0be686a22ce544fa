"""A message within thousands of frames is found wherever it stands, on the border of two blocks as well."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import NAN, description, header, raised, start, validation
from trainmaster.bot.reading.scan.scanner import report_of, scan_stream
from trainmaster.bot.reading.scan.skim import NotSkimmableError, skim

MESSAGES = (
    "Killed",
    "\nKilled\n",
    "\rKilled\r",
    raised("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"),
    "\nKeyboardInterrupt\n",
    "\nWARNING ⚠️ Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...\n",
    "\nWARNING ⚠️ run ended early: SIGTERM. State: guard/states/stop.pt\n",
    "\nUserWarning: resource_tracker: There appear to be 8 leaked semaphore objects\n",
    "\n已杀死\n",
    "\n",
    "nan",
    " inf ",
)


def drawn(style: str, text: str) -> str:
    """``text`` as a bar that redraws itself, that is written line by line, or into records, has it."""
    match style:
        case "record":
            return json.dumps({"_PID": "812", "MESSAGE": text}, ensure_ascii=False) + "\n"
        case "line":
            return f"{text}\n"
        case _:
            return f"{style}{text}"


def epoch_of(dice: random.Random, style: str, epoch: int) -> str:
    """An epoch in which the losses are finite, NaN from some batch on, or NaN in a few frames."""
    batches = dice.choice((30, 120, 1_200))
    first = dice.randrange(batches)
    nan_from = dice.choice((batches + 1, 0, dice.randrange(batches)))
    pieces = []
    for batch in range(first, min(first + 90, batches)):
        losses = NAN if batch >= nan_from or dice.random() < 0.01 else (f"{3 - batch / batches:.4g}", "4.65", "1.2")
        glyphs = "━" * (12 * batch // batches) + "─" * (12 - 12 * batch // batches)
        clock = f"0:{batch // 60 % 60:02}:{batch % 60:02}<1:00:00"
        percent = 100 * batch // batches
        pieces.append(f"{description(epoch, 9, losses)}: {percent}% {glyphs} {batch}/{batches} 2.0s/it {clock}")
    table = header().strip("\n").split("\n") + pieces + validation().strip("\n").split("\n")
    around = "\n" if style.startswith("\r") else ""
    return around + "".join(drawn(style, text) for text in table) + around


@pytest.mark.parametrize("seed", range(32))
def test_what_is_planted_among_frames_is_read_as_with_care(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    style = dice.choice(("\r\x1b[K", "\r", "line", "record"))
    log = (start() + "".join(epoch_of(dice, style, epoch) for epoch in range(1, dice.randrange(2, 5)))).encode()
    place = len(log)
    for _ in range(dice.randrange(4)):
        place = dice.randrange(len(log))
        if dice.random() < 0.5:  # behind the frame that is there
            place = max(log.find(b"\r", place), log.find(b"\n", place)) + 1
        log = log[:place] + dice.choice(MESSAGES).encode() + log[place:]
    expected = scan_stream(io.BytesIO(log)).to_json()
    path = tmp_path / "log"
    path.write_bytes(log)
    for block_bytes in {600, 4096, 1 << 20, max(600, place + dice.randrange(-3, 12))}:
        try:
            skimmed = report_of(skim(path, block_bytes=block_bytes)).to_json()
        except NotSkimmableError:
            continue
        assert skimmed == expected, (seed, block_bytes)


def _agree(path: Path, log: bytes, block_bytes: int) -> None:
    path.write_bytes(log)
    expected = scan_stream(io.BytesIO(log)).to_json()
    assert report_of(skim(path, block_bytes=block_bytes)).to_json() == expected


def _ended_by(piece: str, clock: str) -> str:
    return f"{description(1, 9, NAN)}: 0% {piece} 2.0it/s {clock}<1:00\n"


def test_a_message_as_wide_as_what_its_frame_lacks_is_no_frame(tmp_path: Path) -> None:
    frames = [_ended_by(f"━━ {batch}/12000", f"1:{batch - 60:02}") for batch in range(61, 67)]
    message = "\nProcess SpawnProcess-1:\n"
    cut = frames[0].encode()[: len(frames[0].encode()) - len(message)]
    _agree(tmp_path / "log", start().encode() + "".join(frames).encode() + cut + message.encode(), 1 << 20)


def test_frames_of_a_log_in_which_one_was_cut_before_its_counter_tell_the_batch(tmp_path: Path) -> None:
    frames = [_ended_by(f"{'━' * (batch % 3)} {batch}/120", f"{batch}") for batch in (7, 8, 9, 10, 11, 102, 103, 104)]
    cut = f"{description(1, 9, NAN)}: 87% \n"
    _agree(tmp_path / "log", (start() + "".join(frames) + cut).encode(), 1 << 20)


def test_lines_that_containerd_has_cut_are_whole_across_blocks(tmp_path: Path) -> None:
    drawn = "".join(f"\r{description(1, 9, NAN)}: 0% {batch}/12000 2.0it/s" for batch in range(400))
    parts = [drawn[place : place + 4096] for place in range(0, len(drawn), 4096)]
    log = "".join(f"2024-05-05T10:00:00.123456789Z stdout F {line}\n" for line in start().split("\n"))
    log += "".join(f"2024-05-05T10:00:00.123456789Z stdout P {part}\n" for part in parts)
    for block_bytes in (9_000, 11_111, 13_000):
        _agree(tmp_path / "log", log.encode(), block_bytes)
