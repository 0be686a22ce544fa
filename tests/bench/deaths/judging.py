"""What must hold of a run directory whose trainer died, and of one that went on from there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from trainmaster.trainer.checkpoints.catalog import catalog
from trainmaster.trainer.checkpoints.files import digest_of
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import RunLayout, RunRecordState, Verdict, read_json

_TEMPORARY: Final = re.compile(r"\.[A-Za-z0-9._]+\.(partial|[a-z0-9_]{8}|\d+)")
_PARTS: Final = ("model", "ema", "optimizer")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A batch that was trained, from 0 over the whole run, by a process, and a digest of the weights that it met."""

    pid: int
    number: int
    weights: str


def trail_of(path: Path) -> list[Step]:
    """All batches in the order in which they were trained."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Step(pid=int(pid), number=int(number), weights=weights) for pid, number, weights in map(str.split, lines)]


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """What the run comes to that nothing befell."""

    epochs: int
    batches: int
    weights: dict[int, str]
    last_state: dict[str, Any]
    last: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    results: list[list[str]]

    @classmethod
    def of(cls, root: Path, trail: Path, *, epochs: int, batches: int) -> Undisturbed:
        """As the run in ``root`` ended."""
        layout = RunLayout(root)
        return cls(
            epochs=epochs,
            batches=batches,
            weights={step.number: step.weights for step in trail_of(trail)},
            last_state=load_state(layout.state_file(epochs)),
            last=_weights_in(layout.weights / "last.pt"),
            best=_weights_in(layout.weights / "best.pt"),
            results=_results(layout),
        )


class Judge:
    """Looks at the same bytes once."""

    def __init__(self, undisturbed: Undisturbed) -> None:
        self.undisturbed = undisturbed
        self._found: dict[object, list[str]] = {}
        self._places: dict[str, int] = {}

    def newest(self, layout: RunLayout) -> int | None:
        """How many batches lie behind the newest state that is attested clean; None when there is none."""
        clean = {row.sha256 for row in attestations(layout) if row.verdict is Verdict.CLEAN}
        places = []
        for path in sorted(layout.states.glob("*.pt")) if layout.states.is_dir() else []:
            sha256 = digest_of(path).sha256
            if ".ultralytics." in path.name or sha256 not in clean:
                continue
            if sha256 not in self._places:
                state = load_state(path)
                self._places[sha256] = state["epoch"] * self.undisturbed.batches + state["batch"]
            places.append(self._places[sha256])
        return max(places, default=None)

    def dead(self, layout: RunLayout, trail: list[Step]) -> list[str]:
        """Faults of a run whose trainer was killed: a state is saved after each batch, so one at most is lost."""
        newest = self.newest(layout) or 0
        reached = max((step.number for step in trail), default=0)
        return [*self.files(layout), *([f"at {reached}, newest state {newest}"] if reached - newest > 1 else [])]

    def files(self, layout: RunLayout) -> list[str]:
        """Files that are called clean and are not, and the other way round."""
        rows, faults = attestations(layout), []
        folders = (layout.weights, layout.states)
        for path in [path for folder in folders if folder.is_dir() for path in sorted(folder.glob("[!.]*.pt"))]:
            name, sha256 = path.relative_to(layout.root).as_posix(), digest_of(path).sha256
            told = tuple(
                (row.verdict, row.sha256 == sha256) for row in rows if sha256 == row.sha256 or name == row.file
            )
            key = (name, sha256, told[-3:])
            if key not in self._found:
                verdict, whole = judge(path, attestations=rows).verdict, _is_whole(path)
                wrong = whole != (verdict is Verdict.CLEAN)
                self._found[key] = [f"{name} is {'whole' if whole else 'torn'} and called {verdict}"] if wrong else []
            faults += self._found[key]
        return faults

    def went_on(self, layout: RunLayout, trail: list[Step], *, newest: int, dead: Iterable[int]) -> Iterator[str]:
        """Faults of a run that went on to its end from ``newest``, after the processes ``dead`` had trained it."""
        whole = self.undisturbed
        again = [step.number for step in trail if step.pid not in set(dead)]
        if again and again[0] < newest:
            yield f"went on from batch {again[0]}, the newest state was after {newest}"
        yield from self.same_weights(layout, trail)
        if (record := (read_json(layout.run_json) or {}).get("state")) != RunRecordState.FINISHED:
            yield f"run.json says {record}"
        for name, expected in (("last.pt", whole.last), ("best.pt", whole.best)):
            yield from _differences(name, _weights_in(layout.weights / name), expected)
        if _results(layout) != whole.results:
            yield "results.csv is another one"
        yield from (f"{one.file} is {one.verdict}" for one in catalog(layout, full=True) if one.verdict != "clean")
        yield from self.tidy(layout)

    def same_weights(self, layout: RunLayout, trail: list[Step]) -> Iterator[str]:
        """Each batch met the weights that it met in the undisturbed run, and so did the end."""
        other = [step.number for step in trail if self.undisturbed.weights.get(step.number) != step.weights]
        if other:
            yield f"batch {other[0]} met other weights"
        path = layout.state_file(self.undisturbed.epochs)
        if path.exists():
            state = load_state(path)
            for part in _PARTS:
                yield from _differences(part, state[part], self.undisturbed.last_state[part])

    def tidy(self, layout: RunLayout) -> Iterator[str]:
        """Nothing is left of what was being written."""
        for path in layout.root.rglob("*"):
            if path.is_file() and _TEMPORARY.fullmatch(path.name) and path.name != ".environment.json":
                yield f"{path.relative_to(layout.root)} is left behind"
        for folder in layout.incidents.iterdir() if layout.incidents.is_dir() else ():
            if read_json(folder / "incident.json") is None:
                yield f"incident {folder.name} has no record"
        torn = 0
        for line in layout.events.read_bytes().splitlines():
            try:
                json.loads(line)
            except ValueError:
                torn += 1
        if torn > 1:
            yield f"{torn} torn events"


def _is_whole(path: Path) -> bool:
    try:
        torch.load(path, map_location="cpu", weights_only=False)
    except (RuntimeError, OSError, EOFError, ValueError):
        return False
    return True


def _weights_in(path: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(path, map_location="cpu", weights_only=False)
    state: dict[str, torch.Tensor] = (checkpoint.get("ema") or checkpoint["model"]).half().state_dict()
    return state


def _results(layout: RunLayout) -> list[list[str]]:
    """Rows without their time."""
    rows = [line.split(",") for line in layout.results_csv.read_text().splitlines()]
    return [[row[0], *row[2:]] for row in rows]


def _differences(what: str, found: Any, expected: Any) -> Iterator[str]:
    left, right = dict(_tensors(found)), dict(_tensors(expected))
    differing = [name for name in left.keys() | right.keys() if not _same(left.get(name), right.get(name))]
    if differing:
        yield f"{what} differs in {len(differing)} tensors, {min(differing)} among them"


def _same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is not None and right is not None and torch.equal(left, right)


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{name}.{index}")
