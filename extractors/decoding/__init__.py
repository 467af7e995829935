"""A video, a stream or a camera in, RGB frames with their times out."""

from ssrl_pipeline.extractors.decoding.pictures import FEWEST, is_picture, picture_files
from ssrl_pipeline.extractors.decoding.video import (
    DECODER,
    EXTENSIONS,
    Limits,
    Video,
    VideoInfo,
    open_live,
    open_video,
    probe,
    require_file,
)

__all__ = [
    "DECODER",
    "EXTENSIONS",
    "FEWEST",
    "Limits",
    "Video",
    "VideoInfo",
    "is_picture",
    "open_live",
    "open_video",
    "picture_files",
    "probe",
    "require_file",
]
