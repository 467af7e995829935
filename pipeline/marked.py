"""YAML whose values know their lines, so that a fault in a file is told with its place."""

from typing import Any, NamedTuple

import yaml

from ssrl_pipeline.config import PlainLoader, yaml_error


class Marked(NamedTuple):
    """A value of a YAML text, and where it stands."""

    value: Any  # a mapping of text to Marked, a list of Marked, or a plain value
    line: int  # counted from 1; of an entry of a mapping, that of its key
    again: tuple[tuple[str, int], ...] = ()  # keys of this mapping that were there already, and their lines

    def plain(self) -> Any:
        """The value without lines."""
        if isinstance(self.value, dict):
            return {key: entry.plain() for key, entry in self.value.items()}
        return [entry.plain() for entry in self.value] if isinstance(self.value, list) else self.value


def read_marked(text: str) -> Marked:
    """Raises YamlError where the text is not YAML of plain values."""
    try:
        loader = PlainLoader(text)
        node = loader.get_single_node()
        return Marked(None, 1) if node is None else _marked(loader, node, node.start_mark.line + 1)
    except Exception as error:
        raise yaml_error(error, text) from error


def _marked(loader: PlainLoader, node: yaml.Node, line: int) -> Marked:
    if isinstance(node, yaml.SequenceNode):
        return Marked([_marked(loader, entry, entry.start_mark.line + 1) for entry in node.value], line)
    if not isinstance(node, yaml.MappingNode):
        return Marked(loader.construct_object(node, deep=True), line)
    entries: dict[str, Marked] = {}
    again = []
    for key, entry in node.value:
        at = key.start_mark.line + 1
        name = key.value if isinstance(key, yaml.ScalarNode) else str(loader.construct_object(key, deep=True))
        if name in entries:
            again.append((name, at))
        entries.setdefault(name, _marked(loader, entry, at))
    return Marked(entries, line, tuple(again))
