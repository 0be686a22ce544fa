"""What a hostile run directory may have in it, and the series of such directories."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import socket
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.attack.hostile import ODD, PINGS, STRANGER, Canaries, Hostile
from tests.support.run_dirs import START_TS, WrittenRun
from trainmaster.trainer.contract import EventKind, encode_record


def _write(path: Path, data: bytes) -> None:
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def odd_texts(one: Hostile) -> None:
    """Names of images, errors and models that would call people or bend a terminal."""
    one.run.start_epoch(1, one.after_s)
    one.run.bad_batch(1, 5, one.after_s, images=[one.text() for _ in range(5)], reason=one.text(), incident=one.text())
    one.run.event(EventKind.RUN_CRASHED, one.after_s, error=one.text(), traceback=[one.text(), one.text()])
    one.run.event(EventKind.STORAGE_FAULT, one.after_s, what=one.text(), error=one.text())
    one.run.event(EventKind.DATA_FAULT, one.after_s, where="train", count=2, files=[one.text()], reasons=[one.text()])
    one.run.event(EventKind.RUN_REFUSED, one.after_s, checkpoint=one.text(), verdict=one.text(), reasons=[one.text()])
    one.run.event(EventKind.NOTICE, one.after_s, text=one.text())
    _write(
        one.run.layout.train_log,
        f"RuntimeError: {one.text()}\nTraceback\nKilled {one.text()}\n".encode("utf-8", "replace"),
    )


def odd_record(one: Hostile) -> None:
    """run.json whose fields have any type."""
    record = json.loads(one.run.layout.run_json.read_text())
    for name in one.chance.sample(sorted(record), one.chance.randint(1, 6)):
        record[name] = one.anything()
    record.setdefault("run", one.run.run)
    _write(one.run.layout.run_json, json.dumps(record).encode())


def odd_beat(one: Hostile) -> None:
    """A heartbeat whose fields have any type."""
    one.run.beat(one.after_s, epoch=1, batch=5)
    beat = json.loads(one.run.layout.heartbeat.read_text())
    for name in one.chance.sample(sorted(beat), one.chance.randint(1, 6)):
        beat[name] = one.anything()
    _write(one.run.layout.heartbeat, json.dumps(beat).encode())


def odd_events(one: Hostile) -> None:
    """Events, rows and attestations whose fields have any type."""
    for _ in range(one.chance.randint(1, 40)):
        kind = one.chance.choice([*EventKind, one.text()])
        names = (
            "epoch",
            "epochs",
            "batch",
            "batches",
            "losses",
            "fitness",
            "file",
            "images",
            "error",
            "settings",
            "ts",
        )
        data = {name: one.anything() for name in one.chance.sample(names, one.chance.randint(0, 8))}
        head = {"v": 1, "ts": time.time(), "run": one.run.run, "attempt": 1, "seq": 1, "kind": str(kind)}
        line = json.dumps({**head, **data}).encode()
        for path in (one.run.layout.events, one.run.layout.series, one.run.layout.checkpoints):
            with path.open("ab") as stream:
                stream.write(line + one.chance.choice((b"\n", b"\n", b"\r\n", b"", b"\n\n\x00\n")))


def bare_numbers(one: Hostile) -> None:
    """What Python's reader of JSON takes and no standard does, and numbers without an end."""
    odd = one.chance.choice(("NaN", "Infinity", "-Infinity", "1" * 10_000, "1e99999", "-0", "1." + "0" * 5000))
    lines = [
        f'{{"v":1,"ts":{odd},"run":"x","attempt":{odd},"kind":"epoch_finished","epoch":{odd},"losses":{{"a":{odd}}}}}'
    ]
    lines.append(
        f'{{"ts":{time.time()},"attempt":1,"kind":"bad_batch","epoch":1,"batch":{odd},"losses":{{"a":{odd}}}}}'
    )
    for path in (one.run.layout.events, one.run.layout.series, one.run.layout.heartbeat):
        _write(path, "\n".join([*lines, ""]).encode())


def deep_json(one: Hostile) -> None:
    """Brackets by the ten thousand, in one record or in each line."""
    depth = one.chance.choice((500, 5_000, 100_000))
    opening, closing = one.chance.choice((("[", "]"), ('{"a":', "}")))
    text = opening * depth + "1" + closing * depth
    _write(one.a_file(), (text + "\n").encode() * one.chance.randint(1, 3))


def json_bomb(one: Hostile) -> None:
    """Thousands of epochs, of keys or of images, within every limit of length."""
    what = one.chance.choice(("epochs", "keys", "images", "attempts"))
    rows: list[dict[str, Any]] = []
    head = {"v": 1, "ts": time.time(), "run": one.run.run, "seq": 1}
    if what in {"epochs", "attempts"}:
        for number in range(6_000):
            at = {"attempt": number if what == "attempts" else 1, "epoch": number, "epochs": 6_000, "batches": 5}
            rows.append({**head, **at, "kind": "epoch_started"})
            rows.append({**head, **at, "kind": "epoch_finished", "losses": {"a": "nan"}, "seconds": 1.0})
    elif what == "keys":
        rows.append(
            {**head, "attempt": 1, "kind": "epoch_finished", "epoch": 1, "losses": {f"k{n}": n for n in range(50_000)}}
        )
    else:
        rows.append({**head, "attempt": 1, "kind": "bad_batch", "epoch": 1, "images": [f"i{n}" for n in range(50_000)]})
    _write(one.run.layout.events, "".join(encode_record(row) + "\n" for row in rows).encode("utf-8", "replace"))


def no_utf8(one: Hostile) -> None:
    """Bytes that are no text, where text is expected."""
    _write(one.a_file(), one.chance.randbytes(one.chance.choice((1, 400, 70_000))) + b"\n")


def sparse(one: Hostile) -> None:
    """A file of terabytes that takes no room."""
    path = one.a_file()
    one.replace(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.truncate(one.chance.choice((2**20 + 1, 2**33, 2**40)))


def no_file(one: Hostile) -> None:
    """A pipe, a socket, a device or a folder where a file should be."""
    path = one.a_file()
    one.replace(path)
    kind = one.chance.choice(("pipe", "socket", "folder", "device"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device" and os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # a container may not make devices
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    else:
        _socket(path)


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as one, contextlib.suppress(OSError):
            one.bind(f"/proc/self/fd/{folder}/{path.name}")  # an address has 107 bytes at most
    finally:
        os.close(folder)


def link_to_secret(one: Hostile) -> None:
    """A link to what only the operator may read, from a folder that is open to strangers, of a run whose log is shown
    since it is dead."""
    with contextlib.suppress(OSError):
        one.run.record(pid=2**22 - 1, started_ts=time.time() - 60, log=str(one.place / "guard" / "train.log"))
    path = one.chance.choice(
        (one.run.layout.train_log, one.run.layout.stacks, one.run.layout.results_csv, one.a_file())
    )
    if path == one.run.layout.run_json:
        path = one.run.layout.train_log
    one.replace(path)
    path.symlink_to(one.chance.choice((one.canaries.secret, one.canaries.secret_log)))
    one.world_writable = True


def link_around(one: Hostile) -> None:
    """Links to themselves, to nothing, to the kernel's files, to the root of everything."""
    path = one.a_file()
    one.replace(path)
    to = ("/proc/self/environ", "/proc/self/mem", "/dev/zero", "/dev/urandom", "/", "/nowhere", path.name, "/proc/kmsg")
    path.symlink_to(one.chance.choice(to))


def folder_elsewhere(one: Hostile) -> None:
    """Incidents, states and weights lie where somebody else keeps things."""
    path = one.chance.choice((one.run.layout.incidents, one.run.layout.states, one.run.layout.weights))
    path.symlink_to(one.chance.choice((Path("/"), Path("/etc"), one.canaries.folder, one.root)))
    one.world_writable = True


def log_elsewhere(one: Hostile) -> None:
    """The record names a log that is the operator's secret, and the run stands still, so that its log is shown."""
    names = (
        str(one.canaries.secret_log),
        str(one.canaries.secret),
        "/etc/shadow",
        "../" * 20 + "etc/passwd",
        "/dev/stdin",
    )
    one.run.record(log=one.chance.choice(names), pid=2**22 - 1)
    one.run.beat(one.after_s - 4000, epoch=1, batch=5)
    one.world_writable = True


def program(one: Hostile) -> None:
    """The record names a program to run; the folder is open to strangers, so they wrote it."""
    (one.root / "python3").write_bytes(one.canaries.program.read_bytes())
    (one.root / "python3").chmod(0o755)
    evil = one.chance.choice((one.canaries.program, one.place / "python3", Path("python3; touch x")))
    one.run.record(python=str(evil), cwd=str(one.place), pid=2**22 - 1, argv=[str(evil), "-c", "evil"])
    one.run.beat(one.after_s, epoch=1, batch=90)
    for batch in range(1, 30):
        one.run.bad_batch(1, batch, one.after_s)
    one.world_writable = True


def hidden_modules(one: Hostile) -> None:
    """Modules beside the run that are named like those of everybody."""
    code = f"import pathlib; pathlib.Path({str(one.canaries.mark)!r}).touch()\n"
    for name in ("sitecustomize", "usercustomize", "json", "torch", "ultralytics", "numpy", "trainmaster", "bot"):
        (one.root / f"{name}.py").write_text(code)
    one.run.record(cwd=str(one.place), pid=2**22 - 1)


class _Trap:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._mark}",)


def pickled(one: Hostile) -> None:
    """Checkpoints that do something when they are loaded, bombs, and torn ones."""
    trap = pickle.dumps(_Trap(one.canaries.mark))
    for path in (one.run.layout.weights / "last.pt", one.run.layout.weights / "best.pt", one.run.layout.state_file(1)):
        kind = one.chance.choice(("pickle", "zip", "bomb", "torn", "sqlite"))
        data = io.BytesIO()
        if kind == "pickle":
            data.write(trap)
        elif kind == "sqlite":
            data.write(b"SQLite format 3\x00" + bytes(100))
        else:
            with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
                file.writestr("x/data.pkl", trap if kind != "bomb" else bytes(2**22))
                file.writestr("x/version", "3")
        whole = data.getvalue()
        _write(path, whole[: len(whole) // 2] if kind == "torn" else whole)
    one.run.save_checkpoint(1, one.after_s, sha256=one.text(), reasons=[one.text()])
    one.run.finish_epoch(1, one.after_s)


def offenders(one: Hostile) -> None:
    """Lists of bad images, incidents and stacks with foreign text in them."""
    _write(one.run.layout.guard / "offenders.json", json.dumps({one.text(): one.anything()}).encode())
    _write(one.run.layout.incidents / "0001" / "incident.json", json.dumps(one.anything()).encode("utf-8", "replace"))
    _write(one.run.layout.stacks, one.text().encode("utf-8", "replace"))
    _write(one.run.layout.results_csv, f"epoch,{one.text()}\n1,{one.text()}\nnan,nan\n".encode("utf-8", "replace"))


def from_the_future(one: Hostile) -> None:
    """Times of other centuries, and more digits than a clock has."""
    odd = one.chance.choice((0.0, -1e12, 1e12, 4e9, 1e300, time.time() + 86_400))
    one.run.record(started_ts=odd, updated_ts=odd)
    one.run.beat(odd - START_TS, epoch=1, batch=2)
    one.run.event(EventKind.EPOCH_STARTED, odd - START_TS, epoch=1, epochs=4, batches=10)
    one.run.finish_epoch(1, odd - START_TS)


def somebody_elses_process(one: Hostile) -> None:
    """The record says that the bot, its parent or process 1 trains it."""
    one.run.record(pid=one.chance.choice((1, os.getpid(), os.getppid())))
    one.run.beat(one.after_s - 5000, epoch=1, batch=2)


HARMS: Final[tuple[Callable[[Hostile], None], ...]] = (
    *(odd_texts, odd_events, json_bomb, pickled, offenders, hidden_modules, from_the_future, somebody_elses_process),
    *(program, log_elsewhere, odd_record, odd_beat, bare_numbers, deep_json, no_utf8, sparse),
    *(no_file, link_around, link_to_secret, folder_elsewhere),
)
"""In the order in which they are done: what is no file, or leads elsewhere, must not be written to."""


def odd_name(number: int, chance: random.Random) -> bytes:
    """A name that a folder can have; no two numbers have the same."""
    odd = chance.choice((*PINGS, *ODD)).replace("/", "∕").replace("\x00", "").encode("utf-8", "replace")
    kind = chance.choice(("plain", "odd", "odd", "long", "bytes"))
    tail = f"-{number}".encode()
    if kind == "plain":
        return b"run" + tail
    if kind == "long":
        return b"n" * (250 - len(tail)) + tail
    return (chance.randbytes(6).translate(None, b"/\x00.") if kind == "bytes" else odd.lstrip(b".")) + tail


def plant(runs: Path, number: int, seed: object, canaries: Canaries, *, made_in: Path) -> Hostile:
    """The directory ``number`` of the series ``seed``: half of them a stranger's, where that can be made. It is made in
    another folder; :meth:`Hostile.appear` puts it into ``runs``."""
    chance = random.Random(f"{seed} {number}")
    run = WrittenRun(made_in, os.fsdecode(odd_name(number, chance)))
    one = Hostile(run=run, chance=chance, canaries=canaries, place=runs / run.layout.name)
    run.record(started_ts=time.time() - 60, run=chance.choice((f"hostile-{number}", f"{one.text()}-{number}")))
    for harm in sorted(chance.sample(HARMS, min(len(HARMS), chance.randint(1, 4))), key=HARMS.index):
        one.harms.append(harm.__name__)
        with contextlib.suppress(OSError, ValueError):
            harm(one)  # what another harm has put in its place stays
    if chance.random() < 0.5 and os.geteuid() == 0:
        _give_away(one)
    elif one.world_writable:
        _open_to_all(one)
    return one


def _give_away(one: Hostile) -> None:
    one.harms.append("of a stranger")
    for path in _entries(one.root):
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def _entries(root: Path) -> list[Path]:
    """``root`` and all below it; what links lead to is not."""
    found = [root]
    for folder, folders, files in os.walk(root, followlinks=False):
        found += [Path(folder) / name for name in (*folders, *files)]
    return found


def _open_to_all(one: Hostile) -> None:
    """The operator's own folder, in which everybody may write, and did: links in it are a stranger's."""
    one.harms.append("world-writable")
    for path in _entries(one.root):
        if path.is_symlink():
            if os.geteuid() == 0:
                os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
        elif path.is_dir():
            path.chmod(0o777)
