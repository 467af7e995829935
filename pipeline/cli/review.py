"""The command `review`.

ssrl-pipeline review scores/
"""

import logging
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import click

from ssrl_pipeline import pages, teaching
from ssrl_pipeline.cli.feedback import feedback_option, login_name
from ssrl_pipeline.cli.labels import videos_option
from ssrl_pipeline.cli.options import PATH, features_option, setting, settings_options
from ssrl_pipeline.console import say
from ssrl_pipeline.pages import review as reviewing
from ssrl_pipeline.settings import Settings

ANY_PORT = "127.0.0.1:0"


@click.command()
@click.argument("folder", type=PATH)
@feedback_option
@setting(
    "page.address",
    "Where the page is served.",
    flag="--page",
    metavar="HOST:PORT",
    default="this machine alone, a free port",
)
@click.option("--who", help="Who says so, where a browser names nobody.  [default: your login name]")
@features_option
@videos_option
@settings_options
def review(settings: Settings, folder: Path, who: str | None) -> None:
    """Say in a browser which alarms were false.

    FOLDER is what `score` wrote, or the folder of `watch --events`, which may go on meanwhile. Each event
    comes with its video: n says that it was normal, a that something abnormal happens at the playhead,
    s skips it, u takes the last verdict back. Each verdict is at once a line of feedback.csv, from which
    `learn` learns; several may review at the same time.

    An address that others can reach needs a token, in the variable SSRL_PAGE_TOKEN or a file
    (-o page.token_file=FILE). Ctrl-C ends it.
    """
    access = pages.read_access(settings.page, ANY_PORT)
    assert access is not None
    feedback = teaching.feedback_path(settings.data)
    names = teaching.names_in_store(settings.data, lambda text: say(text, logging.WARNING))
    login = login_name() if who is None else who
    advise = partial(teaching.learning_commands, settings.data)
    with reviewing.open_review(access, folder, feedback, names, advise, login, say) as queue:
        try:
            threading.Event().wait()
        finally:
            words = Counter(verdict.word for verdict in queue.verdicts().values())
            counted = ", ".join(f"{n} {word}" for word, n in sorted(words.items())) or "none yet"
            say(f"{feedback}: verdicts on {sum(words.values())} of {len(queue.items())} events: {counted}")
