"""The command line: each command parses, calls one library function and shows the result.

    ssrl-pipeline --help

Messages are on stderr; as JSON with --log-json, which stands before the command.
Exit codes: 0 done, 1 something failed (and which), 2 wrong usage, 130 interrupted, 143 terminated.
"""

import importlib
import io
import logging
import signal
import sys
from typing import Any, NoReturn

import click

from ssrl_pipeline._version import __version__
from ssrl_pipeline.console import are_json, hide_secrets, log, say, set_up
from ssrl_pipeline.errors import ConfigError, PipelineError, first_line, is_out_of_memory

INTERRUPTED, TERMINATED = 130, 143  # 128 and the number of SIGINT or SIGTERM


COMMANDS = {  # each is in the module of its name, which is loaded when the command is used
    "adapt": "Fit a checkpoint to a camera by what it normally shows, without labels.",
    "calibrate": "Set the threshold of events by the rate of false alarms that you accept.",
    "dataset": "Look at a dataset's annotations and features.",
    "demo": "Run the whole pipeline on videos that it renders itself, with real I3D weights.",
    "evaluate": "Compare scores with the ground truth of every frame.",
    "export": "Write a checkpoint's model as an ONNX file, from features to scores.",
    "extract": "Turn videos into a store of multi-scale I3D features.",
    "feedback": "Say which moments were normal or abnormal.",
    "info": "Versions, devices, decoders and caches: what to send along with a bug report.",
    "labels": "Exchange labels and events with annotation tools.",
    "learn": "Make a checkpoint that has learnt from the verdicts of feedback.csv.",
    "replay": "Show what would have alarmed with other settings.",
    "review": "Say in a browser which alarms were false.",
    "runs": "Compare the runs in a folder.",
    "score": "Score every frame of new videos.",
    "search": "Find moments of an archive of features by what is done in them.",
    "store": "Look after feature stores.",
    "train": "Learn a detector from features and video labels.",
    "watch": "Score cameras and streams as they come, one JSON line each.",
    "weights": "List, fetch and verify the weights of the backbones.",
}


class _Commands(click.Group):
    """Loads a command's module when it is used, so that `--help` waits for none."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"ssrl_pipeline.cli.{name}"), name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:  # of which click would make an empty line
            raise SystemExit(INTERRUPTED) from None


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="ssrl-pipeline")
@click.option(
    "--log-json",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, option, value: set_up(value),
    help="Messages on stderr as JSON, one a line.",
)
def cli() -> None:
    """Raw surveillance video in, frame-by-frame anomaly scores out.

    \b
    ssrl-pipeline extract --videos videos/    videos -> features
    ssrl-pipeline train                       features + video labels -> checkpoint
    ssrl-pipeline score video.mp4             new video -> a score of every frame

    `ssrl-pipeline demo` shows all three on videos that it renders itself.
    """


def main() -> None:
    """Runs the command line; a user's mistake ends in one line on stderr."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        if are_json():
            _fail(error.format_message(), error.exit_code)
        shown = io.StringIO()
        error.show(shown)  # with what was typed, which may be an address
        click.echo(hide_secrets(shown.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except ConfigError as error:
        _fail(str(error), 2)
    except (PipelineError, OSError) as error:
        _fail(str(error), 1)
    except SystemExit as error:
        if error.code in (INTERRUPTED, TERMINATED):
            word = "interrupted" if error.code == INTERRUPTED else "terminated"
            say(word, logging.WARNING)
        raise
    except (KeyboardInterrupt, click.Abort):
        say("interrupted", logging.WARNING)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if is_out_of_memory(error):
            _fail(
                f"out of memory ({first_line(error)}); end other programs, take a smaller preset or "
                "train.batch_size, or another --device, and run the same command again",
                1,
            )
        if not are_json():
            raise
        log.exception("%s: %s", type(error).__name__, error)
        sys.exit(1)


def _terminate(number: int, frame: object) -> None:
    """Ends as after Ctrl-C: whoever is writing clears away what is not whole; a second one does not cut
    that short, and is for where a library swallowed the first.
    """
    error = sys.exc_info()[1]
    while error:
        if isinstance(error, SystemExit):
            return
        error = error.__context__
    raise SystemExit(TERMINATED)


def _fail(reason: str, code: int) -> NoReturn:
    say(reason, logging.ERROR)
    sys.exit(code)
