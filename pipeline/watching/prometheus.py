"""How the cameras fare, for Prometheus to fetch: /metrics in its text format, version 0.0.4."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.watching.watch import Post

METRICS: dict[str, tuple[str, str, Callable[[Post], float | None]]] = {
    "ssrl_frames_total": ("counter", "Frames read.", lambda post: post.camera.frames),
    "ssrl_snippets_total": ("counter", "Snippets described.", lambda post: post.snippets),
    "ssrl_dropped_frames_total": ("counter", "Frames read and not scored.", lambda post: post.dropped),
    "ssrl_reconnects_total": ("counter", "Times that a lost stream came back.", lambda post: post.reconnects),
    "ssrl_events_total": ("counter", "Events that started.", lambda post: post.event),
    "ssrl_connected": ("gauge", "1 while frames come.", lambda post: float(post.connected)),
    "ssrl_score": ("gauge", "Score of the last snippet.", lambda post: post.score),
    "ssrl_behind_seconds": (
        *("gauge", "From the last snippet's last frame until it was scored."),
        lambda post: post.behind_s if post.score is not None else None,
    ),
}


def metrics_text(posts: Sequence[Post]) -> str:
    """One line for each metric and camera; a value that is not there yet is left out."""
    lines = []
    for name, (kind, meaning, read) in METRICS.items():
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        for post in posts:
            camera = post.name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
            if (value := read(post)) is not None:
                lines.append(f'{name}{{camera="{camera}"}} {value}')
    return "\n".join([*lines, ""])


@contextmanager
def serve_metrics(posts: Sequence[Post], host: str, port: int) -> Iterator[int]:
    """Answers in a thread of its own until the context ends; gives the port, where 0 was asked for.

    Raises:
        PipelineError: the port cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds, for a client that says nothing

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != "/metrics":
                self.send_error(404)
                return
            content = metrics_text(posts).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Nobody wants a line for each fetch."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except (OSError, OverflowError) as error:
        raise PipelineError(f"--metrics-port {port}: {host} cannot be listened to there ({error})") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
