"""The command `watch`."""

import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from ssrl_pipeline import alarms, watching
from ssrl_pipeline.cli.options import scorer_options, settings_options
from ssrl_pipeline.console import say
from ssrl_pipeline.disk import find_checkpoint
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching import Notifier, parse_sources, program, webhook

NOTIFY = ("event_start", "event_end")
LAST_CLIPS = 20.0  # seconds that the archive gets for what waits at the end
LAST_WORDS = 10.0  # seconds that receivers get for what waits at the end


@click.command()
@click.argument("sources", nargs=-1, required=True)
@scorer_options
@click.option("--exec", "command", metavar="CMD", help="Run for each start and end of an event; no shell.")
@click.option("--webhook", "url", metavar="URL", help="Post each start and end of an event as JSON.")
@click.option(
    "--events",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep a clip and a still of each event.",
)
@click.option("--hwaccel", metavar="DEVICE", help="What decodes streams: none, auto, cuda, vaapi, ...")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics for Prometheus.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address to serve it on.")
@settings_options
def watch(
    settings: Settings,
    sources: tuple[str, ...],
    checkpoint: Path | None,
    command: str | None,
    url: str | None,
    events: Path | None,
    hwaccel: str | None,
    metrics_port: int | None,
    metrics_host: str,
    device: str,
) -> None:
    """Score cameras and streams as they come, one JSON line each.

    A source is an address (rtsp://..., http://..., ...), a camera's number or a file, named
    as in gate=rtsp://host/stream. Lines are of the types score, event_start, event_end,
    connected, lost, dropped and end. Frames count from 0, ends are exclusive. A stream that
    is lost is opened again, one that is faster than the model loses whole snippets, and both
    are told; a file waits for the model, and its end ends it. -o watch.window=16 is how many
    snippets of a camera are looked at together, -o watch.delay=0 scores each at once, not when one more is
    known. What counts as an event is set as for `score`.

    CMD gets the line on its stdin, and its values as SSRL_TYPE, SSRL_CAMERA and so on.

    With --events, lines of events have `id`, `still` and `clip`, the last two the paths of files. The end
    of an event is then told when its clip is whole, some seconds later. -o alarms.after=10 and the like say
    how long clips are, and how long they stay.
    """
    if events is not None:
        settings = replace(settings, alarms=replace(settings.alarms, folder=str(events)))
    if hwaccel is not None:
        settings = replace(settings, watch=replace(settings.watch, hwaccel=hwaccel))
    cameras = parse_sources(sources)
    receivers = _receivers(command, url)
    path = find_checkpoint(checkpoint, Path(settings.data.runs))

    notifiers: list[Notifier] = []

    def tell(line: dict[str, Any]) -> None:
        if line["type"] in NOTIFY:
            for notifier in notifiers:
                notifier.tell(line)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    jobs: list[watching.Watch] = []  # the one that follows
    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    with (
        alarms.open_recorder(settings.alarms, lambda name: jobs[0].recordings(name), tell) as recorder,
        watching.open_watch(
            settings,
            cameras,
            path,
            device,
            recorder.tell if recorder else tell,
            metrics,
            alarms.kept_packets(settings.alarms),
        ) as job,
        _signals() as (stop, received),
    ):
        jobs.append(job)
        notifiers += [Notifier(name, deliver, say) for name, deliver in receivers.items()]
        failed = _run(job, stop, recorder, notifiers)
    if received:
        _end_by(received[0])
    if failed:
        raise PipelineError(f"{', '.join(failed)}: not read to the end")


def _run(
    job: "watching.Watch",
    stop: threading.Event,
    recorder: "alarms.EventRecorder | None",
    notifiers: list[Notifier],
) -> list[str]:
    """The names of recordings that could not be read to their end."""
    try:
        failed = job.run(stop)
        if recorder:
            recorder.close(LAST_CLIPS)
        return failed
    except BrokenPipeError:
        say("stdout was closed")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return []
    finally:
        for notifier in notifiers:
            notifier.close(LAST_WORDS)


def _receivers(command: str | None, url: str | None) -> dict[str, Callable[[Mapping[str, Any]], None]]:
    """The option that names it -> what takes a line."""
    receivers = {}
    if command is not None:
        receivers["--exec"] = program(_split(command))
    if url is not None:
        receivers["--webhook"] = webhook(url)
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


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.UsageError(f"--exec: {error}: {command!r}") from error
    if not words:
        raise click.UsageError("--exec: no command")
    return words
