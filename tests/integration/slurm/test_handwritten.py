"""Batch scripts of people's own around ``trainmaster``: stopped with a save, and submitted again with what they had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.slurm.conftest import ANN, Lab, laboratory
from tests.support.slurm import Cluster, needs_slurm, until
from trainmaster.trainer.contract import MODULE_ARGV

pytestmark = [pytest.mark.slurm, pytest.mark.cluster, pytest.mark.training, needs_slurm, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]


def by_hand(lab: Lab, line: str, *options: str, shell: str = "/bin/bash") -> str:
    """The run is a job of a script that somebody wrote, in place of the lab's own; its number."""
    lab.slurm.ask("scancel", "--signal=TERM", "--batch", lab.number)
    until(lambda: not lab.slurm.jobs(), what="the end of the lab's own job", timeout_s=40)
    folder = lab.run.parent.parent
    script = folder / "mine.sh"
    trainer = " ".join((str(folder / "python"), *MODULE_ARGV, "resume", str(lab.run), "again=auto"))
    script.write_text(f"#!{shell}\nexport PYTHONPATH={ROOT}\n{line.format(trainer=trainer)}\n")
    words = ("--mem-per-cpu=100", f"--output={folder / 'mine.log'}", *options)
    return lab.slurm.ask("sbatch", "--parsable", *words, str(script)).strip()


@pytest.mark.parametrize(
    ("line", "shell"),
    [
        pytest.param("exec {trainer}", "/bin/sh", id="exec", marks=pytest.mark.rounds),
        pytest.param("{trainer} | tee /dev/null", "/bin/bash", id="pipe", marks=pytest.mark.rounds),
        pytest.param("{trainer}\necho over", "/bin/bash", id="shell-around"),
        pytest.param("{trainer}\necho over", "/bin/sh", id="sh-around", marks=pytest.mark.rounds),
        pytest.param("srun --ntasks=1 {trainer}\necho over", "/bin/bash", id="srun"),
        pytest.param("exec srun --ntasks=1 {trainer}", "/bin/bash", id="exec-srun", marks=pytest.mark.rounds),
        pytest.param("{trainer} &\nwait", "/bin/bash", id="background", marks=pytest.mark.rounds),
    ],
)
async def test_script_of_one_s_own_is_stopped_with_a_save_and_submitted_again(
    tmp_path: Path, material: Path, slurm: Cluster, line: str, shell: str
) -> None:
    async with laboratory(tmp_path, material, slurm) as lab:
        number = by_hand(lab, line, "--time=30", shell=shell)
        await lab.trains(3)
        assert lab.number == number
        assert "--time=30" in lab.record["job"]["options"]
        lab.way("heavy", "2")
        await lab.status("digits: training")
        await lab.says(ANN, "stop now")
        await lab.reads("is stopped", timeout_s=60)
        print(lab.record["state"], lab.slurm.ask("squeue", "-t", "all"), (tmp_path / "mine.log").read_text())
        assert lab.record["state"] == "stopped"
        assert lab.shown("training process died") == 0
        await lab.says(ANN, "resume")
        await lab.reads("digits goes on", timeout_s=60)
        assert lab.slurm.jobs() == [lab.number]
        assert lab.number != number
        assert lab.slurm.ask("squeue", "-h", "-j", lab.number, "-o", "%l").strip() == "30:00"
