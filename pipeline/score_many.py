"""Scores of many videos: what is done is kept, what is stored is reused, the rest is extracted.

    ssrl-pipeline score videos/

A video that fails does not stop the others, and what is finished stays when the run is interrupted.
Dimensions: N frames.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssrl_pipeline import extract
from ssrl_pipeline.content_index import ContentIndex
from ssrl_pipeline.errors import DiskError, PipelineError, StoreError
from ssrl_pipeline.extract import Plan
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES
from ssrl_pipeline.labels import Intervals, intervals_of
from ssrl_pipeline.pictures import load_peaks
from ssrl_pipeline.report import report_entry, save_report
from ssrl_pipeline.result_folder import PEAKS, Drawn, load_result, missing_files, save_result
from ssrl_pipeline.score import Scorer
from ssrl_pipeline.source import SourceFile
from ssrl_pipeline.store import FeatureStore, describe_recipe, is_store, require_same_recipe
from ssrl_pipeline.storing import Outcome, Progress
from ssrl_pipeline.video_scores import VideoScores

EXTRACTED, STORED, REDRAWN, SKIPPED, FAILED = "extracted", "stored", "events anew", "skipped", "failed"


class Scored(NamedTuple):
    """What became of one video."""

    name: str
    status: str  # extracted or by stored features; events and pictures anew; skipped; or failed
    folder: Path
    summary: dict[str, Any]  # of scores.json; empty where it failed
    reason: str = ""  # why it failed


class _Job(NamedTuple):
    name: str
    path: Path
    folder: Path
    status: str  # as planned
    source: SourceFile | None  # None: it is not there
    stored: str | None = None  # its name in the store


def open_store(
    folder: Path | str, scorer: Scorer, must: bool, note: Callable[[str], None]
) -> ContentIndex | None:
    """The features that can be reused.

    Args:
        folder: of the store.
        must: whether the user has named it.
        note: is told why a store that is there is not used.

    Raises:
        StoreError: the user has named it, and it is missing, damaged, or of another recipe.
    """
    try:
        store = FeatureStore.open(folder)
        names = f"the checkpoint {scorer.path}", f"the store {folder}"
        require_same_recipe(scorer.checkpoint.recipe, store.recipe, *names)
    except StoreError as error:
        if must:
            raise
        if is_store(folder):
            note(f"the features in {folder} are not reused: {error}")
        return None
    note(f"features are reused where {folder} has them: {describe_recipe(store.recipe)}")
    return ContentIndex(store)


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
    note: Callable[[str], None] = lambda message: None,
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

    Returns:
        what became of each video, in order; errors of a video are in it.
    """
    wanted = Drawn(contact_sheet, overlay)
    truths = intervals or {}
    jobs = [_plan(scorer, *video, out, index, wanted, truths, overwrite) for video in videos.items()]
    todo = [job.path for job in jobs if job.status == EXTRACTED and job.source]
    snippets = sum(extract.expected_snippets(todo, scorer.extractor.preset.drop_last))
    progress = begin(Plan(len(jobs), len(todo), snippets))
    outcomes: list[Scored] = []
    entries: list[dict[str, Any]] = []
    try:
        for job in jobs:
            started = time.perf_counter()
            progress.start(job.name)
            try:
                status, result, truth = _carry_out(job, scorer, index, wanted, truths, progress, note)
                pictures = load_peaks(job.folder / PEAKS) if (job.folder / PEAKS).exists() else None
                model = scorer.checkpoint.model
                entries.append(report_entry(result, out, model, pictures, truth, job.name))
                outcomes.append(Scored(job.name, status, job.folder, result.summary()))
            except DiskError:  # the next videos and the report would fare no better
                entries.clear()
                raise
            except (PipelineError, OSError) as error:
                outcomes.append(Scored(job.name, FAILED, job.folder, {}, str(error)))
            last, seconds = outcomes[-1], time.perf_counter() - started
            progress.finish(Outcome(job.name, last.status, 0, seconds, last.reason))
    finally:
        progress.close()
        if entries:
            save_report(out / "report.html", entries)
    return outcomes


def _plan(
    scorer: Scorer,
    name: str,
    path: Path,
    out: Path,
    index: ContentIndex | None,
    wanted: Drawn,
    intervals: Intervals,
    overwrite: bool,
) -> _Job:
    """What is to be done for a video."""
    folder = out / name
    try:
        source = SourceFile(path)
    except OSError:
        return _Job(name, path, folder, EXTRACTED, None)  # which tells what is wrong with it
    kept = None if overwrite else _kept(scorer, source, folder)
    if kept is not None:
        result, drawn = kept
        truth = _truth(name, intervals, len(result.scores), lambda message: None)
        enough = drawn.contact_sheet >= wanted.contact_sheet and drawn.overlay >= wanted.overlay
        same = result.chosen == scorer.chosen and drawn.truth == _intervals(truth)
        done = enough and same and not missing_files(folder, result, drawn)
        return _Job(name, path, folder, SKIPPED if done else REDRAWN, source)
    stored = index.find(source) if index else None
    return _Job(name, path, folder, STORED if stored else EXTRACTED, source, stored)


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


def _carry_out(
    job: _Job,
    scorer: Scorer,
    index: ContentIndex | None,
    wanted: Drawn,
    intervals: Intervals,
    progress: Progress,
    note: Callable[[str], None],
) -> tuple[str, VideoScores, np.ndarray | None]:
    """What was done, the result, and its ground truth."""
    if job.status in (SKIPPED, REDRAWN):
        result, drawn = load_result(job.folder)
        # What was asked for once is drawn again with the rest.
        sheet, overlay = wanted.contact_sheet or drawn.contact_sheet, wanted.overlay or drawn.overlay
        wanted = Drawn(sheet, overlay)
        result = replace(result, video=job.path, chosen=scorer.chosen)
        status = job.status
    else:
        status, result = _score(job, scorer, index, progress, note)
    truth = _truth(job.name, intervals, len(result.scores), note)
    if status != SKIPPED:
        save_result(result, job.folder, wanted, truth)
    return status, result, truth


def _score(
    job: _Job, scorer: Scorer, index: ContentIndex | None, progress: Progress, note: Callable[[str], None]
) -> tuple[str, VideoScores]:
    # Before it is read: what is written to it meanwhile is a change.
    source = job.source.identity if job.source else None
    if job.stored is not None and index is not None:
        try:
            result = scorer.score_from(index.store, job.stored, job.path)
            return STORED, replace(result, source=source)
        except StoreError as error:
            note(f"{job.path}: extracted, as its stored features cannot be read: {error}")
    return EXTRACTED, replace(scorer.score(job.path, progress.snippet), source=source)


def _truth(name: str, intervals: Intervals, frames: int, note: Callable[[str], None]) -> np.ndarray | None:
    """Ground truth of every frame, bool [N]; None where it is not known, or cannot be of this video.

    What reaches beyond the last frame by a snippet at most is cut: the field's
    annotations cover whole snippets.
    """
    if name not in intervals:
        return None
    truth = np.zeros(frames, bool)
    for start, end in intervals[name]:
        if start >= frames or end > frames + SNIPPET_FRAMES:
            note(f"{name}: has {frames} frames, but an anomalous interval is {start} to {end}; not shown")
            return None
        truth[start:end] = True
    return truth


def _intervals(truth: np.ndarray | None) -> Sequence[tuple[int, int]] | None:
    return None if truth is None else intervals_of(truth)
