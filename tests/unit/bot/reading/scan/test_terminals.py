"""What a terminal obeys, around the words of an end: colours, titles, links, character sets."""

from __future__ import annotations

import io
import math
import time

import pytest

from tests.unit.bot.reading.log_texts import DETECT, HEALTHY, frame, header, raised, start, validation
from trainmaster.bot.reading.scan.scanner import ScanVerdict, scan_stream


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        pytest.param("\x1b]0;root@gpu: ~/train\x07", "", id="title"),
        pytest.param("\x1b]0;root@gpu: ~/train\x1b\\", "", id="title that ends with a string terminator"),
        pytest.param("\x1b]7;file://gpu/root\x1b\\", "\x1b]0;x\x07", id="two titles, two ends"),
        pytest.param("\x1b]8;;file:///x\x1b\\", "\x1b]8;;\x1b\\", id="link"),
        pytest.param("\x1bkbash\x1b\\", "", id="title of screen"),
        pytest.param("\x1bP1$r0m\x1b\\", "", id="device control"),
        pytest.param("\x1b[31m", "\x1b(B\x1b[m", id="character set"),
        pytest.param("\x1b[38:5:196m", "\x1b[0m", id="colour with colons"),
        pytest.param("\x1b=\x1b[>4;2m", "\x1b>", id="keypad"),
        pytest.param("#033]0;root@gpu#007", "#033(B", id="as syslog writes it"),
        pytest.param("^[]0;root@gpu^G", "^[[0m", id="as cat writes it"),
        pytest.param("\\x1b]0;root@gpu\\x07", "\\x1b[0m", id="as Python writes it"),
    ],
)
@pytest.mark.parametrize("said", ["Killed", "RuntimeError: CUDA error: misaligned address"])
def test_an_end_is_told_whatever_a_terminal_obeys_around_it(said: str, before: str, behind: str) -> None:
    log = f"{start()}{frame(1, 3)}\n{before}{said}{behind}\n"
    assert scan_stream(io.BytesIO(log.encode())).verdict is ScanVerdict.CRASHED


def test_a_title_without_an_end_swallows_no_line() -> None:
    log = f"{start()}\x1b]0;x{frame(1, 3)}{raised('RuntimeError: CUDA error: misaligned address')}"
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.last_batch, report.crash_kind) == (3, "cuda_error")


@pytest.mark.parametrize("begin", ["\x1b]", "\x1bP", "#033]", "^[]"])
def test_strings_that_nothing_ends_take_no_time(begin: str) -> None:
    begun = time.process_time()
    scan_stream(io.BytesIO(begin.encode() * 20_000))
    assert time.process_time() - begun < 0.3


def test_a_time_behind_each_line_is_no_part_of_it() -> None:
    log = f"{start()}{frame(1, 3).lstrip()}\nKilled"
    table = "".join(f"EVENTS\t1772672523999\t{line}\t1772672523123\n" for line in log.split("\n"))
    report = scan_stream(io.BytesIO(table.encode()))
    assert (report.last_batch, report.crash_kind) == (3, "killed")


def fitted(epoch: int, batch: int, losses: tuple[str, ...], width: int, *, epochs: int = 10) -> str:
    """As ``TQDM._display`` of 8.4.190 draws a frame on a terminal of that width: what is before the bar is cut."""

    def fit(text: str, cells: int) -> str:
        return text if len(text) <= cells else f"{text[: max(0, cells - 1)]}…\x1b[0m"

    drawn = frame(epoch, batch, epochs=epochs, losses=losses).removeprefix("\r\x1b[K")
    described, _, fields = drawn.partition(": ")
    cut = fit(described, width - len(fields) - 2)
    return "\r\x1b[K" + fit(f"{cut}: {fields}", width)


POSE = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "l1_loss", "rle_loss")


@pytest.mark.parametrize("width", range(62, 140, 5))
@pytest.mark.parametrize("names", [DETECT, POSE], ids=["detect", "pose"])
def test_a_frame_that_was_fitted_to_a_terminal_tells_its_place_and_what_is_not_finite(
    names: tuple[str, ...], width: int
) -> None:
    healthy, bad = (("1.2345",) * len(names), ("nan",) * len(names))
    log = start(losses=names) + fitted(1, 20, healthy, width) + "\n" + header(names) + fitted(2, 3, bad, width)
    report = scan_stream(io.BytesIO((log + "\nKilled\n").encode()))
    assert (report.last_epoch, report.total_epochs, report.last_batch, report.total_batches) == (2, 10, 3, 20)
    assert report.crash_kind == "killed"
    assert set(map(str, (report.losses or {}).values())) <= {"nan"}
    if "n" in fitted(2, 3, bad, width).partition("…")[0]:
        assert (report.nan_loss_frames, report.incidents[0].epoch) == (1, 2)
        assert tuple(report.losses or ()) == names[: len(report.losses or ())]


@pytest.mark.parametrize(("epoch", "epochs"), [(2, 10), (12, 100), (299, 300), (1000, 1000)])
@pytest.mark.parametrize("said", [True, False], ids=["the log says how many", "it does not"])
def test_a_total_that_was_cut_is_the_one_that_the_log_has_said_or_none(epoch: int, epochs: int, said: bool) -> None:
    begin = start(epochs) if said else header()
    seen = set()
    for width in range(40, 62):
        drawn = fitted(epoch, 3, HEALTHY, width, epochs=epochs)
        report = scan_stream(io.BytesIO(f"{begin}{drawn}\nKilled\n".encode()))
        place = (report.last_epoch, report.total_epochs)
        assert place in {(epoch, epochs), (None, None)}, drawn
        assert place[0] or not (said and f"{epoch}/" in drawn), drawn
        seen.add(place)
    assert len(seen) == 2


def test_a_total_that_was_cut_is_the_one_of_frames_before_it() -> None:
    wide = fitted(2, 20, HEALTHY, 80, epochs=300)
    report = scan_stream(io.BytesIO(f"{header()}{wide}\n{header()}{fitted(3, 3, HEALTHY, 52, epochs=300)}\n".encode()))
    assert (report.last_epoch, report.total_epochs, report.last_batch) == (3, 300, 3)


def test_a_number_that_was_cut_is_no_loss() -> None:
    head = start() + "\r\x1b[K      1/10      2.67G"
    bar = "…\x1b[0m: 15% ━─────────── 3/20 2.5it/s 1.2s"
    for shown, losses in {
        "      12.5       0.3": {"box_loss": 12.5},
        "      12.5       0.3   ": {"box_loss": 12.5, "cls_loss": 0.3},
        "      12.5         n": {"box_loss": 12.5, "cls_loss": math.nan},
        "      12.5        -i": {"box_loss": 12.5, "cls_loss": -math.inf},
        "      12.5         -": {"box_loss": 12.5},
        "       nan       1e+": {"box_loss": math.nan},
        "       nan     1.2e-": {"box_loss": math.nan},
        "   ": {},
    }.items():
        report = scan_stream(io.BytesIO(f"{head}{shown}{bar}".encode()))
        assert (str(report.losses), report.last_batch) == (str(losses), 3)
    assert scan_stream(io.BytesIO(f"{start()}ima/3/60 fil{bar}".encode())).last_epoch is None


def test_a_validation_that_was_fitted_has_its_columns_by_name() -> None:
    bar = validation().replace("      Box(P          R      mAP50  mAP50-95)", "      Box(…\x1b[0m")
    for text, told in ((bar, ()), (bar.replace("0.712", "  nan"), ("mAP50 nan",))):
        report = scan_stream(io.BytesIO((start() + frame(1, 20) + "\n" + text).encode()))
        assert (report.map50_95, tuple(entry.text for entry in report.notices)) == (0.523, told)
