"""What is told of an Ultralytics that is there twice, or not as it was published."""

from __future__ import annotations

import base64
import hashlib
from importlib import metadata
from pathlib import Path

import pytest

from trainmaster.trainer.engines.installed import Installed, look

FILES = {"ultralytics/__init__.py": "__version__ = 'x'\n", "ultralytics/engine/trainer.py": "a = 1\n"}


def install(folder: Path, version: str = "8.4.100", *, package: bool = True, said: str = "x") -> Path:
    """As pip does: a package that says it is version ``said``, and its record beside it."""
    info = folder / f"ultralytics-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ultralytics\nVersion: {version}\n")
    lines = []
    for name, given in FILES.items() if package else ():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = given.replace("'x'", f"'{said}'")
        (folder / name).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(text)}")
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,"]))
    return folder


def bare(folder: Path) -> Path:
    (folder / "ultralytics").mkdir(parents=True)
    (folder / "ultralytics" / "__init__.py").touch()
    return folder


def found(*folders: Path) -> Installed:
    return look([str(folder) for folder in folders])


def test_one_that_is_whole_has_nothing_to_tell(tmp_path: Path) -> None:
    site = install(tmp_path / "site")
    told = Installed(
        folder=site / "ultralytics", version="8.4.100", others=(), num_files=len(FILES), edited=(), gone=()
    )
    assert found(site) == told
    assert found(tmp_path / "empty", site, site) == told


def test_none_is_no_version_and_no_folder(tmp_path: Path) -> None:
    assert found(tmp_path) == Installed(folder=None, version=None, others=(), num_files=0, edited=(), gone=())


@pytest.mark.parametrize("name", FILES)
def test_a_file_edited_by_hand_is_named(tmp_path: Path, name: str) -> None:
    site = install(tmp_path / "site")
    (site / name).write_text("# mine\n")
    assert (found(site).edited, found(site).gone) == ((name,), ())


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    site = install(tmp_path / "site")
    (site / "ultralytics/engine/trainer.py").unlink()
    assert (found(site).edited, found(site).gone) == ((), ("ultralytics/engine/trainer.py",))


def test_the_first_on_the_path_is_used_and_the_other_is_named(tmp_path: Path) -> None:
    first, second = install(tmp_path / "first", "8.4.40"), install(tmp_path / "second", "8.4.190")
    told = found(first, second)
    assert (told.folder, told.version) == (first / "ultralytics", "8.4.40")
    assert told.others == (f"version 8.4.190 in {second}",)


def test_a_bare_folder_that_hides_an_installation_is_told(tmp_path: Path) -> None:
    mine, site = bare(tmp_path / "mine"), install(tmp_path / "site")
    told = found(mine, site)
    assert (told.folder, told.version, told.num_files) == (mine / "ultralytics", None, 0)
    assert told.others == (f"version 8.4.100 in {site}",)


def test_a_bare_folder_that_is_hidden_is_told(tmp_path: Path) -> None:
    mine, site = bare(tmp_path / "mine"), install(tmp_path / "site")
    assert found(site, mine).others == (str(mine / "ultralytics"),)


def test_a_record_that_another_version_left_in_the_same_place_is_told(tmp_path: Path) -> None:
    site = install(tmp_path / "site", "8.4.100")
    install(tmp_path / "site", "8.4.190")
    told = found(site)
    assert len(told.others) == 1
    assert told.others[0].endswith(f"in {site}")


@pytest.mark.parametrize("reverse", [False, True], ids=["older first", "newer first"])
@pytest.mark.parametrize("left", ["8.4.100", "8.4.191"])
def test_of_two_records_in_one_place_the_one_that_fits_the_files_is_held_against_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str, reverse: bool
) -> None:
    site = install(tmp_path / "site", left)
    install(site, "8.4.190", said="8.4.190")
    both = sorted(metadata.distributions(name="ultralytics", path=[str(site)]), key=_version, reverse=reverse)
    monkeypatch.setattr(metadata, "distributions", lambda **_: both)  # else as the disk lists them

    told = found(site)
    assert (told.version, told.changed, told.others) == ("8.4.190", (), (f"version {left} in {site}",))


def _version(one: metadata.Distribution) -> str:
    return one.version


def test_files_that_are_links_into_a_cache_are_an_installation(tmp_path: Path) -> None:
    """As ``uv`` and conda make them where they can't copy; one that was edited is a file again."""
    cache, site = install(tmp_path / "cache"), install(tmp_path / "site")
    for name in FILES:
        (site / name).unlink()
        (site / name).symlink_to(cache / name)
    assert (found(site).folder, found(site).version, found(site).others) == (site / "ultralytics", "8.4.100", ())
    (site / "ultralytics/engine/trainer.py").unlink()
    (site / "ultralytics/engine/trainer.py").write_text("# mine\n")
    assert found(site).edited == ("ultralytics/engine/trainer.py",)


def test_an_editable_installation_is_one(tmp_path: Path) -> None:
    checkout, site = bare(tmp_path / "checkout"), install(tmp_path / "site", package=False)
    told = found(site, checkout)
    assert (told.folder, told.version) == (checkout / "ultralytics", "8.4.100")
    assert (told.others, told.num_files) == ((), 0)
