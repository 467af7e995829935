"""Videos of a feature store, found by what is in their files: names and folders may differ."""

from pathlib import Path
from typing import NamedTuple

from ssrl_pipeline.disk.identity import Identity, SourceFile
from ssrl_pipeline.disk.spelling import one_name
from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.features.store import FeatureStore


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
