"""The command `export`."""

from pathlib import Path
from typing import Any

import click

from ssrl_pipeline.cli.options import (
    PATH,
    checkpoint_option,
    config_option,
    echo_json,
    find_checkpoint,
    json_option,
    load_settings,
    runs_option,
    set_option,
)
from ssrl_pipeline.disk.files import require_writable


@click.command()
@click.argument("out", type=PATH, metavar="OUT.onnx")
@checkpoint_option
@runs_option
@config_option
@set_option
@json_option
def export(
    out: Path,
    checkpoint: Path | None,
    config: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
    **flags: Any,
) -> None:
    """Write a checkpoint's model as an ONNX file, from features to scores.

    The file takes any number of snippets. It is written only if ONNX Runtime
    gives the same scores as PyTorch. Needs the extra `onnx`.
    """
    settings = load_settings(config, assignments, flags, data=("runs",))
    from ssrl_pipeline.console.terminal import say, table
    from ssrl_pipeline.scoring.onnx import export_onnx

    require_writable(out.parent)
    path = find_checkpoint(checkpoint, settings)
    say(f"exporting {path}")
    written = export_onnx(path, out)
    if as_json:
        echo_json({**written._asdict(), "file": str(written.file), "checkpoint": str(path)})
        return
    rows = [(name, f"[batch, snippets, {count}, {size}]") for name, (count, size) in written.inputs.items()]
    click.echo(table([*rows, ("-> scores", "[batch, snippets]")], ("input", "float32")))
    click.echo(
        f"{written.file}: {written.kind}, {written.bytes / 1e6:.1f} MB, "
        f"at most {written.difference:.1e} from PyTorch's scores"
    )
