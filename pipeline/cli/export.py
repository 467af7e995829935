"""The command `export`."""

from pathlib import Path

import click

from ssrl_pipeline import scoring
from ssrl_pipeline.cli.options import (
    PATH,
    checkpoint_option,
    echo_json,
    json_option,
    runs_option,
    settings_options,
)
from ssrl_pipeline.console import say, table
from ssrl_pipeline.disk import find_checkpoint, require_writable
from ssrl_pipeline.settings import Settings


@click.command()
@click.argument("out", type=PATH, metavar="OUT.onnx")
@checkpoint_option
@runs_option
@click.option("--group", metavar="NAME", help="The camera whose own detector is written, as `adapt` made it.")
@settings_options
@json_option
def export(settings: Settings, out: Path, checkpoint: Path | None, group: str | None, as_json: bool) -> None:
    """Write a checkpoint's model as an ONNX file, from features to scores.

    The file takes any number of snippets. It is written only if ONNX Runtime
    gives the same scores as PyTorch. Needs the extra `onnx`.
    """

    require_writable(out.parent)
    path = find_checkpoint(checkpoint, Path(settings.data.runs))
    say(f"exporting {path}")
    written = scoring.export_onnx(path, out, group)
    if as_json:
        echo_json({**written._asdict(), "file": str(written.file), "checkpoint": str(path)})
        return
    rows = [(name, f"[batch, snippets, {count}, {size}]") for name, (count, size) in written.inputs.items()]
    click.echo(table([*rows, ("-> scores", "[batch, snippets]")], ("input", "float32")))
    click.echo(
        f"{written.file}: {written.kind}, {written.bytes / 1e6:.1f} MB, "
        f"at most {written.difference:.1e} from PyTorch's scores"
    )
