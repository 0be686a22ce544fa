"""Which generation of Ultralytics is installed, told by the seams that are there, never by its number."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import ultralytics
from ultralytics.engine.trainer import BaseTrainer

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.naming import some
from trainmaster.trainer.engines import installed
from trainmaster.trainer.engines.g3 import G3, BiasesFirst, BuiltInSetUp
from trainmaster.trainer.engines.g4 import G4, LongerWarmup, StackedLosses
from trainmaster.trainer.engines.g5 import G5, EarlierWarmup
from trainmaster.trainer.engines.g6 import G6
from trainmaster.trainer.engines.methods import STEPS
from trainmaster.trainer.engines.seams import code

GENERATIONS: Final[tuple[G6, ...]] = (G6(), G5(), G4(), G3())
"""The newest first."""

CHANGES: Final[tuple[tuple[type[G6], ...], ...]] = (
    (EarlierWarmup, LongerWarmup),
    (StackedLosses,),
    (BuiltInSetUp,),
    (BiasesFirst,),
)
"""A row a seam: what stood there before what the newest generation has, the newest first."""

TESTED_VERSIONS: Final = ("8.3.230", "8.4.0", "8.4.7", "8.4.40", "8.4.100", "8.4.103", "8.4.150", "8.4.190")
"""Versions on which the table of faults ran; the whole test suite on the last of them."""

INSTALL: Final = f"pip install 'ultralytics=={TESTED_VERSIONS[-1]}' (tested: {', '.join(TESTED_VERSIONS)})"
"""What to do when none fits."""


def remedy() -> str:
    """What to do about an Ultralytics that fits no generation: another one, or its own files where they were edited."""
    found = installed.look()
    return f"its files were edited: {found.put_back}" if found.changed else INSTALL


def edited() -> str | None:
    """A warning when files of Ultralytics are not as published, whether or not the guard rests on them; else None."""
    found = installed.look()
    if not found.changed:
        return None
    return (
        f"Ultralytics {found.version} is not as published: {some(found.changed, 1)}. All seams are there, so training "
        f"goes on, but what was edited was never tested with this guard; {found.put_back} puts it back"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compatibility:
    """``engine`` is what fits, or what comes nearest; ``missing`` names every seam that it lacks, empty when the guard
    can work."""

    version: str
    tested: bool
    engine: G6
    missing: tuple[str, ...]


class IncompatibleError(ArgumentsError):
    """This Ultralytics lacks a seam that the guard rests on; training under it would be unguarded. Exit code 2."""


def mixtures() -> Iterator[G6]:
    """What stands between two generations: each seam of either, in every way there is. The newest first."""
    for chosen in itertools.product(*((None, *row) for row in CHANGES)):
        yield _mixed([kind for kind in chosen if kind is not None])


def _mixed(kinds: Sequence[type[G6]]) -> G6:
    mixed: type[G6] = type("Mixed", tuple(kinds) or (G6,), {})
    nearest = [one for one in GENERATIONS if _changes(type(one)) <= _changes(mixed)][-1]
    rest = [kind for kind in kinds if kind not in _changes(type(nearest))]
    mixed.name = " with ".join(filter(None, [nearest.name, " and ".join(kind.told_as for kind in rest)]))
    return mixed()


def _changes(generation: type[G6]) -> set[type[G6]]:
    return {kind for row in CHANGES for kind in row if issubclass(generation, kind)}


def check() -> Compatibility:
    """What of the seams is there in the installed Ultralytics."""
    version = ultralytics.__version__
    tested = version in TESTED_VERSIONS
    faults: dict[G6, tuple[str, ...]] = {}
    for candidate in itertools.chain(GENERATIONS, mixtures()):
        faults[candidate] = candidate.seams.missing()
        if not faults[candidate]:
            return Compatibility(version=version, tested=tested, engine=candidate, missing=())
    nearest = min(faults, key=lambda candidate: len(faults[candidate]))
    return Compatibility(version=version, tested=tested, engine=nearest, missing=faults[nearest])


@functools.cache
def engine() -> G6:
    """The generation at hand; its nearest kin where none fits, which :func:`require` refuses."""
    return check().engine


def steps_its_own_way(step: Callable[..., None]) -> bool:
    """Whether ``step``, an ``optimizer_step``, is none that the guard's stands in for: a subclass's, an edited one. It
    is then taken itself."""
    plain = getattr(step, "__func__", step)  # what is kept by it must not hold a trainer
    try:
        lines = code(plain).splitlines()
    except (OSError, TypeError):  # no source
        return plain is not BaseTrainer.optimizer_step
    return tuple(line.strip() for line in lines[1:]) not in STEPS


def require() -> str | None:
    """Every seam is there; a warning when the version is one that was never tested, else None.

    Raises:
        IncompatibleError: names the seams that are gone.
    """
    found = check()
    if found.missing:
        raise IncompatibleError(
            f"Ultralytics {found.version} fits no generation that the guard knows; of the nearest one, "
            f"{found.engine.name}, it lacks: {'; '.join(found.missing)}.",
            remedy(),
        )
    if found.tested:
        return None
    return (
        f"Ultralytics {found.version} was never tested with this guard (tested: {', '.join(TESTED_VERSIONS)}); "
        f"all seams of generation {found.engine.name} are there, so training goes on"
    )
