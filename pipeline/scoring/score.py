"""Scores of many videos: what is done is kept, what is stored is reused, the rest is extracted.

    ssrl-pipeline score videos/

A video that fails does not stop the others, and what is finished stays when the run is interrupted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ssrl_pipeline.data.labels import Intervals
from ssrl_pipeline.errors import DiskError, StoreError
from ssrl_pipeline.extraction import extract
from ssrl_pipeline.extraction.extract import Plan
from ssrl_pipeline.extraction.storing import Outcome, Progress
from ssrl_pipeline.features.opening import is_store, open_store
from ssrl_pipeline.features.recipe import describe_recipe
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.results.report import save_report
from ssrl_pipeline.results.video_scores import Drawn
from ssrl_pipeline.scoring.job import EXTRACTED, Finished, Job, Note, Request, Scored, carry_out, plan
from ssrl_pipeline.scoring.reuse import ContentIndex
from ssrl_pipeline.scoring.scorer import Scorer, require_scorable


def open_index(folder: Path | str, scorer: Scorer, must: bool, note: Note) -> ContentIndex | None:
    """The features that can be reused.

    Args:
        folder: of the store.
        must: whether the user has named it.
        note: is told why a store that is there is not used.

    Raises:
        StoreError: the user has named it, and it is missing, damaged, or of another recipe.
    """
    try:
        store = open_store(folder)
        names = f"the checkpoint {scorer.path}", f"the store {folder}"
        require_scorable(scorer.checkpoint.recipe, store.recipe, *names)
    except StoreError as error:
        if must:
            raise
        if is_store(folder):
            note(f"the features in {folder} are not reused: {error}")
        return None
    note(f"features are reused where {folder} has them: {describe_recipe(store.recipe)}")
    return ContentIndex(store)


class Place(Protocol):
    """Where the work is done."""

    def __call__(
        self, jobs: Sequence[Job], scorer: Scorer, store: FeatureStore | None, progress: Progress
    ) -> Iterator[Finished]:
        """What becomes of each job, as they come; `progress` is told of all."""


def score_here(
    jobs: Sequence[Job], scorer: Scorer, store: FeatureStore | None, progress: Progress
) -> Iterator[Finished]:
    """One after the other, in order."""
    for job in jobs:
        progress.start(job.request.name)
        finished = carry_out(job, scorer, store, progress.snippet)
        progress.finish(outcome(finished))
        yield finished


def score_many(
    scorer: Scorer,
    videos: Mapping[str, Path],
    out: Path,
    *,
    index: ContentIndex | None = None,
    intervals: Intervals | None = None,
    contact_sheet: bool = True,
    overlay: bool = False,
    overwrite: bool = False,
    begin: Callable[[Plan], Progress] = lambda plan: Progress(),
    note: Note = lambda message: None,
    place: Place = score_here,
) -> list[Scored]:
    """Scores videos into folders below `out`, and writes report.html of all of them there.

    A folder that holds the result already is left alone; if only the rule of events, the
    ground truth or the pictures asked for have changed, these are made anew from its scores.

    Args:
        videos: name, which is also that of the folder below `out` -> path.
        index: of the features that can be reused.
        intervals: ground truth, by the videos' names, as far as known.
        contact_sheet: whether to take frames of the events.
        overlay: whether to write overlay.mp4.
        overwrite: score again what is done.
        begin: told the plan, gives what is told of the progress.
        note: is told what a user should know.
        place: does the work; see :mod:`ssrl_pipeline.scoring.on_cluster` for another.

    Returns:
        what became of each video, in order; errors of a video are in it.
    """
    wanted, truths = Drawn(contact_sheet, overlay), intervals or {}
    requests = [Request(name, path, out, wanted, truths.get(name)) for name, path in videos.items()]
    planned = [plan(scorer, request, index, overwrite) for request in requests]
    kept = [step for step in planned if isinstance(step, Finished)]
    jobs = _counted([step for step in planned if isinstance(step, Job)], scorer.extractor.preset.drop_last)
    todo = sum(job.status == EXTRACTED and job.source is not None for job in jobs)
    progress = begin(Plan(len(videos), todo, sum(job.snippets for job in jobs)))
    found: dict[str, Finished] = {}

    def conclude(finished: Finished) -> None:
        found[finished.scored.name] = finished
        for message in finished.notes:
            note(message)

    try:
        for finished in kept:
            progress.start(finished.scored.name)
            conclude(finished)
            progress.finish(outcome(finished))
        for finished in place(jobs, scorer, index.store if index else None, progress):
            conclude(finished)
    except DiskError:  # the report would fare no better
        found.clear()
        raise
    finally:
        progress.close()
        in_order = [found[name] for name in videos if name in found]
        if entries := [finished.entry for finished in in_order if finished.entry is not None]:
            save_report(out / "report.html", entries)
    return [finished.scored for finished in in_order]


def outcome(finished: Finished) -> Outcome:
    """What a Progress is told of a video that is finished."""
    scored = finished.scored
    snippets = scored.summary["snippets"] if scored.status == EXTRACTED else 0
    return Outcome(scored.name, scored.status, snippets, reason=scored.reason)


def _counted(jobs: Sequence[Job], drop_last: bool) -> list[Job]:
    """With the snippets that the containers promise."""
    there = [job.request.path for job in jobs if job.status == EXTRACTED and job.source]
    expected = zip(there, extract.expected_snippets(there, drop_last), strict=True)
    counts = {path: one.snippets for path, one in expected}
    return [job._replace(snippets=counts.get(job.request.path, 0)) for job in jobs]
