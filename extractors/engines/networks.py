"""Networks on as many clips as come, by an engine each and in parts that the memory holds."""

import torch
from torch import Tensor, nn

from ssrl_pipeline.errors import is_out_of_memory
from ssrl_pipeline.extractors import Normalisation
from ssrl_pipeline.extractors.engines.devices import Budget
from ssrl_pipeline.extractors.engines.engines import Engine, make_engine
from ssrl_pipeline.extractors.graphs import Graphs


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
    def __call__(self, network: nn.Module, clips: Tensor) -> Tensor:
        """uint8 [B, 3, t, h, w] -> float32 [B, D], or [B, P, D] of a network that describes patches."""
        if network not in self.engines:
            self.engines[network] = make_engine(
                *(self.engine, network, self.normalisation, self.device, self.precision, self.graphs)
            )
        rows: list[Tensor] = []
        pixels, done = clips[0, 0].numel(), 0
        while done < len(clips):
            part = clips[done : done + max(1, self.memory.pixels // pixels)]
            try:
                rows.append(self.engines[network](part))
                done += len(part)
                continue
            except Exception as error:
                if len(part) == 1 or not is_out_of_memory(error):
                    raise
            self.memory.pixels = len(part) // 2 * pixels
            self.memory.halve()
        return torch.cat(rows)
