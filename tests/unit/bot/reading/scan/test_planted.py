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
