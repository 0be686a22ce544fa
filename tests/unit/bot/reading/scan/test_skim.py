"""Skimming must say exactly what careful reading says."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.bot.reading.log_texts import (
    BANNER,
    NAN,
    SHARED_LOGS,
    TRACEBACK,
    description,
    frame,
    header,
    raised,
    start,
    tqdm_frame,
    validation,
)
from trainmaster.bot.reading.console import messages as console_messages
from trainmaster.bot.reading.scan.scanner import report_of, scan_stream
from trainmaster.bot.reading.scan.skim import TELLING, NotSkimmableError, skim

NO_COUNTER = "\r" + description(2, 10, ("3", "2", "1")) + ": 1"
OLD_TABLE = "\n     Epoch   gpu_mem       box       obj       cls    labels  img_size\n"
OLD_FRAME = "\r     0/299     4.89G   0.01256  0.007755         0         1      1280: 100%|██| 213/213 [06:15<00:00]"
OLD_VALIDATION = (
    "\n               Class     Images     Labels          P          R     mAP@.5 mAP@.5:.95: 100%|██| 17/17 [00:22<"
    "\n                 all        677       2449      0.874      0.506       0.65      0.337\n"
)
PIECES = {
    "start": start(),
    "header": header(),
    "frames": "".join(frame(1, batch) for batch in range(1, 9)),
    "frames_by_line": "".join(frame(2, batch).replace("\r\x1b[K", "\n") for batch in range(1, 9)),
    "tqdm_frames": "".join(tqdm_frame(2, batch) for batch in range(1, 9)),
    "nan_frames": "".join(frame(2, batch, losses=NAN) for batch in range(1, 9)),
    "nan_frames_by_line": "".join(tqdm_frame(3, batch, losses=NAN).replace("\r", "\n") for batch in range(1, 9)),
    "nan_glued": "\r" + description(2, 10, NAN) + ": 9%|#| 9/100 " + description(2, 10, NAN) + ": 10%|#| 10/100 ",
    "nan_run": "".join(frame(2, batch, batches=400, losses=NAN) for batch in range(1, 60)),
    "one_nan": frame(2, 3, losses=("1", "nan", "2")),
    "one_inf": frame(3, 5, losses=("1", "-inf", "2")),
    "nan_without_counter": "\r" + description(3, 10, NAN) + ": 1",
    "no_counter": NO_COUNTER,
    "segment": header(("box_loss", "seg_loss", "cls_loss", "dfl_loss")) + frame(4, 1, losses=("1", "2", "3", "4")),
    "validation": validation(),
    "validation_bars": validation().split("\n")[0] * 5,
    "row": "\n" + validation("0.3", "0.1").split("\n")[1],
    "cut_row": "\n                   all        128        929",
    "class_row": "\n                  live        128        929        0.9        0.8        0.7        0.6\n",
    "old_table": OLD_TABLE,
    "old_frames": OLD_FRAME * 4,
    "old_validation": OLD_VALIDATION,
    "v3_validation": (
        "\n               Class    Images   Targets         P         R   mAP@0.5        F1: 100%|##| 2/2 [00:01<00:00]"
        "\n                 all        24       189     0.035     0.261     0.044     0.061\n"
    ),
    "crash": raised("RuntimeError: CUDA error: an illegal memory access was encountered"),
    "oom": raised("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"),
    "wrapper": raised("subprocess.CalledProcessError: Command returned non-zero exit status 1."),
    "traceback_head": "\n" + TRACEBACK,
    "exit": raised("SystemExit: 1"),
    "child": "\nProcess SpawnProcess-1:\n",
    "thread": "\nException in thread Thread-3:" + raised("OSError: x"),
    "chain": "\nDuring handling of the above exception, another exception occurred:\n",
    "interrupt": raised("KeyboardInterrupt"),
    "killed": "Killed\n",
    "recovery": "\nWARNING ⚠️ Loss NaN/Inf detected (attempt 1/3), recovering from last.pt...\n",
    "glued_warning": "WARNING ⚠️ CUDA OutOfMemoryError in TaskAlignedAssigner, using CPU\n",
    "shouted": "\nERROR: OOM\nWARNING: OK\n",
    "leaked": "\nUserWarning: resource_tracker: There appear to be 8 leaked semaphore objects\n",
    "completed": "\n10 epochs completed in 0.5 hours.\n",
    "early": "\nStopping training early as no improvement observed in last 100 epochs.\n",
    "last_epoch": frame(10, 20),
    "banner": "\n" + BANNER,
    "resume": "\nResuming training last.pt from epoch 3 to 10 total epochs\n",
    "quoted": "\n> " + frame(9, 9, losses=NAN)[4:] + "\n",
    "junk": "\n\x00\ufffd{}\\u0041\\n #015#033[K\n",
    "bare_bar": "\r  0%|          | 0/20 [00:00<?, ?it/s]",
    "line_feeds": "\n\n\r\n",
    "hole": "\n" + "\0" * 700,
    "kernel": "Out of memory: Killed process 4711 (python)\n",
    "interrupt_echo": "^C\n",
    "stamped": "".join(f"\n[1] INFO - {line}" for line in raised("OSError: stamped").split("\n")),
    "yolov6": (
        "\n     Epoch  iou_loss   dfl_loss   cls_loss\n"
        + "".join(
            f"\r     0/399     1.214    0.12      3.4: {n}%|#| {n}/100 [08:05<00:00,  1.90it/s]" for n in range(9)
        )
        + "\r     0/399     1.214     nan      3.4: 9%|#| 9/100 [08:05<00:00,  1.90it/s]"
    ),
    "killed_in_chinese": "已杀死\n",
    "killed_in_german": "\nGetötet\n",
    "killed_on_a_mac": "\nKilled: 9\n",
    "metal": "/x/MPSNDArray.mm:90: failed assertion `x'\n",
    "ended_early": "\nWARNING ⚠️ run ended early: SIGTERM. State: guard/states/stop.pt\n",
    "gave_up": "\nWARNING ⚠️ run ended early: too many. State: none\n",
    "next_attempt": "\n====== next attempt, 2026-03-05 01:02:03 UTC ======\n",
    "preparing": "\nImage sizes 640 train, 640 val\n",
    "stamped_start": "\n".join("Mar 05 01:02:03 " + line for line in (start() + tqdm_frame(3, 4)).split("\n")) + "\n",
    "stamped_kill": "Mar 06 01:02:04 Killed\n",
    "records": "".join(
        "\n" + json.dumps({"x": {"y": line}}) for line in (start() + tqdm_frame(3, 4) + "\nKilled").split("\n")
    )
    + "\n",
    "nan_validation": "\n" + validation("nan", "0.1"),
    "stopped_container": "trainer-1 exited with code 143\n",
    "healthy_text": "\nCUB 5: 12 / 7 G ok\n",
}


def carefully(log: bytes) -> dict[str, Any]:
    return scan_stream(io.BytesIO(log)).to_json()


def skimmed(path: Path, log: bytes, block_bytes: int) -> dict[str, Any] | None:
    path.write_bytes(log)
    try:
        return report_of(skim(path, block_bytes=block_bytes)).to_json()
    except NotSkimmableError:
        return None


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(PIECES)), max_size=25), st.sampled_from([600, 1000, 4096, 1 << 20]))
@example(["start", "nan_frames", "header", "nan_frames"], 1 << 20)
@example(["start", "crash", "row", "frames"], 1 << 20)
@example(["start", "crash", "frames", "header"], 600)
@example(["start", "one_inf", "crash", "frames", "one_inf", "banner"], 1 << 20)
@example(["one_inf", "killed_in_german", "one_inf", "banner"], 600)
@example(["start", "frames", "v3_validation", *["frames"] * 30, "validation_bars", "frames"], 1 << 20)
@example(["stamped_start", "no_counter", "header", "completed", "no_counter"], 600)
def test_skimming_says_what_careful_reading_says(tmp_path: Path, names: list[str], block_bytes: int) -> None:
    log = "".join(PIECES[name] for name in names).encode()
    report = skimmed(tmp_path / "log", log, block_bytes)
    assert report is None or report == carefully(log)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(st.sampled_from(sorted(PIECES)).map(PIECES.__getitem__).map(str.encode), st.binary(max_size=40))
    ),
    st.integers(0, 400),
    st.integers(64, 2000),
)
def test_skimming_agrees_on_damaged_logs(tmp_path: Path, parts: list[bytes], cut: int, block_bytes: int) -> None:
    log = b"".join([*parts, PIECES["frames"].encode()])
    log = log[: max(0, len(log) - cut)]
    report = skimmed(tmp_path / "log", log, block_bytes)
    assert report is None or report == carefully(log)


@pytest.mark.parametrize("name", sorted(PIECES))
def test_each_kind_of_piece_is_found_within_a_long_log(tmp_path: Path, name: str) -> None:
    stretch = "".join(frame(1, batch % 20) for batch in range(600))
    log = (start() + stretch + "\n" + PIECES[name] + stretch + "\n" + PIECES[name] * 3 + stretch).encode()
    report = skimmed(tmp_path / "log", log, 1 << 16)
    assert report is not None
    assert report == carefully(log)


def real_logs() -> list[Any]:
    logs = sorted(SHARED_LOGS.glob("*.log"))
    missing = pytest.param(None, marks=pytest.mark.skip(reason=f"no {SHARED_LOGS}"))
    return [pytest.param(log, id=log.stem) for log in logs] or [missing]


@pytest.mark.parametrize("log", real_logs())
def test_real_logs_are_skimmed_right(tmp_path: Path, log: Path) -> None:
    data = log.read_bytes()
    for block_bytes in (2048, 1 << 20):
        report = skimmed(tmp_path / "log", data, block_bytes)
        assert report is None or json.dumps(report) == json.dumps(carefully(data))


def test_a_healthy_frame_has_no_telling_byte() -> None:
    for text in (frame(1, 3), tqdm_frame(1, 3), OLD_FRAME, description(1, 9, ("1e-05", "-0.2", "1e+04"))):
        assert not set(text.encode()) & set(TELLING)


@pytest.mark.parametrize(
    "text",
    [
        "Killed", "Terminated", "Hangup", "Aborted", "Bus error", "Segmentation fault", "Illegal instruction",
        "Floating point exception", "ERROR: X", "ERROR ❌ X", "WARNING ⚠️ X", "Resume ignores X", "[1] + 12 Killed",
        "1 duplicate labels removed", "1 epochs completed in 1 hours.", "exitcode : -9", "NMS time limit 1s exceeded",
        "corrupt JPEG restored and saved", "AMP: checks failed", "AMP: checks skipped", "ignoring corrupt image/",
        "No labels found in ", "Closing dataloader mosaic", "Starting training for 1 epochs...",
    ],
)  # fmt: skip
def test_every_message_has_a_telling_byte(text: str) -> None:
    assert console_messages.read_message(text, 1) is not None or "exitcode" in text
    assert set(text.encode()) & set(TELLING)


def test_a_log_of_powershell_is_left_to_careful_reading(tmp_path: Path) -> None:
    assert skimmed(tmp_path / "log", ("\ufeff" + start() + frame(1, 1)).encode("utf-16-le"), 4096) is None


def test_a_log_in_one_endless_line_is_left_to_careful_reading(tmp_path: Path) -> None:
    assert skimmed(tmp_path / "log", (frame(1, 1) * 200).replace("\r", "").encode(), 4096) is None
    assert skimmed(tmp_path / "log", b"no frames\n" * 1000, 4096) is None
