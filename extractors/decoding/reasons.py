"""Why a video cannot be read, in libav's words and ours."""

from pathlib import Path

import av

from ssrl_pipeline.errors import VideoError


def not_a_video(path: Path, error: Exception) -> VideoError:
    return VideoError(f"{path}: not a video that libav can open{because(error)}")


def because(error: Exception) -> str:
    """What libav said, without the file's name; "" where it says no more than that it is no video."""
    said = "" if isinstance(error, av.error.InvalidDataError) else _said(error)
    return f" ({said[:1].lower()}{said[1:]})" if said else ""


def no_answer(seconds: float) -> str:
    return f"no answer for {seconds:g} seconds"


def _said(error: Exception) -> str:
    """libav's words, which alone do not name the file or the address."""
    return getattr(error, "strerror", None) or ("" if isinstance(error, av.FFmpegError) else str(error))


def reason(error: Exception, seconds: float) -> str:
    """Why a stream ended, in libav's words."""
    if isinstance(error, av.error.ExitError | av.error.TimeoutError):
        return no_answer(seconds)
    if isinstance(error, av.error.InvalidDataError):
        return "what it sends is no video"
    return _said(error) or type(error).__name__


def cut_short(path: Path, count: int, promised: int) -> VideoError:
    of = f" of {promised}" if promised > 0 else ""
    return VideoError(
        f"{path}: truncated or damaged, decoding stopped after {count}{of} frames "
        "(cut or re-encode the file to use the part that is whole)"
    )
