"""Two ranks of Ultralytics' own DDP launcher on a CPU: Python imports this by itself when its folder is on the path.

The launcher, the file it writes and ``torch.distributed.run`` are the real ones. Replaced are the choice of devices,
the backend (gloo), and the devices that DistributedDataParallel and the final evaluation are given.
"""

from __future__ import annotations

import gc
import os
import sys
from types import SimpleNamespace
from typing import Any

# A dozen processes load torch for one test: as in trainmaster.loading.
gc.set_threshold(0)


def on_the_cpu() -> None:
    """Two devices that are none."""
    import torch
    from torch import distributed, nn
    from ultralytics.engine import trainer, validator
    from ultralytics.utils import torch_utils

    torch.set_num_threads(1)
    plain = nn.parallel.DistributedDataParallel

    class OnCpu(plain):  # type: ignore[misc, valid-type]
        def __init__(self, module: nn.Module, device_ids: Any = None, **settings: Any) -> None:
            super().__init__(module, **settings)

    def parse_device(device: Any = None) -> str:
        return ",".join(map(str, device)) if isinstance(device, list | tuple) else str(device)

    def set_up(self: Any) -> None:
        self.device = torch.device("cpu")
        self.accelerator = trainer.get_torch_device_backend(self.device)
        distributed.init_process_group("gloo", rank=trainer.RANK, world_size=self.world_size)

    nn.parallel.DistributedDataParallel = OnCpu  # type: ignore[misc]
    torch_utils.select_device = trainer.select_device = lambda *_, **__: torch.device("cuda", 0)
    validator.select_device = lambda *_, **__: torch.device("cpu")
    torch_utils.parse_device = trainer.parse_device = parse_device
    trainer.BaseTrainer._setup_ddp = set_up
    loaded = validator.AutoBackend
    validator.get_torch_device_backend = lambda _: SimpleNamespace(current_device=lambda: 0)
    validator.AutoBackend = lambda **given: loaded(**{**given, "device": torch.device("cpu")})


_BESIDE = ("torch.distributed.run", "resource_tracker", "spawn")
"""Processes of the launcher that train nothing."""

if os.environ.get("TWO_RANKS") and not any(word in argument for argument in sys.orig_argv for word in _BESIDE):
    on_the_cpu()
