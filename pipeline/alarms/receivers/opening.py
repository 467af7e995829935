"""A receiver from its name and options, as cameras.yaml or the command line have them.

A kind of receiver is a module of this folder that is named like it, and has `OPTIONS`, a dataclass
of what it can be told, and `make`, which makes a :class:`Recipient` of it. Its name stands in RECEIVERS.
"""

import importlib
from collections.abc import Mapping
from typing import Any

from ssrl_pipeline.alarms.receivers.base import (
    TYPES,
    Notifier,
    Options,
    Receiver,
    Recipient,
    Say,
    seconds,
)
from ssrl_pipeline.alarms.receivers.limits import Mutes, Only, Pace, limited
from ssrl_pipeline.config import from_tree
from ssrl_pipeline.console import say as say_to_people
from ssrl_pipeline.errors import ConfigError

RECEIVERS = ("program", "webhook", "mqtt", "frigate")
SECRETS = ("password", "url")  # whose values are not told
_PACKAGE = __name__.rpartition(".")[0]


def open_receiver(
    name: str, options: Mapping[str, Any], mutes: Mutes | None = None, say: Say = say_to_people
) -> Receiver:
    """A receiver that is ready to be told; it connects to nobody before it is.

    Args:
        name: for what is said of it.
        options: `type`, one of RECEIVERS, and what that kind can be told; secrets are filled in.
        mutes: shared by all receivers, so that a mute through one holds for all.
        say: takes a line for people.

    Raises:
        ConfigError: names the receiver and the key.
    """
    kind = options.get("type")
    if kind not in RECEIVERS:
        known = ", ".join(RECEIVERS)
        raise ConfigError(f"{name}: {'no type' if kind is None else f'type {kind!r}'}; there are {known}")
    try:
        module = importlib.import_module(f"{_PACKAGE}.{kind}")
    except ImportError as error:
        raise ConfigError(
            f"{name}: type {kind} needs {error.name}; pip install 'ssrl-pipeline[{kind}]'"
        ) from error
    mutes = mutes or Mutes()
    rest = {key: value for key, value in options.items() if key != "type"}
    for key, value in rest.items():
        if key in SECRETS and value is not None and not isinstance(value, str):
            raise ConfigError(f"{name}.{key}: not a text; write it in quotes")
    of: Options = from_tree(module.OPTIONS, rest, name)
    try:
        made: Recipient = module.make(of, mutes, lambda text: say(f"{name}: {text}"))
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
    if unknown := [kind for kind in made.types if kind not in TYPES]:
        raise ConfigError(f"{name}: types: {unknown[0]!r} is none; there are {', '.join(TYPES)}")
    receiver: Receiver = Notifier(name, made.target, say)
    receiver = limited(receiver, mutes, seconds(of.cooldown, "cooldown"), seconds(of.interval, "interval"))
    if made.pace:
        receiver = Pace(receiver, made.pace)
    return Only(receiver, made.types, of.cameras)
