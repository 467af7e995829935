"""Training runs side by side: what each learnt with, how far it came, and how it was judged.

    ssrl-pipeline runs

A run is a folder with one of config.yaml, metrics.jsonl, best.pt and last.pt.
Folders that hold several, such as one for each seed, are groups:
runs/first/seed0 belongs to the group `first`.
"""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ssrl_pipeline.checkpoint import Checkpoint, load_checkpoint
from ssrl_pipeline.config import Tree, read_yaml, to_tree
from ssrl_pipeline.disk import read_json
from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.evaluation.evaluate import EVALUATION, JUDGED, THRESHOLDS, identity
from ssrl_pipeline.evaluation.metrics import FIGURES
from ssrl_pipeline.settings import Settings

MARKS = ("config.yaml", "metrics.jsonl", "best.pt", "last.pt")  # each tells a run's folder
FALSE_ALARMS = "false_alarm_rate"  # the one of FIGURES that depends on a threshold
SHOWN_APART = ("model.kind", "train.seed")  # settings with a place of their own

Figures = dict[str, float]  # name of the figure -> value, without those that are not defined


@dataclass(frozen=True)
class Run:
    """One run; None stands for what is not known."""

    name: str  # path below the folder of all runs
    group: str | None
    state: str  # finished, unfinished or damaged
    kind: str | None = None  # of the model: ssrl, memory or fused
    stage: int | None = None  # of the best checkpoint so far, as step and validation loss
    step: int | None = None
    val_loss: float | None = None
    seed: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # "train.optimiser.lr" -> value
    evaluations: dict[str, Figures] = field(default_factory=dict)  # by split
    notes: tuple[str, ...] = ()  # what is damaged, or out of date


class Spread(NamedTuple):
    """Of the runs of a group."""

    mean: float
    deviation: float  # of a sample: divided by n - 1; nan for one run
    runs: int


def find_runs(root: Path) -> list[Run]:
    """All runs in a folder and in the groups in it, by name; a damaged one says so in its notes.

    Raises:
        PipelineError: no such folder, or no run in it.
    """
    if not root.is_dir():
        raise PipelineError(f"{root}: no such folder; train a run, or name the folder that holds runs")
    runs = []
    for folder in _folders(root):
        if _is_run(folder):  # what a fused run has in folders of their own are its parts
            runs.append(_read(folder, folder.name, None))
            continue
        members = [member for member in _folders(folder) if _is_run(member)]
        runs += [_read(member, f"{folder.name}/{member.name}", folder.name) for member in members]
    if not runs:
        raise PipelineError(f"{root}: holds no runs; train one, or name the folder that holds runs")
    return runs


def differing(runs: Iterable[Run]) -> list[str]:
    """The settings that are not the same in all runs, seed and kind of model aside.

    A setting that an older run does not know yet counts as having its default.
    """
    known = [run.settings for run in runs if run.settings]
    keys = dict.fromkeys(key for settings in known for key in settings)
    return [
        key
        for key in keys
        if key not in SHOWN_APART and any(settings.get(key) != known[0].get(key) for settings in known)
    ]


def group_spreads(runs: Sequence[Run]) -> dict[str, dict[str, Spread]]:
    """Group -> figure -> mean and deviation over its runs.

    Figures are `val_loss`, of finished runs, and those of the evaluations, as in `test.auc`.
    """
    spreads: dict[str, dict[str, Spread]] = {}
    for group in dict.fromkeys(run.group for run in runs if run.group):
        values: dict[str, list[float]] = {}
        for run in runs:
            if run.group == group and run.state == "finished":
                for figure, value in _numbers(run).items():
                    values.setdefault(figure, []).append(value)
        spreads[group] = {figure: _spread(found) for figure, found in values.items()}
    return spreads


def _numbers(run: Run) -> Figures:
    own = {} if run.val_loss is None else {"val_loss": run.val_loss}
    return own | {
        f"{split}.{figure}": value
        for split, figures in run.evaluations.items()
        for figure, value in figures.items()
    }


def _spread(values: list[float]) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return Spread(statistics.fmean(values), deviation, len(values))


def _read(folder: Path, name: str, group: str | None) -> Run:
    try:
        if (folder / "best.pt").exists():
            return _finished(folder, name, group)
        return _unfinished(folder, name, group)
    except PipelineError as error:
        return Run(name, group, "damaged", notes=(str(error),))


def _finished(folder: Path, name: str, group: str | None) -> Run:
    """A run as its best.pt tells of it."""
    checkpoint = load_checkpoint(folder / "best.pt")
    settings, model, provenance = checkpoint.settings, checkpoint.model, checkpoint.provenance
    try:
        evaluations, notes = _evaluations(folder, checkpoint)
        return Run(
            name=name,
            group=group,
            state="finished",
            kind=model.get("kind", "ssrl"),
            stage=provenance.get("stage"),
            step=provenance.get("step"),
            val_loss=provenance.get("val_loss"),
            seed=settings.get("train", {}).get("seed"),
            settings=_flat(settings),
            evaluations=evaluations,
            notes=notes,
        )
    except (AttributeError, TypeError) as error:  # of something that should be a mapping
        raise PipelineError(_damaged(folder / "best.pt", error)) from error


def _unfinished(folder: Path, name: str, group: str | None) -> Run:
    """A run without best.pt: what config.yaml says, and the best of the last stage in metrics.jsonl."""
    try:
        settings = read_yaml((folder / "config.yaml").read_text(encoding="utf-8"))
        flat, seed = _flat(settings), settings["train"].get("seed")
        kind = settings.get("model", {}).get("kind", "ssrl")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PipelineError(_damaged(folder / "config.yaml", error)) from error
    best: dict[str, Any] = {}
    metrics = folder / "metrics.jsonl"
    try:
        lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
        for line in map(json.loads, lines):
            if line["best"]:
                best = line
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PipelineError(_damaged(metrics, error)) from error
    progress = (best.get("stage"), best.get("step"), best.get("val_loss"))
    return Run(name, group, "unfinished", kind, *progress, seed=seed, settings=flat)


def _evaluations(folder: Path, checkpoint: Checkpoint) -> tuple[dict[str, Figures], tuple[str, ...]]:
    """(split -> figures, notes on those that cannot be shown)."""
    found: dict[str, Figures] = {}
    notes = []
    paths = sorted(folder.glob(f"{EVALUATION}*/metrics.json"))
    now = identity(checkpoint) if paths else {}
    for path in paths:
        try:
            content = read_json(path)
            judged = content["judged"]
            differing = {key for key in {*JUDGED, *judged} if judged.get(key) != now.get(key)}
            figures = {name: float(content[name]) for name in FIGURES if content.get(name) is not None}
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(_damaged(path, error))
            continue
        if differing - {THRESHOLDS}:
            notes.append(f"{path}: of another checkpoint than the best.pt that is here now; evaluate again")
            continue
        if differing and figures.pop(FALSE_ALARMS, None) is not None:
            notes.append(f"{path}: its false alarms are of a threshold before best.pt's; evaluate again")
        found[path.parent.name.removeprefix(EVALUATION)] = figures
    return found, tuple(notes)


def _damaged(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path}: missing"
    return f"{path}: damaged ({type(error).__name__}: {' '.join(str(error).split())})"


def _flat(settings: Tree) -> dict[str, Any]:
    """{"train": {"seed": 1}} -> {"train.seed": 1}, of model and training, over the defaults."""
    defaults = to_tree(Settings())
    flat: dict[str, Any] = {}
    for section in ("model", "train"):
        _flatten(defaults[section], f"{section}.", flat)
        _flatten(settings.get(section, {}), f"{section}.", flat)
    return flat


def _flatten(tree: Tree, prefix: str, into: dict[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{key}.", into)
        else:
            into[prefix + key] = value


def _is_run(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in MARKS)


def _folders(root: Path) -> list[Path]:
    """Those in a folder, hidden ones left out, seed2 before seed10."""
    found = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(
        found,
        key=lambda path: [(len(p), p) if p.isdigit() else (0, p) for p in re.split(r"(\d+)", path.name)],
    )
