"""Which attempt of an adopted run a row of its ``results.csv`` is of, by what the console showed of each attempt.

The file may hold rows of a training before the adoption, of several attempts one behind the other, and be begun anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final

from trainmaster.bot.reading.console.facts import TrainFrame

Losses = Mapping[str, float]
"""By name, as the console and a row of ``results.csv`` have them."""
Told = Callable[[int, int], bool | None]

_ROUNDED_OFF: Final = 5.5e-4
"""Of a loss: the console shows four digits of it."""
_LEAST: Final = 1.1e-5
"""A row has five places behind the point."""


@dataclass(slots=True)
class _Span:
    """Of one attempt: the first epoch it trained, the one it trains, the last one that had all its batches.

    ``begins_unseen``: the console does not show its beginning, so it may have trained any earlier epoch as well.
    ``ends_unseen``: nor what it did later."""

    begins_unseen: bool
    first: int | None = None
    running: int | None = None
    done: int | None = None
    ends_unseen: bool = False

    def began_with(self, epoch: int) -> bool:
        """Whether ``epoch`` is the first or a later one, or may be."""
        return self.begins_unseen or (self.ends_unseen if self.first is None else epoch >= self.first)


class Trained:
    """The epochs of each attempt, as the console tells them."""

    def __init__(self) -> None:
        self.changes = 0
        """Grows with everything that may place a row anew."""
        self._spans: dict[int, _Span] = {}
        self._means: dict[int, dict[int, Losses]] = {}
        """Of each epoch and attempt, the losses that the console showed at the last batch: its row has the same."""

    def begins(self, attempt: int, from_epoch: int | None) -> None:
        """The console showed the beginning of ``attempt``; ``from_epoch`` when it goes on from a checkpoint. Where no
        log shows what it goes on from, all earlier epochs count as its own."""
        self.changes += 1
        before = self._spans.get(max((number for number in self._spans if number < attempt), default=0))
        known = self._spans.get(attempt)
        if from_epoch is not None and before is not None and before.ends_unseen:
            before.done = max(before.done or 0, from_epoch - 1)  # else there were no checkpoint to go on from
        older = before is not None
        if (
            from_epoch is not None
            and known is not None
            and known.ends_unseen
            and (known.first or from_epoch) < from_epoch
        ):
            known.done = from_epoch - 1  # the same of itself: it drew no frame that anybody saw
            return
        self._spans[attempt] = _Span(begins_unseen=from_epoch is not None and not older, first=from_epoch)

    def is_met_midway(self, attempt: int) -> None:
        """``attempt`` has begun, and the console does not show with which epoch."""
        self._spans[attempt].begins_unseen = True

    def noted(self) -> list[list[Any]]:
        """What the console showed of each attempt, as plain JSON."""
        return [[attempt, *astuple(span)] for attempt, span in self._spans.items()]

    def has_done(
        self, epochs: Mapping[int, Sequence[int]], newest: int, first: int | None, noted: Sequence[Any] = ()
    ) -> None:
        """These ``epochs`` of attempts are known, though no console shows them any more, or not yet: those of the
        ``newest``, which may have trained earlier ones as well where no attempt before it is known, unless it was seen
        to begin with the epoch ``first``. What was :meth:`noted` of older ones without any is known as well."""
        for one in noted:
            match one:
                case [int(attempt), bool(_), int(_) | None, int(_) | None, int(_) | None, bool(_)] if (
                    0 < attempt < newest
                ):
                    self._spans[attempt] = _Span(*one[1:])
        alone = not self._spans and epochs.keys() == {newest}
        for attempt, done in epochs.items():
            running = None if attempt == newest else max(done)
            gone = attempt != newest  # the log begins behind it
            self._spans[attempt] = _Span(
                begins_unseen=alone, first=min(done), running=running, done=max(done), ends_unseen=gone
            )
        if first is not None:
            span = self._spans.setdefault(newest, _Span(begins_unseen=False))
            span.begins_unseen, span.first = False, first

    def has_finished(self, attempt: int) -> bool:
        """Whether an epoch of ``attempt`` had all its batches, or may have had them where nobody saw it."""
        span = self._spans.get(attempt)
        return span is None or span.ends_unseen or span.done is not None

    def trains(self, attempt: int, epoch: int) -> None:
        """A frame of ``epoch`` was drawn."""
        span = self._spans.setdefault(attempt, _Span(begins_unseen=True))
        if span.first is None:
            span.first, span.begins_unseen = epoch, span.begins_unseen or span.ends_unseen
        follows = (span.begins_unseen or epoch > span.first) if span.running is None else epoch > span.running
        if follows:
            span.done = epoch - 1
        self.changes += span.running != epoch
        span.running, span.ends_unseen = epoch, False

    def draws(self, attempt: int, frame: TrainFrame) -> None:
        """``frame`` was drawn, which may be the last of its epoch."""
        self.trains(attempt, frame.epoch)
        if frame.batch is not None and frame.batch == frame.batches:
            self.completes(attempt)
            if frame.losses:
                self._means.setdefault(frame.epoch, {})[attempt] = dict(frame.losses)

    def first_of(self, attempt: int) -> int | None:
        """The first epoch of ``attempt``, if its beginning was seen."""
        span = self._spans.get(attempt)
        return span.first if span is not None and not span.begins_unseen else None

    def has_drawn(self, attempt: int, frame: TrainFrame | None) -> None:
        """``frame`` was the last one known of ``attempt``, whose console is gone; None where it drew none yet."""
        self._spans.setdefault(attempt, _Span(begins_unseen=True))
        if frame is not None:
            self.draws(attempt, frame)
        self.loses_sight(attempt)

    def loses_sight(self, attempt: int) -> None:
        """The console of ``attempt`` is gone, and may have shown more than anybody saw."""
        if attempt in self._spans:
            self._spans[attempt].ends_unseen = True

    def completes(self, attempt: int) -> None:
        """The running epoch of ``attempt`` has had all its batches."""
        span = self._spans.get(attempt)
        if span is not None and span.running is not None and span.done != span.running:
            span.done = span.running
            self.changes += 1

    def place(
        self,
        epochs: Sequence[int],
        newest: int,
        *,
        ahead: bool,
        losses: Sequence[Losses] = (),
        told: Told = lambda _place, _attempt: None,
    ) -> list[int | None]:
        """The attempt of each row, given the ``epochs`` of all rows in order and their ``losses``; None for a row that
        a later one replaces and for one of an older training. ``ahead``: the file is newer than the console, which may
        lag behind it, or the clock of its file system is another one: what the console showed of an epoch says more.
        ``told``: whether the row at a place is the one that an attempt is known to have; None where none is known."""
        placed: list[int | None] = [None] * len(epochs)
        lowest = min([*self._spans, newest])
        unseen = newest in self._spans and self._spans[newest].ends_unseen
        attempt, stop = newest, len(epochs)
        while stop > 0:
            place = stop - 1
            if stop < len(epochs) and epochs[place] >= epochs[stop]:
                older = range(lowest, attempt)
                if (
                    losses
                    and _is_written_twice(losses[place], losses[stop])
                    and not any(self.ended_with(n, epochs[place], losses[place]) or told(place, n) for n in older)
                ):
                    stop = place
                    continue
                attempt -= 1  # the epochs began again behind this row
            begun = attempt
            while attempt >= lowest and (
                not self._may_be_of(attempt, epochs[place], ahead=(ahead or unseen) and attempt == newest)
                or (losses and self._is_of_an_older(attempt, epochs[place], losses[place], place, told))
            ):
                attempt -= 1
            stop = place
            if attempt >= lowest:
                placed[place] = attempt
            elif begun in self._spans and self._spans[begun].ends_unseen:
                attempt = begun  # it may have done more than anybody saw: that hides nothing of what it did before
            else:
                stop += 1
                break
        self._place_replaced(epochs, placed, stop, lowest)
        return placed

    def _place_replaced(self, epochs: Sequence[int], placed: list[int | None], stop: int, lowest: int) -> None:
        """Rows before ``stop`` may be of the oldest attempt, as far as later rows do not replace them."""
        span = self._spans.get(lowest)
        if stop == len(epochs) or span is None or not span.begins_unseen:
            return
        before = epochs[stop]
        for place in range(stop - 1, -1, -1):
            if epochs[place] < before:
                placed[place], before = lowest, epochs[place]

    def _may_be_of(self, attempt: int, epoch: int, *, ahead: bool) -> bool:
        span = self._spans.get(attempt)
        if span is None:
            return ahead
        return span.began_with(epoch) and (ahead or (span.done is not None and epoch <= span.done))

    def waits_for(self, newest: int, epoch: int) -> bool:
        """Whether the console has not shown yet with what ``newest``, which may have trained it, ended ``epoch``."""
        span = self._spans.get(newest)
        begins = span is None or span.first is None or span.began_with(epoch)
        trains = begins and (span is None or span.running is None or span.running <= epoch)
        return trains and newest not in self._means.get(epoch, {})

    def ended_with(self, attempt: int, epoch: int, row: Losses) -> bool:
        """Whether the console showed that ``attempt`` ended ``epoch`` with the losses of ``row``."""
        means = self._means.get(epoch, {})
        return attempt in means and _agree(means[attempt], row)

    def _is_of_an_older(self, attempt: int, epoch: int, row: Losses, place: int, told: Told) -> bool:
        """Whether an attempt before ``attempt`` ended ``epoch`` with the losses of ``row``, and ``attempt`` did not; or
        has this very row, and ``attempt`` was seen to end the epoch with others, or not at all. Of what
        lies before all that was seen of ``attempt``, only a row that an older one is known not to have is its own. Two
        trainings of one seed have the same, as far as the log shows it."""
        if self.ended_with(attempt, epoch, row) or told(place, attempt):
            return False
        other = attempt in self._means.get(epoch, {}) or not self._may_be_of(attempt, epoch, ahead=False)
        older = [(number, told(place, number)) for number in self._spans if number < attempt]
        span = self._spans.get(attempt)
        if older and span is not None and span.begins_unseen and span.first is not None and epoch < span.first:
            known_of_older = {known for _, known in older}
            return True in known_of_older or False not in known_of_older
        return any(
            (known and other) or (known is not False and self.ended_with(number, epoch, row)) for number, known in older
        )


def _is_written_twice(row: Losses, later: Losses) -> bool:
    return bool(row) and repr(dict(row)) == repr(dict(later))


def _agree(shown: Losses, row: Losses) -> bool:
    both = shown.keys() & row.keys()
    return bool(both) and all(_is_the_same(shown[name], row[name]) for name in both)


def _is_the_same(shown: float, written: float) -> bool:
    if math.isfinite(shown) and math.isfinite(written):
        return abs(shown - written) <= _ROUNDED_OFF * abs(shown) + _LEAST
    return repr(shown) == repr(written)
