"""Scores of many videos: what is done is kept, what is stored is reused, the rest is extracted.

    ssrl-pipeline score videos/

A video that fails does not stop the others, and what is finished stays when the run is interrupted.
Dimensions: N frames.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.cluster import Place
from ssrl_pipeline.console import FAILED, SKIPPED, Note, Outcome, Progress, Workload
from ssrl_pipeline.data import Intervals, intervals_of
from ssrl_pipeline.disk import SourceFile, on_disk
from ssrl_pipeline.errors import DiskError, PipelineError, StoreError
from ssrl_pipeline.extraction import expected_snippets, slow_videos
from ssrl_pipeline.extractors import SNIPPET_FRAMES, Repeats, tell_repeats
from ssrl_pipeline.features import FeatureStore
from ssrl_pipeline.results import (
    PEAKS,
    Drawn,
    VideoScores,
    load_peaks,
    load_result,
    missing_files,
    report_entry,
    save_report,
)
from ssrl_pipeline.scoring.reuse import ContentIndex, is_as_asked
from ssrl_pipeline.scoring.scorer import Scorer

EXTRACTED, STORED, REDRAWN = "extracted", "stored", "events updated"  # what was done for a result


class Job(NamedTuple):
    """A video, what is wanted of it, and what is to be done for that; it travels to other processes."""

    name: str  # also that of its folder below `out`
    path: Path
    out: Path
    wanted: Drawn
    intervals: Sequence[tuple[int, int]] | None = None  # ground truth; None: not known
    status: str = EXTRACTED  # as planned
    source: SourceFile | None = None  # None: it is not there
    stored: str | None = None  # its name in the store
    snippets: int = 0  # to extract, as far as its container tells
    group: str | None = None  # the camera; None: not known
    other: bool = False  # whether there is a result, of another precision or rule than is asked for

    @property
    def folder(self) -> Path:
        return on_disk(self.out / self.name)


@dataclass(frozen=True, kw_only=True)
class Scored(Outcome):
    """What became of one video.

    Its status is how: extracted or by stored features, events and pictures anew, skipped; or failed.
    """

    folder: Path
    summary: Mapping[str, Any]  # of scores.json; empty where it failed
    entry: dict[str, Any] | None = None  # what the report tells of it; None: it failed
    notes: tuple[str, ...] = ()  # what a user should know


Scoring = Place[Job, Scorer, FeatureStore | None, Scored]


def score_here(
    jobs: Mapping[str, Job], scorer: Scorer, store: FeatureStore | None, progress: Progress
) -> Iterator[Scored]:
    """One after the other, in order."""
    for job in jobs.values():
        progress.start(job.name)
        scored = carry_out(job, scorer, store, progress.snippet)
        progress.finish(scored)
        yield scored


def score_many(
    scorer: Scorer,
    videos: Mapping[str, Path],
    out: Path,
    *,
    index: ContentIndex | None = None,
    intervals: Intervals | None = None,
    groups: Mapping[str, str | None] | None = None,
    contact_sheet: bool = True,
    overlay: bool = False,
    overwrite: bool = False,
    asked: Sequence[str] = (),
    begin: Callable[[Workload], Progress] = lambda workload: Progress(),
    note: Note = lambda message: None,
    place: Scoring = score_here,
) -> list[Scored]:
    """Scores videos into folders below `out`, and writes report.html of all of them there.

    A folder that holds the result already is left alone; if only the rule of events, the
    ground truth or the pictures asked for have changed, these are made anew from its scores.

    Args:
        videos: name, which is also that of the folder below `out` -> path.
        index: of the features that can be reused.
        intervals: ground truth, by the videos' names, as far as known.
        groups: the camera that each video is of, by name, as far as known.
        contact_sheet, overlay: whether to take frames of the events, and to write overlay.mp4.
        overwrite: score again what is done; else only what differs in keys of a recipe that are `asked`.
        begin: told the workload, gives what is told of the progress.
        note: is told what a user should know.
        place: does the work; see :mod:`ssrl_pipeline.scoring.elsewhere` for others.

    Returns:
        what became of each video, in order; errors of a video are in it.
    """
    wanted, truths, of = Drawn(contact_sheet, overlay), intervals or {}, groups or {}
    named = [
        Job(name, path, out, wanted, truths.get(name), group=of.get(name)) for name, path in videos.items()
    ]
    planned = [_plan(job, scorer, index, overwrite, asked) for job in named]
    kept = [step for step in planned if isinstance(step, Scored)]
    jobs = _counted([step for step in planned if isinstance(step, Job)], scorer)
    _tell_other([job.name for job in jobs if job.other], note)
    todo = sum(job.status == EXTRACTED and job.source is not None for job in jobs)
    progress = begin(Workload(len(videos), todo, sum(job.snippets for job in jobs)))
    done = chain(
        _passed(kept, progress),
        place({job.name: job for job in jobs}, scorer, index.store if index else None, progress),
    )
    return _reported(done, videos, out, progress, note, scorer.extractor.fps)


def _passed(kept: Sequence[Scored], progress: Progress) -> Iterator[Scored]:
    """What is done already."""
    for scored in kept:
        progress.start(scored.video)
        yield scored
        progress.finish(scored)


def _reported(
    done: Iterable[Scored],
    videos: Iterable[str],
    out: Path,
    progress: Progress,
    note: Note,
    rate: float | None,
) -> list[Scored]:
    """All of them, in the videos' order; report.html of those that there are by the end, however it comes."""
    found: dict[str, Scored] = {}
    try:
        for scored in done:
            found[scored.video] = scored
            for message in scored.notes:
                note(message)
        _tell_slow(found.values(), rate, note)
        _tell_repeats(found.values(), note)
    except DiskError:  # the report would fare no better
        found.clear()
        raise
    finally:
        progress.close()
        in_order = [found[name] for name in videos if name in found]
        if entries := [scored.entry for scored in in_order if scored.entry is not None]:
            save_report(out / "report.html", entries)
    return in_order


def _counted(jobs: Sequence[Job], scorer: Scorer) -> list[Job]:
    """With the snippets that the containers promise."""
    there = [job.path for job in jobs if job.status == EXTRACTED and job.source]
    extractor = scorer.extractor
    expected = expected_snippets(there, extractor.preset.drop_last, extractor.fps, extractor.picture_fps)
    counts = {path: one.snippets for path, one in zip(there, expected, strict=True)}
    return [job._replace(snippets=counts.get(job.path, 0)) for job in jobs]


def _tell_other(names: Sequence[str], note: Note) -> None:
    """Says whose results are not of what is asked for."""
    if names:
        more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        note(f"{names[0]}{more}: scored again, as it was done in another precision or rule than is asked for")


def _tell_repeats(found: Iterable[Scored], note: Note) -> None:
    """Says what was saved by descriptions that were taken again, and what it cost."""
    summaries = [one.summary for one in found if one.status == EXTRACTED]
    if told := tell_repeats(Repeats.from_json(summary.get("repeats", {})) for summary in summaries):
        note(told)


def _tell_slow(found: Iterable[Scored], rate: float | None, note: Note) -> None:
    """Says once which videos have fewer frames a second than are described."""
    kept_all = {
        one.video: one.summary["fps"]
        for one in found
        if one.status == EXTRACTED and one.snippets >= one.summary["frames"] // SNIPPET_FRAMES
    }
    if rate and (message := slow_videos(kept_all, rate)):
        note(message)


def _plan(
    job: Job, scorer: Scorer, index: ContentIndex | None, overwrite: bool, asked: Sequence[str]
) -> Job | Scored:
    """What is to be done for a video; nothing, where its folder holds the result as it is wanted."""
    try:
        source = SourceFile(job.path)
    except OSError:
        return job  # which tells what is wrong with it
    job = job._replace(source=source)
    fitted = scorer.cameras.of(job.group)
    kept = None if overwrite else _kept(fitted.sha256, source, job.folder)
    if kept and not is_as_asked(kept[0].recipe, scorer, index, source, asked):
        kept, job = None, job._replace(other=True)
    if kept is None:
        stored = index.find(source) if index else None
        return job._replace(status=STORED if stored else EXTRACTED, stored=stored)
    result, drawn = kept
    notes: list[str] = []
    truth = _truth(job, len(result.scores), notes.append)
    shown = None if truth is None else intervals_of(truth)
    enough = drawn.contact_sheet >= job.wanted.contact_sheet and drawn.overlay >= job.wanted.overlay
    same = result.chosen == fitted.chosen and drawn.truth == shown
    if not (enough and same) or missing_files(job.folder, result, drawn):
        return job._replace(status=REDRAWN)
    return _conclude(job, scorer, lambda: (SKIPPED, replace(result, video=job.path), truth), notes)


def carry_out(
    job: Job, scorer: Scorer, store: FeatureStore | None, on_snippet: Callable[[], None] = lambda: None
) -> Scored:
    """Does what was planned; what is wrong with the video is in what is returned.

    Args:
        store: of the features that can be reused.
        on_snippet: called after each snippet that is extracted.

    Raises:
        DiskError: there is no room; the next videos would fare no better.
    """
    notes: list[str] = []

    def work() -> tuple[str, VideoScores, np.ndarray | None]:
        wanted = job.wanted
        if job.status == REDRAWN:
            result, drawn = load_result(job.folder)
            # What was asked for once is drawn again with the rest.
            wanted = Drawn(wanted.contact_sheet or drawn.contact_sheet, wanted.overlay or drawn.overlay)
            status, result = REDRAWN, replace(result, video=job.path, chosen=scorer.cameras.rule(job.group))
        else:
            status, result = _score(job, scorer, store, on_snippet, notes.append)
        truth = _truth(job, len(result.scores), notes.append)
        result.save(job.folder, wanted.contact_sheet, wanted.overlay, truth)
        return status, result, truth

    return _conclude(job, scorer, work, notes)


def failed(job: Job, reason: str, notes: Sequence[str] = ()) -> Scored:
    return Scored(job.name, FAILED, reason=reason, folder=job.folder, summary={}, notes=tuple(notes))


def _conclude(
    job: Job, scorer: Scorer, work: Callable[[], tuple[str, VideoScores, np.ndarray | None]], notes: list[str]
) -> Scored:
    """Args: work: gives what was done, the result, and its ground truth as far as known."""
    try:
        status, result, truth = work()
        peaks = job.folder / PEAKS
        pictures = load_peaks(peaks) if peaks.exists() else None
        shown, summary = result.shown(truth), result.summary()
        model = scorer.checkpoint.for_camera(job.group).model
        entry = report_entry(shown, summary, job.out, model, pictures, job.name)
    except DiskError:
        raise
    except (PipelineError, OSError) as error:
        return failed(job, str(error), notes)
    snippets = summary["snippets"] if status == EXTRACTED else 0
    scored = Scored(job.name, status, snippets, folder=job.folder, summary=summary)
    return replace(scored, entry=entry, notes=tuple(notes))


def _kept(sha256: str, source: SourceFile, folder: Path) -> tuple[VideoScores, Drawn] | None:
    """The result in a folder; None where there is none of this file by this checkpoint."""
    if not (folder / "scores.json").is_file():
        return None
    try:
        result, drawn = load_result(folder)
    except PipelineError:
        return None
    same = result.checkpoint_sha256 == sha256
    return (result, drawn) if same and result.source and source.is_still(result.source) else None


def _score(
    job: Job, scorer: Scorer, store: FeatureStore | None, on_snippet: Callable[[], None], note: Note
) -> tuple[str, VideoScores]:
    path = job.path
    # Before it is read: what is written to it meanwhile is a change.
    source = job.source.identity if job.source else None
    if job.stored is not None and store is not None:
        try:
            return STORED, replace(scorer.score_from(store, job.stored, path, job.group), source=source)
        except StoreError as error:
            note(f"{path}: extracted, as its stored features cannot be read: {error}")
    return EXTRACTED, replace(scorer.score(path, on_snippet, job.group), source=source)


def _truth(job: Job, frames: int, note: Note) -> np.ndarray | None:
    """Ground truth of every frame, bool [N]; None where it is not known, or cannot be of this video.

    What reaches beyond the last frame by a snippet at most is cut: the field's
    annotations cover whole snippets.
    """
    if job.intervals is None:
        return None
    truth = np.zeros(frames, bool)
    for start, end in job.intervals:
        if start >= frames or end > frames + SNIPPET_FRAMES:
            said = f"has {frames} frames, but an anomalous interval is {start} to {end}; not shown"
            note(f"{job.name}: {said}")
            return None
        truth[start:end] = True
    return truth
