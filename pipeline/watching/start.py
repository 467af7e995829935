"""A watch as the settings have it: its scorer, its rule of events, its metrics.

ssrl-pipeline watch gate=rtsp://gate/stream --metrics-port 9100
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ssrl_pipeline.console import say
from ssrl_pipeline.scoring import Scorer
from ssrl_pipeline.settings import Settings
from ssrl_pipeline.watching.prometheus import serve_metrics
from ssrl_pipeline.watching.sources import Source
from ssrl_pipeline.watching.watch import Analysis, Line, Watch


@contextmanager
def open_watch(
    settings: Settings,
    sources: Sequence[Source],
    checkpoint: Path,
    device: str,
    tell: Callable[[Line], object],
    metrics: tuple[str, int] | None = None,
) -> Iterator[Watch]:
    """A watch that is ready to run, and said.

    Args:
        tell: takes each line of the result.
        metrics: the address and the port to serve them on, as long as the context lasts.

    Raises:
        PipelineError: the checkpoint, the weights or the port cannot be had.
    """
    of = settings.extract
    options = (of.weights, settings.events, of.engine, of.precision)
    scorer = Scorer(checkpoint, device, *options, unchanged=of.unchanged)
    extractor = scorer.extractor
    say(f"watching with {checkpoint} on {scorer.device} in {extractor.precision}")
    say(f"events: {scorer.chosen}")
    if scorer.teller is None:
        unknown = "the checkpoint does not know what its cameras normally show; one trained anew does"
        say(f"events have no words: {scorer.wordless or unknown}")
    analysis = Analysis(
        scorer.model,
        scorer.device,
        extractor.describe,
        scorer.chosen.rule,
        drop_last=extractor.preset.drop_last,
        pending=extractor.pending,
        unchanged=extractor.unchanged,
        chosen_fps=extractor.fps,
        teller=scorer.teller,
    )
    watch = Watch(sources, analysis, settings.watch, tell, say)
    with serve_metrics(watch.posts, *metrics) if metrics else nullcontext() as port:
        if metrics:
            host = f"[{metrics[0]}]" if ":" in metrics[0] else metrics[0]
            say(f"metrics: http://{host}:{port}/metrics")
        yield watch
