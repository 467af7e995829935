"""The command `watch`."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from ssrl_pipeline import watching
from ssrl_pipeline.alarms import Mutes, Receiver, open_receiver
from ssrl_pipeline.cli.options import scorer_options, settings_options
from ssrl_pipeline.console import say
from ssrl_pipeline.disk import find_checkpoint
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching import parse_sources

LAST_WORDS = 10.0  # seconds that receivers get for what waits at the end


@click.command()
@click.argument("sources", nargs=-1, required=True)
@scorer_options
@click.option("--exec", "command", metavar="CMD", help="Run for each alarm, at its start and end; no shell.")
@click.option("--webhook", "url", metavar="URL", help="Post each alarm, its start and end, as JSON.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics for Prometheus.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address to serve it on.")
@settings_options
def watch(
    settings: Settings,
    sources: tuple[str, ...],
    checkpoint: Path | None,
    command: str | None,
    url: str | None,
    metrics_port: int | None,
    metrics_host: str,
    device: str,
) -> None:
    """Score cameras and streams as they come, one JSON line each.

    A source is an address (rtsp://..., http://..., ...), a camera's number or a file, named
    as in gate=rtsp://host/stream. Lines are of the types score, event_start, event_end,
    health_start, health_end, connected, lost, dropped and end. Frames count from 0, ends are
    exclusive. A stream that is lost is opened again, one that is faster than the model loses
    whole snippets, and both are told; a file waits for the model, and its end ends it.
    -o watch.window=16 is how many snippets of a camera are looked at together,
    -o watch.delay=0 scores each at once, not when one more is known. What counts as an event is
    set as for `score`.

    CMD gets the line on its stdin, and its values as SSRL_TYPE, SSRL_CAMERA and so on.
    """
    cameras = parse_sources(sources)
    receivers = _receivers(command, url)
    path = find_checkpoint(checkpoint, Path(settings.data.runs))

    def tell(line: dict[str, Any]) -> None:
        for receiver in receivers:
            receiver.tell(line)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    with (
        watching.open_watch(settings, cameras, path, device, tell, metrics) as job,
        _signals() as (stop, received),
    ):
        failed = _run(job, stop, receivers)
    if received:
        _end_by(received[0])
    if failed:
        raise PipelineError(f"{', '.join(failed)}: not read to the end")


def _run(job: "watching.Watch", stop: threading.Event, receivers: list[Receiver]) -> list[str]:
    """The names of recordings that could not be read to their end."""
    try:
        return job.run(stop)
    except BrokenPipeError:
        say("stdout was closed")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return []
    finally:
        for receiver in receivers:
            receiver.close(LAST_WORDS)


def _receivers(command: str | None, url: str | None) -> list[Receiver]:
    """Those that options ask for."""
    receivers, mutes = [], Mutes()
    if command is not None:
        receivers.append(open_receiver("--exec", {"type": "program", "command": command}, mutes))
    if url is not None:
        receivers.append(open_receiver("--webhook", {"type": "webhook", "url": url}, mutes))
    return receivers


def _end_by(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """An event that SIGINT and SIGTERM set, and which of them came; a second one acts as ever."""
    stop: threading.Event = threading.Event()
    received: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        received.append(number)
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before |= {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, received
    finally:
        restore()
