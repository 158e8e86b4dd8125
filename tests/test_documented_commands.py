"""Commands in texts and help are parsed as the shell would hand them over: names, options, values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_runs import COMMANDS, REPOSITORY

TEXTS = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "manifests").glob("*.*")),
    *sorted((REPOSITORY / "model" / "weights").glob("*.md")),
]


def documented(text: str) -> Iterator[list[str]]:
    """The words behind ``gifnet`` or ``python cli.py`` of every line, or cell of a table, that runs it."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^[#\s]*(?:gifnet|python cli\.py) (.*)$", text, re.MULTILINE)
    cells = re.findall(r"`(?:gifnet|python cli\.py) ([^`|]* -[^`|]*)`", text)
    for line in [*lines, *cells]:
        words = shlex.split(line, comments=True)
        yield [word for word in words if not word.startswith("$") and not re.fullmatch(r"\[.*|\.\.\.", word)]


def parse(words: list[str]) -> None:
    depth = next((n for n in (1, 2) if tuple(words[:n]) in COMMANDS), None)
    assert depth is not None, f"no such command: {' '.join(words)}"
    name = " ".join(words[:depth])
    try:
        COMMANDS[tuple(words[:depth])].make_context(name, words[depth:])
    except click.UsageError as error:
        pytest.fail(f"gifnet {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_commands_of_texts_are_understood(path: Path) -> None:
    for words in documented(path.read_text(encoding="utf-8")):
        parse(words)


def test_there_are_commands_to_understand() -> None:
    found = [words for path in TEXTS for words in documented(path.read_text(encoding="utf-8"))]
    assert len(found) >= 15


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_of_the_help_are_understood(path: tuple[str, ...]) -> None:
    examples = list(documented(COMMANDS[path].help or ""))
    assert examples
    for words in examples:
        parse(words)
