from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.bot.reading.log_texts import BANNER, NAN, description, frame, header, raised, start, validation
from tests.unit.bot.reading.log_texts import tqdm_frame as tqdm
from trainmaster.bot.reading.console.facts import (
    Completed,
    ConsoleFact,
    CrashKind,
    EarlyStopped,
    FatalError,
    Header,
    NanRecovery,
    Notice,
    NoticeKind,
    PlainBar,
    Resumed,
    RunBanner,
    Started,
    TrainFrame,
    ValBar,
    ValRow,
)
from trainmaster.bot.reading.console.reader import MAX_SEGMENT_BYTES, ConsoleReader

BAR = ": 100%|██████████| 7/9 [00:05<00:00,  1.2it/s]"


def read(log: str | bytes) -> list[ConsoleFact]:
    reader = ConsoleReader()
    return [*reader.feed(log.encode() if isinstance(log, str) else log), *reader.finish()]


def only_frame(log: str) -> TrainFrame:
    frames = [fact for fact in read(log) if isinstance(fact, TrainFrame)]
    assert len(frames) == 1
    return frames[0]


def columns(*names: str) -> str:
    return "".join(f"{name:>11}" for name in names)


HEADERS = {
    "v3_2019": (("Epoch", "gpu_mem", "GIoU", "obj", "cls", "total", "targets", "img_size"), 4),
    "v5_1": (("Epoch", "gpu_mem", "box", "obj", "cls", "total", "targets", "img_size"), 4),
    "v5_5_and_v7": (("Epoch", "gpu_mem", "box", "obj", "cls", "total", "labels", "img_size"), 4),
    "v5_6": (("Epoch", "gpu_mem", "box", "obj", "cls", "labels", "img_size"), 3),
    "v5_7": (("Epoch", "GPU_mem", "box_loss", "obj_loss", "cls_loss", "Instances", "Size"), 3),
    "v5_segment": (("Epoch", "GPU_mem", "box_loss", "seg_loss", "obj_loss", "cls_loss", "Instances", "Size"), 4),
    "v5_obb_fork": (("Epoch", "gpu_mem", "box", "obj", "cls", "theta", "labels", "img_size"), 4),
    "v8_pose": (("Epoch", "GPU_mem", "box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss", "Instances",
                 "Size"), 5),
    "v10": (("Epoch", "GPU_mem", "box_om", "cls_om", "dfl_om", "box_oo", "cls_oo", "dfl_oo", "Instances", "Size"), 6),
    "v26_pose": (("Epoch", "GPU_mem", "box_loss", "pose_loss", "kobj_loss", "cls_loss", "l1_loss", "rle_loss",
                  "Instances", "Size"), 6),
    "rtdetr": (("Epoch", "GPU_mem", "giou_loss", "cls_loss", "l1_loss", "Instances", "Size"), 3),
    "classify": (("Epoch", "GPU_mem", "loss", "Instances", "Size"), 1),
    "depth": (("Epoch", "GPU_mem", "dlog_loss", "dgrad_loss", "Instances", "Size"), 2),
}  # fmt: skip


@pytest.mark.parametrize(("names", "losses"), HEADERS.values(), ids=HEADERS.keys())
def test_losses_are_named_by_the_header(names: tuple[str, ...], losses: int) -> None:
    values = [f"{0.5 + place}" for place in range(losses)]
    log = columns(*names) + "\n" + columns("0/299", "13.5G", *values, "613", "640") + BAR
    assert only_frame(log).losses == tuple(zip(names[2:-2], (float(value) for value in values), strict=True))


@pytest.mark.parametrize(
    ("log", "names"),
    [
        pytest.param(description(1, 9, ("1", "2", "3")) + BAR, ("box_loss", "cls_loss", "dfl_loss"), id="detect"),
        pytest.param(description(1, 9, ("1",)) + BAR, ("loss",), id="classify"),
        pytest.param(
            description(1, 9, ("1", "2", "3", "4")) + BAR, ("box_loss", "seg_loss", "cls_loss", "dfl_loss"),
            id="segment",
        ),
        pytest.param(
            "YOLOv5 🚀 v7.0 Python-3.9 torch-1.11.0 CUDA:0\n" + description(0, 9, ("1", "2", "3")) + BAR,
            ("box_loss", "obj_loss", "cls_loss"), id="yolov5",
        ),
        pytest.param(description(1, 9, ("1", "2")) + BAR, ("loss_1", "loss_2"), id="unknown"),
        pytest.param(
            header(("loss",)) + description(1, 9, ("1", "2", "3")) + BAR, ("box_loss", "cls_loss", "dfl_loss"),
            id="header_of_another_task",
        ),
    ],
)  # fmt: skip
def test_losses_have_usual_names_without_a_header(log: str, names: tuple[str, ...]) -> None:
    assert tuple(name for name, _ in only_frame(log).losses) == names


@pytest.mark.parametrize(
    ("bar", "counter"),
    [
        pytest.param(BAR, (7, 9), id="tqdm"),
        pytest.param(":  45%|####5     | 20/44 [00:10<00:03,  4.35it/s]", (20, 44), id="windows"),
        pytest.param(": 45% â”â”â”â”â”─────── 20/44 2.5it/s 1.2s<3.4s", (20, 44), id="mojibake"),
        pytest.param(": 100% 63/63 [00:18<00:00,  3.34it/s]", (63, 63), id="colab"),
        pytest.param(": 0% ──────────── 0/85  3.2s", (0, 85), id="before_the_first_batch"),
        pytest.param(": 9% ━─────────── 609/6848 2.7it/s 3:40<38:10", (609, 6848), id="own_bar"),
        pytest.param(":  26%|██▋       | 172/653 04:10", (172, 653), id="pycharm"),
        pytest.param(": 100%|█| 867/867 [02:49<00:00,  5.11i", (867, 867), id="cut_rate"),
        pytest.param(": 33%|███▎      | 1224/3693 [18:59<35:48,", (1224, 3693), id="cut_time"),
        pytest.param(": 1", (None, None), id="cut_percentage"),
        pytest.param(":  21%|██▏  ", (None, None), id="cut_bar"),
        pytest.param(":   2%|▏         | 1/5", (None, None), id="cut_total"),
        pytest.param("  ← from here on", (None, None), id="no_bar"),
    ],
)
def test_the_counter_of_every_bar(bar: str, counter: tuple[int | None, int | None]) -> None:
    found = only_frame(header() + description(1, 9, ("1", "2", "3")) + bar)
    assert (found.batch, found.batches) == counter


@pytest.mark.parametrize(
    "text",
    [
        "\r                 Class     Images  Instances      Box(P          R      mAP50  mAP50-95): 50% ━━ 1/2 1s",
        "train: Scanning /data/labels... 12 images, 0 corrupt: 100%|███| 12/12 [00:00<00:00, 99it/s]",
        "Downloading https://x/y.pt to 'y.pt': 100% ━━━━━━━━━━━━ 5.4MB 20MB/s 0.3s",
        "100%|████████| 40.8M/40.8M [00:03<00:00, 10.8MB/s]",
        "Date 2026/01 12G 1.5 2.5 3.5",
        "      8/500      2.68G     0.8558",
        "> " + description(1, 9, ("1", "2", "3")) + BAR,
    ],
    ids=["validation", "label_scan", "download", "old_download", "date", "cut", "quoted"],
)
def test_what_looks_like_a_frame_and_is_none(text: str) -> None:
    assert not [fact for fact in read(header() + text) if isinstance(fact, TrainFrame | PlainBar)]


@pytest.mark.parametrize(
    "escaped",
    [
        pytest.param(lambda text: text, id="plain"),
        pytest.param(lambda text: text.replace("\r", "#015").replace("\x1b", "#033"), id="octal"),
        pytest.param(json.dumps, id="json"),
        pytest.param(lambda text: json.dumps({"log": text, "stream": "stderr"}), id="docker"),
        pytest.param(lambda text: f"2026-05-05T10:00:00.123Z stderr F {text}", id="kubernetes"),
        pytest.param(lambda text: text.replace("\r", "").replace("\x1b[K", ""), id="glued"),
    ],
)
def test_frames_are_found_under_every_escape(escaped) -> None:
    log = "".join(frame(1, batch) for batch in (3, 4, 5)) + tqdm(1, 6, losses=NAN)
    frames = [fact for fact in read(escaped(log)) if isinstance(fact, TrainFrame)]
    assert [found.batch for found in frames] == [3, 4, 5, 6]
    assert [bool(found.nonfinite) for found in frames] == [False, False, False, True]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_a_log_of_powershell_is_read(order: str) -> None:
    log = "\ufeff" + start() + tqdm(1, 2, losses=NAN) + raised("ValueError: é")
    reader = ConsoleReader()
    pieces = [log.encode(order)[place : place + 3] for place in range(0, len(log) * 2, 3)]
    facts = [fact for piece in pieces for fact in reader.feed(piece)] + reader.finish()
    assert [type(fact) for fact in facts] == [RunBanner, Started, Header, TrainFrame, FatalError]
    assert facts[-1].line == log.count("\n")


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        pytest.param("first\r\n", "", id="another shell"),
        pytest.param("━━ ─── 训练完成 ━\r\n", "last\r\n", id="there and back"),
        pytest.param("an unfinished line", "", id="within a line"),
    ],
)
def test_a_log_of_powershell_that_another_shell_went_on_with_is_read(order: str, before: str, behind: str) -> None:
    narrow = ("\r\n" + start() + tqdm(1, 2, losses=NAN) + "\r\nKilled\r\n").encode()
    log = ("\ufeff" + before).encode(order) + narrow + (behind * 5).encode(order)
    reader = ConsoleReader()
    facts = [fact for half in (log[:70], log[70:]) for fact in reader.feed(half)] + reader.finish()
    assert [type(fact) for fact in facts] == [RunBanner, Started, Header, TrainFrame, FatalError]


def test_a_log_of_powershell_that_was_cut_within_a_character_is_read_on() -> None:
    log = ("\ufeff" + start()).encode("utf-16-le") + b"x" + ("\r\n" + tqdm(1, 2, losses=NAN)).encode("utf-16-le")
    assert [fact.batch for fact in read(log) if isinstance(fact, TrainFrame)] == [2]


def test_a_hole_left_by_truncation_hides_no_message() -> None:
    facts = read(b"\0" * 5000 + b"RuntimeError: CUDA error: x\n")
    assert [fact.kind for fact in facts if isinstance(fact, FatalError)] == [CrashKind.CUDA_ERROR]


def test_a_message_glued_behind_a_frame_is_found() -> None:
    facts = read(start() + frame(1, 4) + "WARNING ⚠️ CUDA OutOfMemoryError in TaskAlignedAssigner, using CPU\n")
    assert [fact.kind for fact in facts if isinstance(fact, Notice)] == [NoticeKind.ASSIGNER_FALLBACK]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Starting training for 100 epochs...", Started(line=1, epochs=100)),
        ("Starting training for 2.5 hours...", Started(line=1, epochs=None)),
        ("Resuming training from a.pt from epoch 3 to 9 total epochs", Resumed(line=1, epoch=3, epochs=9)),
        ("Resuming training a b.pt from epoch 3 to 9 total epochs", Resumed(line=1, epoch=3, epochs=9)),
        ("15 epochs completed in 0.546 hours.", Completed(line=1, epochs=15)),
        ("Training complete (0.018 hours)", Completed(line=1, epochs=None)),
        (
            (
                "\x1b[34m\x1b[1mEarlyStopping: \x1b[0mTraining stopped early as no improvement observed in last 5 "
                "epochs. Best results observed at epoch 4, best model saved as best.pt."
            ),
            EarlyStopped(line=1, patience=5, best_epoch=4),
        ),
        (BANNER, RunBanner(line=1, version="Ultralytics 8.4.190")),
        ("Ultralytics YOLOv8.0.28 Python-3.8 torch-1.13.1 CPU", RunBanner(line=1, version="Ultralytics YOLOv8.0.28")),
        ("YOLOv5 🚀 v7.0-72-g06 Python-3.9 torch-1.11.0 CPU", RunBanner(line=1, version="YOLOv5 v7.0-72-g06")),
        (header().strip("\n"), Header(line=1, losses=("box_loss", "cls_loss", "dfl_loss"))),
        (validation().split("\n")[1], ValRow(line=1, map50=0.712, map50_95=0.523)),
        (validation().split("\n")[0], ValBar(line=1, batch=4, batches=4)),
        ("Training:  12%|█▏   | 47/388 [00:01<", PlainBar(line=1, epoch=None, epochs=None, batch=47, batches=388)),
        ("Epoch 3/10:  12%|█▏   | 47/388 [00:01<00:09]", PlainBar(line=1, epoch=3, epochs=10, batch=47, batches=388)),
        (
            "WARNING ⚠️ Loss NaN/Inf detected but can not recover from last.pt...",
            NanRecovery(
                line=1, attempt=None,
                text="WARNING ⚠️ Loss NaN/Inf detected but can not recover from last.pt...",
            ),
        ),
    ],
)  # fmt: skip
def test_one_line_one_fact(text: str, fact: ConsoleFact) -> None:
    assert read(text) == [fact]


@pytest.mark.parametrize(
    ("head", "row", "expected"),
    [
        ("Class Images Labels P R mAP@.5 mAP@.5:.95: 100%|█| 17/17", "all 677 2449 0.8 0.5 0.65 0.33", (0.65, 0.33)),
        ("Class Images Targets P R mAP@0.5 F1: 100%|█| 2/2", "all 24 189 0.03 0.2 0.044 0.06", (0.044, None)),
        ("Class Images Instances P R mAP50", "all 51 113 0.0009 0.1 0.00155 0.0003", (0.00155, 0.0003)),
        ("Class Images Instances Box(P R mAP50 mAP50-95) Mask(P R mAP50 mAP50-95): 1% 1/9",
         "all 1 2 0.8 0.7 0.6 0.5 0.4 0.3 0.2 0.1", (0.6, 0.5)),
        ("classes top1_acc top5_acc: 100%|█| 3/3", "all 0.812 0.991", (None, None)),
        ("Class Images delta1 abs_rel rmse silog: 100% 1/1", "all 10 0.1 0.2 0.3 0.4", (None, None)),
        ("Class Images Pixels mIoU PixAcc: 100% 1/1", "all 10 2.36e+03 0.7 0.9", (None, None)),
        ("Class Images Labels P R mAP@.5 mAP@.5:.95: 1%|█| 1/9", "all 3 2.36e+03 0.8 0.5 0.65 0.33", (0.65, 0.33)),
        ("", "all 44 0 0 0 0 0 nan 1", (0.0, 0.0)),
        ("", "all 128 929", (None, None)),
    ],
    ids=["v5_6", "v3", "cut_header", "segment", "classify", "depth", "semantic", "counts_in_exponents", "bpr", "cut"],
)  # fmt: skip
def test_map_is_taken_from_its_column(head: str, row: str, expected: tuple[float | None, float | None]) -> None:
    rows = [fact for fact in read(f"   {head}\n        {row}\n") if isinstance(fact, ValRow)]
    assert [(fact.map50, fact.map50_95) for fact in rows] == [expected]


def test_lines_are_counted_by_line_feeds_only() -> None:
    facts = read(start() + frame(1, 1) + frame(1, 2) + "\n" + frame(1, 3))
    assert [fact.line for fact in facts if isinstance(fact, TrainFrame)] == [5, 5, 6]


def test_the_last_piece_waits_for_its_end() -> None:
    reader = ConsoleReader()
    first = [fact for fact in reader.feed((header() + frame(1, 1)).encode()) if isinstance(fact, TrainFrame)]
    later = [fact for fact in reader.feed(frame(1, 2).encode()) if isinstance(fact, TrainFrame)]
    assert (first, [fact.batch for fact in later]) == ([], [1])


LOG = (
    start() + "\r  0%|          | 0/20 [00:00<?, ?it/s]" + frame(1, 1) + tqdm(1, 2, losses=NAN) + frame(1, 20)
    + "WARNING ⚠️ NMS time limit 2.0s exceeded\n" + validation() + "\nException in thread Thread-3:"
    + raised("OSError: x") + header() + frame(2, 1) + "\r\n" + raised("RuntimeError: CUDA error: é")
).encode()  # fmt: skip


@given(st.lists(st.integers(0, len(LOG)), max_size=30))
def test_facts_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    reader = ConsoleReader()
    places = [0, *sorted(cuts), len(LOG)]
    facts = [fact for a, b in pairwise(places) for fact in reader.feed(LOG[a:b])]
    assert repr([*facts, *reader.finish()]) == repr(read(LOG))  # NaN differs from itself


WORDS = st.sampled_from(
    [
        part.encode()
        for part in (*LOG.decode().split(" "), "\n", "\r", "  ", "nan", "all", "12/", "/3", "G ", "%|", "\\n")
    ]
)


@settings(max_examples=400)
@given(st.one_of(st.binary(max_size=2000), st.lists(st.one_of(WORDS, st.binary(max_size=8))).map(b" ".join)))
@example(b"\x1b[")
@example(b'{"log":"' + b"[" * 5000)
@example(b"9" * 5000 + b"/9 1G 1 1 1")
@example(b"1/1 1G 1e999 1 1:")
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    read(data)


@pytest.mark.parametrize(
    "piece",
    [
        b"x",
        b" ",
        b"1/9 ",
        b"\x00\xff",
        b"1 ",
        b"[",
        b"0%|",
        b"2026-01-01 10:00:00 ",
        b"YOLOv8 torch ",
        b"Loss detected ",
    ],
)
def test_a_line_without_end_is_read_in_bounded_memory_and_linear_time(piece: bytes) -> None:
    reader = ConsoleReader()
    for _ in range(40):
        reader.feed(piece * (100_000 // len(piece)))
        assert len(reader._pending) < MAX_SEGMENT_BYTES
    assert not [fact for fact in reader.finish() if isinstance(fact, FatalError)]


@pytest.mark.parametrize("words", ["YOLOv8 torch ", "Loss detected ", "Resuming training a from epoch ", "all 1 "])
def test_lines_made_to_be_slow_are_not(words: str) -> None:
    reader = ConsoleReader()
    line = words * (4000 // len(words)) + "\n"
    before = time.process_time()
    reader.feed((line * 100).encode())
    assert time.process_time() - before < 5  # 0.1 s; a rule that looks ahead without limit takes minutes


def test_frames_glued_into_one_long_line_are_all_found() -> None:
    log = header().encode() + b"".join(
        description(1, 9, (str(n), "2", "3")).encode() + BAR.encode() for n in range(3000)
    )
    values = [fact.losses[0][1] for fact in read(log) if isinstance(fact, TrainFrame)]
    assert values == [float(n) for n in range(3000)]


def test_an_error_of_the_kernel_names_no_exception_class() -> None:
    facts = read(frame(1, 2) + "\nOut of memory: Killed process 4711 (python) total-vm:1kB\n")
    assert [fact.kind for fact in facts if isinstance(fact, FatalError)] == [CrashKind.KILLED]
