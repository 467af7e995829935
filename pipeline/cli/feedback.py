"""The commands `feedback add`, `feedback list` and `feedback undo`.

ssrl-pipeline feedback add video.mp4 --at 12.5s --normal
"""

import getpass
import logging
from collections.abc import Callable
from typing import Any

import click

from ssrl_pipeline import teaching
from ssrl_pipeline.cli.options import echo_json, features_option, json_option, setting, settings_options
from ssrl_pipeline.console import say, table
from ssrl_pipeline.disk import seconds_of
from ssrl_pipeline.settings import Settings

feedback_option = setting(
    "data.feedback", "Table of verdicts.", metavar="FILE", default="feedback.csv beside the labels"
)


def time_option(text: str) -> float:
    """12.5s or 0:12.5 as seconds."""
    seconds = seconds_of(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} is no time: say 12.5s or 0:12.5")
    return seconds


def patch_option(text: str) -> Any:
    """2x3:4 as a patch."""
    try:
        return teaching.parse_patch(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def moment_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which moment of a video."""
    at = click.option("--at", "time", type=time_option, metavar="TIME", help="12.5s, or h:mm:ss.")
    frame = click.option("--frame", type=click.IntRange(0), help="Counted from 0; instead of --at.")
    patch = click.option(
        "--patch",
        type=patch_option,
        metavar="RxC:N",
        help="The cell of a grid that it is about, as 2x3:4, counted from 0 row by row.",
    )
    return at(frame(patch(command)))


@click.group()
def feedback() -> None:
    """Say which moments were normal or abnormal, for `learn` and `replay`.

    Each verdict is a line at the end of feedback.csv; the latest on a moment counts, and undoing is a
    line, too.
    """


@feedback.command("add")
@click.argument("video")
@moment_options
@click.option("--normal", "word", flag_value="normal", help="Nothing was wrong.")
@click.option("--abnormal", "word", flag_value="abnormal", help="It should alarm.")
@click.option("--note", default="", help="A remark.")
@click.option("--who", help="Who says so.  [default: your login name]")
@feedback_option
@features_option
@settings_options
@json_option
def feedback_add(
    settings: Settings,
    video: str,
    time: float | None,
    frame: int | None,
    patch: Any,
    word: str | None,
    note: str,
    who: str | None,
    as_json: bool,
) -> None:
    """Give a verdict on a moment of VIDEO: its name in the features, its file, or a camera's name."""
    if word is None:
        raise click.UsageError("say --normal or --abnormal")
    path = teaching.feedback_path(settings.data)
    moment = teaching.moment_of(settings.data, video, frame, time, patch, say)
    given = teaching.Verdict(moment, word, note, login_name() if who is None else who)
    verdict = teaching.add_verdict(path, given)
    if as_json:
        echo_json(_row(verdict))
    else:
        click.echo(f"{path}: {verdict.moment}: {verdict.word}")


@feedback.command("list")
@feedback_option
@settings_options
@json_option
def feedback_list(settings: Settings, as_json: bool) -> None:
    """Show the verdicts that count. Invalid lines are reported by number."""
    rows = [_row(one) for one in teaching.read_verdicts(teaching.feedback_path(settings.data), _warn)]
    if as_json:
        echo_json(rows)
    else:
        header = ("video", "verdict", "frame", "time", "patch", "note", "who", "when")
        click.echo(table([["" if row[h] is None else row[h] for h in header] for row in rows], header))


@feedback.command("undo")
@click.argument("video", required=False)
@moment_options
@click.option("--who", help="Who says so.  [default: your login name]")
@feedback_option
@features_option
@settings_options
@json_option
def feedback_undo(
    settings: Settings,
    video: str | None,
    time: float | None,
    frame: int | None,
    patch: Any,
    who: str | None,
    as_json: bool,
) -> None:
    """Take back the latest verdict that counts: of all, of VIDEO, or on a moment of it."""
    if video is None and (time, frame, patch) != (None, None, None):
        raise click.UsageError("a moment is of a video: name it")
    if patch is not None and time is None and frame is None:
        raise click.UsageError("a patch is of a moment: say --at 12.5s or --frame 300")
    path, at = teaching.feedback_path(settings.data), None
    if video is not None and (time is not None or frame is not None):
        at = teaching.moment_of(settings.data, video, frame, time, patch, lambda text: None)
    name = at.video if at else video and teaching.name_of(settings.data, video)
    gone = teaching.undo(path, name, at, login_name() if who is None else who, _warn)
    if as_json:
        echo_json(_row(gone))
    else:
        click.echo(f"{path}: no longer counts: {gone.moment}: {gone.word}")


def _row(verdict: "teaching.Verdict") -> dict[str, Any]:
    video, frame, time, patch = verdict.moment
    said = {"video": video, "verdict": verdict.word, "frame": frame, "time": time}
    about = {"note": verdict.note, "who": verdict.who, "when": verdict.when}
    return {**said, "patch": str(patch) if patch else None, **about}


def _warn(text: str) -> None:
    say(text, logging.WARNING)


def login_name() -> str:
    """Who runs this."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return ""
