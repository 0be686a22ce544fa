"""No odd or hostile file is called clean, and none under 100 MB takes above 2 s.

Run with ``python -m tests.bench.verify_odd``. Small files are of the kinds that the unit tests generate, the large ones
of kinds that are slow to look through. Judged within one process; the time is the processor's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import torch

from tests.unit.trainer.checkpoints.hidden_files import hidden_files
from tests.unit.trainer.checkpoints.making import checkpoint_dict
from tests.unit.trainer.checkpoints.odd_files import odd_files
from trainmaster.trainer.checkpoints.forensics import judge
from trainmaster.trainer.contract import Verdict

LIMIT_S: Final = 2.0
LARGE_BYTES: Final = 95_000_000
NAN: Final = float("nan")


def large_files() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Just under 100 MB each, and none of them clean."""
    count = LARGE_BYTES // 2
    yield "large, NaN at its end", _holding(lambda: _with_last(torch.rand(count // 64, 64).half(), NAN))
    yield "large, all zero", _holding(lambda: torch.zeros(count // 64, 64, 1, 1).half())
    yield "large, one number", _holding(lambda: torch.full((count // 64, 64), 0.5).half())
    yield "large, exploded at its end", _holding(lambda: _with_last(torch.rand(count // 64, 64).half(), 5e4))
    yield "large, variances below zero", _holding(lambda: -torch.rand(count).half(), name="running_var")
    yield "large, views over one another", _overlapping
    yield "large, a hundred thousand tensors", _many
    yield "large, torn", _torn


def _with_last(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor.view(-1)[-1] = value
    return tensor


def _holding(make: Callable[[], torch.Tensor], name: str = "weight") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = checkpoint_dict()
        content["ema"].register_module("more", torch.nn.Module())
        content["ema"].more.register_buffer(name, make())
        torch.save(content, path)

    return write


def _overlapping(path: Path) -> None:
    whole = torch.rand(LARGE_BYTES // 2).half()
    tensors = {f"t{start}": whole[start : start + whole.numel() // 2] for start in range(2000)}
    torch.save({**checkpoint_dict(), "model": tensors}, path)


def _many(path: Path) -> None:
    whole = torch.rand(100_000, 400).half()
    tensors: dict[str, Any] = {f"layer{number}.running_var": row for number, row in enumerate(whole)}
    whole[-1, -1] = -1.0
    torch.save({**checkpoint_dict(), "ema": tensors}, path)


def _torn(path: Path) -> None:
    _holding(lambda: torch.rand(LARGE_BYTES // 128, 64).half())(path)
    path.write_bytes(path.read_bytes()[: LARGE_BYTES - 5_000_000])


def main() -> int:
    """Print what was judged; 1 when a file was called clean or took too long."""
    wrong: list[str] = []
    times: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, make) in enumerate([*odd_files(), *hidden_files(), *large_files()]):
            path = Path(folder) / f"{number}.pt"
            make(path)
            assert path.stat().st_size < 100_000_000
            began = time.process_time()
            found = judge(path)
            times.append((time.process_time() - began, name))
            path.unlink()
            if found.verdict is Verdict.CLEAN:
                wrong.append(name)
    slowest_s, slowest = max(times)
    print(f"{len(times)} kinds: {len(wrong)} wrongly called clean {wrong[:5]}")
    print(f"slowest: {slowest_s:.2f} s, {slowest} (<= {LIMIT_S:.0f} s)")
    return int(bool(wrong) or slowest_s > LIMIT_S)


if __name__ == "__main__":
    raise SystemExit(main())
