"""Many runs, one line each. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rich.style import Style
from rich.text import Text

from trainmaster.bot.core.conversation.words import number_text
from trainmaster.bot.core.run.forecast import duration, forecast
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.terminal.canvas import (
    BAD,
    FAINT,
    STRONG,
    WARNING,
    Canvas,
    Shown,
    place_of,
    shares_of,
    state_of,
    watched_from_its_start,
)

_NARROW: Final = 60
"""Cells below which a line has name, state, epoch and bad batches only."""
_WIDE: Final = 100
_EPOCH: Final = 7
_BAD: Final = 4
"""Cells of both on a narrow screen: 300 of 300, and 9,999."""


def run_lines(runs: Sequence[Shown], canvas: Canvas, room: int | None) -> list[Text]:
    """A line a run under a heading, that with the newest sign of life first; what has no room is counted."""
    ordered = sorted(runs, key=lambda shown: (not shown.view.state.active, -_newest_ts(shown.view), shown.view.name))
    fits = len(ordered) if room is None or len(ordered) + 1 <= room else max(1, room - 2)
    names = canvas.glyphs.names((canvas.glyphs.text(shown.view.name) for shown in runs), _widths(canvas)[0])
    lines = [_heading(canvas), *(_line(shown, canvas, names) for shown in ordered[:fits])]
    if rest := ordered[fits:]:
        counts = Counter(shown.view.state.value for shown in rest)
        words = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        lines.append(canvas.line((f"and {len(rest)} more: {words}", FAINT)))
    return lines


def _newest_ts(view: RunView) -> float:
    stamps = (view.heartbeat.ts if view.heartbeat else 0.0, (view.record.updated_ts or 0.0) if view.record else 0.0)
    return max(stamps)


def _widths(canvas: Canvas) -> tuple[int, int, int]:
    """Of name, state and bar."""
    if canvas.width < _NARROW:
        rest = canvas.width - _EPOCH - _BAD - 3
        state = max(8, min(18, rest // 2))
        return max(8, rest - state), state, 0
    if canvas.width < _WIDE:
        return canvas.width - 58, 18, 8
    return min(48, canvas.width - 80), 26, 12


def _heading(canvas: Canvas) -> Text:
    name, state, bar = _widths(canvas)
    if not bar:
        return canvas.line((f"{'run':<{name}} {'state':<{state}} {'epoch':>{_EPOCH}} {'NaN':>{_BAD}}", FAINT))
    words = f"{'run':<{name}} {'state':<{state}} {'done':>4} {'':{bar}} {'epoch':>9} {'loss':>7} {'NaN':>5}"
    if canvas.width >= _WIDE:
        words += f" {'left':>10}"
    return canvas.line((words, FAINT))


def _line(shown: Shown, canvas: Canvas, names: Mapping[str, str]) -> Text:
    view = shown.view
    name, state, bar = _widths(canvas)
    words, style = state_of(view, canvas)
    if canvas.width < _WIDE:
        words = words.replace(", by its heartbeat", "").replace(", by its log", "")
    epoch, epochs, _, _ = place_of(view)
    at = f"{'?' if epoch is None else epoch}/{'?' if epochs is None else epochs}"
    called = names[canvas.glyphs.text(view.name)]
    if not bar:
        return canvas.line(
            (canvas.glyphs.padded(called, name), STRONG),
            " ",
            (canvas.glyphs.padded(_briefly(words, state), state), style),
            f" {at if len(at) <= _EPOCH else canvas.glyphs.fit(at.partition('/')[0], _EPOCH):>{_EPOCH}}",
            (f" {_count(view.num_bad, most=9_999):>{_BAD}}", _bad_style(view)),
        )
    _, share = shares_of(view)
    done = "?" if share is None else f"{int(100 * share)}%"
    loss = _loss(shown)
    figure = "" if loss is None else number_text(loss)
    parts: list[tuple[str, Style] | str] = [
        (canvas.glyphs.padded(called, name), STRONG),
        " ",
        (canvas.glyphs.padded(words, state), style),
        f" {done:>4} ",
        (canvas.glyphs.bar(share or 0.0, bar), Style(color="cyan")),
        f" {canvas.glyphs.padded(at.rjust(9), 9)}",
        (f" {figure:>7}", BAD if figure in {"NaN", "infinite", "minus infinite"} else Style()),
        (f" {_count(view.num_bad):>5}", _bad_style(view)),
    ]
    if canvas.width >= _WIDE:
        ahead = forecast(view, canvas.now) if watched_from_its_start(view) else None
        left = duration(ahead.run_left_s) if ahead is not None and ahead.run_left_s is not None else ""
        parts.append(f" {left:>10}")
    return canvas.line(*parts)


def _briefly(state: str, width: int) -> str:
    """What is new in a state that has no room: that it is silent and how long, or until when it waits."""
    return state if len(state) <= width else state.rpartition(", ")[2].removeprefix("waits ")


def _bad_style(view: RunView) -> Style:
    if not view.num_bad:
        return Style()
    return BAD if any(one.num_in_weights for one in view.story()) else WARNING


def _loss(shown: Shown) -> float | None:
    view = shown.view
    if view.beat is not None and view.beat.losses:
        return sum(view.beat.losses.values())
    known = [epoch.total_loss for epoch in view.story() if epoch.total_loss is not None]
    return known[-1] if known else None


def _count(number: int, most: int = 99_999) -> str:
    return str(number) if number <= most else f"{number // 1000}k"
