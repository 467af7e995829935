"""Configuration: frozen dataclasses, filled from defaults < file < --set < named flags.

ssrl-pipeline train -c my.yaml -o optimiser.lr=0.0005 --seed 1
"""

import contextlib
import copy
import dataclasses
import difflib
import math
import re
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
MOST_BYTES = 4 << 20  # bytes of a file


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
    text = _read(file) if file else ""
    tree = _tree(file, text) if file else {}
    for key in beside:
        tree.pop(key, None)
    for key in tree.keys() - typing.get_type_hints(kind).keys():
        if close := difflib.get_close_matches(str(key), beside, n=1):
            fault = f"unknown key {str(key)!r}; did you mean {close[0]!r}?"
            raise ConfigError(f"{_at(file, text, str(key))}{fault}")
    alone = copy.deepcopy(tree)
    _assign_all(tree, assignments)
    for key, value in flags.items():
        if value is not None:
            _assign(tree, key, value)
    try:
        return from_tree(kind, tree)
    except ConfigError as error:
        raise ConfigError(f"{_place(kind, alone, str(error), file, text)}{error}") from error


def named_in(section: str, file: str | Path | None, assignments: Sequence[str]) -> frozenset[str]:
    """The settings of a section that a file or --set names, be it with their defaults."""
    tree = _tree(file, _read(file)) if file else {}
    _assign_all(tree, assignments)
    return frozenset(tree.get(section, ()))


def _assign_all(tree: Tree, assignments: Sequence[str]) -> None:
    for assignment in assignments:
        key, equals, written = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: write key=value")
        try:
            value = read_yaml(written)
        except ValueError as error:
            raise ConfigError(f"--set {assignment}: the value is not YAML") from error
        _assign(tree, key, value)


def _place(kind: type, tree: Tree, fault: str, file: str | Path | None, text: str) -> str:
    """The file and the line of a fault; nothing where it is of the command line."""
    try:
        from_tree(kind, tree)
    except ConfigError as error:
        if str(error) == fault:
            key = re.match(r"(?:unknown key ')?([\w.-]+)", fault)
            return _at(file, text, key[1] if key else "")
    return ""


def place_in(file: str | Path | None, key: str, value: Any) -> str:
    """The file and the line of "key.sub", as faults of its use begin; "" where it has not that value."""
    text = _read(file) if file else ""
    tree: Any = _tree(file, text) if file else {}
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return "" if tree is None or tree != value else _at(file, text, key)


def _at(file: str | Path | None, text: str, path: str) -> str:
    """The file and the line of "key.sub" in its text; where a part of it is not there, the part before it."""
    node, line = yaml.compose(text, PlainLoader), 1
    for name in path.split("."):
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.value == name:
                node, line = value, key.start_mark.line + 1
                break
    return f"{file}, line {line}: "


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
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not read; write the value again", problem_mark=mark
            )
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, KeyError) as error:  # as of !!int x
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error


class YamlError(ValueError):
    """The text is not YAML of plain values; its message is one line."""

    def __init__(self, message: str, line: int | None):
        super().__init__(message)
        self.line = line


def yaml_error(error: Exception, text: str) -> YamlError:
    """What PyYAML raised, which is nearly anything on tags that do not fit their values."""
    if isinstance(error, RecursionError):
        return YamlError("nested too deep", None)
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return YamlError(f"a character that no text has, {chr(error.character)!r}", line)
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or " ".join(str(error).split()) or type(error).__name__
    context = getattr(error, "context", None) or ""
    if "'\\t'" in said:
        said = "a tab; YAML is indented with blanks"
    elif said.startswith("expected <block end>"):
        said = "indented otherwise than the lines before"
    elif said.startswith("but found"):
        said = f"{context}, {said}"
    elif "quoted scalar" in context and "end of stream" in said:
        mark, said = getattr(error, "context_mark", mark), "a quote that is not closed"
    return YamlError(said, mark.line + 1 if mark else None)


def read_yaml(text: str) -> Any:
    """Raises YamlError where the text is not YAML of plain values."""
    try:
        return yaml.load(text, PlainLoader)
    except Exception as error:
        raise yaml_error(error, text) from error


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


def config_text(path: Path) -> str:
    """Raises ConfigError where it is no text, or too much of it, and OSError where it cannot be read."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ConfigError(f"{path}: {size} bytes are too many for a file of settings")
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: no text in UTF-8") from error


def _read(file: str | Path) -> str:
    if ready := ready_configs().get(str(file)):
        return str(ready.read_text(encoding="utf-8"))
    try:
        return config_text(Path(file))
    except FileNotFoundError:
        raise ConfigError(f"{file}: no such file; ready ones are {', '.join(ready_configs())}") from None
    except OSError as error:
        raise ConfigError(f"{file}: not readable ({error.strerror})") from error


def _tree(file: str | Path, text: str) -> Tree:
    try:
        tree = read_yaml(text)
    except YamlError as error:
        raise ConfigError(f"{file}, line {error.line or 1}: not readable as YAML: {error}") from error
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
