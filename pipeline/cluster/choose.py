"""Which processes do a stage's work, as the user says."""

from collections.abc import Iterator
from contextlib import contextmanager

from ssrl_pipeline.cluster.devices import Devices, parse_devices
from ssrl_pipeline.cluster.ray import ClusterOptions, connected
from ssrl_pipeline.cluster.workers import Workers


@contextmanager
def chosen_workers(
    device: str, devices: str | None, cluster: ClusterOptions | None
) -> Iterator[Workers | None]:
    """Other processes, until the end of the block; None: this one does the work.

    Args:
        device: what each works on, where `devices` does not say it.
        devices: of this machine; see :func:`ssrl_pipeline.cluster.devices.parse_devices`.
        cluster: where that is; then there are no `devices`.

    Raises:
        PipelineError: a device is missing, or the cluster cannot be reached.
    """
    if cluster:
        with connected(cluster, device) as workers:
            yield workers
    else:
        yield Devices(parse_devices(devices, device)) if devices else None
