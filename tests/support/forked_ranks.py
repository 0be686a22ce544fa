"""Two ranks whose modules load once: a process imports what neither ``RANK`` nor the test touches, and forks each rank.

They are processes of their own from there on, with the environment, arguments, output and exit code that they would
have had. A start of torch takes seconds, and a test of ranks has several.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainmaster.loading import loaded, loading

ROOT = Path(__file__).parents[2]
TORCH = ("torch._dynamo", "torch.distributed", "torch.nn.parallel", "torchvision", "cv2", "matplotlib")
"""What a training loads that does not read the rank."""
NUM_RANKS = 2


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rank ended, and what it printed."""

    code: int
    output: str
    errors: str


def two_ranks(
    code: str, *words: str, folder: Path, preload: Sequence[str] = TORCH, timeout_s: float = 200.0
) -> list[Ended]:
    """Both ranks that ran ``code``, whose ``sys.argv[1:]`` are ``words``, to their end; ``RANK`` tells which it is.
    What they print is kept in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"code": code, "words": words, "folder": str(folder), "preload": list(preload)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.forked_ranks", json.dumps(told)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    return [
        Ended(codes[rank], *((folder / f"rank{rank}.{kind}").read_text(errors="replace") for kind in ("out", "err")))
        for rank in range(NUM_RANKS)
    ]


def _be(rank: int, told: dict[str, Any]) -> None:
    """This process is the rank, to its end."""
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(told["folder"]) / f"rank{rank}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(NUM_RANKS))
    sys.argv = ["-c", *told["words"]]
    exit_code = 1
    try:
        exec(compile(told["code"], "<rank>", "exec"), {"__name__": "__main__"})
        exit_code = 0
    except SystemExit as end:
        exit_code = int(end.code or 0)
    except BaseException:  # noqa: BLE001 - as an interpreter would at its end
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def main() -> None:
    told = json.loads(sys.argv[1])
    with loading():
        for name in told["preload"]:
            importlib.import_module(name)
        loaded()
    children = []
    for rank in range(NUM_RANKS):
        child = os.fork()
        if child == 0:
            _be(rank, told)
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)


if __name__ == "__main__":
    main()
