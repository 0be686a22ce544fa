"""The whole picture: runs, what happened, the host, and how fresh it is. Pure; drawn by rich."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from trainmaster.bot.core.health.host import DiskFact, GpuFact, HostFact, gpu_text
from trainmaster.bot.core.run.forecast import duration
from trainmaster.bot.terminal.canvas import FAINT, PLAIN, WARNING, Canvas, Shown, silent_s
from trainmaster.bot.terminal.happenings import Happening, happenings
from trainmaster.bot.terminal.many_runs import run_lines
from trainmaster.bot.terminal.one_run import NARROW, RankedLine, run_rows

FEW_HAPPENINGS: Final = 5
"""Shown at least, as far as the screen has room for anything but the runs, and at most where it has no end."""
_MAX_GPUS: Final = 4
_FEW_BESIDE_MANY: Final = 3
_MOST_UNREAD: Final = 3
_ESSENTIAL: Final = 4
"""Lines of a run that come before any event: its name, two bars and the bad batches."""
_LEAST_FILE: Final = 8
"""Cells that the name of a file gets on the narrowest screen: its number and its ending."""
_FIRST_WORDS: Final = re.compile(r" of |[,:;] ")
_HINT: Final = "Ctrl-C ends the view only"


def dashboard(
    runs: Sequence[Shown],
    host: HostFact | None,
    canvas: Canvas,
    *,
    live: bool,
    waits: str = "",
    closed: Sequence[str] = (),
) -> Group:
    """The picture, at most ``canvas.height`` lines of at most ``canvas.width`` cells. ``waits`` says why no run is
    shown; ``closed`` are folders that could not be looked into."""
    unread = _unread(runs, closed, canvas)
    below = [*_host_lines(host, canvas), _footer(runs, canvas, live=live)]
    if canvas.height is not None and len(below) > canvas.height // 3:
        below = below[-max(1, canvas.height // 3) :]
    room = None if canvas.height is None else max(1, canvas.height - len(below))
    if not runs:
        above = [canvas.line((waits or "no run", WARNING)), *unread]
    elif len(runs) == 1:
        above = _fitted(
            run_rows(runs[0], canvas), None if room is None else max(min(room, _ESSENTIAL), room - FEW_HAPPENINGS - 1)
        )
        above += unread
    else:
        above = run_lines(runs, canvas, None if room is None else max(3, room - _FEW_BESIDE_MANY - 1 - len(unread)))
        above += unread
    feed = _feed(runs, canvas, None if room is None else room - len(above))
    lines = [*above, *feed]
    if canvas.height is not None:
        lines = lines[: room or 1]
        lines += [Text("") for _ in range((room or 0) - len(lines))]
    return Group(*lines, *below)


def _unread(runs: Sequence[Shown], closed: Sequence[str], canvas: Canvas) -> list[Text]:
    """What could not be read; of a single run its own lines say it."""
    text = canvas.glyphs.text
    words = [f"! {text(one)} can't be read: permission denied" for one in closed]
    if len(runs) > 1:
        names = canvas.glyphs.names((text(shown.view.name) for shown in runs), max(8, canvas.width // 5))
        faults = ((names[text(one.view.name)], one.view.read_errors) for one in runs)
        words += [f"! {name}: {text(errors[0])}" for name, errors in faults if errors]
    if len(words) > _MOST_UNREAD:
        words = [*words[: _MOST_UNREAD - 1], f"! and {len(words) - _MOST_UNREAD + 1} more that can't be read"]
    return [canvas.line((one, WARNING)) for one in words]


def _fitted(rows: Sequence[RankedLine], room: int | None) -> list[Text]:
    kept = list(rows)
    while room is not None and len(kept) > room:
        worst = max(row.rank for row in kept)
        last = max(index for index, row in enumerate(kept) if row.rank == worst)
        del kept[last]
    return [row.line for row in kept]


def _feed(runs: Sequence[Shown], canvas: Canvas, room: int | None) -> list[Text]:
    """A heading and the newest happenings, the newest last; nothing where there is no room for two lines."""
    if not runs or (room is not None and room < 2):
        return []
    found = sorted((one for shown in runs for one in happenings(shown.view)), key=lambda one: one.order)
    wanted = FEW_HAPPENINGS * 2 if room is None else room - 1
    spaced = room is None or wanted > FEW_HAPPENINGS
    newest = found[-(wanted - (1 if spaced and room is not None else 0)) :]
    heading = canvas.line(("events" if newest else "events: none yet", FAINT))
    known = (canvas.glyphs.text(shown.view.name) for shown in runs)
    names = canvas.glyphs.names(known, max(8, canvas.width // 5)) if len(runs) > 1 else {}
    lines = [heading, *(_happening(one, canvas, names) for one in newest)]
    return [Text(""), *lines] if spaced else lines


def _happening(one: Happening, canvas: Canvas, names: Mapping[str, str]) -> Text:
    """``names`` are what runs are called here, nothing where there is one only. Files keep room for their ends,
    where the words that come first have theirs."""
    narrow = canvas.width < NARROW
    when = "earlier" if one.ts is None else canvas.clock(one.ts, seconds=not narrow)
    when = f"{when:>{5 if narrow else 8}}  "
    name = names.get(canvas.glyphs.text(one.run), "")
    run = f"{name}: " if name else ""
    text, files = canvas.glyphs.text(one.text), [canvas.glyphs.text(file) for file in one.files]
    if files:
        room = canvas.width - len(when) - cell_len(run) - len(", ")
        least = min(cell_len(files[0]), max(_LEAST_FILE, room // 6))
        said = canvas.glyphs.fit(text, max(0, room - least))
        left, both = room - cell_len(said), ", ".join(files)
        if said.startswith(_FIRST_WORDS.split(text)[0]):  # a number that is cut would be another
            text = f"{said}, {both if cell_len(both) <= left else canvas.glyphs.end(files[0], left)}"
    return canvas.line((when, FAINT), run, (text, one.style))


def _host_lines(host: HostFact | None, canvas: Canvas) -> list[Text]:
    if host is None:
        return []
    parts = []
    if host.memory is not None:
        parts.append(f"memory {host.memory.available_gib:.1f} of {host.memory.total_gib:.1f} GiB free")
    parts += [_disk_text(disk) for disk in host.disks[:2]]
    gpus = list(host.gpus)
    if not gpus:
        unseen = any("GPU" in one.what for one in host.unseen)
        parts.append("GPU gives no answer" if unseen else "no GPU visible")
    lines = [canvas.line(("host  ", FAINT), canvas.glyphs.text(f" {canvas.glyphs.dot} ".join(parts)))]
    lines += [_gpu_line(gpu, canvas) for gpu in gpus[:_MAX_GPUS]]
    if len(gpus) > _MAX_GPUS:
        lines.append(canvas.line((f"      and {len(gpus) - _MAX_GPUS} more GPUs", FAINT)))
    return lines


def _disk_text(disk: DiskFact) -> str:
    return f"disk {disk.free_gib:.0f} GiB free"


def _gpu_line(gpu: GpuFact, canvas: Canvas) -> Text:
    words = gpu_text(gpu).replace(" °C", " C") if canvas.glyphs.encoding == "ascii" else gpu_text(gpu)
    return canvas.line("      ", (canvas.glyphs.text(words), WARNING if gpu.lost or gpu.slowed_by else PLAIN))


def _footer(runs: Sequence[Shown], canvas: Canvas, *, live: bool) -> Text:
    ages = [age for shown in runs if (age := silent_s(shown.view, canvas.now)) is not None]
    fresh = f", newest record {duration(min(ages))} old" if ages else ""
    hint = f" {canvas.glyphs.dot} {_HINT}" if live else ""
    return canvas.line((f"as of {canvas.clock(canvas.now)}{fresh}{hint}", FAINT))
