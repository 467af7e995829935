"""What the command `replay` does with what the settings name."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ssrl_pipeline.console import Note
from ssrl_pipeline.disk import checkpoint_file, find_checkpoint
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extraction import find_videos
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.teaching.place import feedback_path
from ssrl_pipeline.teaching.replay import Comparison, Variant, parse_since, replay
from ssrl_pipeline.teaching.replay_page import save_page
from ssrl_pipeline.teaching.verdicts import Patch, read_verdicts

Given = tuple[Path | None, float | None, tuple[Patch, ...]]  # checkpoint, threshold and masks, as far as said


def replay_settings(
    settings: Settings,
    given: Sequence[Given],
    scores: Path | None,
    since: str | None,
    page: Path | None,
    device: str,
    note: Note,
    named: Collection[str] = (),
) -> tuple[Comparison, list[tuple[str, ...]]]:
    """:func:`ssrl_pipeline.teaching.replay.replay` of two settings, now and then, and rows that show it.

    Args:
        page: to write as well; None: none.
        named: the settings of events that a user has set.

    Raises:
        ConfigError: both settings are the same, or a checkpoint is named for results.
    """
    (now_path, now_threshold, now_masks), (path, threshold, masks) = given
    if scores and (now_path or path):
        raise ConfigError(
            "--scores are of the checkpoint that made them; leave --checkpoint out, or --scores"
        )
    now = Variant(
        None if scores else find_checkpoint(now_path, Path(settings.data.runs)), now_threshold, now_masks
    )
    then = Variant(checkpoint_file(path) if path else now.checkpoint, threshold, masks or now_masks)
    if now == then:
        raise ConfigError("nothing is changed: say --threshold, --checkpoint or --mask")
    feedback = feedback_path(settings.data)
    verdicts = read_verdicts(feedback, note) if feedback.exists() or settings.data.feedback else []
    moment = None if since is None else parse_since(since)
    found, played = replay(settings, now, then, verdicts, scores, moment, device, note, named)
    if page:
        folder = Path(settings.data.videos)
        save_page(page, found, played, find_videos(folder) if folder.exists() else {})
    return found, _rows(found)


def _rows(found: Comparison) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("threshold", *found.threshold_words),
        ("alarms", *map(str, found.alarms)),
    ]
    if found.hours:
        rows.append((f"an hour, of {found.hours:.3g}", *(f"{n / found.hours:.3g}" for n in found.alarms)))
    right = len(found.kept)
    total = sum(map(len, (found.kept, found.lost, found.won, found.wrong)))
    if total:
        then = f"{right + len(found.won)} ({len(found.lost)} lost, {len(found.won)} won)"
        rows.append((f"right, of {total} verdicts", str(right + len(found.lost)), then))
    return rows
