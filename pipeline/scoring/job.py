"""One video among those that `score` is told of: what it needs, and doing it, here or on another machine.

Dimensions: N frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline.data.labels import intervals_of
from ssrl_pipeline.disk.identity import SourceFile
from ssrl_pipeline.disk.spelling import on_disk
from ssrl_pipeline.errors import DiskError, PipelineError, StoreError
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.results.pictures import load_peaks
from ssrl_pipeline.results.report import report_entry
from ssrl_pipeline.results.video_scores import PEAKS, Drawn, VideoScores, load_result, missing_files
from ssrl_pipeline.scoring.reuse import ContentIndex
from ssrl_pipeline.scoring.scorer import Scorer

EXTRACTED, STORED, REDRAWN, SKIPPED, FAILED = "extracted", "stored", "events anew", "skipped", "failed"

Note = Callable[[str], None]  # told what a user should know
Done = tuple[str, VideoScores, np.ndarray | None]  # what was done, the result, its ground truth


class Scored(NamedTuple):
    """What became of one video."""

    name: str
    status: str  # extracted or by stored features; events and pictures anew; skipped; or failed
    folder: Path
    summary: dict[str, Any]  # of scores.json; empty where it failed
    reason: str = ""  # why it failed


class Request(NamedTuple):
    """A video, and what is wanted of it."""

    name: str  # also that of its folder below `out`
    path: Path
    out: Path
    wanted: Drawn
    intervals: Sequence[tuple[int, int]] | None = None  # ground truth; None: not known

    @property
    def folder(self) -> Path:
        return on_disk(self.out / self.name)


class Job(NamedTuple):
    """What is to be done for a video; it travels to other processes."""

    request: Request
    status: str  # as planned
    source: SourceFile | None  # None: it is not there
    stored: str | None = None  # its name in the store
    snippets: int = 0  # to extract, as far as its container tells


class Finished(NamedTuple):
    """What became of a video, and what the report tells of it."""

    scored: Scored
    entry: dict[str, Any] | None = None  # None: it failed
    notes: tuple[str, ...] = ()


def plan(scorer: Scorer, request: Request, index: ContentIndex | None, overwrite: bool) -> Job | Finished:
    """What is to be done for a video; nothing, where its folder holds the result as it is wanted."""
    try:
        source = SourceFile(request.path)
    except OSError:
        return Job(request, EXTRACTED, None)  # which tells what is wrong with it
    kept = None if overwrite else _kept(scorer, source, request.folder)
    if kept is not None:
        result, drawn = kept
        notes: list[str] = []
        truth = _truth(request, len(result.scores), notes.append)
        enough = (
            drawn.contact_sheet >= request.wanted.contact_sheet and drawn.overlay >= request.wanted.overlay
        )
        shown = None if truth is None else intervals_of(truth)
        same = result.chosen == scorer.chosen and drawn.truth == shown
        if enough and same and not missing_files(request.folder, result, drawn):
            return _finish(
                request, scorer, lambda: (SKIPPED, replace(result, video=request.path), truth), notes
            )
        return Job(request, REDRAWN, source)
    stored = index.find(source) if index else None
    return Job(request, STORED if stored else EXTRACTED, source, stored)


def carry_out(
    job: Job, scorer: Scorer, store: FeatureStore | None, on_snippet: Callable[[], None] = lambda: None
) -> Finished:
    """Does what was planned; what is wrong with the video is in what is returned.

    Args:
        store: of the features that can be reused.
        on_snippet: called after each snippet that is extracted.

    Raises:
        DiskError: there is no room; the next videos would fare no better.
    """
    request, notes = job.request, list[str]()

    def work() -> Done:
        if job.status == REDRAWN:
            result, drawn = load_result(request.folder)
            # What was asked for once is drawn again with the rest.
            sheet = request.wanted.contact_sheet or drawn.contact_sheet
            wanted = Drawn(sheet, request.wanted.overlay or drawn.overlay)
            status, result = REDRAWN, replace(result, video=request.path, chosen=scorer.chosen)
        else:
            wanted = request.wanted
            status, result = _score(job, scorer, store, on_snippet, notes.append)
        truth = _truth(request, len(result.scores), notes.append)
        result.save(request.folder, wanted.contact_sheet, wanted.overlay, truth)
        return status, result, truth

    return _finish(request, scorer, work, notes)


def failed(request: Request, reason: str, notes: Sequence[str] = ()) -> Finished:
    return Finished(Scored(request.name, FAILED, request.folder, {}, reason), None, tuple(notes))


def _finish(request: Request, scorer: Scorer, work: Callable[[], Done], notes: list[str]) -> Finished:
    try:
        status, result, truth = work()
        peaks = request.folder / PEAKS
        pictures = load_peaks(peaks) if peaks.exists() else None
        shown, summary, model = result.shown(truth), result.summary(), scorer.checkpoint.model
        entry = report_entry(shown, summary, request.out, model, pictures, request.name)
    except DiskError:
        raise
    except (PipelineError, OSError) as error:
        return failed(request, str(error), notes)
    return Finished(Scored(request.name, status, request.folder, summary), entry, tuple(notes))


def _kept(scorer: Scorer, source: SourceFile, folder: Path) -> tuple[VideoScores, Drawn] | None:
    """The result in a folder; None where there is none of this file by this checkpoint."""
    if not (folder / "scores.json").is_file():
        return None
    try:
        result, drawn = load_result(folder)
    except PipelineError:
        return None
    same = result.checkpoint_sha256 == scorer.checkpoint_sha256
    return (result, drawn) if same and result.source and source.is_still(result.source) else None


def _score(
    job: Job, scorer: Scorer, store: FeatureStore | None, on_snippet: Callable[[], None], note: Note
) -> tuple[str, VideoScores]:
    path = job.request.path
    # Before it is read: what is written to it meanwhile is a change.
    source = job.source.identity if job.source else None
    if job.stored is not None and store is not None:
        try:
            return STORED, replace(scorer.score_from(store, job.stored, path), source=source)
        except StoreError as error:
            note(f"{path}: extracted, as its stored features cannot be read: {error}")
    return EXTRACTED, replace(scorer.score(path, on_snippet), source=source)


def _truth(request: Request, frames: int, note: Note) -> np.ndarray | None:
    """Ground truth of every frame, bool [N]; None where it is not known, or cannot be of this video.

    What reaches beyond the last frame by a snippet at most is cut: the field's
    annotations cover whole snippets.
    """
    if request.intervals is None:
        return None
    truth = np.zeros(frames, bool)
    for start, end in request.intervals:
        if start >= frames or end > frames + SNIPPET_FRAMES:
            said = f"has {frames} frames, but an anomalous interval is {start} to {end}; not shown"
            note(f"{request.name}: {said}")
            return None
        truth[start:end] = True
    return truth
