"""How long a cold scan of a long log takes, against ``grep -c " nan "`` on the same log.

``python -m tests.bench.scan [--megabytes 400] [--rounds 7]`` writes logs of 2.4 million frames into a temporary folder,
runs both as whole processes by turns, and prints the ratio of the two in each round, and each one's seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

BATCHES = 7_550
"""Of the run that this project was made for: an epoch of hours."""
VAL_BATCHES = 60
ONE_LINE_MEGABYTES = 1_000
FRAMES_PER_400_MB = 2_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the frames of a log look and end. ``nan_epochs``: one in so many is non-finite, from ``nan_from`` (a share of
    its batches) on. ``journal``: each line is a JSON record, as ``journalctl -o json`` prints it."""

    name: str
    tqdm: bool
    separator: str
    nan_epochs: int = 0
    nan_from: float = 0.5
    journal: bool = False


STYLES = (
    Style(name="own bar, redrawn", tqdm=False, separator="\r\x1b[K"),
    Style(name="own bar, redrawn, NaN in every 50th epoch", tqdm=False, separator="\r\x1b[K", nan_epochs=50),
    Style(name="own bar, redrawn, NaN in every 4th epoch", tqdm=False, separator="\r\x1b[K", nan_epochs=4),
    Style(name="tqdm, redrawn", tqdm=True, separator="\r"),
    Style(name="own bar, a line each", tqdm=False, separator="\n"),
    Style(name="own bar, a line each, NaN in every 50th epoch", tqdm=False, separator="\n", nan_epochs=50),
    Style(name="own bar, redrawn, NaN in every frame", tqdm=False, separator="\r\x1b[K", nan_epochs=1, nan_from=-1),
    Style(name="own bar, a line each, NaN in half the frames", tqdm=False, separator="\n", nan_epochs=1),
    Style(name="own bar, a line each, NaN in every frame", tqdm=False, separator="\n", nan_epochs=1, nan_from=-1),
    Style(name="own bar, a line each, journal JSON", tqdm=False, separator="\n", journal=True),
)


def epoch_text(style: Style, epoch: int, epochs: int) -> str:
    """Header, frames, validation and row of one epoch."""
    head = "\n" + "".join(f"{name:>11}" for name in ("Epoch", "GPU_mem", "box_loss", "cls_loss", "dfl_loss"))
    nonfinite = style.nan_epochs and epoch % style.nan_epochs == 0
    return (
        f"{head}  Instances       Size\n"
        + "".join(frames(style, epoch, epochs, nonfinite=bool(nonfinite)))
        + "\n"
        + "".join(f"{style.separator}{VAL_HEAD}: {bar(style, done, VAL_BATCHES)}" for done in range(VAL_BATCHES + 1))
        + f"\n{'all':>22}        128        929      0.914      0.871      0.951      0.746\n"
    )


VAL_HEAD = "                 Class     Images  Instances      Box(P          R      mAP50  mAP50-95)"


def frames(style: Style, epoch: int, epochs: int, *, nonfinite: bool) -> Iterator[str]:
    """The frames of one epoch, as the progress line draws them."""
    for done in range(BATCHES + 1):
        share = done / BATCHES
        losses = (1.9 - share, 3.1 - share, 1.3 - share / 9)
        cells = ["nan"] * 3 if nonfinite and share > style.nan_from else [f"{loss:.4g}" for loss in losses]
        row = "".join(f"{cell:>11}" for cell in (f"{epoch}/{epochs}", "12.8G", *cells, 40 + done % 400, 640))
        yield f"{style.separator}{row}: {bar(style, done, BATCHES)}"


def bar(style: Style, done: int, total: int) -> str:
    """Percentage, glyphs, counter and times."""
    seconds, rest = done * 2, (total - done) * 2
    if style.tqdm:
        cells = f"{'█' * (10 * done // total):10}"
        clock = f"{seconds // 60:02}:{seconds % 60:02}<{rest // 60:02}:{rest % 60:02}"
        return f"{100 * done / total:3.0f}%|{cells}| {done}/{total} [{clock},  2.04s/it]"
    filled = 12 * done // total
    glyphs = "━" * filled + "─" * (12 - filled)
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}<{rest // 3600}:{rest // 60 % 60:02}:59"
    return f"{100 * done // total}% {glyphs} {done}/{total} 2.0s/it {clock}"


def write_log(path: Path, style: Style, megabytes: int) -> int:
    """The number of frames in ``path``, which then has about ``megabytes``."""
    epochs = max(1, FRAMES_PER_400_MB * megabytes // 400 // (BATCHES + 1))
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(f"Ultralytics 8.4.190 🚀 Python-3.11 torch-2.14.1\nStarting training for {epochs} epochs...\n")
        for epoch in range(1, epochs + 1):
            text = epoch_text(style, epoch, epochs)
            stream.write("".join(map(journal_record, text.splitlines())) if style.journal else text)
    return epochs * (BATCHES + 1)


def journal_record(line: str) -> str:
    """``line`` as journald's JSON has it."""
    record = {"__REALTIME_TIMESTAMP": "1772672523123456", "_PID": "812", "MESSAGE": line}
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_one_line(path: Path, megabytes: int) -> None:
    """``path`` is one line of so many megabytes: frames with nothing at all between them."""
    style = replace(STYLES[0], separator=" ")
    text = "".join(frames(style, 1, 1, nonfinite=False)).encode()
    with path.open("wb") as stream:
        for _ in range(megabytes * 1_000_000 // len(text)):
            stream.write(text)


def one_line_cost(path: Path) -> dict[str, object]:
    """Processor seconds and the largest memory of a scan of one line of a gigabyte."""
    write_one_line(path, ONE_LINE_MEGABYTES)
    script = (
        "import resource, sys; from trainmaster.bot.cli.scan import main; main(sys.argv[1:]); "
        "used = resource.getrusage(resource.RUSAGE_SELF); "
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    seconds, mebibytes = done.stderr.split()[-2:]
    return {"log": "one line of 1 GB", "scan_cpu_s": round(float(seconds), 2), "scan_mib": round(float(mebibytes))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one process from start to end. ``cpu_s`` does not suffer from what else the machine does."""

    wall_s: float
    cpu_s: float


def cost_of(command: Sequence[str], *, locale: str) -> Cost:
    """What ``command`` costs. Its output is read: grep stops at the first match when it goes to /dev/null. Modules stay
    compiled, as those of an installed command are."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.PIPE, check=False, env={**environment, "LC_ALL": locale})
    wall_s = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall_s=wall_s, cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure(path: Path, rounds: int, locale: str) -> list[tuple[Cost, Cost]]:
    """Of the scan and of grep, by turns; a first round warms up."""
    scan = [sys.executable, "-m", "trainmaster.bot", "scan", str(path), "--json"]
    grep = ["grep", "-c", " nan ", str(path)]
    return [(cost_of(scan, locale=locale), cost_of(grep, locale=locale)) for _ in range(rounds + 1)][1:]


def spread(values: Sequence[float]) -> str:
    """Median with smallest and largest."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def compared(style: Style, pairs: Sequence[tuple[Cost, Cost]], locale: str) -> dict[str, object]:
    """One row of the table, medians with the smallest and largest."""
    return {
        "log": style.name,
        "locale": locale,
        "ratio": spread([scan.wall_s / grep.wall_s for scan, grep in pairs]),
        "cpu_ratio": spread([scan.cpu_s / grep.cpu_s for scan, grep in pairs]),
        "scan_s": spread([scan.wall_s for scan, _ in pairs]),
        "grep_s": spread([grep.wall_s for _, grep in pairs]),
        "scan_cpu_s": spread([scan.cpu_s for scan, _ in pairs]),
        "grep_cpu_s": spread([grep.cpu_s for _, grep in pairs]),
    }


def main() -> int:
    """Print the table; 1 when a scan took more processor time than grep in the median of any row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    slower = False
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="trainmaster-bench-") as folder:
        path = Path(folder) / "train.log"
        for style in STYLES:
            drawn = write_log(path, style, options.megabytes)
            size = {"megabytes": round(path.stat().st_size / 1e6), "frames": drawn}
            for locale in ("C", "C.UTF-8"):
                pairs = measure(path, options.rounds, locale)
                slower = slower or statistics.median(scan.cpu_s / grep.cpu_s for scan, grep in pairs) > 1
                rows.append(compared(style, pairs, locale) | size)
                if not options.json:
                    print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="  ", flush=True)
        rows.append(one_line_cost(path))
        if not options.json:
            print(*(f"{name} {value}" for name, value in rows[-1].items()), sep="  ", flush=True)
    if options.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
