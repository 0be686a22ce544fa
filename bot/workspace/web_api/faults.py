"""Faults on demand, for tests: what the next Web API calls get instead of their answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong with the call, and whether it takes effect."""

    ERROR = "error"
    """The call is answered with an error and has no effect."""
    RESET_BEFORE = "reset_before"
    """The connection breaks and the call has no effect."""
    RESET_AFTER = "reset_after"
    """The call takes effect, then the connection breaks: the caller cannot know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectedFault:
    """One fault for one call of ``method``."""

    kind: FaultKind
    method: str
    error: str = ""
    status: int = 200
    retry_after_s: int | None = None


@dataclass(slots=True, kw_only=True)
class FaultQueue:
    """Faults that wait for their call, oldest first."""

    waiting: list[InjectedFault] = field(default_factory=list)

    def fail_next(self, method: str, error: str, *, times: int = 1) -> None:
        """The next ``times`` calls of ``method`` are refused with ``error``."""
        self.waiting += [InjectedFault(kind=FaultKind.ERROR, method=method, error=error)] * times

    def rate_limit_next(self, times: int, *, retry_after_s: int = 1) -> None:
        """The next ``times`` posts get 429 and ``Retry-After``."""
        fault = InjectedFault(
            kind=FaultKind.ERROR,
            method="chat.postMessage",
            error="ratelimited",
            status=429,
            retry_after_s=retry_after_s,
        )
        self.waiting += [fault] * times

    def reset_next(self, method: str, *, after_effect: bool) -> None:
        """The next call of ``method`` breaks off, before or after it took effect."""
        kind = FaultKind.RESET_AFTER if after_effect else FaultKind.RESET_BEFORE
        self.waiting.append(InjectedFault(kind=kind, method=method))

    def take(self, method: str) -> InjectedFault | None:
        """Return the oldest fault for ``method``, and forget it."""
        for fault in self.waiting:
            if fault.method == method:
                self.waiting.remove(fault)
                return fault
        return None
