"""The pages that are made from the code say what it says now, and name all of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import docs
from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.config import to_tree
from ssrl_pipeline.settings import Settings

README = Path(__file__).resolve().parents[2] / "README.md"


def keys(tree: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from keys(value, f"{path}{name}.")
        else:
            yield path + name


def options(command: click.Command) -> Iterator[str]:
    """All options of a command and of those below it."""
    for one in command.params:
        if isinstance(one, click.Option):
            yield from (*one.opts, *one.secondary_opts)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from options(below)


@pytest.mark.parametrize("page", docs.pages(), ids=lambda page: page.name)
def test_pages_are_what_the_script_makes_now(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == docs.pages()[page], "run python scripts/docs.py"
    assert f"docs/{page.name}" in README.read_text(encoding="utf-8")


def test_every_setting_is_explained() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \| (.+) \| (.*) \|$", docs.settings_page(), re.MULTILINE)
    assert [key for key, *_ in rows] == list(keys(to_tree(Settings())))
    assert [key for key, _, _, about in rows if not about] == []
    assert ("train.seed", "whole number", "`0`") in [row[:3] for row in rows]


def test_every_command_and_option_is_on_the_page() -> None:
    page = docs.commands_page()
    named = set(options(cli))
    assert {"--engine", "--no-overlay", "-o", "--log-json"} <= named
    assert [option for option in named if f"`{option}`" not in page] == []
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert {"extract", "dataset check", "store export", "weights fetch", "watch"} <= set(headings)
