"""What is said in the channel, before it becomes Block Kit.

The core, the checks, the commands and the operations speak in these; ``bot.slack`` renders them. Text is plain: no
mrkdwn, no escaping. A user is named by the bare id (``U...``) in ``mentions``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from trainmaster.bot.core.conversation.picture import Picture, Sketch


class Tone(StrEnum):
    """The colour and sign of a message."""

    NEUTRAL = "neutral"
    GOOD = "good"
    WARNING = "warning"
    CRITICAL = "critical"
    PROGRESS = "progress"


class ActionId(StrEnum):
    """Buttons. Fixed: they are pressed from outside, and old messages keep theirs."""

    APPROVE = "approve"
    REJECT = "reject"
    ACK = "ack"
    SILENCE = "silence"
    UNSILENCE = "unsilence"
    CONTINUE_RUN = "continue_run"
    PROPOSE_ROLLBACK = "propose_rollback"
    RESUME_RUN = "resume_run"
    ROLL_BACK_AFTER_EPOCH = "roll_back_after_epoch"
    DETAILS = "details"
    """Puts the rest of the message into its thread."""


class ButtonStyle(StrEnum):
    """How loud a button is."""

    PLAIN = "plain"
    PRIMARY = "primary"
    DANGER = "danger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """``value`` names what the button acts on: an approval, an alert, a run. ``confirm`` asks once more."""

    action: ActionId
    label: str
    value: str
    style: ButtonStyle = ButtonStyle.PLAIN
    confirm: str | None = None


class Mark(StrEnum):
    """The sign before a line of a checklist."""

    DONE = "done"
    FAILED = "failed"
    WARNING = "warning"
    RUNNING = "running"
    WAITING = "waiting"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of a checklist: a step of an operation, a criterion of an epoch, a layer."""

    mark: Mark
    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A small table; every row is as long as ``header``."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message. ``title`` alone must make sense: it is the notification and what a screen reader says.

    ``fields`` are label and value, shown in two columns. ``excerpt`` is verbatim text (log lines). ``context`` is small
    print: ids, times, the next command. ``mentions`` are user ids that get a notification. ``details`` is what stands
    in the message's thread once somebody asks for it; the notification and a screen reader have it at once.
    """

    title: str
    tone: Tone = Tone.NEUTRAL
    body: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    items: tuple[Item, ...] = ()
    table: Table | None = None
    excerpt: str = ""
    context: tuple[str, ...] = ()
    buttons: tuple[Button, ...] = ()
    mentions: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    """Shown under everything that is to be read and pressed. In the outbox they are kept beside the message."""
    details: Message | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to a command. ``private`` shows it only to the person who asked."""

    message: Message
    private: bool = False
    thread: tuple[Message, ...] = field(default=())
    sketch: Sketch | None = None
    """What shall be drawn under a public answer, once it stands there."""
    card: str = ""
    """Key of the message that stands elsewhere and is what this answer is about."""
