"""Every verb of ``trainmaster``, in the one table that help, dispatch and the nearest word are made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from trainmaster.record import Fixed


class Duration(StrEnum):
    """How long a verb takes, and what a person sees of it meanwhile."""

    QUICK = "quick"
    """It is over in a moment."""
    SHOWN = "shown"
    """It may take minutes: on a terminal a line says what it does and for how long."""
    OWN = "own"
    """It goes on until somebody ends it, or trains: it tells how far it is by itself."""


class Verb(Fixed):
    """``extra`` names the optional extra of the package without which it cannot work, ``needs`` the modules that show
    whether it is installed. A verb of the bot is the function ``main`` of ``bot/cli/VERB.py``.

    ``then`` is what comes after it, said at its end on a terminal; empty where the verb itself says it, with the names
    of what it worked on."""

    side: str
    summary: str
    takes: Duration
    then: str = ""
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
        takes=Duration.OWN,
        summary="train under guard: model=... data=... and any other key=value",
        extra="trainer",
        needs=_TRAINS,
    ),
    "resume": Verb(
        side=TRAINER,
        takes=Duration.OWN,
        summary="go on with a run, or go back to an epoch with from=EPOCH",
        extra="trainer",
        needs=_TRAINS,
    ),
    "sbatch": Verb(
        side=TRAINER,
        takes=Duration.QUICK,
        summary="submit a training to a Slurm cluster: [sbatch options] -- train ...",
    ),
    "verify": Verb(
        side=TRAINER, takes=Duration.SHOWN, summary="judge a checkpoint: clean, contaminated or unknown, and why"
    ),
    "catalog": Verb(side=TRAINER, takes=Duration.SHOWN, summary="every checkpoint of a run, judged"),
    "plot": Verb(
        side=TRAINER,
        takes=Duration.SHOWN,
        summary="draw a run, --epoch N of it, or its --incident N",
        extra="trainer",
        needs=("matplotlib",),
    ),
    "replay": Verb(
        side=TRAINER, takes=Duration.SHOWN, summary="run a bad batch of a run again", extra="trainer", needs=_TRAINS
    ),
    "selfcheck": Verb(
        side=TRAINER,
        takes=Duration.OWN,
        summary="prove the guard on this machine: a table, in minutes",
        extra="trainer",
        needs=_TRAINS,
    ),
    "copy": Verb(
        side=TRAINER,
        takes=Duration.SHOWN,
        summary="copy what is clean of a run to COPY_TO, now",
        extra="trainer",
        needs=("fsspec",),
    ),
    "data": Verb(side=TRAINER, takes=Duration.SHOWN, summary="whether the images and labels of a run are as they were"),
    "archive": Verb(
        side=TRAINER, takes=Duration.SHOWN, summary="put aside what came after an epoch, or list what was put aside"
    ),
    "restore": Verb(
        side=TRAINER, takes=Duration.SHOWN, summary="make the checkpoint of an epoch the one that a resume takes"
    ),
    "unarchive": Verb(side=TRAINER, takes=Duration.SHOWN, summary="bring back what was put aside"),
    "run": Verb(
        side=BOT,
        takes=Duration.OWN,
        then="trainmaster run watches again; trainings go on meanwhile",
        summary="watch RUNS_DIR and answer in Slack",
    ),
    "doctor": Verb(side=BOT, takes=Duration.SHOWN, summary="check settings, Slack, folders and host"),
    "test-alert": Verb(
        side=BOT, takes=Duration.QUICK, summary="the first alert in the channel: post one and resolve it"
    ),
    "settings": Verb(
        side=BOT,
        takes=Duration.QUICK,
        then="fill it in as .env, then trainmaster doctor",
        summary="print every setting, as an .env to fill in",
    ),
    "manifest": Verb(
        side=BOT,
        takes=Duration.QUICK,
        then="paste it at api.slack.com/apps (Create New App, From a manifest), then trainmaster settings",
        summary="print the Slack app manifest",
    ),
    "demo": Verb(
        side=BOT,
        takes=Duration.OWN,
        then="trainmaster selfcheck proves the guard on this machine",
        summary="the whole story without Slack: local workspace, real small training",
        extra="demo",
        needs=_PLAYS,
    ),
    "drill": Verb(
        side=BOT,
        takes=Duration.OWN,
        then="trainmaster doctor checks that the real channel is ready",
        summary="rehearse a bad night; with a RUN_DIR: spoil a batch of that run",
        extra="demo",
        needs=_PLAYS,
    ),
    "adopt": Verb(
        side=BOT,
        takes=Duration.QUICK,
        then="trainmaster run, unless the bot runs already",
        summary="watch a run that something else started",
    ),
    "scan": Verb(
        side=BOT,
        takes=Duration.SHOWN,
        then="trainmaster verify CHECKPOINT judges what the run saved",
        summary="what a console log of any Ultralytics version says",
    ),
    "watch": Verb(
        side=BOT,
        takes=Duration.OWN,
        then="trainmaster watch --once prints the picture and ends",
        summary="runs live in this terminal; --once prints and ends",
    ),
    "audit": Verb(
        side=BOT,
        takes=Duration.QUICK,
        then="trainmaster audit --verify checks the whole chain",
        summary="who asked for, decided and did what; --verify checks the chain",
    ),
}
