"""How many batches were lost, in this epoch and in the attempt, and whether that is enough."""

from __future__ import annotations

from dataclasses import dataclass

from trainmaster.trainer.batches.budget import SkipBudget


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one attempt."""

    budget: SkipBudget
    skipped: int = 0
    skipped_epoch: int = 0
    nonfinite_epoch: int = 0
    give_up: str | None = None
    """Why the run should end after the batch in work."""

    def start_epoch(self) -> None:
        """Counting of an epoch begins."""
        self.skipped_epoch = self.nonfinite_epoch = 0
