"""Whether the store has the videos and scales that are asked for."""

from collections.abc import Collection
from pathlib import PurePosixPath

from ssrl_pipeline.errors import PipelineError, StoreError
from ssrl_pipeline.features import Features
from ssrl_pipeline.scales import scale_of

MOST_NAMED = 10  # of the videos that are missing


def store_scales(store: Features) -> tuple[str, ...]:
    """The patch scales that the store holds, in its order."""
    return tuple(scale for view in store.recipe["views"] if (scale := scale_of(view)))


def check_scales(wanted: tuple[str, ...] | None, store: Features) -> tuple[str, ...]:
    """The scales to train with; None stands for all that the store holds.

    Raises:
        PipelineError: the store lacks one, or has no crops.
    """
    available = store_scales(store)
    if "clip" not in store.recipe["views"]:
        raise PipelineError(f"{store.root}: holds no clip features, which SSRL starts from")
    if wanted is None:
        return available
    if missing := [scale for scale in wanted if scale not in available]:
        raise PipelineError(
            f"model.scales: {store.root} has no scale {missing[0]!r}; it has {', '.join(available)}"
        )
    return wanted


def check_videos(
    store: Features, videos: Collection[str], leave_out: str = "leave them out with `train --skip-missing`"
) -> None:
    """Raises StoreError, which names them, where the store lacks some of the videos.

    Args:
        leave_out: what to do where they cannot be extracted.
    """
    stored = store.videos()
    missing = sorted(set(videos) - set(stored))
    if not missing:
        return
    named = ", ".join(map(repr, missing[:MOST_NAMED]))
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    lacks = f"{store.root}: lacks {len(missing)} of {len(videos)} labelled videos: {named}{more}; "
    if pair := _named_otherwise(missing, sorted(set(stored) - set(videos))):
        raise StoreError(
            f"{lacks}it has {pair[1]!r}, and names are paths below the folder given to `extract --videos`: "
            f"is that {pair[0]!r}?"
        )
    raise StoreError(f"{lacks}extract them (`extract` says why a video fails), or {leave_out}")


def _named_otherwise(missing: list[str], others: list[str]) -> tuple[str, str] | None:
    """A video that is missing, and one in the store that may be the same below another folder."""
    by_file: dict[str, list[str]] = {}
    for other in others:
        by_file.setdefault(PurePosixPath(other).name, []).append(other)
    for video in missing:
        for other in by_file.get(PurePosixPath(video).name, ()):
            if f"/{video}".endswith(f"/{other}") or f"/{other}".endswith(f"/{video}"):
                return video, other
    return None
