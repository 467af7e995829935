"""The names that there are to choose from, without PyTorch: the command line lists them at once."""

from typing import Literal

BackboneName = Literal["i3d", "i3d_r50", "i3d_r50_nl"]
PresetName = Literal["paper", "fast", "live", "gowtham"]
EngineName = Literal["auto", "openvino", "triton", "compile", "eager"]
PrecisionName = Literal["auto", "float32", "tf32", "bfloat16", "float16", "int8"]
Patches = Literal["exact", "dense"]
UnchangedName = Literal["auto", "describe", "repeat"]
