"""Endings in the words of any shell, language, editor and native library; one resource in its many wordings."""

from __future__ import annotations

import io
import time

import pytest

from tests.unit.bot.reading.log_texts import frame, raised, start, tqdm_frame
from tests.unit.bot.reading.scan.more_endings import QUIET, RAISED, SAID
from trainmaster.bot.reading.console.messages import read_message
from trainmaster.bot.reading.scan.report import render
from trainmaster.bot.reading.scan.scanner import ScanReport, scan_stream


def scan(log: str) -> ScanReport:
    return scan_stream(io.BytesIO(log.encode()))


@pytest.mark.parametrize("draw", [frame, tqdm_frame], ids=["own_bar", "tqdm"])
@pytest.mark.parametrize("before", ["\n", ""], ids=["own_line", "glued"])
@pytest.mark.parametrize(("kind", "said"), SAID)
def test_an_end_is_told_in_any_words(kind: str, said: str, before: str, draw: object) -> None:
    last = (frame if draw is frame else tqdm_frame)(1, 3)
    report = scan(f"{start()}{last}{before}{said}\n")
    assert (report.crashed, report.crash_kind, report.last_batch) == (True, kind, 3)


@pytest.mark.parametrize(("kind", "error"), RAISED)
def test_a_resource_is_one_kind_in_all_its_wordings(kind: str, error: str) -> None:
    report = scan(start() + frame(1, 3) + raised(error))
    assert (report.crashed, report.crash_kind) == (True, kind)


@pytest.mark.parametrize("before", ["\n", ""], ids=["own_line", "glued"])
@pytest.mark.parametrize("said", QUIET)
def test_words_that_only_look_like_an_end_are_none(said: str, before: str) -> None:
    assert not scan(f"{start()}{frame(1, 3)}{before}{said}\n").crashed


IN_ANY_LANGUAGE = {
    "killed": (
        "Безусловно прекъснат", "Matat", "Slået ihjel", "Abgebrochen (Killed)", "Morto (Killed)", "Вбитий", "強制結束",
        "Bị buộc kết thúc", "Nutraukta (killed)", "Maraithe", "Zabitý",
        "./train.sh línia 12:  4711 Mort                    python train.py",
        "./train.sh, linha 12:  4711 Morto (Killed)          python train.py",
        "./train.sh: 第 12 列： 4711 強制結束            python train.py",
        "./train.sh: linio 12ª:  4711 Murdu                   python train.py",
        "./train.sh: 12 eilutė:  4711 Nutraukta (killed)      python train.py",
        "./train.sh: řádek 12:  4711 Ukončen (SIGTERM)      python train.py",
        "./train.sh: ред 12:  4711 Безусловно прекъснатpython train.py",
        "./train.sh: rivi 12: 4711 Suoritinaikaraja ylittynytpython train.py",
        "[1]+  batas waktu CPU terlampauinohup python train.py",
        "[1]+  Avsluttet               nohup python train.py",
    ),
    "exception": (
        "Segmenteringsfejl", "Napaka segmentacije", "Грешка в разделянето",
        "Chyba segmentácie (bol uložený výpis pamäte)",
        "Segmentacijska greška (snimka (core dump) memorije je spremljena!)", "Väylävirhe", "Lỗi bus", "無效指令",
        "Помилка адресування (збережено знімок оперативної пам’яті)", "Chyba na zbernici", "Gleitkommafehler",
        "./train.sh, linha 12:  4711 Falha de segmentação  (imagem do núcleo gravada) python train.py",
        "./train.sh: line 12:  4711 Floating point exceptionpython train.py",
        "./train.sh: satır 12:  4711 İptal edildi           (çekirdek döküldü) python train.py",
        "./train.sh: Zeile 12:  4711 Trace/Breakpoint ausgelöst(Speicherabzug geschrieben) python train.py",
        "./train.sh: строка 12:  4711 Исключение в операции с плавающей точкойpython train.py",
        "./train.sh: line 12:  4711 Quit                    (core dumped) python train.py",
        "./train.sh: строка 12:  4711 Прервано            (образ памяти сброшен на диск) python train.py",
        "[1]+  chyba zbernice          nohup python train.py",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "lines"), IN_ANY_LANGUAGE.items(), ids=IN_ANY_LANGUAGE.keys())
def test_a_shell_of_any_language_is_understood(kind: str, lines: tuple[str, ...]) -> None:
    told = {line: getattr(read_message(line, 1), "kind", None) for line in lines}
    assert told == dict.fromkeys(lines, kind)


def test_words_in_any_language_are_no_end_where_they_go_on() -> None:
    lines = ("Past", "Koniec", "Murdu 3", "Segmenteringsfejl: 0", "data: 3:  4711 Floating point exceptions were seen",
             "run/terminated by signal 9.jpg: 640x480", "Illegal instruction set", "Matat 2 av 3")  # fmt: skip
    assert [line for line in lines if read_message(line, 1) is not None] == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param("OSError: [Errno 28] No space left on device", "Make space", id="disk"),
        pytest.param("RuntimeError: PytorchStreamWriter failed writing file data/0", "Make space", id="disk of torch"),
        pytest.param("OSError: [Errno 28] No space left on device: '/dev/shm/x'", "/dev/shm", id="shared memory"),
        pytest.param("OSError: [Errno 24] Too many open files", "ulimit -n", id="open files"),
        pytest.param("OSError: [Errno 24] Zu viele offene Dateien", "ulimit -n", id="open files, in German"),
        pytest.param(
            "KeyError: Caught KeyError in DataLoader worker process 0.", "the file", id="what a worker raised"
        ),
        pytest.param("OSError: [Errno 28] 设备上没有空间", "Make space", id="disk, in Chinese"),
        pytest.param("MemoryError", "cache=False", id="main memory"),
        pytest.param("OSError: [Errno 12] Nicht genügend Hauptspeicher", "cache=False", id="main memory, in German"),
        pytest.param("OSError: [WinError 1455] 页面文件太小", "cache=False", id="paging file, in Chinese"),
        pytest.param("torch.OutOfMemoryError: CUDA out of memory.", "imgsz smaller", id="the card's memory"),
    ],
)
def test_advice_is_about_the_resource_that_ran_out(error: str, words: str) -> None:
    assert words in render(scan(start() + frame(1, 3) + raised(error)), name="log", color=False)


def test_a_native_assertion_is_the_cause_and_not_the_leak_behind_it() -> None:
    assertion = "/AppleInternal/x/Types/MPSNDArray.mm:90: failed assertion `[MPSNDArray x] error: subRange.start (5)'"
    leak = "\n/lib/tracker.py:216: UserWarning: resource_tracker: There appear to be 8 leaked semaphore objects\n"
    report = scan(start() + frame(1, 3) + assertion + leak)
    assert (report.crash_kind, report.crash_detail) == (
        "exception",
        "failed assertion `[MPSNDArray x] error: subRange.start (5)' (MPSNDArray.mm:90)",
    )


def test_the_threads_of_one_kernel_are_one_incident() -> None:
    said = "/x/Indexing.cu:92: indexSelect: block: [{0},0,0], thread: [{0},0,0] Assertion `src < size` failed.\n"
    lines = "".join(said.format(number) for number in range(500))
    after = raised("RuntimeError: CUDA error: device-side assert triggered")
    report = scan(start() + frame(1, 3) + "\n" + lines + after)
    assert [(entry.kind, entry.count) for entry in report.incidents] == [("cuda_error", 500), ("cuda_error", 1)]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 4000, "a: " * 1300, "train.sh " * 400 + "1", "12 34 " * 600, "fish: " + "SI" * 2000, "[1] " + "a " * 2000,
        "F " * 2000 + "] x", "/a" * 1500 + ".cu:1 failed assertio ssertion", "Process " + "exit code " * 300,
        "x: line 3: 4711 " + "a " * 1900, "\u5df2" * 4000 + ")",
    ],
)  # fmt: skip
def test_no_line_takes_long(text: str) -> None:
    begun = time.process_time()
    for _ in range(3):
        read_message(text, 1)
    assert time.process_time() - begun < 1.0
