"""Ultralytics 8.3.230 to 8.4.2: loaders and optimizer are built within the set-up; no second try without memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ultralytics.engine.trainer import BaseTrainer

from trainmaster.trainer.engines.g4 import G4
from trainmaster.trainer.engines.g6 import G6
from trainmaster.trainer.engines.seams import SeamChange


class BuiltInSetUp(G6):
    """Loaders and optimizer are built within the set-up, once."""

    told_as: ClassVar[str] = "the set-up of G3"
    change: ClassVar[SeamChange] = SeamChange(
        without=frozenset({(BaseTrainer, "_build_train_pipeline")}),
        added={(BaseTrainer, "_setup_train"): ("self.train_loader = self.get_dataloader(", "self.build_optimizer(")},
    )
    builds_pipeline_apart: ClassVar[bool] = False


class BiasesFirst(G6):
    """The parameter groups have no names; the first holds the biases."""

    told_as: ClassVar[str] = "the parameter groups of G3"
    change: ClassVar[SeamChange] = SeamChange(
        swapped={
            (BaseTrainer, "_do_train"): {
                'self.args.warmup_bias_lr if x.get("param_group") == "bias" else 0.0': (
                    "self.args.warmup_bias_lr if j == 0 else 0.0"
                ),
                "unwrap_model(self.model).criterion.update()": None,  # came while this held
            },
        },
    )

    def is_bias(self, group: Mapping[str, Any], index: int) -> bool:
        """Whether a parameter group holds the biases: here it is the first."""
        del group
        return index == 0


class G3(BiasesFirst, BuiltInSetUp, G4):
    """Ultralytics 8.3.230 to 8.4.2: what differs from :class:`G4`."""

    name: ClassVar[str] = "G3"
