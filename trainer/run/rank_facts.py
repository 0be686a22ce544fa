"""Several GPUs: what is told of a bad batch is what the rank that had it knows.

Every rank skips the batch, and the first writes the events; but images, losses and cause are of one rank's part of it.
Every call is made by all ranks at the same batch, and only there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from torch import distributed

from trainmaster.trainer.batches.agreement import of_all
from trainmaster.trainer.contract import ReplayVerdict
from trainmaster.trainer.incidents.incident import Cause, Incidents

_TOLD: Final = ("losses", "images", "cause", "grad_norm", "bad_weights")


def told_by_all(
    told: Mapping[str, Any],
    keep: Callable[[dict[str, Any]], dict[str, Any]],
    incidents: Incidents,
    *,
    is_own: bool,
    replay: ReplayVerdict | None,
) -> dict[str, Any]:
    """Facts for the event: losses, images, cause and incident of the ranks whose part was bad, or may have been where
    none knows, and which these are.

    Each that had it keeps an incident of its own, in a folder of its own; the others keep none. The losses and the
    cause are those of the first of them, the images of all, ``bad_weights`` the most of any, and ``unkept`` why one of
    them could not keep its own. ``told`` is what this rank knows, ``replay`` what its own part did when it ran again,
    and ``keep`` keeps it.
    """
    rank = distributed.get_rank()
    shared = of_all({"is_own": is_own, "cause": str(told["cause"]), "replay": replay, "next": incidents.next_number})
    guilty = guilty_ranks(shared)
    named = _known(shared) or _suspected(shared)
    first = max(one["next"] for one in shared)
    kept: dict[str, Any] = {"incident": None, "replay": replay, "unkept": None}
    if rank in guilty:
        incidents.next_number = first + guilty.index(rank)
        kept = keep(dict(told))
    incidents.next_number = first + len(guilty)
    facts = of_all({**{name: told[name] for name in _TOLD}, **kept} if rank in named else None)
    bad_weights = max(facts[rank]["bad_weights"] for rank in named)
    unkept = next((facts[rank]["unkept"] for rank in named if facts[rank]["unkept"]), None)
    return joined({rank: facts[rank] for rank in named}) | {"bad_weights": bad_weights, "unkept": unkept}


def guilty_ranks(shared: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which ranks keep an incident: those that had the bad part; where none knows, the first that may have had it."""
    return _known(shared) or _suspected(shared)[:1]


def _known(shared: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which ranks had the bad part, by what each knows of its own; empty where none does.

    Gradients are summed before anybody looks; then it is those whose part has bad data or is bad again by itself.
    """
    own = [rank for rank, one in enumerate(shared) if one["is_own"]]
    if own and len(own) < len(shared):
        return own
    again = [{one["cause"], one["replay"]} for one in shared]
    return [rank for rank, facts in enumerate(again) if facts & {Cause.DATA, ReplayVerdict.DETERMINISTIC}]


def _suspected(shared: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which ranks may have had it: those whose part was not seen to be good, else all."""
    unseen = [rank for rank, one in enumerate(shared) if one["replay"] != ReplayVerdict.NOT_REPRODUCIBLE]
    return unseen or [*range(len(shared))]


def joined(facts: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of several ranks as those of one batch. One of them that could not see its own again suspects a card,
    whatever the others saw."""
    first = next(iter(facts.values()))
    images = list(dict.fromkeys(image for one in facts.values() for image in one["images"]))
    incidents = [one["incident"] for one in facts.values() if one["incident"]]
    replays = [one["replay"] for one in facts.values() if one["replay"]]
    suspect = [one for one in replays if one == ReplayVerdict.NOT_REPRODUCIBLE]
    return {
        **first,
        "images": images,
        "incident": incidents[0] if incidents else None,
        "replay": next(iter(suspect or replays), None),
        "ranks": list(facts),
    }
