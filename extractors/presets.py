"""Presets: whole recipes for the views of a snippet, by name."""

from dataclasses import dataclass
from typing import NamedTuple

from ssrl_pipeline.extractors.views import Crops, Grid, Resize, View


class Normalisation(NamedTuple):
    """Pixels 0 to 255 become (x - mean) / std."""

    mean: float
    std: float


@dataclass(frozen=True)
class Preset:
    """Views in the order in which the store and the models name them."""

    name: str
    views: tuple[View, ...]
    drop_last: bool = False  # leave out a last snippet of fewer than 16 frames
    normalisation: Normalisation | None = None  # None: the backbone's own

    @property
    def view_sizes(self) -> dict[str, int]:
        """view name -> P, the number of crops or patches."""
        return {view.name: view.count for view in self.views}

    @property
    def pillows(self) -> Resize | None:
        """The resize by Pillow that all views begin with; None where there is no such."""
        (resize, *others) = {view.resize for view in self.views}
        return resize if resize.is_pillows and not others else None

    @property
    def geometry(self) -> dict[str, str]:
        """view name -> what is cut, in words: part of a recipe, so that no two geometries are mixed."""
        return {view.name: view.describe() for view in self.views}


_FULL = Resize((480, 840))
_MIDDLE = Resize((360, 630))
_HALF = Resize((240, 420))

PRESETS = {
    preset.name: preset
    for preset in (
        # The recipe of the SSRL paper: ten crops, and patches of three scales.
        Preset(
            "paper",
            (
                Crops("clip", Resize(256), 224),
                Grid(2, 3, _FULL),
                Grid(3, 5, _FULL),
                Grid(4, 7, _FULL),
            ),
        ),
        # For CPUs: one crop, a smaller frame, two scales; a third of the paper's work.
        Preset(
            "fast",
            (Crops("clip", Resize(256), 224, "centre"), Grid(2, 3, _MIDDLE), Grid(3, 5, _MIDDLE)),
        ),
        # For a live camera on a CPU, and for the demo; a fifteenth of the paper's work.
        Preset("live", (Crops("clip", Resize(128), 112, "centre"), Grid(2, 3, _HALF))),
        # GowthamGottimukkala's I3D_Feature_Extraction_resnet, which the field uses most.
        Preset(
            "gowtham",
            (Crops("clip", Resize((256, 340), "lanczos"), 224, "gowtham"),),
            drop_last=True,
            normalisation=Normalisation(127.5, 127.5),
        ),
    )
}
