"""Makes docs/settings.md and docs/commands.md from the code.

python scripts/docs.py
"""

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ssrl_pipeline.cli.main import cli
from ssrl_pipeline.config import declared, ready_configs
from ssrl_pipeline.settings import Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
MADE = "<!-- Made by scripts/docs.py from the code: change it there. -->\n"
TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def settings_page() -> str:
    """A table of each section's settings: key, type, default, and the comment in settings.py."""
    configs = ", ".join(f"`{name}`" for name in ready_configs())
    parts = [
        MADE,
        "# Settings\n",
        "Every setting of every command. Later ones win: the defaults, a YAML file of these sections and",
        "keys (`-c my.yaml`, or the name of a ready one), single ones (`-o train.optimiser.lr=1e-4`), and",
        f"the options of a [command](commands.md). Ready ones are {configs}.",
    ]
    for section, kind in _sections(Settings):
        parts.append(f"\n## {section}\n")
        parts.append(_table(("setting", "type", "default", "what it is"), list(_settings(section, kind))))
    return "\n".join(parts).rstrip() + "\n"


def commands_page() -> str:
    """Each command with its help, its arguments and its options."""
    parts = [MADE, "# Commands\n", _help(cli), "\n" + _options(cli)]
    parts.append("\nWhat `-o` and `-c` set is in [settings.md](settings.md).")
    for command, path in _commands(cli, ()):
        usage = " ".join(filter(None, ["ssrl-pipeline", *path, *map(_argument, _arguments(command))]))
        parts += [f"\n## {' '.join(path)}\n", f"    {usage}\n", _help(command), "\n" + _options(command)]
    return "\n".join(parts).rstrip() + "\n"


def pages() -> dict[Path, str]:
    return {DOCS / "settings.md": settings_page(), DOCS / "commands.md": commands_page()}


def _sections(kind: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The dataclasses in a dataclass, outer ones first, with the key of each."""
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield f"{path}{name}", hint
            yield from _sections(hint, f"{path}{name}.")


def _settings(section: str, kind: Any) -> Iterator[tuple[str, ...]]:
    source = textwrap.dedent(inspect.getsource(kind))
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        key = f"{section}.{node.target.id}"
        setting = declared(Settings, key)
        if dataclasses.is_dataclass(setting.type):
            continue
        lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        about = " ".join(comments[line] for line in lines if line in comments)
        yield f"`{key}`", _type(setting.type, setting.choices), _default(setting.default), about


def _type(hint: Any, choices: tuple[str, ...]) -> str:
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if typing.get_origin(hint) is tuple:
        return f"list of {TYPES[typing.get_args(hint)[0]]}s"
    return TYPES[hint]


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[click.Command, tuple[str, ...]]]:
    """All commands that do something, with the words that call them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))
        else:
            yield command, (*path, name)


def _help(command: click.Command) -> str:
    """Paragraphs as they are; those that click leaves alone, marked with \\b, as code."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(
        textwrap.indent(text.removeprefix("\b\n"), "    ") if text.startswith("\b") else text
        for text in paragraphs
    )


def _arguments(command: click.Command) -> list[click.Argument]:
    return [one for one in command.params if isinstance(one, click.Argument)]


def _argument(argument: click.Argument) -> str:
    name = (argument.name or "").upper() if argument.metavar is None else argument.metavar
    shown = f"{name}..." if argument.nargs == -1 and argument.metavar is None else name
    return shown if argument.required or not shown else f"[{shown}]"


def _options(command: click.Command) -> str:
    rows = []
    for one in command.params:
        if not isinstance(one, click.Option):
            continue
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        about = one.help or ""
        if one.required:
            about += "  [required]"
        if one.show_default and not isinstance(one.default, bool):
            about += f"  [default: {one.default}]"
        rows.append((names, _value(one), about))
    return _table(("option", "value", "what it does"), rows) if rows else ""


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    return option.metavar or option.type.name.replace(" range", "")


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
        print(page)
