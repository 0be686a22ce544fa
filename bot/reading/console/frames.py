"""Progress bars and tables of Ultralytics, found in one piece of text.

Column counts are never assumed: names come from the last header, and only where a log lacks one from the usual order
of each task. A piece may hold many frames glued together, a frame cut anywhere, and a message glued behind its bar.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from trainmaster.bot.reading.console.patterns import LazyPattern
from trainmaster.record import Fixed

TELLING = b"nNrdhR"
"""No healthy frame has one of these bytes. What :mod:`trainmaster.bot.reading.console.messages` finds must have one,
but for the word of a shell that ended a run. The first two stand in what is not finite, however it is spelt."""
_NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?(?:[eE][-+]?\d+)?|nan|inf|[nN]a[nN]|NAN|[iI]nf(?:inity)?|INF(?:INITY)?)"
"""Others than Python write what is not finite in capitals, and a comma where the reader's language has one."""
_FRAME = re.compile(
    rf"(?<![\d./])(\d{{1,9}})/(\d{{1,9}})\s+\d[\d.,]*(?:e[-+]\d+)?G\s+({_NUMBER}(?:\s+{_NUMBER})*)(?=[\s:…#]|$)",
    re.ASCII,
)
_FRAME_WITHOUT_MEMORY = LazyPattern(
    rf"(?<![\d./])(\d{{1,9}})/(\d{{1,9}})\s+({_NUMBER}(?:\s+{_NUMBER})*)(?=\s*:\s*\d{{1,3}}%)", re.ASCII
)
"""YOLOv6; looked for only below its own header."""
_FITTED = re.compile(
    rf"\s*(\d{{1,9}})/(\d{{1,9}})(?=\s)(?:\s{{1,24}}\d[\d.]{{0,9}}(?:e[-+]?\d*)?G?)?((?:\s{{1,24}}{_NUMBER})*)"
    r"(?:\s{1,24}([-+]?[\w.]{0,24}[-+]?))?\s{0,24}…"
    r"(?=\s*:\s*\d{1,3}%)",
    re.ASCII,
)
"""On a terminal (8.4) a frame is fitted to its width: what stands before the bar is cut, within a number maybe."""
_CUT_IN_TOTAL = re.compile(r"(\s*(\d{1,9})/(\d{0,9}))…(?=\s*:\s*\d{1,3}%)", re.ASCII)
"""The same on one so narrow that nothing is left but the epoch."""
_CELL = 11
"""Signs of a column of Ultralytics' table."""
_COUNTER = re.compile(r"\s*:\s*(\d+)%(?:\|[^|]*\|\s*|[^\d|A-Za-z]*)(\d{1,9})/(\d{1,9})(?!\d|\s+[\d.]+G\s)", re.ASCII)
_TIME = re.compile(
    r"\s*\[[^\]]*\]?|(?:\s+[\d.]+[KMGT]?(?:it/s|s/it))?\s+(?:\d+:)*\d+(?:\.\d+)?s?(?:<(?:\d+:)*\d+(?:\.\d+)?s?)?",
    re.ASCII,
)
_HEADER = re.compile(r"(?:^|\s)Epoch\s+gpu_?mem\s+(\S.*)$", re.ASCII | re.IGNORECASE)
_HEADER_WITHOUT_MEMORY = LazyPattern(
    r"(?:^|\s)Epoch\s+(?:(lr)\s+)?(\w+_loss(?:\s+\w+_loss)*)\s*$", re.ASCII, hints=("_loss",)
)
_VAL_HEADER = re.compile(r"(?:^|\s)(?:Class\s+Images\s+(?=[A-Z])|classes\s+(?=top1_acc))(.+?)(?=:\s|:?$)", re.ASCII)
_ALL_ROW = re.compile(rf"\ball((?:\s+{_NUMBER})+)(?=\s|$)", re.ASCII)
_ROW_START = re.compile(r"\s{0,2}|.?[\]:|>]\s?", re.ASCII | re.DOTALL)
"""Before ``all`` stands padding or a bar; a class may be called "wear it all"."""
_BAR = re.compile(r"(\d{1,3})%(?:\|[^|]*\|\s*|[^\d|A-Za-z]*)(\d{1,9})/(\d{1,9})(?![\d./]|[KMG])", re.ASCII)
_OWN_BAR = LazyPattern(r"^[\s\W]*(?:Train(?:ing)?|Epoch)\b([^|%]*?):?\s*$", re.ASCII)
_RATIO = LazyPattern(r"(\d{1,9})/(\d{1,9})", re.ASCII)
_GROUP = re.compile(r"\w+\(")
"""``Box(P`` and ``Mask(P`` head the precision columns."""
_COUNT_COLUMNS = frozenset({"instances", "size", "labels", "targets", "img_size"})
_USUAL_VALIDATION = ("Instances", "P", "R", "mAP50", "mAP50-95")
_MEAN_OF_ALL = ("map50-95", "map@.5:", "map@0.5:")
_USUAL_LOSSES = {
    1: ("loss",),
    3: ("box_loss", "cls_loss", "dfl_loss"),
    4: ("box_loss", "seg_loss", "cls_loss", "dfl_loss"),
    5: ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss"),
    6: ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "l1_loss", "rle_loss"),
}
_USUAL_LOSSES_V5 = {3: ("box_loss", "obj_loss", "cls_loss"), 4: ("box_loss", "seg_loss", "obj_loss", "cls_loss")}
_USUAL_LOSSES_SEGMENT = {5: ("box_loss", "seg_loss", "cls_loss", "dfl_loss", "sem_loss")}


class Columns(Fixed):
    """The columns between memory and bar. ``counts`` is how many follow the losses (instances, image size), ``rates``
    how many stand before them (YOLOv6's learning rate)."""

    losses: tuple[str, ...]
    counts: int
    rates: int = 0
    memory: bool = True


class Frame(Fixed):
    """A training frame before its columns are named. ``closed``: the bar follows, so no value can be cut. ``fitted``:
    columns were left out to fit a terminal; ``cut_total``: and so were digits of ``epochs``, maybe all."""

    epoch: int
    epochs: int
    values: tuple[str, ...]
    batch: int | None
    batches: int | None
    closed: bool
    fitted: bool = False
    cut_total: bool = False


class Bar(Fixed):
    """Any progress bar that is no training frame; ``label`` is what stands before it."""

    label: str
    batch: int
    batches: int


def find_frames(text: str, *, at_end: bool, memory: bool = True) -> tuple[list[Frame], list[str]]:
    """The training frames of ``text`` in order, and the texts before, between and behind them.

    ``at_end``: the file ends with ``text`` and has no line end, so the last number may lack digits. ``memory``: whether
    frames show it.
    """
    possible = "/" in text and ("G" in text or not memory)
    matches = list((_FRAME if memory else _FRAME_WITHOUT_MEMORY).finditer(text)) if possible else []
    if "…" in text and (fitted := _FITTED.match(text) or _CUT_IN_TOTAL.match(text)):
        matches = [fitted]
    if not matches:
        return [], [text]
    frames: list[Frame] = []
    rests = [text[: matches[0].start()]]
    for index, match in enumerate(matches):
        stop = matches[index + 1].start() if index + 1 < len(matches) else len(text)
        tail = text[match.end() : stop]
        counter = _COUNTER.match(tail)
        cut_total = match.re is _CUT_IN_TOTAL and len(match[1]) < _CELL
        batch = batches = None
        rest = tail
        if counter:
            rest = tail[counter.end() :]
            cut = rest[:1] in {"", "…"} and (at_end or not _agrees(counter))
            if not cut:
                batch, batches = int(counter[2]), int(counter[3])
            time = _TIME.match(rest)
            rest = rest[time.end() :] if time else rest
        frames.append(
            Frame(
                epoch=int(match[2 if match.re is _CUT_IN_TOTAL else 1]),
                epochs=int(match[3 if match.re is _CUT_IN_TOTAL else 2] or 0),
                values=_values(match),
                batch=batch,
                batches=batches,
                closed=tail.lstrip().startswith(":"),
                fitted=match.re in {_FITTED, _CUT_IN_TOTAL},
                cut_total=cut_total,
            )
        )
        rests.append(rest)
    return frames, rests


def _values(match: re.Match[str]) -> tuple[str, ...]:
    """The values of a frame. Of one that is fitted the last may lack digits, and then only tells what is not finite."""
    if match.re is _CUT_IN_TOTAL:
        return ()
    values = match[3].split()
    if match.re is not _FITTED:
        return tuple(values)
    last = match[4] or (values.pop() if values and match[0][-2:-1].strip() else "")
    spelt = next((spelt for spelt in ("nan", "inf", "-inf") if last and spelt.startswith(last.lower())), None)
    return (*values, spelt) if spelt and last != "-" else tuple(values)


def find_bar(text: str) -> tuple[Bar | None, str]:
    """The bar of ``text`` that stands last, and the text behind it (all of ``text`` when there is no bar)."""
    last = next(reversed(list(_BAR.finditer(text))), None) if "%" in text else None
    if last is None:
        return None, text
    rest = text[last.end() :]
    time = _TIME.match(rest)
    bar = Bar(label=text[: last.start()], batch=int(last[2]), batches=int(last[3]))
    return bar, rest[time.end() :] if time else rest


def find_header(text: str) -> Columns | None:
    """The columns that ``text`` announces; None when it announces none, or was cut before their end."""
    place = text.lower().find("epoch")
    if place < 0:
        return None
    # Other letters than ASCII's may be more when they are small.
    match = _HEADER.search(text, max(0, place - 1) if text.isascii() else 0)
    if match is None:
        match = _HEADER_WITHOUT_MEMORY.search(text)
        if match is None:
            return None
        return Columns(losses=tuple(match[2].split()), counts=0, rates=1 if match[1] else 0, memory=False)
    names = match[1].split()
    for index, name in enumerate(names):
        if name.lower() in _COUNT_COLUMNS:
            return Columns(losses=tuple(names[:index]), counts=len(names) - index) if index else None
    if any(name.endswith("_acc") for name in names):  # YOLOv5's classifier prints neither instances nor size
        return Columns(losses=tuple(name for name in names if name.endswith("loss")), counts=0)
    return None


def find_val_header(text: str) -> tuple[str, ...] | None:
    """The columns behind ``Images`` of a validation table; behind ``classes`` for a classifier."""
    match = _VAL_HEADER.search(text) if "lass" in text else None
    if match is None:
        return None
    names = tuple(_GROUP.sub("", match[1]).replace(")", " ").split())
    if "…" not in match[1]:
        return names
    return _USUAL_VALIDATION if names[:-1] == _USUAL_VALIDATION[: len(names) - 1] else names[:-1]


def find_all_row(text: str, columns: Sequence[str] | None, *, at_end: bool) -> tuple[float | None, float | None] | None:
    """mAP50 and mAP50-95 of the boxes in the ``all`` row of ``text``; None when it holds no such row."""
    last = next(reversed(list(_ALL_ROW.finditer(text))), None) if "all" in text else None
    if last is None or not _ROW_START.fullmatch(text, max(0, last.start() - 2), last.start()):
        return None
    values = last[1].split()
    if at_end and last.end() == len(text) and _misaligned(last[1]):
        values.pop()
    numbers = [_number(value) for value in values]
    place, place_95 = _map_places(columns)
    if columns is None and len(numbers) < 6:
        return None, None
    return (
        numbers[place] if place is not None and place < len(numbers) else None,
        numbers[place_95] if place_95 is not None and place_95 < len(numbers) else None,
    )


def nonfinite_of_row(text: str, columns: Sequence[str] | None) -> tuple[str, ...]:
    """The columns of the ``all`` row of ``text`` that are not finite, with their values."""
    lowered = text.lower()
    if "nan" not in lowered and "inf" not in lowered:
        return ()
    last = next(reversed(list(_ALL_ROW.finditer(text))), None)
    values = last[1].split() if last else []
    # "Images" stands before the columns that were announced, but for a classifier.
    names = ("Images", *columns) if columns and len(values) > len(columns) else columns or ()
    named = [*names, *(f"column {place}" for place in range(len(names) + 1, len(values) + 1))]
    return tuple(
        f"{name} {value}" for name, value in zip(named, values, strict=False) if not math.isfinite(_number(value))
    )


def own_loop(bar: Bar) -> tuple[int | None, int | None] | None:
    """Epoch and epochs as far as ``bar``'s label gives them, if it is the training bar of somebody's own loop."""
    match = _OWN_BAR.match(bar.label)
    if match is None or "Scanning" in bar.label or "Caching" in bar.label:
        return None
    ratio = _RATIO.search(bar.label)
    return (int(ratio[1]), int(ratio[2])) if ratio else (None, None)


def named_losses(frame: Frame, columns: Columns | None, *, yolov5: bool, masks: bool) -> dict[str, float] | None:
    """The losses of ``frame`` by name; None when the frame was cut before all of them were printed."""
    values = frame.values
    if columns is not None:
        values = values[columns.rates :]
        if frame.fitted:
            return _numbers(columns.losses, values)
        expected = len(columns.losses) + columns.counts
        if len(values) == expected or (columns.counts == 0 and frame.closed and len(values) <= expected + 2):
            return _numbers(columns.losses, values)
        if not frame.closed and len(values) != expected:
            return None
    if frame.fitted:
        return _numbers([f"loss_{place}" for place in range(1, len(values) + 1)], values)
    losses = values[:-2]
    if not losses or not (values[-1].isdigit() and values[-2].isdigit()):
        return None
    usual = _USUAL_LOSSES | (_USUAL_LOSSES_V5 if yolov5 else {}) | (_USUAL_LOSSES_SEGMENT if masks else {})
    names = usual.get(len(losses)) or tuple(f"loss_{place}" for place in range(1, len(losses) + 1))
    return _numbers(names, losses)


def _numbers(names: Sequence[str], values: Sequence[str]) -> dict[str, float]:
    return {name: _number(value) for name, value in zip(names, values, strict=False)}


def _number(spelt: str) -> float:
    return float(spelt.replace(",", "."))


def _agrees(counter: re.Match[str]) -> bool:
    """Whether percentage and counter belong together; digits lost at a cut tear them apart."""
    batches = int(counter[3])
    return batches > 0 and abs(int(counter[1]) - 100 * int(counter[2]) / batches) <= 1


def _misaligned(columns: str) -> bool:
    """Whether the last of right-aligned ``columns`` ends early: a cut number."""
    ends = [match.end() for match in re.finditer(r"\S+", columns)]
    return len(ends) > 1 and all(end % 11 == 0 for end in ends[:-1]) and ends[-1] % 11 != 0


def _map_places(columns: Sequence[str] | None) -> tuple[int | None, int | None]:
    """Where mAP50 and mAP50-95 stand among the values of a row (images first)."""
    if columns is None:
        return 4, 5
    names = [name.lower() for name in columns]
    place = next((index for index, name in enumerate(names) if name in {"map50", "map@.5", "map@0.5"}), None)
    if place is None:
        cut = not any(name.startswith(("top1", "delta", "miou", "pixels")) for name in names)
        return (4, 5) if cut else (None, None)
    rest = names[place + 1 :]
    # A terminal may have broken the head within it.
    known = not rest or any(rest[0].startswith(name) or name.startswith(rest[0]) for name in _MEAN_OF_ALL)
    return place + 1, place + 2 if known else None
