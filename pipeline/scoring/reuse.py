"""What need not be done again: videos of a feature store, found by what is in their files, and results."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.console import Note
from ssrl_pipeline.disk import Identity, SourceFile, one_name
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features import FeatureStore, Recipe, describe_recipe, is_store, open_store
from ssrl_pipeline.scoring.scorer import Scorer
from ssrl_pipeline.scoring.stored import require_scorable


class _Stored(NamedTuple):
    video: str
    source: Identity


class ContentIndex:
    """Reads every video's meta.json once; videos whose own is damaged are not in it."""

    def __init__(self, store: FeatureStore):
        self.store = store
        self._by_size: dict[int, list[_Stored]] = {}
        for video in store.videos():
            try:
                source = store.meta(video).source
            except StoreError:
                continue
            self._by_size.setdefault(source.bytes, []).append(_Stored(video, source))

    def find(self, file: SourceFile) -> str | None:
        """The stored video with this file's content; None where there is none.

        A file is hashed only where sizes match and no stored video has also its name
        and time: time alone does not tell, since copies and archives give many files one.
        """
        alike = self._by_size.get(file.bytes, [])
        named = [s for s in alike if Path(s.video).name == one_name(file.path.name)]
        unchanged = [s for s in named if s.source.mtime_ns == file.mtime_ns]
        if len(unchanged) == 1:
            return unchanged[0].video
        return next((s.video for s in alike if s.source.sha256 == file.sha256), None)


def open_index(
    folder: Path | str, scorer: Scorer, must: bool, note: Note, asked: Sequence[str] = ()
) -> ContentIndex | None:
    """The features that can be reused.

    Args:
        folder: of the store.
        must: whether the user has named it.
        note: is told why a store that is there is not used, and where its features are not as asked for.
        asked: keys of a recipe whose values the user has named; what is stored is reused all the same.

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
    made = scorer.extractor.recipe
    other = any(store.recipe.get(key) != made.get(key) for key in asked)
    but = "; only others are extracted in the precision or by the rule that is asked for" if other else ""
    note(f"features are reused where {folder} has them: {describe_recipe(store.recipe)}{but}")
    return ContentIndex(store)


def is_as_asked(
    own: Recipe, scorer: Scorer, index: ContentIndex | None, source: SourceFile, asked: Sequence[str]
) -> bool:
    """Whether a result's recipe has what is asked for, or is of the store that would be taken again."""
    made, stored = scorer.extractor.recipe, index.store.recipe if index else {}
    if all(own.get(key) == made.get(key) for key in asked):
        return True
    same = all(own.get(key) == stored.get(key) for key in asked)
    return same and index is not None and index.find(source) is not None
