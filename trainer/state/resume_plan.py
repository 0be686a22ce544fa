"""Going on with a run: which state, is it clean, under which settings."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster.trainer.arguments import ArgumentsError
from trainmaster.trainer.checkpoints.archive import archive_after, finish_archiving
from trainmaster.trainer.checkpoints.catalog import last_clean
from trainmaster.trainer.checkpoints.files import DigestError, sweep_partials
from trainmaster.trainer.checkpoints.forensics import Judgement, judge
from trainmaster.trainer.checkpoints.history import cut_results
from trainmaster.trainer.checkpoints.ledger import attestations
from trainmaster.trainer.checkpoints.restore import mend_best
from trainmaster.trainer.checkpoints.retention import WITHIN_EPOCH, epochs_on_disk, state_epoch, ultralytics_copy
from trainmaster.trainer.checkpoints.state import load_state
from trainmaster.trainer.contract import RunLayout, RunRecordState, Verdict, read_json
from trainmaster.trainer.data.quarantine import listed
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.levels import CHECKPOINT, LAYER_SETTINGS, LayerRow, next_level, resolve, strengthened
from trainmaster.trainer.records.run_directory import RunLock
from trainmaster.trainer.settings.guard_settings import GuardSettings, take_settings
from trainmaster.trainer.settings.inputs import data_faults, exact_faults, value_faults
from trainmaster.trainer.state.full_state import read_legacy
from trainmaster.trainer.state.known_arguments import with_known_arguments
from trainmaster.trainer.state.same.data import begun_anew, require_same_classes
from trainmaster.trainer.state.same.model import require_same_model

PLAN_KEY: Final = "trainmaster_plan"
"""Carries a :class:`ResumePlan` among a trainer's overrides; taken out before Ultralytics sees them."""

NEXT_LEVEL: Final = "next"
KEEP_THE_COURSE: Final = frozenset({"workers", "device", "plots", "cache", "verbose"})
"""Settings that change nothing about what a run's last epoch was."""
CHOSEN_BY_AUTO: Final = ("optimizer", "lr0", "warmup_bias_lr")
"""``optimizer=auto`` overrules what was asked for of these, and writes its choice among the run's arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePlan:
    """What to go on from and how. ``epoch`` counts from 0: the one that is trained next."""

    path: Path
    sha256: str
    """Of the bytes at ``path`` that were judged, and that ``state`` is made of."""
    state: dict[str, Any]
    epoch: int
    settings: GuardSettings
    rows: tuple[LayerRow, ...]
    user: dict[str, Any]
    warmup_from: int
    lock: RunLock | None
    """None in a rank: what held the run's lock for the plan has made the plan and is gone."""
    finishing: bool = False
    """Every epoch was trained; the last one is validated and saved again, and the final evaluation follows."""
    notes: tuple[str, ...] = ()
    """States with more batches behind them that were passed over, and why."""

    def as_record(self) -> dict[str, Any]:
        """For the ranks of a DDP run, which make the same plan of it; see :func:`plan_for_rank`."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "warmup_from": self.warmup_from,
            "finishing": self.finishing,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }


class ResumeRefusedError(Exception):
    """The checkpoint asked for must not be trained on: exit code 5."""

    def __init__(self, message: str, *, path: Path | None, verdict: Verdict, reasons: tuple[str, ...]) -> None:
        super().__init__(message)
        self.path = path
        self.verdict = verdict
        self.reasons = reasons


def make_plan(
    layout: RunLayout, lock: RunLock, *, from_epoch: int | None, given: Mapping[str, Any]
) -> tuple[ResumePlan, dict[str, Any]]:
    """How to go on with the run in ``layout``, and the overrides of the trainer that does.

    With ``from_epoch`` (from 1) the run goes on after that epoch's checkpoint, and what came later is archived.

    Raises:
        ResumeRefusedError: that checkpoint is not clean, or there is none; says which one to take.
        ArgumentsError: the run is over, or a setting cannot be.
    """
    notes: list[str] = []
    with suppress(OSError):  # what a kill left half written, one state each time; the next epoch's end may be hours off
        sweep_partials(layout.states, layout.weights)
    if from_epoch is None:  # half of a way back would leave the half-precision file of an epoch that is put aside
        begun = finish_archiving(layout)
        notes += [f"going back to epoch {one.after_epoch} was cut short; it is done now" for one in begun]
    chosen = _newest(layout, notes) if from_epoch is None else _of_epoch(layout, from_epoch)
    path, state = chosen.file, _load(chosen)
    finishing = from_epoch is None and _only_the_end_is_missing(layout, state, given)
    if finishing:
        state = _before_its_end(state)
    state, left_out = with_known_arguments(layout.name, state)
    notes += [left_out] if left_out else []
    plan, overrides = _with_settings(layout, lock, chosen, state, dict(given), finishing=finishing)
    if plan.settings.quarantine:
        listed(Path(plan.settings.quarantine))  # it may have gone since: better told before anything is archived
    epochs = int(overrides["epochs"])
    if state["epoch"] >= epochs:
        raise ArgumentsError(
            f"{path.name} is the end of the run: {state['epoch']} of {epochs} epochs are done",
            f"give more epochs, or an earlier one: from=1 ... from={max(epochs - 1, 1)}",
        )
    notes += _require_trainable(layout, state, overrides, exact=plan.settings.exact)
    plan = overrides[PLAN_KEY] = dataclasses.replace(plan, notes=tuple(notes))
    if from_epoch is not None:
        archive_after(layout, from_epoch, owns_lock=True)
    else:
        cut_results(layout.results_csv, state["epoch"])  # a kill may fall between the row and the state of an epoch
    mend_best(layout, state["epoch"] + finishing)
    return plan, overrides


def _require_trainable(
    layout: RunLayout, state: Mapping[str, Any], overrides: Mapping[str, Any], *, exact: bool
) -> list[str]:
    """What the run was trained on is still there and fits its model; asked before anything is moved. What is worth
    telling is returned.

    Raises:
        ArgumentsError: every fault, one a line.
    """
    data = str(overrides["data"])
    if faults := data_faults(data, str(state["task"])) + value_faults({"device": overrides.get("device")}):
        raise ArgumentsError(
            "\n".join(faults), f"trainmaster resume {shlex.quote(str(layout.root))} data=... device=..."
        )
    if faults := exact_faults(exact, overrides):
        raise ArgumentsError("\n".join(faults), "exact=false, time=none or deterministic=true")
    if bool(overrides.get("single_cls")) is not bool(state["args"].get("single_cls")):
        raise ArgumentsError(
            f"single_cls={overrides.get('single_cls')} can't be changed on a resume: the run keeps its model",
            f"a new run from its weights: {begun_anew(layout, data)}",
        )
    require_same_classes(layout, state, overrides)
    note = require_same_model(layout, state)
    return [note] if note else []


def _only_the_end_is_missing(layout: RunLayout, state: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether the run was cut short after its last epoch: in the final evaluation, or just before it."""
    saved = {**state["args"], **state.get("guard", {})}
    changed = {name for name, value in given.items() if name not in saved or saved[name] != value}
    if state["batch"] or not state.get("batches") or "running" not in state or changed - KEEP_THE_COURSE:
        return False
    if (read_json(layout.run_json) or {}).get("state") == RunRecordState.FINISHED:
        return False
    return bool(state.get("run_ends")) or state["epoch"] >= state["epochs"]


def _before_its_end(state: dict[str, Any]) -> dict[str, Any]:
    """``state``, saved after an epoch, as if saved after that epoch's last batch: validation and saving still to come.

    Doing these again changes nothing: they are made of the same weights.
    """
    updates = state.get("criterion_updates", state["epoch"])
    return {
        **state,
        "epoch": state["epoch"] - 1,
        "batch": state["batches"],
        "criterion_updates": max(updates - 1, 0),
    }


def plan_for_rank(launched: Mapping[str, Any]) -> ResumePlan:
    """The plan that the launching process made, once more: it has judged the state and put the run directory right."""
    resumed = launched["resumed"]
    path, sha256 = Path(resumed["path"]), str(resumed["sha256"])
    state = _read(path, sha256)
    if resumed["finishing"]:
        state = _before_its_end(state)
    state, _ = with_known_arguments(path.name, state)
    settings = GuardSettings(**launched["settings"])
    return ResumePlan(
        path=path,
        sha256=sha256,
        state=state,
        epoch=state["epoch"],
        settings=settings,
        rows=tuple(LayerRow(**row) for row in resumed["rows"]),
        user=launched["user"],
        warmup_from=resumed["warmup_from"],
        lock=None,
        finishing=resumed["finishing"],
    )


def rebuild_model(trainer: EngineTrainer, state: Mapping[str, Any]) -> None:
    """``trainer.model`` is the model that ``state`` is of, its weights still to be loaded."""
    trainer.model = trainer.get_model(cfg=dict(state["model_yaml"]), weights=None, verbose=False)


def _of_epoch(layout: RunLayout, epoch: int) -> Judgement:
    candidates = [
        layout.state_file(epoch),
        ultralytics_copy(layout, epoch),
        layout.weights / f"epoch{epoch - 1}.pt",  # Ultralytics counts from 0
        layout.weights / "last.pt",
        layout.weights / "best.pt",
    ]
    refused: list[Judgement] = []
    for path in candidates:
        if not path.is_file():
            continue
        judgement = judge(path, attestations=attestations(layout))
        if judgement.epoch != epoch:
            continue
        if _usable(judgement):
            return judgement
        refused.append(judgement)
    if refused:
        raise _refusal(layout, refused[0], f"the checkpoint of epoch {epoch}")
    raise _nothing(layout, f"there is none of epoch {epoch} in {layout.root}")


def _newest(layout: RunLayout, notes: list[str]) -> Judgement:
    """The state with most batches behind it, of whatever kind; ``notes`` says which of an epoch's middle won't do."""
    rows = attestations(layout)
    found: list[tuple[tuple[int, int, int], Judgement]] = []
    paths = [layout.states / name for name in WITHIN_EPOCH]
    for path in [*paths, *map(layout.state_file, epochs_on_disk(layout)[-1:])]:
        if not path.is_file():
            continue
        judgement = judge(path, attestations=rows)
        if path.name not in WITHIN_EPOCH:
            found.append(((judgement.epoch or 0, 0, 1), judgement))
        elif judgement.verdict is Verdict.CLEAN:
            state = _load(judgement)
            found.append(((state["epoch"], state["batch"], 1), judgement))
        else:
            notes.append(f"{path.name} is passed over, it is {judgement.verdict}: {'; '.join(judgement.reasons)}")
    last = layout.weights / "last.pt"
    if last.is_file():
        judgement = judge(last, attestations=rows)
        epoch = judgement.epoch or 0
        # A kill between the two writes leaves last.pt one epoch ahead, in half precision: a state within that epoch
        # costs minutes and is exact, and a run that is to be exact takes no other.
        newest = max(found, key=lambda pair: pair[0], default=None)
        within = any(key[0] == epoch - 1 and key[1] for key, _ in found)
        if newest is None or (epoch > newest[0][0] and not within and not _is_exact(newest[1])):
            found.append(((epoch, 0, 0), judgement))
    if not found:
        raise _nothing(layout, f"{layout.root} holds nothing to resume from")
    _, judgement = max(found, key=lambda pair: pair[0])
    if not _usable(judgement):
        raise _refusal(layout, judgement, judgement.file.name)
    return judgement


def _is_exact(judgement: Judgement) -> bool:
    return _usable(judgement) and bool(_load(judgement).get("guard", {}).get("exact"))


def _usable(judgement: Judgement) -> bool:
    """Clean, or of an unguarded run with no sign against it, and something to go on from."""
    return judgement.resumable and judgement.verdict is Verdict.CLEAN


def _load(judgement: Judgement) -> dict[str, Any]:
    try:
        return _read(judgement.file, judgement.sha256)
    except DigestError as error:
        raise ResumeRefusedError(
            f"checkpoint-changed: {judgement.file} is not what was judged a moment ago: somebody writes there. "
            "Hint: end that, and ask again",
            path=judgement.file,
            verdict=Verdict.UNKNOWN,
            reasons=("changed while it was read",),
        ) from error


def _read(path: Path, sha256: str) -> dict[str, Any]:
    """The state at ``path``, of the bytes with ``sha256``; a :class:`DigestError` where it holds others."""
    return (load_state if _is_own(path) else read_legacy)(path, expected_sha256=sha256)


def _is_own(path: Path) -> bool:
    """Whether ``path`` is a full state, and not Ultralytics' half-precision file."""
    return path.name in WITHIN_EPOCH or state_epoch(path.name) is not None


def _nothing(layout: RunLayout, what: str) -> ResumeRefusedError:
    text = f"no-checkpoint: {what}. {_offer(layout)}"
    return ResumeRefusedError(text, path=None, verdict=Verdict.UNKNOWN, reasons=("missing",))


def _refusal(layout: RunLayout, judgement: Judgement, what: str) -> ResumeRefusedError:
    reasons = "; ".join(judgement.reasons) or "not resumable"
    return ResumeRefusedError(
        f"checkpoint-{judgement.verdict}: {what} ({judgement.file}): {reasons}. {_offer(layout)}",
        path=judgement.file,
        verdict=judgement.verdict,
        reasons=judgement.reasons,
    )


def _offer(layout: RunLayout) -> str:
    entry = last_clean(layout)
    if entry is None:
        return "Hint: this run has no clean checkpoint; start it anew"
    command = f"trainmaster resume {shlex.quote(str(layout.root))} from={entry.epoch}"
    return f"Hint: the last clean one is of epoch {entry.epoch}: {command}"


def _with_settings(
    layout: RunLayout,
    lock: RunLock,
    judgement: Judgement,
    state: dict[str, Any],
    given: dict[str, Any],
    *,
    finishing: bool,
) -> tuple[ResumePlan, dict[str, Any]]:
    saved_args: dict[str, Any] = dict(state["args"])
    base, _ = take_settings(state.get("guard", {}))
    if given.get("level") == NEXT_LEVEL:
        given["level"] = next_level(base.level)
    settings, rest = take_settings(given, dataclasses.replace(base, drill=None))
    earlier = dict(state.get("user", {}))
    chosen = {name: value for name, value in rest.items() if name in LAYER_SETTINGS}
    if "max_norm" in given:
        chosen["max_norm"] = settings.max_norm
    if settings.level != base.level:
        user = {**strengthened(settings.level, earlier), **chosen}
    else:
        user = {**earlier, **chosen}
    if "max_norm" not in user:
        settings = dataclasses.replace(settings, max_norm=None)
    args = {**saved_args, **rest}
    rows = resolve(settings.level, user, args, CHECKPOINT)
    if settings.level == base.level and "optimizer" not in chosen:
        rows = tuple(_as_trained(row, saved_args, chosen) for row in rows)
    changed = any(
        row.setting in saved_args and row.value != saved_args[row.setting]
        for row in rows
        if row.setting not in {"hsv_h", "hsv_s", "hsv_v", "val"}
    )
    warmup_from = state["epoch"] if changed else int(state.get("warmup_from", 0))
    plan = ResumePlan(
        path=judgement.file,
        sha256=judgement.sha256,
        state=state,
        epoch=state["epoch"],
        settings=settings,
        rows=rows,
        user=user,
        warmup_from=warmup_from,
        lock=lock,
        finishing=finishing,
    )
    user_layers = {row.setting: row.value for row in rows if row.setting in saved_args}
    overrides = {**args, **user_layers, "save_dir": str(layout.root), "resume": False, PLAN_KEY: plan}
    return plan, overrides


def _as_trained(row: LayerRow, saved_args: Mapping[str, Any], chosen: Mapping[str, Any]) -> LayerRow:
    """``row`` with the value that the run was trained with, unless a new one was chosen."""
    name = row.setting
    if name not in CHOSEN_BY_AUTO or name in chosen or saved_args.get(name, row.value) == row.value:
        return row
    return dataclasses.replace(row, value=saved_args[name], source=CHECKPOINT)
