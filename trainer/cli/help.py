"""What ``trainmaster --help`` and ``trainmaster VERB --help`` print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from trainmaster.terminal import folded

USAGE: Final = """\
trainmaster train model=... data=... epochs=... [any Ultralytics key=value]
                  [level=guard|standard|strict] [exact=true] [quarantine=FILE]
trainmaster resume RUN_DIR [from=EPOCH] [level=...|next] [key=value ...]
trainmaster sbatch [OPTIONS OF SBATCH] -- train|resume ...
trainmaster verify CHECKPOINT [--json]
trainmaster catalog RUN_DIR [--full] [--json]
trainmaster plot RUN_DIR [--out FILE] [--epoch N | --incident N] [--json]
trainmaster archive RUN_DIR [after=EPOCH] [--json]
trainmaster restore RUN_DIR epoch=EPOCH [--json]
trainmaster unarchive RUN_DIR ARCHIVE [--json]
trainmaster data RUN_DIR [--json]
trainmaster drill RUN_DIR [fault=nan-image|...] [batches=1]
trainmaster replay RUN_DIR INCIDENT [--json]
trainmaster selfcheck [device=0] [--json]

Exit codes: 0 finished, 2 bad arguments, 3 stopped on request (resumable), 4 gave
up (too many bad batches, or weights that no step made), 5 refused (the checkpoint
is not clean); anything else is a crash.
Signals: SIGTERM, SIGINT and SIGHUP finish the batch, save and end with 3; a second
SIGTERM or SIGINT ends at once; nohup keeps SIGHUP away. SIGUSR1 writes all stacks
to guard/stacks.txt, and to standard error while there is no run directory yet.

trainmaster VERB --help tells more of each."""

HELP_FLAGS: Final = frozenset({"-h", "--help"})

HELP: Final = {
    "train": """\
trainmaster train model=... data=... epochs=... [key=value ...]

Starts a guarded training in a new run directory. Every Ultralytics key works; a
value given here wins over the level.
The guard's own keys:
  level=guard        observe: report only; guard: skip bad batches,
                     change no setting; standard; strict;
                     strict+1 ...: lr0 and max_norm halved again
  exact=false        true: a run that was interrupted and resumed ends bit for
                     bit as the one that was not
  snapshot_s=        seconds between full states saved within an epoch; 0: none;
                     else two to ten minutes, the longer the longer a save takes
  max_norm=          gradient norm at which to clip; else the level decides
  quarantine=FILE    images to leave out of training: a text file, one path a
                     line, or guard/offenders.json of another run
  bad_streak=10      bad batches in a row that end the run (exit code 4)
  bad_count=10       bad batches among the last bad_window that are put up with
  bad_window=2000    batches over which bad_count counts
  keep_states=3      full states of past epochs that are kept, beside the best and
                     the newest clean one, the newest from before the first
                     incident, and one for each power of two epochs back
  copy_to=           clean states are copied there while it trains: the full path
                     of a folder on another disk, or a URL; else COPY_TO of the
                     environment, which alone may hold a password
  copy_keep=3        epochs whose copies are kept there, beside the best one
  replay_incidents=true
                     a recorded bad batch runs twice more at once: data and recipe,
                     or a card that failed; costs two steps at most
  owner=             the Slack member id (U...) of who is mentioned in the alerts
                     of this run, beside the people on call
  again=auto         given once more (by a cluster, by a service manager), the same
                     command goes on with its own run; no: it begins a new one.
                     A job that Slurm queued again goes on unasked
  drill=             a planned fault, to see the alarm work: nan-image@2:5 for
                     epoch 2 batch 5""",
    "resume": """\
trainmaster resume RUN_DIR [from=EPOCH] [level=...|next] [key=value ...]

Goes on where the run stopped, in the middle of an epoch too. from=EPOCH goes back
to the end of that epoch and puts what came after into archive/ beside the run
directory; level and any other key=value really change. A checkpoint that is not
clean is refused (exit code 5), with the one to take instead.

trainmaster resume COPIES [into=RUN_DIR] [...]

COPIES is where a run's copies lie (COPY_TO and the run's name): what the run lost
with its disk comes back first, every byte checked, into the folder where it was or
into=. With COPY_TO set, resume RUN_DIR does so by itself for a run that is gone.""",
    "copy": """\
trainmaster copy RUN_DIR [to=FOLDER|URL] [keep=3]
trainmaster copy RUN_DIR [to=FOLDER|URL] --list [--json]

Copies what was attested clean and is not there yet, digest last, and ends; without
to= as COPY_TO says. A training with COPY_TO or copy_to= does so by itself, in a
process of its own. --list copies nothing: it says what lies there, and the command
that goes on from it, of a run that is gone, too.""",
    "data": """\
trainmaster data RUN_DIR [--json]

Whether the images and labels that the run trains on, and its data set's YAML, are as
they were when its newest attempt began: of images name and size, of labels and the
YAML what they say. Loads no torch. Exit code 0: the same, or never recorded; 1: not
the same, or nobody can tell. The bot asks before each start.""",
    "sbatch": """\
trainmaster sbatch [OPTIONS OF SBATCH] -- train model=... data=... [key=value ...]
trainmaster sbatch [OPTIONS OF SBATCH] -- resume RUN_DIR [from=EPOCH] [...]

Makes the run directory, writes its batch script (guard/job.sh) and submits it. After
a requeue, a preemption or a power cut of its node the job goes on with its run by
itself. The options are kept, so that the bot submits it again with the same; resume
without any takes those of before. Trainmaster's own are --job-name, --comment,
--nodes=1, --requeue, --open-mode=append, --dependency=singleton, --output beside the
run directory, and --signal, which asks the trainer to save before the time limit.
What Slurm refuses is told in its own words, and nothing is started.""",
    "verify": """\
trainmaster verify CHECKPOINT [--json]

Judges one checkpoint, of a guarded run or of any Ultralytics training: clean,
contaminated or unknown, and why. Loads no torch and runs no code from the file.
Exit code 0: clean; 5: contaminated or unknown.""",
    "catalog": """\
trainmaster catalog RUN_DIR [--full] [--json]

Lists the checkpoints of a run: epoch, time, fitness, size, verdict with its reason,
resumable or not. --full reads and judges each file anew instead of trusting its
attestation.""",
    "plot": """\
trainmaster plot RUN_DIR [--out FILE] [--epoch N | --incident N] [--json]

Draws the run as a PNG (RUN_DIR's name, here, unless --out names a file): loss parts,
gradient norm with the clip line, fitness, learning rate, bad batches, attempts and
rollbacks. --epoch N: one epoch over its batches. --incident N: the images of a bad
batch with their boxes, the suspect marked. Says the same in words. Of a run without
a guard, what results.csv has. Needs matplotlib, which comes with Ultralytics.""",
    "archive": """\
trainmaster archive RUN_DIR [after=EPOCH] [--json]

With after=EPOCH, moves what came after that epoch into archive/ beside the run
directory; nothing is deleted. Without it, lists what was put aside before.""",
    "restore": """\
trainmaster restore RUN_DIR epoch=EPOCH [--json]

Takes the run back to the end of an epoch, by the clean checkpoint saved there.
What stood there is archived first.""",
    "unarchive": """\
trainmaster unarchive RUN_DIR ARCHIVE [--json]

Brings back what one archive put aside; trainmaster archive RUN_DIR names
them.""",
    "drill": """\
trainmaster drill RUN_DIR [fault=nan-image] [batches=1]

Spoils the next batches of a training that runs, to see that the guard skips them
and the channel is told. Events of a drill are marked as such. Faults: nan-image,
nan-gradient, nan-batchnorm, inf-loss.""",
    "selfcheck": """\
trainmaster selfcheck [device=0|0,1|cpu|mps] [parts=NAME,...] [--json]

Proves the guard on this machine before a run of days, in at most 4 minutes, with
a tiny model and made data: bad batches leave no trace, a killed run ends with the
same bits, what a step costs beside stock Ultralytics. Leaves nothing behind. Exit
code 1 when something failed. Of several devices the first is proven, and the first
two together. Parts: engine, surroundings, traces, half, resume, ranks, steps.
""",
    "replay": """\
trainmaster replay RUN_DIR INCIDENT [--json]

Repeats a recorded bad batch: the loss, the first module whose output is not finite,
and whether full precision is.
INCIDENT is the name of a folder below guard/incidents/.""",
}
"""By verb."""


_WRITTEN_FOR: Final = 86
"""Columns that the texts above are written for."""


def fitted(text: str, width: int | None) -> str:
    """``text`` in a narrower terminal: prose runs on, and what stands beside a key stands below it."""
    if width is None or width >= _WRITTEN_FOR:
        return text
    return "\n\n".join("\n".join(_fitted_block(block, width)) for block in text.split("\n\n"))


def _fitted_block(block: str, width: int) -> Iterator[str]:
    joined: list[str] = []
    for line in block.split("\n"):
        goes_on = line.startswith(12 * " ") or not line.startswith(("  ", "trainmaster "))
        if joined and goes_on and not (joined[-1].endswith(":") or _ends_a_command(joined[-1], line)):
            joined[-1] += f" {line.strip()}"
        else:
            joined.append(line)
    for line in joined:
        key, gap, said = line.strip().partition("  ")
        if line.startswith("  ") and gap:
            yield f"  {key}"
            yield from (f"    {one}" for one in folded(said.strip(), width - 4).split("\n"))
        else:
            yield folded(line, width, indent="    ")


def _ends_a_command(before: str, line: str) -> bool:
    return before.startswith("trainmaster ") and not line.startswith("  ")
