"""The field's datasets by name, with videos named as the features name them.

ssrl-pipeline dataset check ucf_crime
"""

from pathlib import Path
from typing import get_args

from ssrl_pipeline.data.datasets import shanghaitech, ucf_crime, xd_violence
from ssrl_pipeline.data.datasets.annotations import Dataset
from ssrl_pipeline.data.labels import Intervals
from ssrl_pipeline.data.names import StoredNames
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extractors import SNIPPET_FRAMES, snippet_count
from ssrl_pipeline.features import Features
from ssrl_pipeline.settings import DatasetName

DATASETS = get_args(DatasetName)


def load_dataset(name: str, annotations: Path, features: Features | None = None) -> Dataset:
    """Reads a dataset's own annotation files.

    Args:
        name: one of DATASETS.
        annotations: the folder that holds the files.
        features: gives videos the names that it knows them by, and lengths where
            the files do without; videos that it lacks keep their bare names.

    Raises:
        ConfigError: there is no such dataset.
        LabelError: a file is missing or malformed, files contradict each other, or
            two videos of the features fit one annotation.
        StoreError: a length is needed and the features lack the video.
    """
    stored = StoredNames(features.videos() if features else [])
    if name == "ucf_crime":
        dataset = ucf_crime.load(annotations)
    elif name == "shanghaitech":

        def snippets(video: str) -> int:
            assert features is not None
            meta = features.meta(stored.find(video) or video)
            return snippet_count(meta.frames) if meta.starts else meta.snippets

        dataset = shanghaitech.load(annotations, snippets if features else None)
    elif name == "xd_violence":
        dataset = xd_violence.load(annotations)
    else:
        raise ConfigError(f"data.dataset: unknown {name!r}; there are {', '.join(DATASETS)}")
    return dataset.renamed({video: found for video in dataset.labels if (found := stored.find(video))})


def cut_to_length(intervals: Intervals, features: Features) -> Intervals:
    """Intervals without what reaches beyond the last frame, by one snippet of 16 at most.

    The field's ground truth covers whole snippets, and some features leave an
    incomplete last snippet out; what reaches farther is a contradiction, and stays.

    Raises:
        StoreError: what the features say of a video is damaged.
    """
    stored = set(features.videos())
    cut: Intervals = {}
    for video, rows in intervals.items():
        frames = features.meta(video).frames if video in stored else None
        if frames is not None and max(end for _, end in rows) <= frames + SNIPPET_FRAMES:
            rows = [(start, min(end, frames)) for start, end in rows if start < frames]
        cut[video] = rows
    return cut
