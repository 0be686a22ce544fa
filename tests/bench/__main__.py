"""``make bench``: every bench, one after the other, each its own process. ``ARGS=NAME`` runs one; what begins with a
dash or says what something is, and all after it, is the bench's own: ``ARGS="ten_days --seed 7"``.

Figures are measured where it runs; a bench that misses what it must reach says so, and the whole exits with 1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHES = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main(words: list[str]) -> int:
    """1 when a bench missed its mark, 2 when there is none of that name."""
    first = next((number for number, word in enumerate(words) if word.startswith("-") or "=" in word), len(words))
    names, options = words[:first], words[first:]
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"unknown-bench: {', '.join(unknown)}. There are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    missed = []
    for name in names or BENCHES:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *options], check=False).returncode:
            missed.append(name)
    print(f"\nMissed: {', '.join(missed)}" if missed else "\nAll reached their marks.")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
