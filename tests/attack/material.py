"""What every attack begins with: a small data set, a tiny model, and a real run that was stopped."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.attack.living import train, trained
from tests.integration.trainer.conftest import TINY_MODEL
from trainmaster.trainer.contract import ExitCode


def make_material(folder: Path, *, images: int = 160) -> Path:
    """``folder`` with ``digits/data.yaml``, ``tiny.yaml`` and, in ``runs/digits``, a run stopped in its third epoch, or
    the one after it where a processor is fast."""
    from trainmaster.trainer.data.digits import make

    make(folder / "digits", images=images, imgsz=64, digits=images, progress=False)
    (folder / "tiny.yaml").write_text(TINY_MODEL, encoding="utf-8")
    process = train(folder, folder)
    try:
        asyncio.run(trained(folder / "runs" / "digits", 3, 2))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ExitCode.STOPPED
    finally:
        process.kill()
        process.wait()
    return folder
