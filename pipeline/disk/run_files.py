"""Which file is meant where somebody names a run, or none: its best checkpoint, or that of the newest."""

from pathlib import Path

from ssrl_pipeline.errors import CheckpointError

UNFINISHED = "the run is not finished and has no best.pt yet; the same `train --name` goes on with it"


def find_checkpoint(given: Path | None, runs: Path) -> Path:
    """The file that is meant, or the best of the newest run where none is given.

    Raises:
        CheckpointError: there is none.
    """
    return newest_checkpoint(runs) if given is None else checkpoint_file(given)


def checkpoint_file(path: Path) -> Path:
    """The file that is meant: `path` itself, or its best.pt where it is a run's folder.

    Raises:
        CheckpointError: a folder without a best.pt.
    """
    if not path.is_dir():
        return path
    if (path / "best.pt").is_file():
        return path / "best.pt"
    if (path / "last.pt").is_file():
        raise CheckpointError(f"{path}: {UNFINISHED}")
    if runs := sorted(found.parent for found in path.glob("*/best.pt")):
        raise CheckpointError(f"{path}: a folder of runs; give one of them, such as {runs[0]}")
    raise CheckpointError(f"{path}: a folder without a best.pt; give a run's folder, or a checkpoint's file")


def newest_checkpoint(runs: Path) -> Path:
    """The best checkpoint of the newest run, one seed's of several among them.

    Raises:
        CheckpointError: no run has one.
    """
    runs_and_seeds = [*runs.glob("*/best.pt"), *runs.glob("*/seed*/best.pt")]
    found = sorted(runs_and_seeds, key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise CheckpointError(f"{runs}: no run with a best.pt here; train one, or give --checkpoint FILE")
    return found[-1]
