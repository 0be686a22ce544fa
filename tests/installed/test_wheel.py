"""The wheel holds the tree, under one name."""

from __future__ import annotations

import zipfile
from pathlib import Path

from tests.installed.conftest import PACKAGES, ROOT, Environment


def tree() -> set[str]:
    """Every file of the product by the name it is installed under."""
    return {
        f"{package}/{path.relative_to(ROOT / folder)}"
        for folder, package in PACKAGES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "alone" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_product_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert ours == tree(), "pyproject.toml lists every package, and files that are no Python, by hand"
    assert {name.split("/")[0] for name in ours} == {"trainmaster"}


def test_data_files_are_part_of_the_tree() -> None:
    assert any(name.endswith(".sql") for name in tree())
    assert any("/static/" in name for name in tree())


def test_it_is_installed_as_one_package_with_one_command(installed: Environment, tmp_path: Path) -> None:
    entries = {path.name.split("-")[0] for path in installed.site.iterdir() if path.name != "shared.pth"}
    assert entries == {"trainmaster"}
    said = installed.run(installed.script, "--version", cwd=tmp_path)
    assert said.stdout.startswith("trainmaster 0.")
    where = installed.run(installed.python, "-c", "import trainmaster; print(trainmaster.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()) == installed.site / "trainmaster" / "__init__.py"


def test_every_module_of_the_bot_is_there_and_can_be_imported(light: Environment, tmp_path: Path) -> None:
    names = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in sorted(tree())
        if name.startswith(("trainmaster/bot/", "trainmaster/commands/")) and name.endswith(".py")
    ]
    wanted = [name for name in names if "__main__" not in name]
    code = f"import importlib\nfor name in {wanted}: importlib.import_module(name)"
    done = light.run(light.python, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
