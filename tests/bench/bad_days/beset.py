"""A trainer, stock or guarded, to which things happen; copied beside the runs, so that a restart can import it.

``python beset.py stock|guarded OVERRIDES`` trains; ``plan.json`` beside it says what happens at which batch, and
``happened/`` what has.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ultralytics.models.yolo.detect import DetectionTrainer

from trainmaster import GuardedDetectionTrainer

HERE = Path(__file__).resolve().parent
TINY_BYTES = 4096


class Besets:
    """In front of a trainer class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unwritten = b""
        self._at = -1
        self._real = False
        self._plan = json.loads((HERE / "plan.json").read_text(encoding="utf-8"))
        self.add_callback("on_train_epoch_start", lambda _: setattr(self, "_at", -1))  # type: ignore[attr-defined]
        self.add_callback("on_train_batch_start", lambda _: setattr(self, "_at", self._at + 1))  # type: ignore[attr-defined]
        self.add_callback("on_train_batch_end", lambda _: self._trained())  # type: ignore[attr-defined]

    @property
    def _batch(self) -> int:
        return int(self.epoch * len(self.train_loader) + self._at)  # type: ignore[attr-defined]

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)  # type: ignore[misc]
        self._real = "trainmaster_ghost" not in batch
        if self._real:
            for one in self._plan["faults"]:
                self._meet(one, batch)
        return batch

    def _meet(self, one: dict[str, Any], batch: dict[str, Any]) -> None:
        kind, since = one["fault"], self._batch - one["batch"]
        guarded = hasattr(self, "guard")
        if kind == "nan batch" and since == 0 and (guarded or self._first_time(one)):
            batch["img"][0, 0, 0, 0] = float("nan")
            self._first_time(one)
        if kind == "nan storm" and 0 <= since < self._plan["storm"]:
            again = not guarded and (HERE / "happened" / f"{one['number']}.{since}").exists()
            if not again:
                batch["img"][0, 0, 0, 0] = float("nan")
            self._first_time(one)
            (HERE / "happened" / f"{one['number']}.{since}").touch()
        if kind == "bad image":
            self._spoil_image(bad=0 <= since < self._plan["bad_for"], one=one)
        if kind == "full disk":
            if since == 0 and self._first_time(one):
                self._limit(TINY_BYTES)
            if since >= self._plan["bad_for"]:
                self._limit(resource.RLIM_INFINITY)
        if since == 0 and kind in _ENDS and self._first_time(one):
            _ENDS[kind](self)

    def _first_time(self, one: dict[str, Any]) -> bool:
        try:
            (HERE / "happened" / str(one["number"])).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _spoil_image(self, *, bad: bool, one: dict[str, Any]) -> None:
        image = HERE / self._plan["image"]
        whole = image.with_name(image.name + ".whole")
        if bad and not whole.exists():
            self._first_time(one)
            whole.write_bytes(image.read_bytes())
            image.write_bytes(whole.read_bytes()[:100])
        elif not bad and whole.exists():
            whole.replace(image)

    @staticmethod
    def _limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))

    def _trained(self) -> None:
        if not self._real:
            return
        self._unwritten += f"{time.time():.3f} {os.getpid()} {self._batch}\n".encode()
        try:
            descriptor = os.open(HERE / "trained.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            try:
                while self._unwritten:  # a disk that becomes full takes half a line
                    self._unwritten = self._unwritten[os.write(descriptor, self._unwritten) :]
            finally:
                os.close(descriptor)
        except OSError:  # the disk is full: told later
            return

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _cut_power(self) -> None:
        (HERE / "power").touch()
        self._kill()

    def _ask_to_end(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def _hang(self) -> None:
        while True:
            time.sleep(1.0)

    def _tear(self) -> None:
        root = Path(self.save_dir)  # type: ignore[attr-defined]
        states = list(root.glob("guard/states/epoch????.pt"))
        for path in (root / "weights/last.pt", max(states, default=None)):
            if path is not None and path.exists():
                os.truncate(path, path.stat().st_size // 2)
        self._kill()


_ENDS = {
    "kill -9 of the trainer": Besets._kill,
    "out-of-memory kill": Besets._kill,
    "torn checkpoint": Besets._tear,
    "power cut": Besets._cut_power,
    "preemption": Besets._ask_to_end,
    "expired time limit": Besets._ask_to_end,
    "hang": Besets._hang,
}


class Stock(Besets, DetectionTrainer):
    """Ultralytics as it is."""


class Guarded(Besets, GuardedDetectionTrainer):
    """The same, guarded."""


if __name__ == "__main__":
    import beset  # by its own name, which a restart can import

    (HERE / "happened").mkdir(exist_ok=True)
    given = json.loads(sys.argv[2])
    if sys.argv[1] == "stock":
        last = Path(given["project"]) / given["name"] / "weights" / "last.pt"
        if last.exists():
            given |= {"model": str(last), "resume": True}
        beset.Stock(overrides=given).train()
    else:
        beset.Guarded(overrides=given).train()
