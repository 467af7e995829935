"""Networks in int8, by NNCF: weights by channel, numbers between layers by the range that clips show.

What was tried is in docs/performance.md. NNCF's bias correction, which is its default, more than doubles
the features' error on I3D; the range is of the extremes of all clips, not the mean of each one's.
"""

import contextlib
import io
import logging
from collections.abc import Iterable
from importlib import metadata
from typing import Any

import numpy as np

from ssrl_pipeline.errors import ConfigError, PipelineError, first_line, is_out_of_memory
from ssrl_pipeline.extractors.graphs.library import import_nncf

log = logging.getLogger(__name__)


def why_not_int8() -> str | None:
    """Why networks cannot be quantised here; None where nothing speaks against it."""
    try:
        metadata.version("nncf")
    except metadata.PackageNotFoundError:
        return "needs NNCF, which is not installed: pip install 'ssrl-pipeline[int8]'"
    return None


def nncf_version() -> str:
    """Raises :class:`ConfigError` where it is not installed."""
    if reason := why_not_int8():
        raise ConfigError(f"precision int8 {reason}")
    return metadata.version("nncf")


def quantised(model: Any, clips: Iterable[np.ndarray]) -> Any:
    """A graph of OpenVINO's in int8.

    Args:
        model: for one clip, uint8 [1, 3, t, h, w].
        clips: such.

    Raises:
        PipelineError: NNCF is missing or fails.
    """
    nncf_version()
    data = list(clips)
    log.info("quantising the network for clips of %dx%d", *data[0].shape[-2:])
    try:
        # It draws bars on stdout, where results belong.
        with contextlib.redirect_stdout(io.StringIO()):
            nncf = import_nncf()
            nncf.set_log_level(logging.ERROR)
            return nncf.quantize(model, nncf.Dataset(data), subset_size=len(data), **_options(nncf))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise PipelineError(
            f"NNCF cannot quantise the network ({first_line(error)}); --precision float32 does without"
        ) from error


def _options(nncf: Any) -> dict[str, Any]:
    ranges = nncf.quantization.range_estimator
    statistic, aggregator = ranges.StatisticsType, ranges.AggregatorType
    extremes = ranges.RangeEstimatorParameters(
        min=ranges.StatisticsCollectorParameters(statistic.MIN, aggregator.MIN),
        max=ranges.StatisticsCollectorParameters(statistic.MAX, aggregator.MAX),
    )
    advanced = nncf.AdvancedQuantizationParameters(
        disable_bias_correction=True, activations_range_estimator_params=extremes
    )
    return {"advanced_parameters": advanced}
