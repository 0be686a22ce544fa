"""Every verb of ``trainmaster``, in the one table that help, dispatch and the nearest word are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """``extra`` names the optional extra of the package without which it cannot work, ``needs`` the modules that show
    whether it is installed. A verb of the bot is the function ``main`` of ``bot/cli/VERB.py``."""

    side: str
    summary: str
    extra: str = ""
    needs: tuple[str, ...] = ()


TRAINER: Final = "trainer"
BOT: Final = "bot"
GROUPS: Final = {TRAINER: "The guarded trainer, on the host with the GPU", BOT: "The Slack bot"}

_TRAINS: Final = ("torch", "ultralytics")
_PLAYS: Final = (*_TRAINS, "sklearn")

VERBS: Final[dict[str, Verb]] = {
    "train": Verb(
        side=TRAINER,
        summary="train under guard: model=... data=... and any other key=value",
        extra="trainer",
        needs=_TRAINS,
    ),
    "resume": Verb(
        side=TRAINER, summary="go on with a run, or go back to an epoch with from=EPOCH", extra="trainer", needs=_TRAINS
    ),
    "sbatch": Verb(side=TRAINER, summary="submit a training to a Slurm cluster: [sbatch options] -- train ..."),
    "verify": Verb(side=TRAINER, summary="judge a checkpoint: clean, contaminated or unknown, and why"),
    "catalog": Verb(side=TRAINER, summary="every checkpoint of a run, judged"),
    "plot": Verb(
        side=TRAINER,
        summary="draw a run, --epoch N of it, or its --incident N",
        extra="trainer",
        needs=("matplotlib",),
    ),
    "replay": Verb(side=TRAINER, summary="run a bad batch of a run again", extra="trainer", needs=_TRAINS),
    "selfcheck": Verb(
        side=TRAINER, summary="prove the guard on this machine: a table, in minutes", extra="trainer", needs=_TRAINS
    ),
    "copy": Verb(side=TRAINER, summary="copy what is clean of a run to COPY_TO, now"),
    "data": Verb(side=TRAINER, summary="whether the images and labels of a run are as they were"),
    "archive": Verb(side=TRAINER, summary="put aside what came after an epoch, or list what was put aside"),
    "restore": Verb(side=TRAINER, summary="make the checkpoint of an epoch the one that a resume takes"),
    "unarchive": Verb(side=TRAINER, summary="bring back what was put aside"),
    "run": Verb(side=BOT, summary="watch RUNS_DIR and answer in Slack"),
    "doctor": Verb(side=BOT, summary="check settings, Slack, folders and host"),
    "test-alert": Verb(side=BOT, summary="the first alert in the channel: post one and resolve it"),
    "settings": Verb(side=BOT, summary="print every setting, as an .env to fill in"),
    "manifest": Verb(side=BOT, summary="print the Slack app manifest"),
    "demo": Verb(
        side=BOT,
        summary="the whole story without Slack: local workspace, real small training",
        extra="demo",
        needs=_PLAYS,
    ),
    "drill": Verb(
        side=BOT, summary="rehearse a bad night; with a RUN_DIR: spoil a batch of that run", extra="demo", needs=_PLAYS
    ),
    "adopt": Verb(side=BOT, summary="watch a run that something else started"),
    "scan": Verb(side=BOT, summary="what a console log of any Ultralytics version says"),
    "watch": Verb(side=BOT, summary="runs live in this terminal; --once prints and ends"),
    "audit": Verb(side=BOT, summary="who asked for, decided and did what; --verify checks the chain"),
}
