"""Words of the code mean one thing: names of classes, names of loggers, docstrings that say something."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("bot", "commands", "trainer", "trainmaster")
FEWEST_WORDS = 4
"""Of a docstring: fewer only repeat the name."""

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@pytest.fixture(scope="module")
def trees() -> list[tuple[str, ast.Module]]:
    """Every file of the product, read once."""
    return [
        (str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8")))
        for top in PRODUCT
        for path in sorted((ROOT / top).rglob("*.py"))
    ]


def shared_names(parsed: Iterable[tuple[str, ast.Module]]) -> dict[str, list[str]]:
    """Names that two classes have or more, with the files of each; an underscore in front makes no other name."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for place, tree in parsed:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(place)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_no_two_classes_have_one_name(trees: list[tuple[str, ast.Module]]) -> None:
    assert shared_names(trees) == {}


def test_a_second_class_of_a_name_is_noticed() -> None:
    first, second = ast.parse("class Outcome: ..."), ast.parse("def f():\n    class Outcome: ...")
    assert shared_names(iter([("a.py", first), ("b.py", second)])) == {"Outcome": ["a.py", "b.py"]}
    assert shared_names(iter([("a.py", first), ("b.py", ast.parse("class _Outcome: ..."))])) != {}
    assert shared_names(iter([("a.py", first)])) == {}


def loggers(tree: ast.Module) -> Iterator[str]:
    """How a module asks for its loggers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "getLogger":
            yield ", ".join(ast.unparse(argument) for argument in node.args)


OF_OTHERS = {"", "name", "'ultralytics'", "'apprise'", "'apscheduler.executors.default'"}
"""Not ours: the root, libraries that are to talk less (bot/cli/run.py), Ultralytics' own, and one that is filtered."""


def test_every_logger_is_named_for_its_module(trees: list[tuple[str, ast.Module]]) -> None:
    names = {(place, name) for place, tree in trees for name in loggers(tree)}
    assert {(place, name) for place, name in names if name not in {"__name__", *OF_OTHERS}} == set()


def test_every_logger_of_a_module_is_called_the_same(trees: list[tuple[str, ast.Module]]) -> None:
    called = {
        ast.unparse(node.targets[0])
        for _, tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "logging.getLogger(__name__)"
    }
    assert called == {"_LOG"}


def short_docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, Documented):
            text = ast.get_docstring(node)
            if text is not None and len(text.split()) < FEWEST_WORDS:
                yield f"{getattr(node, 'name', 'module')}: {text}"


def test_no_docstring_only_repeats_a_name(trees: list[tuple[str, ast.Module]]) -> None:
    found = {(place, one) for place, tree in trees for one in short_docstrings(tree)}
    assert found == set()


@pytest.mark.parametrize(
    ("code", "num_short"),
    [('def info():\n    """Describe one channel."""', 1), ('def info():\n    """What Slack says of a channel."""', 0)],
    ids=["three words", "a sentence"],
)
def test_a_docstring_of_three_words_is_noticed(code: str, num_short: int) -> None:
    assert len(list(short_docstrings(ast.parse(code)))) == num_short
