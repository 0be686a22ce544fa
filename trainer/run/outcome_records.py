"""What the guard found out about batches and steps, counted and put on record: events, incidents, offenders."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from functools import partial
from typing import Any, Final

import torch
from ultralytics.utils import LOGGER, RANK
from ultralytics.utils.torch_utils import unwrap_model

from trainmaster.trainer.batches import precision
from trainmaster.trainer.batches.outcomes import (
    BatchOutcome,
    FailedBatch,
    GradientsGrew,
    Hopeless,
    Remark,
    StateHealed,
    WeightsLeapt,
)
from trainmaster.trainer.batches.position import Position
from trainmaster.trainer.contract import EventKind, ReplayVerdict, SkipReason
from trainmaster.trainer.data.quarantine import note_offence
from trainmaster.trainer.data.tracing import sources_of, sources_of_samples
from trainmaster.trainer.drill import Drill
from trainmaster.trainer.engines.protocol import EngineTrainer
from trainmaster.trainer.incidents.incident import Incidents, diagnose, first_bad_module, undiagnosed
from trainmaster.trainer.incidents.incident_weights import Scenes, digests_of
from trainmaster.trainer.incidents.replays import ENDED_THE_TRAINER, Replayed, marked, replayed, with_single_precision
from trainmaster.trainer.records.recorder import Recorder, encoded
from trainmaster.trainer.run import rank_facts
from trainmaster.trainer.run.reporter import rate_of
from trainmaster.trainer.run.tally import Tally

_OF_FORWARD_PASS: Final = frozenset({SkipReason.NONFINITE_LOSS, SkipReason.NONFINITE_BATCHNORM})


class OutcomeRecords:
    """Takes what the guard of the steps emits."""

    def __init__(
        self,
        trainer: EngineTrainer,
        recorder: Recorder,
        *,
        level: str,
        position: Position,
        tally: Tally,
        drill: Drill,
        replays: bool = True,
    ) -> None:
        self._trainer = trainer
        self._recorder = recorder
        self._level = level
        self._position = position
        self._tally = tally
        self._drill = drill
        self._replays = replays
        self._incidents = Incidents(recorder.layout)
        self._scenes = Scenes(recorder.layout.incidents)

    def take(self, outcome: BatchOutcome) -> None:
        """``outcome`` is on record; a training that is past hope ends after the batch in work."""
        match outcome:
            case FailedBatch():
                self._failed(outcome)
            case StateHealed():
                self._here(EventKind.STATE_HEALED, what=outcome.what, tensors=outcome.tensors)
            case GradientsGrew():
                self._here(
                    EventKind.GRADIENT_WARNING,
                    grad_norm=outcome.norm,
                    median=outcome.warning.median,
                    factor=outcome.warning.factor,
                    trend=outcome.warning.trend,
                    worst=[{"parameter": name, "norm": norm} for name, norm in outcome.worst],
                )
            case WeightsLeapt(hopeless=False):
                self._here(EventKind.NOTICE, text=outcome.why)
                LOGGER.warning(outcome.why)
            case Remark():
                self._here(EventKind.NOTICE, text=outcome.text)
                LOGGER.warning(outcome.text)
            case Hopeless() | WeightsLeapt():
                self._tally.give_up = outcome.why
                LOGGER.warning(f"giving up after this batch: {outcome.why}")

    def _here(self, kind: EventKind, **fields: Any) -> None:
        self._recorder.event(kind, epoch=self._position.epoch + 1, batch=self._position.index + 1, **fields)

    def _failed(self, bad: FailedBatch) -> None:
        """Count it, keep it, tell it."""
        position, tally = self._position, self._tally
        lost = bad.action == "skipped"
        tally.nonfinite_epoch += bad.reason is not SkipReason.LOSS_SPIKE
        tally.skipped += lost
        tally.skipped_epoch += lost
        here = (bad.epoch, bad.index) == (position.epoch, position.index)
        # What falls with its window has done nothing: the window counts as one.
        counts = lost and (here or not bad.by_association)
        spent = tally.budget.spend(batches_per_epoch=position.batches) if counts else None
        drilled = self._drill.fault is not None and here
        facts = {
            "reason": bad.reason,
            "epoch": bad.epoch + 1,
            "batch": bad.index + 1,
            "batches": position.batches,
            "action": bad.action,
            "losses": bad.verdict.losses if bad.verdict else {},
            "grad_norm": bad.grad_norm,
            "lr": rate_of(self._trainer),
            "images": sources_of(bad.batch),
        }
        found = self._diagnosed(bad)
        again = self._replayed(bad)  # at once: nothing else has run on the card since
        keep = partial(self._keep, bad, again)
        told = {**facts, **found, "drill": drilled}
        if self._trainer.world_size > 1:
            known = rank_facts.told_by_all(told, keep, self._incidents, is_own=_is_own(bad), replay=again.verdict)
        else:
            known = {**keep(told), **{name: found[name] for name in ("cause", "bad_weights")}}
        bad_weights, unkept = known.pop("bad_weights"), known.pop("unkept")
        if unkept is not None:  # by the rank that had it; the first tells it
            self._recorder.storage_fault("incidents", unkept)
        else:
            self._recorder.written("incidents")
        self._recorder.event(
            EventKind.BAD_BATCH,
            **facts | known,
            skipped_epoch=tally.skipped_epoch,
            skipped_total=tally.skipped,
            streak=tally.budget.streak,
            **({"drill": True} if drilled else {}),
        )
        LOGGER.warning(
            f"bad batch: epoch {bad.epoch + 1} batch {bad.index + 1}/{position.batches}: {bad.reason}, "
            f"{bad.action} ({tally.skipped_epoch} this epoch, {tally.budget.streak} in a row)"
        )
        if bad.action != "observed":
            many = f"{bad_weights} weights are not finite, and no batch can mend that"
            tally.give_up = many if bad_weights else spent or tally.give_up

    def _diagnosed(self, bad: FailedBatch) -> dict[str, Any]:
        labels_bad = bool(bad.verdict and bad.verdict.labels_bad)
        try:
            return diagnose(unwrap_model(self._trainer.model), bad.batch, labels_bad=labels_bad)
        except torch.OutOfMemoryError:  # the engine would take it for the batch's own and halve the batch size
            return undiagnosed(labels_bad=labels_bad)

    def _keep(self, bad: FailedBatch, again: Replayed, facts: dict[str, Any]) -> dict[str, Any]:
        """For the event: ``incident`` and ``replay``, and why it is ``unkept``; each of them may be None."""
        module, fp32_finite = None, None
        if bad.action == "skipped" and bad.verdict is not None and bad.verdict.reason in _OF_FORWARD_PASS:
            with suppress(torch.OutOfMemoryError), bad.look.without_trace():  # as in _diagnosed
                module = first_bad_module(unwrap_model(self._trainer.model), bad.batch)
                fp32_finite = bad.look.finite_in_single_precision(bad.batch)
        trained_in = precision.name_of(self._trainer)
        labels_bad = bad.verdict is not None and bad.verdict.labels_bad
        again = with_single_precision(again, trained_in, fp32_finite, labels_bad=labels_bad)
        details = {
            **facts,
            "ts": time.time(),
            "run": self._recorder.run,
            "attempt": self._recorder.attempt,
            "level": self._level,
            "loss": bad.verdict.loss if bad.verdict else None,
            "precision": trained_in,
            "rng": digests_of(bad.rng),
            "by_association": bad.by_association,
            "first_bad_module": module,
            "fp32_replay_finite": fp32_finite,
            **again.as_record(),
            **({"rank": RANK} if self._trainer.world_size > 1 else {}),
            "worst_gradients": [{"parameter": name, "norm": norm} for name, norm in bad.worst],
        }
        suspects = sources_of_samples(bad.batch, facts["bad_images"] + facts["badly_labelled"]) or facts["images"]
        name, unkept = None, None
        try:
            keep_scene = partial(self._scenes.keep, trainer=self._trainer, rng=bad.rng, steps=bad.num_steps)
            name = self._incidents.record(encoded(details), bad.batch, suspects, keep_scene)
            # The same images were good, or would be.
            innocent = again.verdict is ReplayVerdict.NOT_REPRODUCIBLE or facts["bad_weights"]
            if bad.action == "skipped" and not (facts["drill"] or bad.by_association or innocent):
                note_offence(self._recorder.layout, suspects, name)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            unkept = error
        return {"incident": name, "replay": again.verdict, "unkept": unkept}

    def _replayed(self, bad: FailedBatch) -> Replayed:
        if not self._replays:
            return Replayed(left_out="replay_incidents is off")
        if self._incidents.full:
            return Replayed(left_out="there are too many incidents to keep another")
        mark = self._recorder.layout.guard / f"replaying{max(RANK, 0) or ''}.json"
        with marked(mark, {"epoch": bad.epoch + 1, "batch": bad.index + 1}) as may:
            if may:
                return replayed(bad, self._trainer)
        self._here(EventKind.NOTICE, text=f"the bad batch was not run again: {ENDED_THE_TRAINER}")
        return Replayed(left_out=ENDED_THE_TRAINER)


def _is_own(bad: FailedBatch) -> bool:
    """Whether it was this rank's part. Of a gradient, which is summed over ranks, it is not where that is finite."""
    if bad.reason is SkipReason.NONFINITE_GRADIENT and bad.grad_norm is not None and math.isfinite(bad.grad_norm):
        return False
    return bad.verdict is None or bad.verdict.is_own
