"""Runs a program for each alarm."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssrl_pipeline.alarms.receivers.base import ALARMS, Message, Options, Recipient, Target
from ssrl_pipeline.alarms.receivers.templates import shown
from ssrl_pipeline.errors import ConfigError, PipelineError

STDERR = 2  # its file descriptor
LIMIT = 60.0  # seconds


@dataclass(frozen=True, kw_only=True)
class ProgramOptions(Options):
    command: str | tuple[str, ...] = ()  # as for a shell, or its words; no shell is involved
    limit: float = LIMIT
    types: tuple[str, ...] = ALARMS


OPTIONS = ProgramOptions


def make(options: ProgramOptions, *_: Any) -> Recipient:
    """Raises ConfigError where there is no command, or no such program."""
    try:
        words = shlex.split(options.command) if isinstance(options.command, str) else options.command
    except ValueError as error:
        raise ConfigError(f"command: {error}: {options.command!r}") from error
    if not words:
        raise ConfigError("command: no program is named")
    if shutil.which(words[0]) is None:
        raise ConfigError(f"command: {words[0]}: no such program, or it may not be run")
    return Recipient(Program(words, options.limit), options.types)


class Program(Target):
    """Runs it for each message: JSON on its stdin, each value in a variable SSRL_NAME.

    What it prints goes to stderr, as stdout is for results. It may take `limit` seconds;
    then it and all that it started is killed.
    """

    def __init__(self, command: Sequence[str], limit: float = LIMIT):
        self._command, self._limit = list(command), limit

    def deliver(self, message: Message) -> None:
        variables = {f"SSRL_{key.upper()}": shown(value) for key, value in message.items()}
        name = self._command[0]
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=STDERR,
                env={**os.environ, **variables},
                start_new_session=True,  # Ctrl-C is for us; and it can be killed with its children
            )
        except OSError as error:
            raise PipelineError(f"{name} cannot be run: {error.strerror}") from error
        try:
            process.communicate(json.dumps(message).encode() + b"\n", timeout=self._limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise PipelineError(f"{name} took more than {self._limit:g} seconds and was killed") from None
        if process.returncode:
            raise PipelineError(f"{name} failed with exit code {process.returncode}")
