"""A batch of a training lasts, as on a device, and keeps no processor busy meanwhile. Python imports this by itself
when its folder is on the path. ``BATCH_S`` in the environment is how long each batch waits before it begins.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from importlib.machinery import ModuleSpec
from typing import Any

CALLBACKS = "ultralytics.utils.callbacks.base"
BATCH_S = float(os.environ.get("BATCH_S", "0"))


class Paced:
    """Finds the module of Ultralytics that has every trainer's callbacks, as it is, and adds one."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != CALLBACKS:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            module.default_callbacks["on_train_batch_start"].append(wait)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def wait(_trainer: Any) -> None:
    """As long as a batch takes."""
    time.sleep(BATCH_S)


if BATCH_S:
    sys.meta_path.insert(0, Paced())  # type: ignore[arg-type]
