"""Scoring as the settings have it: with which checkpoint and which stored features, in which processes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ssrl_pipeline.cluster import ClusterOptions, chosen_workers
from ssrl_pipeline.console import Progress, Workload, say
from ssrl_pipeline.data import intervals_to_show
from ssrl_pipeline.disk import find_checkpoint, require_writable
from ssrl_pipeline.features import location
from ssrl_pipeline.results import require_encoder
from ssrl_pipeline.scoring.elsewhere import score_elsewhere
from ssrl_pipeline.scoring.inputs import camera_of, match_names
from ssrl_pipeline.scoring.reuse import open_index
from ssrl_pipeline.scoring.score import Scored, Scoring, score_here, score_many
from ssrl_pipeline.scoring.scorer import Scorer, ScorerOptions
from ssrl_pipeline.settings import Settings


def score_videos(
    settings: Settings,
    videos: Mapping[str, Path],
    out: Path,
    checkpoint: Path | None = None,
    device: str = "auto",
    devices: str | None = None,
    cluster: ClusterOptions | None = None,
    *,
    group: str | None = None,
    contact_sheet: bool = True,
    overlay: bool = False,
    overwrite: bool = False,
    must_reuse: bool = False,
    show: Callable[[Workload], Progress] = lambda workload: Progress(),
) -> list[Scored]:
    """:func:`ssrl_pipeline.scoring.score.score_many` with what the settings name.

    Args:
        videos: name -> path, as :func:`ssrl_pipeline.scoring.inputs.find_inputs` finds them.
        out: gets a folder for each.
        checkpoint: a file, or a run's folder; None: the newest run's best.
        device: as of :func:`chosen_workers`, as are `devices` and `cluster`.
        group: the camera that all of them are of; None: as the settings say of each.
        must_reuse: a store that cannot be used is an error.
        show: told the workload, gives what shows the progress.
    """
    options = _prepared(settings, checkpoint, out, overlay)
    features = location(settings.data.features)
    intervals = intervals_to_show(settings.data, say)
    groups = camera_of(videos, settings.data, group, say)
    with _placed(options, device, devices, cluster) as (scorer, place, on):
        index = open_index(features, scorer, must_reuse, say, options.asked)
        _tell(scorer, groups, f"scoring with {options.checkpoint} on {on}")
        return score_many(
            scorer,
            videos,
            out,
            index=index,
            intervals=match_names(videos, intervals),
            groups=groups,
            contact_sheet=contact_sheet,
            overlay=overlay,
            overwrite=overwrite,
            asked=options.asked,
            begin=show,
            note=say,
            place=place,
        )


def _prepared(settings: Settings, checkpoint: Path | None, out: Path, overlay: bool) -> ScorerOptions:
    """What makes the scorer; what is missing is an error before hours of work."""
    require_writable(out)
    if overlay:
        require_encoder()
    return ScorerOptions.of(find_checkpoint(checkpoint, Path(settings.data.runs)), settings)


def _tell(scorer: Scorer, groups: Mapping[str, str | None], first: str) -> None:
    """By which rule it finds events, and what it does for which camera."""
    say(first)
    say(f"events: {scorer.chosen}")
    for line in scorer.cameras.told(groups.values()):
        say(line)
    if scorer.wordless:
        say(f"events have no words: {scorer.wordless}")


@contextmanager
def _placed(
    options: ScorerOptions, device: str, devices: str | None, cluster: ClusterOptions | None
) -> Iterator[tuple[Scorer, Scoring, str]]:
    """A scorer to plan by, what does the work, and where that is, in words."""
    with chosen_workers(device, devices, cluster) as workers:
        if workers:
            workers.require(options.check)
            yield options.planner(), score_elsewhere(workers, options), str(workers)
        else:
            scorer = options.build(device)
            yield scorer, score_here, f"{scorer.device} in {scorer.extractor.precision}"
