"""A video, a stream or a camera in, RGB frames with their times out."""

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
    "Limits",
    "Video",
    "VideoInfo",
    "open_live",
    "open_video",
    "probe",
    "require_file",
]
