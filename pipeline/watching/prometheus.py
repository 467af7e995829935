"""How the cameras fare, for Prometheus to fetch: prometheus_client writes the text and serves it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.watching.post import Post

COUNTERS: dict[str, tuple[str, Callable[[Post], float]]] = {  # each is served as NAME_total
    "ssrl_frames": ("Frames read.", lambda post: post.camera.frames),
    "ssrl_snippets": ("Snippets described.", lambda post: post.snippets),
    "ssrl_dropped_frames": ("Frames read and not scored.", lambda post: post.dropped),
    "ssrl_reconnects": ("Times that a lost stream came back.", lambda post: post.reconnects),
    "ssrl_events": ("Events that started.", lambda post: post.event),
    "ssrl_clips": (
        "Crops and patches of snippets, where those that do not change are not described again.",
        lambda post: _sum(post.unchanged.repeats.clips),
    ),
    "ssrl_repeated_clips": (
        "Of these, the ones whose last description was taken again.",
        lambda post: _sum(post.unchanged.repeats.repeated),
    ),
    "ssrl_checked_clips": (
        "Of these, the ones that were described to check though they had not changed.",
        lambda post: post.unchanged.repeats.checked,
    ),
    "ssrl_checked_error": (
        "Sum of the relative errors that these would have had.",
        lambda post: post.unchanged.repeats.total,
    ),
}
GAUGES: dict[str, tuple[str, Callable[[Post], float | None]]] = {
    "ssrl_connected": ("1 while frames come.", lambda post: post.connected),
    "ssrl_healthy": (
        "1 while nothing is wrong with the camera.",
        lambda post: post.health.well if post.health else None,
    ),
    "ssrl_score": ("Score of the last snippet.", lambda post: post.score),
    "ssrl_behind_seconds": (
        "From the last snippet's last frame until it was scored.",
        lambda post: None if post.score is None else post.behind_s,
    ),
}


def _sum(counts: Mapping[str, int]) -> int:
    return sum(list(counts.values()))  # a list, for another thread adds to them


class _Posts(Collector):
    """Reads the cameras' states when they are asked for; a value that is not there yet is left out."""

    def __init__(self, posts: Sequence[Post]):
        self._posts = posts

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for family, metrics in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
            for name, (meaning, read) in metrics.items():
                metric = family(name, meaning, labels=["camera"])
                for post in self._posts:
                    if (value := read(post)) is not None:
                        metric.add_metric([post.name], value)
                yield metric


@contextmanager
def serve_metrics(posts: Sequence[Post], host: str, port: int) -> Iterator[int]:
    """Answers in a thread of its own until the context ends; gives the port, where 0 was asked for.

    Raises:
        PipelineError: the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(_Posts(posts))
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError, UnicodeError) as error:
        raise PipelineError(f"--metrics-port {port}: {host} cannot be listened to there ({error})") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
