"""What the commands share: their options, and the settings that these make."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from ssrl_pipeline.cluster import ClusterOptions
from ssrl_pipeline.config import declared, load_config
from ssrl_pipeline.settings import Settings

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]
PATH = click.Path(path_type=Path)


def setting(
    key: str, help: str, *, flag: str = "", metavar: str | None = None, default: str = ""
) -> Decorator:
    """An option for one setting, of whose type, choices and default it is.

    Args:
        key: as in a configuration; train.seed makes --seed.
        flag: its name, where that is another.
        metavar: what stands for the value, where not the type's name.
        default: in words, for a setting whose default is None.
    """
    type_, choices, value = declared(Settings, key)
    shown = default or value
    return click.option(
        flag or "--" + key.rpartition(".")[2].replace("_", "-"),
        _parameter(key),
        type=click.Choice(choices) if choices else type_,
        metavar=metavar,
        help=help if shown is None else f"{help}  [default: {shown}]",
    )


def one_of(choice: Any) -> click.Choice[str]:
    """A type for what may be any of a `Literal`."""
    return click.Choice(get_args(choice))


def with_settings(command: Command, beside: Sequence[str] = ()) -> Command:
    """Gives a command `settings`: defaults < file < --set < the options made by :func:`setting`.

    A command whose file may have other keys, `beside`, is given the file as well, as `config`.
    """

    @functools.wraps(command)
    def filled(config: str | None, assignments: tuple[str, ...], **flags: Any) -> Any:
        named = {_key(name): flags.pop(name) for name in list(flags) if _key(name) != name}
        own = {"config": config} if beside else {}
        return command(settings=load_config(Settings, config, assignments, named, beside), **own, **flags)

    return filled


def _parameter(key: str) -> str:
    return key.replace(".", "__")


def _key(parameter: str) -> str:
    return parameter.replace("__", ".")


config_option = click.option(
    "-c", "--config", metavar="FILE", help="YAML file of settings, or a ready one's name."
)
set_option = click.option(
    "-o",
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set one setting, as in -o train.steps=200.",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
features_option = setting("data.features", "Feature store.", metavar="DIR")
labels_option = setting(
    "data.labels",
    "Table video,label[,split][,group].",
    metavar="FILE",
    default="labels.csv here or in videos/, else the folders' names",
)
runs_option = setting("data.runs", "Folder of all runs.", metavar="DIR")
checkpoint_option = click.option(
    "--checkpoint",
    type=PATH,
    help="Checkpoint, or a run's folder for its best.pt.  [default: the newest run]",
)
group_option = click.option(
    "--group", metavar="NAME", help="The camera that this is of.  [default: as the labels or folders say]"
)
weights_option = setting(
    "extract.weights", "Backbone weights.", metavar="FILE", default="the published ones, fetched once"
)
engine_option = setting("extract.engine", "What runs the backbone.")
precision_option = setting(
    "extract.precision",
    "Of the backbone: a CPU has int8 and, where it can, bfloat16. auto is that of the store or the "
    "checkpoint; for a new store such a CPU's bfloat16, a GPU's tf32, else float32.",
)
calibration_option = setting(
    "extract.calibration",
    "Folder of videos by which --precision int8 is quantised.",
    metavar="DIR",
    default="clips that are made",
)
frames_option = setting(
    "extract.frames",
    "Folders of pictures are videos, too, of so many frames a second (up to 1000).",
    metavar="FPS",
)


def settings_options(command: Command) -> Command:
    """-c and -o, and the `settings` that they and the options of :func:`setting` make."""
    return config_option(set_option(with_settings(command)))


def scorer_options(command: Command) -> Command:
    """What says which model scores, and what runs it."""
    options = (
        checkpoint_option,
        runs_option,
        weights_option,
        device_option,
        engine_option,
        precision_option,
        calibration_option,
    )
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


_CLUSTER = (
    click.option(
        "--devices",
        metavar="N|LIST",
        help="Processes, each on a GPU of its own or all on the CPU, or where: cuda:0,cuda:1.",
    ),
    click.option("--cluster", type=click.Choice(["ray"]), help="A task per video on a Ray cluster."),
    click.option(
        "--address",
        metavar="HOST:PORT",
        help="Of the cluster's head.  [default: RAY_ADDRESS, else this machine's cluster, or a new one here]",
    ),
    click.option("--task-cpus", type=click.IntRange(1), help="Cores of a task.  [default: 1]"),
)


def cluster_options(command: Command) -> Command:
    """--devices, and --cluster, --address and --task-cpus, of which :func:`read_cluster` makes one."""
    return functools.reduce(lambda decorated, option: option(decorated), reversed(_CLUSTER), command)


def read_cluster(flags: Mapping[str, Any]) -> ClusterOptions | None:
    """The cluster that does the work; None: this machine does."""
    if flags["cluster"] is None:
        if flags["address"] or flags["task_cpus"]:
            raise click.UsageError("--address and --task-cpus are of a cluster: say --cluster ray with them")
        return None
    if flags["devices"]:
        raise click.UsageError("--devices is of this machine; leave it out, or --cluster")
    return ClusterOptions(flags["address"], flags["task_cpus"] or 1)


def echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
