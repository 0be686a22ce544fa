"""Why a page was not taken."""

from __future__ import annotations

from trainmaster.bot.errors import TrainmasterError


class PageError(TrainmasterError):
    """A target did not take a page, or can't be used at all. Says nothing of its address."""


class PageUnsureError(PageError):
    """The target was called and did not answer in time: the phone may have rung."""
