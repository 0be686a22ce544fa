"""The container files name what is there, give no rights away, and hold the versions that were tested."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.dockerfile import copied, read_stages

ROOT = Path(__file__).parents[2]
BOT, TRAINER = (ROOT / "container" / f"{side}.Dockerfile" for side in ("bot", "trainer"))
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return {name.lower().replace("_", "-"): version for name, version in PINNED.findall(lock.read_text("utf-8"))}


@pytest.mark.parametrize("file", [BOT, TRAINER], ids=lambda file: file.name)
def test_what_an_image_takes_is_there_and_is_sent_to_the_builder(file: Path) -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    sources = [source for stage in read_stages(file) for source in copied(stage)]
    assert {"trainmaster", "bot", "commands", "trainer", "pyproject.toml"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not any(fnmatch.fnmatch(source, one) for one in sent)] == []


@pytest.mark.parametrize("file", [BOT, TRAINER], ids=lambda file: file.name)
def test_an_image_runs_as_a_person_without_rights(file: Path) -> None:
    last = read_stages(file)[-1]
    users = [one.rest for one in last if one.name == "USER"]
    assert users == ["1000"]
    names = [one.name for one in last]
    assert names.index("USER") < min(names.index(one) for one in ("CMD", "ENTRYPOINT") if one in names)


def test_the_health_check_asks_the_address_that_the_image_serves() -> None:
    rests = {one.name: one.rest for one in read_stages(BOT)[-1]}
    (served,) = re.findall(r"METRICS_ADDRESS=(\S+)", rests["ENV"])
    assert f"http://{served}/metrics" in rests["HEALTHCHECK"]


def test_the_bots_image_holds_the_versions_of_the_lock() -> None:
    tested, image = pins(ROOT / "requirements.lock"), pins(ROOT / "container" / "bot.lock")
    assert {name: version for name, version in image.items() if tested.get(name) != version} == {}
    assert {"slack-bolt", "apscheduler", "psutil", "pydantic-settings", "setuptools"} <= set(image)
    assert not {"torch", "ultralytics", "numpy"} & set(image)


def test_the_image_can_call_people_beyond_slack() -> None:
    """``PAGE_URLS`` without it ends the bot at its start, and nothing can be installed into a container."""
    assert "apprise" in pins(ROOT / "container" / "bot.lock")


def test_what_the_example_leaves_empty_takes_nothing_from_the_image() -> None:
    """An empty line of an ``env_file`` overrides what the image sets."""
    image = dict(re.findall(r"([A-Z_]+)=(\S+)", next(one.rest for one in read_stages(BOT)[-1] if one.name == "ENV")))
    example = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    bot = yaml.safe_load((ROOT / "container" / "compose.yaml").read_text("utf-8"))["services"]["bot"]
    both = sorted(set(image) & example)
    assert both == ["METRICS_ADDRESS", "STATE_DIR"]
    given = {name: re.sub(r"\$\{\w+:-(.+)\}", r"\1", bot["environment"][name]) for name in both}
    assert given == {name: image[name] for name in both}


def test_whoever_the_bot_runs_as_may_make_its_state(tmp_path: Path) -> None:
    """A new volume has the rights of the folder in the image, and ``RUN_AS`` may be anybody."""
    steps = {one.name: one.rest for one in read_stages(BOT)[-1]}
    (volume,) = [one.rest for one in read_stages(BOT)[-1] if one.name == "VOLUME"]
    (made,) = re.findall(rf"install [^&]*{volume}(?!/)", steps["RUN"])
    subprocess.run(made.replace(volume, str(tmp_path / "volume")).split(), check=True)
    assert (tmp_path / "volume").stat().st_mode & 0o7777 == 0o1777
    (state,) = re.findall(r"STATE_DIR=(\S+)", steps["ENV"])
    assert Path(state).parent == Path(volume), "the bot closes it to others, which takes a folder of its own"


def test_every_pinned_package_of_the_image_has_a_hash() -> None:
    text = (ROOT / "container" / "bot.lock").read_text("utf-8")
    packages = re.findall(r"^[^#\s].*(?:\n[ ].*)*", text, re.MULTILINE)
    assert len(packages) == len(pins(ROOT / "container" / "bot.lock")) > 0
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


def test_the_bot_sees_the_runs_as_their_trainings_do() -> None:
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "container" / "compose.yaml").read_text("utf-8"))[
        "services"
    ]
    for name in ("bot", "trainer"):
        service = services[name]
        assert service["pid"] == "host", "a pid is that of the host's"
        assert service["uts"] == "host", "the records name the host"
        assert (ROOT / "container" / service["build"]["context"]).resolve() == ROOT
        assert (ROOT / service["build"]["dockerfile"]).exists()
        inside = [volume.split("}:")[-1] for volume in service["volumes"] if "RUNS_DIR" in volume]
        assert inside == ["${RUNS_DIR:?}"], "the same path inside as outside"
    assert services["bot"]["cap_drop"] == ["ALL"]
    assert services["bot"]["read_only"] is True


@pytest.mark.parametrize("file", [BOT, TRAINER], ids=lambda file: file.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, file], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout + done.stderr == ""
