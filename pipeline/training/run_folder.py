"""runs/NAME: what a training run leaves, and what it goes on from after a stop.

    config.yaml     the settings
    metrics.jsonl   one evaluation a line
    stageN.pt       the best checkpoint of each stage
    best.pt         that of the last stage
    last.pt         where the run stands: weights, their running mean, optimiser, evaluations

In a group of processes the main one writes; all read.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from ssrl_pipeline import checkpoint as checkpoints
from ssrl_pipeline.checkpoint import Checkpoint
from ssrl_pipeline.config import Tree, to_yaml
from ssrl_pipeline.disk import clear_leftovers, locked, whole_file, write_text
from ssrl_pipeline.errors import BusyError, CheckpointError, ConfigError, PipelineError
from ssrl_pipeline.training.group import Group


class Evaluation(NamedTuple):
    """One line of metrics.jsonl."""

    stage: int
    step: int  # 0: before the first, where a probe's evidence by itself is judged
    loss: float | None  # of this step's batch; this and all that follows from it is None of step 0
    bags: float | None  # its terms, as weighted in the loss
    magnitude: float | None
    smoothness: float | None
    sparsity: float | None
    lr: float | None  # of this step
    val_loss: float | None  # cross-entropy of the validation bags, both classes alike; None without any
    test_auc: float | None  # of the frames of the test videos, where these choose; else None
    best: bool  # of the stage so far
    correction: float | None = 0.0  # a term, too, of a version after the others


@contextmanager
def owned(path: Path, group: Group) -> Iterator[None]:
    """Keeps a second training out of the folder, and clears what a killed one left in it.

    Raises:
        BusyError: another process trains here.
    """
    if not group.is_main:
        yield
        return
    with locked(path / ".lock") as holder:
        if holder:
            raise BusyError(f"{path}: {holder} is training in it; wait for its end or choose another --name")
        clear_leftovers(path)
        yield


@contextmanager
def named_run(runs: Path, name: str | None) -> Iterator[str]:
    """A run's name: the one given, or date and time, with a number after it where another run has that.

    The folder of a run that nobody has named is made here, in one step that only one process can do, and
    goes again if nothing has been written into it.
    """
    if name is not None:
        yield name
        return
    runs.mkdir(parents=True, exist_ok=True)
    folder = _new_folder(runs, time.strftime("%Y%m%d-%H%M%S"))
    try:
        yield folder.name
    finally:
        with suppress(OSError):  # mostly it is no longer empty
            folder.rmdir()


def _new_folder(parent: Path, name: str) -> Path:
    for number in count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            break
    return folder


class RunFolder:
    """The folder of one run.

    Args:
        path: made where it is missing.
        settings: what config.yaml shows.
        identity: what must be the same for a run to go on.
        defaults: of settings in `identity`: a run that an older version began, which did not know them
            all, has these.
        tensorboard: whether evaluations also go to event files for TensorBoard.

    Raises:
        CheckpointError: the folder holds another run.
        ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        path: Path,
        settings: Tree,
        identity: Tree,
        defaults: Tree,
        group: Group,
        tensorboard: bool = False,
    ):
        self.path, self.group, self._identity, self._defaults = path, group, identity, defaults
        self.evaluations: list[Evaluation] = []
        self.state: dict[str, Any] | None = None  # of the last save, None for a new run
        with group.main_first():
            if (path / "last.pt").exists():
                self._resume()
            elif group.is_main:
                write_text(path / "config.yaml", to_yaml(settings))
            elif not path.is_dir():
                raise PipelineError(
                    f"{path}: not seen by every machine; put the runs on a shared file system"
                )
        self._writer = _tensorboard(path) if tensorboard and group.is_main else None

    def stage_path(self, stage: int) -> Path:
        return self.path / f"stage{stage}.pt"

    def save_best(self, stage: int, checkpoint: Checkpoint) -> None:
        if self.group.is_main:
            checkpoints.save_checkpoint(self.stage_path(stage), checkpoint)

    def log(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)
        if not self.group.is_main:
            return
        lines = [json.dumps(e._asdict()) for e in self.evaluations]
        write_text(self.path / "metrics.jsonl", "\n".join(lines) + "\n")
        if self._writer:
            for name, value in evaluation._asdict().items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"stage{evaluation.stage}/{name}", value, evaluation.step)
            self._writer.flush()

    def save_state(self, state: dict[str, Any]) -> None:
        """Saves where the run stands; a run that is started again finds it in :attr:`state`."""
        if self.group.is_main:
            evaluations = [list(e) for e in self.evaluations]
            content = {**state, "evaluations": evaluations, "identity": self._identity}
            checkpoints.save(self.path / "last.pt", content)

    def finish(self, stage: int) -> Path:
        """Makes the best of the last stage the run's best."""
        if self.group.is_main:
            with whole_file(self.path / "best.pt") as scratch:
                shutil.copyfile(self.stage_path(stage), scratch)
        self.group.wait()
        return self.path / "best.pt"

    def _resume(self) -> None:
        state = checkpoints.load(self.path / "last.pt")
        if _filled(state.get("identity"), self._defaults) != self._identity:
            raise CheckpointError(
                f"{self.path}: holds a run with other settings, videos or features; choose another --name"
            )
        try:
            self.evaluations = [Evaluation(*values) for values in state["evaluations"]]
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{self.path / 'last.pt'}: damaged ({error}); delete it") from error
        self.state = state


def _filled(settings: Any, defaults: Any) -> Any:
    """With the defaults of what is not among them, at any depth."""
    if not isinstance(settings, dict) or not isinstance(defaults, dict):
        return settings
    known = {key: _filled(settings.get(key, value), value) for key, value in defaults.items()}
    return settings | known


def refuse_other_run(run: Path, kind: str) -> None:
    """Raises CheckpointError where the folder holds a run of another kind of model.

    What `auto` has chosen is a run of `auto`, of whatever kind its model is.
    """
    found = [name for name in ("last.pt", "best.pt") if (run / name).exists()]
    if not found:
        return
    if found == ["best.pt"]:
        checkpoint = checkpoints.load_checkpoint(run / "best.pt")
        if kind == ("auto" if "chosen" in checkpoint.provenance else checkpoint.kind):
            return
    raise CheckpointError(f"{run}: holds a run of another model ({found[0]}); choose another --name")


def read_evaluations(run: Path) -> list[Evaluation]:
    """What metrics.jsonl says; nothing where there is none."""
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    try:
        return [Evaluation(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError, RecursionError) as error:
        raise PipelineError(f"{path}: damaged ({' '.join(str(error).split())}); delete it") from error


def _tensorboard(path: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # comes with an extra
    except ImportError:
        raise ConfigError(
            "train.tensorboard: TensorBoard is not installed; pip install 'ssrl-pipeline[tensorboard]'"
        ) from None
    return SummaryWriter(str(path / "tensorboard"))
