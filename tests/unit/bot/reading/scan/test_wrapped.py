"""Logs as shippers, loggers, terminals and editors leave them: the same facts whatever stands around each line."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.bot.reading.log_texts import TRACEBACK, frame, header, raised, start, tqdm_frame, validation
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_file, scan_stream

LOG = (
    start() + frame(1, 3) + frame(1, 20) + "\n" + validation() + header()
    + frame(2, 1, losses=("1.2", "nan", "inf")) + "\n" + raised("RuntimeError: CUDA error: illegal memory access")
)  # fmt: skip

STAMPS = {
    "docker": "2026-05-01T12:00:00.123456789Z ",
    "docker_compose": "trainer-1  | ",
    "kubectl": "[pod/trainer-0/main] ",
    "github_actions": "2026-05-01T12:00:00.1234567Z ",
    "cloudwatch": "2026-05-01T12:00:00.123000+00:00 algo-1-abcde ",
    "vertex": "INFO\t2026-05-01 12:00:00 +0000\tworkerpool0-0\t",
    "journald": "May 01 12:00:00 host python[123]: ",
    "journald_iso": "2026-05-01T12:00:00+0000 host python[123]: ",
    "syslog_without_host": "May 01 12:00:00 ",
    "clock": "[12:00:00] ",
    "hydra": "[2026-05-01 12:00:00,123][train][INFO] - ",
    "logging": "2026-05-01 12:00:00,123 - train - INFO - ",
    "logging_basic": "INFO:root:",
    "loguru": "2026-05-01 12:00:00.123 | INFO     | mod:func:12 - ",
    "level": "[INFO] ",
    "stream": "stderr: ",
    "srun": "0: ",
    "mpirun": "[1,0]<stderr>:",
    "sagemaker_mpi": "[1,mpirank:0,algo-1]<stdout>:",
    "torchrun": "[rank0]: ",
    "ray": "(RayTrainWorker pid=123, ip=10.0.0.1) ",
    "indented": "    ",
}


def stamped(stamp: str) -> str:
    return "\n".join(stamp + line for line in LOG.split("\n"))


def records(wrap: Callable[[str], object]) -> str:
    return "\n".join(json.dumps(wrap(line)) for line in LOG.split("\n"))


WRAPPINGS = {
    "cat_v": LOG.replace("\r", "^M").replace("\x1b", "^["),
    "windows": LOG.replace("\n", "\r\n"),
    "windows_twice": LOG.replace("\n", "\r\r\n"),
    "byte_order_mark": "\ufeff" + LOG,
    "web_page": LOG.replace("  ", "\u00a0 "),
    "numbered": "\n".join(f"{number:>6}\t{line}" for number, line in enumerate(LOG.split("\n"), 1)),
    "grep_n": "\n".join(f"{number}:{line}" for number, line in enumerate(LOG.split("\n"), 1)),
    "cursor_up": LOG.replace("\r\x1b[K", "\n\x1b[A\x1b[2K"),
    "coloured_stamp": "\n".join(f"\x1b[32m12:00:00\x1b[0m \x1b[1mINFO\x1b[0m {line}" for line in LOG.split("\n")),
    "fluentd": records(lambda line: {"message": line, "level": "info"}),
    "stackdriver": records(lambda line: {"severity": "INFO", "jsonPayload": {"message": line}}),
    "opentelemetry": records(lambda line: {"ts": 1, "body": line}),
    "list_of_lines": json.dumps(LOG.split("\n"), indent=1),
    "list_a_line": records(lambda line: [1_772_672_523.5, "stderr", line]),
    "script": f"Script started on 2026-05-01 12:00:00+00:00\n{LOG}\nScript done on 2026-05-01\n",
}
ENCODINGS = {
    "utf16": LOG.encode("utf-16"),
    "utf16_big_endian": b"\xfe\xff" + LOG.encode("utf-16-be"),
    "utf16_unmarked": LOG.encode("utf-16-le"),
    "gbk": LOG.replace("🚀", "").replace("━", "-").replace("─", "-").encode("gbk"),
    "cp437": LOG.encode("cp437", "replace"),
}


def scan(log: bytes | str) -> ScanReport:
    return scan_stream(io.BytesIO(log if isinstance(log, bytes) else log.encode()))


@pytest.mark.parametrize(
    "log",
    [*map(stamped, STAMPS.values()), *WRAPPINGS.values(), *ENCODINGS.values()],
    ids=[*STAMPS, *WRAPPINGS, *ENCODINGS],
)
def test_every_fact_is_found_whatever_is_around_it(log: bytes | str) -> None:
    report = scan(log)
    assert (report.last_epoch, report.total_epochs, report.last_batch, report.total_batches) == (2, 10, 1, 20)
    assert {name: str(value) for name, value in (report.losses or {}).items()} == {
        "box_loss": "1.2", "cls_loss": "nan", "dfl_loss": "inf"
    }  # fmt: skip
    assert (report.nan_loss_frames, report.nan_loss_lines) == (1, 1)
    assert (report.map50, report.map50_95) == (0.712, 0.523)
    assert (report.crash_kind, len(report.incidents)) == ("cuda_error", 2)


def test_a_chain_of_stamped_tracebacks_ends_with_the_last() -> None:
    stamp = STAMPS["loguru"]
    chain = raised("KeyError: 'a'") + "\nDuring handling of the above exception, another exception occurred:\n"
    lines = (chain + raised("ValueError: b")).split("\n")
    report = scan(start() + frame(1, 3) + "\n" + "\n".join(stamp + line for line in lines))
    assert report.crash_detail == "ValueError: b"


def test_a_stamp_of_one_traceback_makes_no_exception_of_a_later_stamped_line() -> None:
    stamp = STAMPS["logging"]
    traceback = "".join(f"{stamp}{line}\n" for line in (TRACEBACK + "OSError: retried").splitlines())
    report = scan(start() + frame(1, 3) + "\n" + traceback + frame(1, 4) + f"\n{stamp}ValueError: 0.1\n")
    assert not report.crashed


def test_a_list_of_class_names_kills_nothing() -> None:
    assert not scan(start() + frame(1, 3) + "\n0: Killed\n1: Terminated\n").crashed


@pytest.mark.parametrize(
    ("said", "encoding"),
    [
        ("已杀死", "gbk"),
        ("已終止", "big5"),
        ("強制終了", "shift_jis"),
        ("強制終了", "euc_jp"),
        ("죽었음", "cp949"),
        ("Getötet", "latin-1"),
        ("Tué", "cp850"),
        ("Убито", "cp1251"),
        ("Убито", "koi8-r"),
        ("Öldürüldü", "iso8859-9"),
        ("train.sh: Zeile 3:  4711 Getötet                python train.py", "latin-1"),
        ("./train.sh: 第 3 行： 4711 已杀死               python train.py", "gbk"),
    ],
)
@pytest.mark.parametrize("stamp", ["", "2026-05-01 12:00:00 "])
def test_a_shell_is_understood_on_a_console_that_is_not_in_utf_8(said: str, encoding: str, stamp: str) -> None:
    log = start() + frame(1, 3) + "\n"
    report = scan_stream(io.BytesIO(log.encode() + f"{stamp}{said}\n".encode(encoding)))
    assert (report.crashed, report.crash_kind, report.last_batch) == (True, "killed", 3)
    again = scan_stream(io.BytesIO(log.encode() + f"{stamp}{said}\n".encode(encoding) + frame(1, 4).encode()))
    assert not again.crashed


@pytest.mark.parametrize(
    ("stamp", "encoding", "words"),
    [
        ("2026年05月01日 12:00:0{0} 星期五 信息: ", "gbk", "已杀死"),
        ("2026年05月01日 12:00:0{0} 情報: ", "shift_jis", "強制終了"),
        ("1 мая 2026 12:00:0{0} ИНФО: ", "cp1251", "Убито"),
        ("1. März 12:00:0{0} ", "latin-1", "Getötet"),
    ],
)
def test_a_stamp_on_such_a_console_hides_no_end(stamp: str, encoding: str, words: str) -> None:
    log = f"{start()}{tqdm_frame(1, 3)}".replace("🚀", "").replace("█", "#").split("\n")
    for said in (words, "Killed"):
        lines = [f"{stamp.format(place % 10)}{line}\n" for place, line in enumerate([*log, said])]
        report = scan("".join(lines).encode(encoding))
        assert (report.crash_kind, report.crash_detail, report.last_batch) == ("killed", said, 3)


@pytest.mark.parametrize("said", ["Fin de l'époque", "数据加载完成", "Größe: 640", "Данные загружены", "학습 완료"])
@pytest.mark.parametrize("encoding", ["gb18030", "latin-1", "cp1251", "cp949", "big5"])
def test_other_words_on_such_a_console_are_no_end(said: str, encoding: str) -> None:
    words = said.encode(encoding, "ignore") + b" \xff\xfe\n"
    assert not scan_stream(io.BytesIO((start() + frame(1, 3) + "\n").encode() + words)).crashed


def notebook(log: str) -> str:
    """As Jupyter saves one: what a cell printed as a list of lines, its exception as another."""
    lines = [f"{line}\n" for line in log.split("\n")]
    printed = {"name": "stdout", "output_type": "stream", "text": lines}
    cell = {"cell_type": "code", "metadata": {}, "outputs": [printed], "source": ["raise ValueError: no\n", "x"]}
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)


@pytest.mark.parametrize("padding", [0, 2 * 1024 * 1024], ids=["short", "long"])
def test_what_a_notebook_keeps_is_read_as_it_was_printed(tmp_path: Path, padding: int) -> None:
    path = tmp_path / "train.ipynb"
    line = "progress " * 40 + "\n"
    path.write_text(notebook(line * (padding // len(line)) + LOG), encoding="utf-8")
    report, bare = scan_file(path), scan_stream(io.BytesIO(LOG.encode()))
    for name in ("last_epoch", "last_batch", "nan_loss_frames", "map50", "map50_95", "crash_kind", "crash_detail"):
        assert getattr(report, name) == getattr(bare, name)


@pytest.mark.parametrize("spelt", ["NaN", "NAN", "Infinity", "-Infinity", "INF", "-nan"])
def test_a_loss_that_is_not_finite_is_seen_however_it_is_spelt(spelt: str) -> None:
    log = start() + frame(1, 20, losses=("1.2", spelt, "2.2")) + "\n" + validation(map50_95=spelt)
    report = scan_stream(io.BytesIO(log.encode()))
    assert (report.last_epoch, report.nan_loss_frames, len(report.notices)) == (1, 1, 1)


def test_numbers_may_have_a_comma_for_the_point() -> None:
    healthy, bad = frame(1, 20, losses=("1.2", "1e-05", "2.2")), frame(2, 3, losses=("1.2", "nan", "2.2"))
    log = f"{start()}{healthy}\n{validation()}{header()}{bad}\n10 epochs completed in 0.5 hours."
    report = scan_stream(io.BytesIO(re.sub(r"(?<=\d)\.(?=\d)", ",", log).encode()))
    assert (report.last_epoch, report.nan_loss_frames, report.map50_95) == (2, 1, 0.523)
    assert (report.losses or {})["box_loss"] == 1.2
    assert report.completed
