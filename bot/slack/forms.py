"""A message or page as it is, or plainer, down to words: the first form that Slack takes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from trainmaster.bot.errors import ChatError
from trainmaster.bot.ports import INTERNAL_ERROR

_LOG = logging.getLogger(__name__)

F = TypeVar("F")
T = TypeVar("T")


async def in_a_form(forms: Iterable[F], send: Callable[[F], Awaitable[T]]) -> T:
    """What ``send`` returns for the first of ``forms``, of which a plainer one is made only where it is needed. A
    person waits for it, so Slack's ``internal_error``, which it also answers to what it can't digest, is a refusal at
    once.

    Raises:
        ChatError: Slack takes none, or can't be reached.
    """
    refusal: ChatError | None = None
    for form in forms:
        try:
            return await send(form)
        except ChatError as error:
            if error.slug != INTERNAL_ERROR and not error.content:
                raise
            _LOG.warning("refused, so that a plainer form is tried if there is one: %s", error)
            refusal = error
    assert refusal is not None
    raise refusal
