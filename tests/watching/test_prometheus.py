"""Figures of a watch, as Prometheus reads them."""

import socket
import threading

import pytest
from helpers.watched import Watched, fetch_metrics, opening

from ssrl_pipeline.errors import PipelineError
from ssrl_pipeline.watching.prometheus import serve_metrics
from ssrl_pipeline.watching.sources import Source


def test_metrics_of_a_camera_that_never_came() -> None:
    name = 'the "gate" \\ yard\n'
    watched = Watched([Source(name, "rtsp://gate", "stream")], opening())
    served = fetch_metrics(watched.job.posts)
    clips = ("clips", "repeated_clips", "checked_clips", "checked_error")
    counters = ("frames", "snippets", "dropped_frames", "reconnects", "events", *clips)
    totals = [f"{counter}_total" for counter in counters]
    none = {(f"ssrl_{metric}", name): 0 for metric in (*totals, "connected")}  # without a score
    assert served == none | {("ssrl_healthy", name): 1}


def test_metrics_are_served_at_one_address_until_the_end() -> None:
    before = threading.active_count()
    with serve_metrics([], "127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=30)
        again = serve_metrics([], "127.0.0.1", port)
        with pytest.raises(PipelineError, match=f"--metrics-port {port}: 127.0.0.1 cannot be listened to"):
            again.__enter__()
    assert threading.active_count() == before
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=30)
