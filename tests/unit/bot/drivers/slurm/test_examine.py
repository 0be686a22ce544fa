"""What doctor asks of the nodes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit.bot.drivers.slurm.recorded import CONFIG
from trainmaster.bot.core.conversation.message import Mark
from trainmaster.bot.drivers.slurm.client import SlurmClient
from trainmaster.bot.drivers.slurm.examine import examine_cluster


def test_runs_dir_with_any_name_is_looked_for_on_the_nodes(tmp_path: Path) -> None:
    runs_dir = tmp_path / "Ann's $runs"
    runs_dir.mkdir()

    def node(
        argv: Sequence[str], *, input_text: str | None, env: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        if argv[0] != "srun":
            return 0, CONFIG, ""
        command = argv[-1].replace("sleep 3", "true")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        return done.returncode, f"held {done.stdout}", done.stderr

    items = examine_cluster(SlurmClient(run=node), runs_dir, None)
    assert [item.mark for item in items if "odes" in item.text] == [Mark.DONE, Mark.DONE]
