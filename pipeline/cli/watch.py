"""The command `watch`."""

import errno
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click

from ssrl_pipeline import alarms, pages, watching
from ssrl_pipeline.cli.options import config_option, scorer_options, set_option, setting, with_settings
from ssrl_pipeline.config import place_in, ready_configs
from ssrl_pipeline.console import HangUps, ending_signals, say
from ssrl_pipeline.errors import ConfigError, PipelineError
from ssrl_pipeline.pages import live
from ssrl_pipeline.settings import CAMERA_SECTIONS, PageSettings, Settings, WatchSettings
from ssrl_pipeline.watching import parse_sources

LAST_CLIPS = 20.0  # seconds that the archive gets for what waits at the end


@click.command()
@click.argument("sources", nargs=-1)
@scorer_options
@click.option("--exec", "command", metavar="CMD", help="Run for each alarm, at its start and end; no shell.")
@click.option("--webhook", "url", metavar="URL", help="Post each alarm, its start and end, as JSON.")
@setting("alarms.folder", "Keep a clip and a still of each event.", flag="--events", metavar="FOLDER")
@setting("page.address", "Serve a page of the cameras and their events.", flag="--page", metavar="HOST:PORT")
@click.option("--hwaccel", metavar="DEVICE", help="What decodes streams: none, auto, cuda, vaapi, ...")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics for Prometheus.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address to serve it on.")
@click.option(
    "--check", is_flag=True, help="Open each camera once, write a picture of it, measure capacity, end."
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("check"),
    show_default=True,
    metavar="DIR",
    help="Where --check writes them.",
)
@config_option
@set_option
@partial(with_settings, beside=CAMERA_SECTIONS)
def watch(
    settings: Settings,
    config: str | None,
    sources: tuple[str, ...],
    checkpoint: Path | None,
    command: str | None,
    url: str | None,
    hwaccel: str | None,
    metrics_port: int | None,
    metrics_host: str,
    device: str,
    check: bool,
    pictures: Path,
) -> None:
    """Score cameras and streams as they come, one JSON line each.

    A source is an address (rtsp://..., http://..., ...), a camera's number or a file, named
    as in gate=rtsp://host/stream; or -c names a file with cameras in it, which is read again on
    SIGHUP (docs/live.md). A checkpoint whose file is replaced, as by `learn`, is taken up without a
    restart. Lines are of the types score, event_start, event_end,
    health_start, health_end, connected, lost, dropped and end. Frames count from 0, ends are
    exclusive. A stream that is lost is opened again, one that is faster than the model loses
    whole snippets, and both are told; a file waits for the model, and its end ends it.
    -o watch.window=16 is how many snippets of a camera are looked at together, -o watch.delay=0
    scores each at once, not when one more is known. What counts as an event is set as for `score`.

    CMD gets the line on its stdin, and its values as SSRL_TYPE, SSRL_CAMERA and so on.

    With --events, lines of events have `id`, `still` and `clip`, the last two the paths of files. The end
    of an event is then told when its clip is whole, some seconds later. -o alarms.after=10 and the like say
    how long clips are, and how long they stay.

    With --page, a browser shows the cameras as they are now, and their events (extra web). An address that
    others can reach needs a token, in the variable SSRL_PAGE_TOKEN or a file (-o page.token_file=FILE).
    """
    models = watching.Models(settings, checkpoint, device)
    path = _camera_file(config, sources)
    listeners = alarms.Listeners(_flagged(command, url))
    access = _access(settings.page, config)
    file = _cameras(path, sources, models.views_if_any if check else models.views)
    if check:
        _check(file, models, pictures, settings.watch)
        return
    with HangUps(path is not None) as hang_ups, _page(access, settings.alarms.folder) as page:
        at = None if metrics_port is None else (metrics_host, metrics_port)
        received, failed = _watch(settings, models, file, path, hang_ups, listeners, page, at)
    if received:
        _end_by(received[0])
    if failed:
        raise PipelineError(f"{', '.join(failed)}: not read to the end")


def _access(page: PageSettings, config: str | None) -> "pages.Access | None":
    """Raises ConfigError, with the place where the fault is one of the file's."""
    try:
        return pages.read_access(page)
    except ConfigError as error:
        of = "token_file" if page.token_file and page.token_file in str(error) else "address"
        raise ConfigError(f"{place_in(config, f'page.{of}', getattr(page, of))}{error}") from None


def _page(
    access: "pages.Access | None", folder: str | None
) -> "AbstractContextManager[live.LivePage | None]":
    return live.open_page(access, Path(folder) if folder else None, say) if access else nullcontext()


def _watch(
    settings: Settings,
    models: "watching.Models",
    file: "watching.CameraFile",
    path: Path | None,
    hang_ups: HangUps,
    listeners: "alarms.Listeners",
    page: "live.LivePage | None",
    metrics: tuple[str, int] | None,
) -> tuple[list[int], list[str]]:
    """Until it ends: the signals that ended it, and the recordings that could not be read to their end."""
    jobs: list[watching.Watch] = []  # the one that follows
    plans, read = models.plans(file.cameras), partial(_read, views=models.views)
    tell_of = partial(_tell_of, listeners)

    def tell(line: dict[str, Any]) -> None:
        listeners.tell(line)
        if page:
            page.tell(line)
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def change(plans: Sequence["watching.Plan"]) -> None:
        jobs[0].update(plans)
        if page:
            page.change(plans)

    def end() -> None:
        say("the terminal was closed")
        received.append(signal.SIGHUP)
        stop.set()

    with (
        alarms.open_recorder(settings.alarms, lambda name: jobs[0].recordings(name), tell) as recorder,
        watching.open_watch(
            settings,
            plans,
            recorder.tell if recorder else tell,
            metrics,
            alarms.kept_packets(settings.alarms),
            page.see if page else None,
        ) as job,
        ending_signals(hang_up=path is None) as (stop, received),
        watching.Reloader(models, change, tell_of, file, path, read).beside(hang_ups, end),
    ):
        jobs.append(job)
        tell_of(file)
        if page:
            page.change(plans)
            page.remember()
        return received, _run(job, stop, recorder, listeners)


def _camera_file(config: str | None, sources: tuple[str, ...]) -> Path | None:
    """The file that names the cameras; None: the sources do."""
    path = None if config is None or config in ready_configs() else Path(config)
    if path and watching.is_camera_file(path):
        if sources:
            raise click.UsageError(f"the cameras of {config}, or SOURCES: not both")
        return path
    if not sources:
        raise click.UsageError("Missing argument 'SOURCES...', or -c with a file that has cameras")
    return None


def _read(path: Path, views: Callable[[Path | None], Mapping[str, int]]) -> "watching.CameraFile":
    """Raises ConfigError after all faults were said."""
    try:
        return watching.read_camera_file(path, alarms.open_receiver, views)
    except watching.CameraFileError as error:
        for fault in error.faults if len(error.faults) > 1 else ():
            say(fault, logging.ERROR)
        raise


def _cameras(
    path: Path | None, sources: Sequence[str], views: Callable[[Path | None], Mapping[str, int]]
) -> "watching.CameraFile":
    """Those of a file, or else those that the command names."""
    if path:
        return _read(path, views)
    return watching.CameraFile(tuple(map(watching.CameraEntry, parse_sources(sources))))


def _check(
    file: "watching.CameraFile", models: "watching.Models", folder: Path, settings: WatchSettings
) -> None:
    checked = watching.check_cameras(file.cameras, models.views_if_any, folder, settings.timeout)
    for one in checked:
        if one.problem:
            say(str(one), logging.ERROR)
        else:
            click.echo(str(one))
    known = [entry for entry in file.cameras if models.views_if_any(entry.checkpoint)]
    for checkpoint, capacity in watching.measure_entries(known, models, settings).items():
        by = f" with {checkpoint}" if checkpoint else ""
        click.echo(f"this machine carries{by} {capacity.told()}")
    if failed := [one.name for one in checked if one.problem]:
        raise PipelineError(f"{', '.join(failed)}: cannot be opened")


def _run(
    job: "watching.Watch",
    stop: threading.Event,
    recorder: "alarms.EventRecorder | None",
    listeners: "alarms.Listeners",
) -> list[str]:
    """The names of recordings that could not be read to their end."""
    try:
        failed = job.run(stop)
        if recorder:
            recorder.close(LAST_CLIPS)
        return failed
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: a terminal that was closed
            raise
        say("stdout was closed")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return []
    finally:
        listeners.close()


def _tell_of(listeners: "alarms.Listeners", file: "watching.CameraFile") -> None:
    listeners.change(file.receivers, {entry.source.name: entry.receivers for entry in file.cameras})


def _flagged(command: str | None, url: str | None) -> dict[str, dict[str, Any]]:
    """The receivers that options ask for: the option that names it -> what kind it is."""
    receivers: dict[str, dict[str, Any]] = {}
    if command is not None:
        receivers["--exec"] = {"type": "program", "command": command}
    if url is not None:
        receivers["--webhook"] = {"type": "webhook", "url": url}
    return receivers


def _end_by(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
