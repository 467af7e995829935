"""Networks on a device: on which, and on as many clips as come, in parts that its memory holds."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import ConfigError, PipelineError, is_out_of_memory
from ssrl_pipeline.extractors import Normalisation
from ssrl_pipeline.extractors.engines.engines import Engine, make_engine
from ssrl_pipeline.extractors.graphs import Graphs

BATCH = {"cpu": 1, "cuda": 16}  # snippets described together
BATCH_PIXELS = {"cpu": 16 * 10 * 224 * 224, "cuda": 16 * 16 * 10 * 224 * 224}  # ten crops of a snippet, of 16

log = logging.getLogger(__name__)


class Budget:
    """How much is described at once; less, once a device's memory did not suffice.

    Args:
        device: does it.
        batch: snippets; None: as the device is.
        pixels: of what passes the network at once, views x frames x height x width; None likewise.
    """

    def __init__(self, device: torch.device, batch: int | None = None, pixels: int | None = None):
        self.device = device
        self.batch = batch or BATCH[device.type]
        self.pixels = pixels or BATCH_PIXELS[device.type]
        self.scarce = False  # whether it did not suffice

    def halve(self) -> None:
        """Goes on with groups of half the size, after an allocation that failed."""
        if not self.scarce:
            log.warning("%s: out of memory, going on with smaller batches", self.device)
        self.scarce = True
        self.batch = max(1, self.batch // 2)
        torch.cuda.empty_cache()


class Networks:
    """Runs networks, each by an engine that is made when it is first needed.

    Args:
        engine: as of :func:`make_engine`, as are `normalisation`, `device`, `precision` and `graphs`.
        memory: how many pixels pass at once; halved where that is too much.
    """

    def __init__(
        self,
        engine: str,
        normalisation: Normalisation,
        device: torch.device,
        precision: str,
        graphs: Graphs,
        memory: Budget,
    ):
        self.engine, self.normalisation, self.device = engine, normalisation, device
        self.precision, self.graphs, self.memory = precision, graphs, memory
        self.engines: dict[nn.Module, Engine] = {}  # of the networks that were needed so far

    def follow(self, network: nn.Module) -> None:
        """Makes engines anew when other weights are loaded into a network."""
        engines = self.engines  # a copy of the network takes its hooks along: none may hold this object
        network.register_load_state_dict_post_hook(lambda *_: engines.clear())

    @torch.inference_mode()
    def __call__(self, network: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
        """Clips of several sizes, uint8 [B, 3, t, h, w] each -> float32 [B, D] of each.

        Of a network that describes patches, [B, P, D].
        """
        if each := getattr(self._engine(network), "each", None):
            try:
                return list(each(batches))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
        return [self._in_parts(network, clips) for clips in batches]

    def _engine(self, network: nn.Module) -> Engine:
        if network not in self.engines:
            self.engines[network] = make_engine(
                self.engine,
                network,
                self.normalisation,
                self.device,
                precision=self.precision,
                graphs=self.graphs,
            )
        return self.engines[network]

    def _in_parts(self, network: nn.Module, clips: Tensor) -> Tensor:
        rows: list[Tensor] = []
        pixels, done = clips[0, 0].numel(), 0
        while done < len(clips):
            part = clips[done : done + max(1, self.memory.pixels // pixels)]
            try:
                rows.append(self._engine(network)(part))
                done += len(part)
                continue
            except Exception as error:
                if len(part) == 1 or not is_out_of_memory(error):
                    raise
            self.memory.pixels = len(part) // 2 * pixels
            self.memory.halve()
        return torch.cat(rows)


def find_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none.

    Raises:
        PipelineError: a device that is unknown or missing.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unsupported device {name!r}; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PipelineError(
            f"device {name!r} is missing: PyTorch finds {torch.cuda.device_count()} CUDA devices"
        )
    return device
