"""Options that are settings: their choices, their defaults, and who wins."""

from typing import get_args

import click
import pytest
from click.testing import CliRunner

from ssrl_pipeline.cli.main import COMMANDS, cli
from ssrl_pipeline.cli.options import setting, settings_options
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extractors.choices import EngineName
from ssrl_pipeline.settings import Settings


@click.command()
@setting("extract.engine", "What runs.")
@setting("train.seed", "Of chance.")
@setting("extract.weights", "A file.", metavar="FILE", default="the published ones")
@setting("model.kind", "What learns.", flag="--model")
@settings_options
@click.option("--other")
def tell(settings: Settings, other: str | None) -> None:
    """Tells what it was given."""
    click.echo(f"{settings.extract.engine} {settings.train.seed} {settings.model.kind} {other}")


def run(*arguments: str) -> str:
    done = CliRunner().invoke(tell, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_an_option_has_the_choices_and_the_default_of_its_setting() -> None:
    text = " ".join(run("--help").split())
    assert f"--engine [{'|'.join(get_args(EngineName))}] What runs. [default: auto]" in text
    assert "--seed INTEGER Of chance. [default: 0]" in text
    assert "--weights FILE A file. [default: the published ones]" in text
    assert "--model [ssrl|memory|fused|actions|probe|motion|auto] What learns. [default: ssrl]" in text


def test_options_win_over_assignments_and_these_over_defaults() -> None:
    assert run() == "auto 0 ssrl None"
    assert run("-o", "train.seed=3", "-o", "extract.engine=eager") == "eager 3 ssrl None"
    assert run("-o", "train.seed=3", "--seed", "4", "--model", "fused", "--other", "x") == "auto 4 fused x"


def test_a_choice_that_there_is_not_is_refused_from_either_side() -> None:
    done = CliRunner().invoke(tell, ["--engine", "warp"])
    assert done.exit_code == 2 and "'warp'" in done.output and "'openvino'" in done.output
    with pytest.raises(ConfigError, match=r"extract\.engine: 'warp' is not one of auto, openvino"):
        run("-o", "extract.engine=warp")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None and command.name == name
    assert command.help is not None
    said = COMMANDS[name].removesuffix(".")
    assert " ".join(command.help.split()).startswith(said)
