"""Configuration: frozen dataclasses, filled from defaults < file < --set < named flags.

ssrl-pipeline train -c my.yaml -o optimiser.lr=0.0005 --seed 1
"""

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from ssrl_pipeline.errors import ConfigError

T = TypeVar("T")
Tree = dict[str, Any]


def load_config(
    kind: type[T],
    file: str | Path | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    beside: Sequence[str] = (),
) -> T:
    """Builds a configuration.

    Args:
        kind: a dataclass; its fields are scalars, choices, tuples of scalars, or dataclasses.
        file: YAML, or the name of a ready configuration such as "reference".
        assignments: "key.sub=value", the value as in YAML.
        flags: "key.sub" -> value; None means that the flag was not given.
        beside: keys of the file that are not of the configuration: others read them.

    Raises:
        ConfigError: an unknown key (with the nearest known one) or a value of another type.
    """
    tree = _read_yaml(file) if file else {}
    for key in beside:
        tree.pop(key, None)
    for key in tree.keys() - typing.get_type_hints(kind).keys():
        if close := difflib.get_close_matches(str(key), beside, n=1):
            raise ConfigError(f"unknown key {str(key)!r}; did you mean {close[0]!r}?")
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: write key=value")
        try:
            value = read_yaml(text)
        except ValueError as error:
            raise ConfigError(f"--set {assignment}: the value is not YAML") from error
        _assign(tree, key, value)
    for key, value in flags.items():
        if value is not None:
            _assign(tree, key, value)
    return from_tree(kind, tree)


def from_tree(kind: type[T], tree: Any, path: str = "") -> T:
    """Nested dictionaries, as YAML and JSON give them -> the dataclass `kind`."""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path or 'the configuration'}: {tree!r} is not a mapping of keys to values")
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in tree.items():
        name = f"{path}.{key}" if path else str(key)
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(hints)}"
            raise ConfigError(f"unknown key {name!r}; {hint}")
        values[key] = _convert(hints[key], value, name)
    try:
        return kind(**values)
    except ValueError as error:  # a dataclass may check its values
        raise ConfigError(f"{path}: {error}" if path else str(error)) from error


def to_tree(config: Any) -> Tree:
    """The reverse of :func:`from_tree`, with lists for tuples."""
    return typing.cast(Tree, _lists(dataclasses.asdict(config)))


def to_yaml(tree: Tree) -> str:
    return str(yaml.safe_dump(tree, sort_keys=False))


class PlainLoader(yaml.SafeLoader):
    """PyYAML's safe one, which runs nothing, without aliases: a few can stand for more than all memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not read; write the value again")
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """Raises ValueError with one line where the text is not YAML of plain values."""
    try:
        return yaml.load(text, PlainLoader)
    except Exception as error:  # PyYAML raises nearly anything on tags that do not fit their values
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


class Declared(NamedTuple):
    """What a dataclass says of one of its settings."""

    type: Any  # as annotated, without None
    choices: tuple[str, ...]  # of a `Literal`
    default: Any


def declared(kind: type, key: str) -> Declared:
    """The setting that "key.sub" names, of a dataclass whose fields have defaults."""
    *sections, name = key.split(".")
    for section in sections:
        kind = typing.get_type_hints(kind)[section]
    hint = typing.get_type_hints(kind)[name]
    given = [option for option in _options(hint) if option is not type(None)]
    return Declared(given[0], choices_of(hint), getattr(kind(), name))


def ready_configs() -> dict[str, Any]:
    """The configurations that come with the package, by name."""
    files = resources.files("ssrl_pipeline.configs").iterdir()
    return {
        file.name[:-5]: file for file in sorted(files, key=lambda f: f.name) if file.name.endswith(".yaml")
    }


def _read_yaml(file: str | Path) -> Tree:
    source = ready_configs().get(str(file), Path(file))
    try:
        tree = read_yaml(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; ready ones are {', '.join(ready_configs())}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: not readable as YAML ({' '.join(str(error).split())})") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: not a mapping of keys to values")
    return tree


def _assign(tree: Tree, key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{key!r}: {parent!r} holds a value, not keys")
    tree[leaf] = value


def _convert(hint: Any, value: Any, name: str) -> Any:
    """Checks a value against a type hint; whole numbers pass as floats, lists as tuples."""
    if dataclasses.is_dataclass(hint):
        return from_tree(typing.cast(type, hint), value, name)
    options = _options(hint)
    if value is None and type(None) in options:
        return None
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, list | tuple):
            return tuple(_convert(typing.get_args(option)[0], item, name) for item in value)
        if typing.get_origin(option) is dict and isinstance(value, dict):
            return value
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            value = float(value)
        elif option is float and isinstance(value, str):
            with contextlib.suppress(ValueError):  # YAML 1.1 reads 1e-3 as a string
                value = float(value)
        if option is float and isinstance(value, float) and math.isfinite(value):
            return value
        if option in (int, bool, str) and type(value) is option:
            return value
        if value in choices_of(option):
            return value
    if choices := choices_of(hint):
        raise ConfigError(f"{name}: {value!r} is not one of {', '.join(choices)}")
    wanted = " or ".join(getattr(o, "__name__", str(o)) for o in options if o is not type(None))
    raise ConfigError(f"{name}: {value!r} is not of type {wanted}")


def _options(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the one type."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def choices_of(hint: Any) -> tuple[str, ...]:
    """What a `Literal`, or one of a union, lets choose from; nothing for any other type."""
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return tuple(choice for option in typing.get_args(hint) for choice in choices_of(option))


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value
