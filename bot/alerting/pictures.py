"""Pictures join the messages that want them: drawn, uploaded, and shown by an edit of the message that stands there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final, Protocol

from trainmaster.bot.core.conversation.picture import NO_DRAWING, Drawn, Picture, Sketch
from trainmaster.bot.core.run.view import RunView
from trainmaster.bot.errors import ChatError, OperationError, StoreError
from trainmaster.bot.ports import ChatRefused, Clock, PictureBook, Runs, WantedPictures

_LOG = logging.getLogger(__name__)

TOO_LATE_S: Final = 1800.0
"""A picture that could not be shown by then is of an old moment: the message stays without."""
RETRY_S: Final = (3.0, 10.0, 60.0, 300.0)
_OFF_S: Final = 600.0
"""So long nothing is drawn for a Python without matplotlib, and nothing uploaded without the permission."""
_TICK_S: Final = 5.0
_MAX_REFUSALS: Final = 5


class Drawer(Protocol):
    """Draws pictures of a run with the run's own Python."""

    async def draw(self, view: RunView, sketch: Sketch) -> tuple[Drawn, ...]:
        """The pictures that are wanted, as far as there is something to draw.

        Raises:
            OperationError: they can't be drawn; of slug ``NO_DRAWING`` when that Python draws nothing at all.
        """
        ...


class Uploads(Protocol):
    """Where pictures are kept for messages."""

    async def upload(self, name: str, content: bytes, alt: str) -> str:
        """It is kept; the id by which a message shows it.

        Raises:
            ChatError: it is not.
        """
        ...


class Pictures:
    """One picture at a time. Text never waits for it, and whatever becomes of it, the message stays as it is.

    ``able`` tells whether pictures can be uploaded at all, ``wake`` when something new is wanted.
    ``refused`` tells whether Slack would not show a file; it has to look at a new one first, and takes seconds for it.
    """

    def __init__(
        self,
        *,
        book: PictureBook,
        runs: Runs,
        drawer: Drawer,
        uploads: Uploads,
        refused: Callable[[str], bool],
        clock: Clock,
        notify: Callable[[], None],
        able: Callable[[], bool],
        wake: asyncio.Event | None = None,
    ) -> None:
        self._book = book
        self._runs = runs
        self._drawer = drawer
        self._uploads = uploads
        self._refused = refused
        self._clock = clock
        self._notify = notify
        self._able = able
        self._wake = wake or asyncio.Event()
        self._off: dict[str, float] = {}
        """Until when a run, or with an empty name every one, gets no picture."""
        self._shown: dict[str, tuple[tuple[Picture, ...], int]] = {}
        """Attached lately, by message, with the refusals so far."""

    async def run(self) -> None:
        """Draws what is wanted, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.tick()
            except StoreError as error:
                _LOG.warning("pictures: %s", error)

    async def tick(self) -> None:
        """Everything due had its try.

        Raises:
            StoreError: what is wanted can't be read or written; it is wanted still.
        """
        self._show_again()
        for wanted in self._book.due(self._clock.now()):
            await self._try(wanted)

    async def make(self, sketch: Sketch) -> tuple[Picture, ...]:
        """The pictures, drawn and uploaded; none when the run is gone or gets none for now.

        Raises:
            OperationError: they can't be drawn.
            ChatError: they can't be uploaded.
        """
        view = self._runs.find(sketch.run)
        now = self._clock.now()
        if (
            view is None
            or view.watched_only
            or not self._able()
            or any(self._off.get(name, now) > now for name in ("", sketch.run))
        ):
            return ()
        try:
            drawn = await self._drawer.draw(view, sketch)
        except OperationError as error:
            if error.slug == NO_DRAWING:
                self._off[sketch.run] = now + _OFF_S
            raise
        try:
            return tuple(
                [Picture(file=await self._uploads.upload(one.name, one.content, one.alt), alt=one.alt) for one in drawn]
            )
        except ChatRefused:
            self._off[""] = now + _OFF_S
            raise

    async def _try(self, wanted: WantedPictures) -> None:
        now = self._clock.now()
        if now - wanted.asked_ts > TOO_LATE_S or wanted.num_tries >= len(RETRY_S):
            self._book.drop(wanted.key)
            return
        try:
            pictures = await self.make(wanted.sketch)
        except (OperationError, ChatRefused) as error:
            _LOG.warning("no picture for %s: %s", wanted.key, error)
            self._book.drop(wanted.key)
            return
        except ChatError as error:
            _LOG.info("a picture for %s waits: %s", wanted.key, error)
            self._book.put_off(wanted.key, self._clock.now() + RETRY_S[wanted.num_tries])
            return
        if pictures:
            self._book.attach(wanted.key, pictures)
            self._shown[wanted.key] = (pictures, 0)
            self._notify()
        else:
            self._book.drop(wanted.key)

    def _show_again(self) -> None:
        """What Slack would not show yet is tried again, a few times."""
        for key, (pictures, num_refusals) in tuple(self._shown.items()):
            if not any(self._refused(one.file) for one in pictures):
                if num_refusals or len(self._shown) > 100:
                    del self._shown[key]
                continue
            if num_refusals >= _MAX_REFUSALS:
                _LOG.warning("Slack does not show the picture of %s", key)
                del self._shown[key]
                continue
            self._shown[key] = (pictures, num_refusals + 1)
            self._book.attach(key, pictures)
            self._notify()
