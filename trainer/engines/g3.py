"""Ultralytics 8.3.230 and 8.4.0: loaders and optimizer are built within the set-up; no second try without memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ultralytics.engine.trainer import BaseTrainer

from trainmaster.trainer.engines.g4 import G4
from trainmaster.trainer.engines.seams import Seams


class G3(G4):
    """Ultralytics 8.3.230 and 8.4.0: what differs from :class:`G4`."""

    name: ClassVar[str] = "G3"
    builds_pipeline_apart: ClassVar[bool] = False
    seams: ClassVar[Seams] = G4.seams.changed(
        without=frozenset({(BaseTrainer, "_build_train_pipeline")}),
        swapped={
            (BaseTrainer, "_do_train"): {
                'self.args.warmup_bias_lr if x.get("param_group") == "bias" else 0.0': (
                    "self.args.warmup_bias_lr if j == 0 else 0.0"
                ),
                "unwrap_model(self.model).criterion.update()": None,  # came within this generation
            },
        },
    )

    def is_bias(self, group: Mapping[str, Any], index: int) -> bool:
        """Whether a parameter group holds the biases: here it is the first."""
        del group
        return index == 0
