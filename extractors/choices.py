"""The names that there are to choose from, without PyTorch: the command line lists them at once."""

from typing import Literal

EngineName = Literal["auto", "openvino", "triton", "compile", "eager"]
PrecisionName = Literal["auto", "float32", "tf32", "bfloat16", "float16", "int8"]
Patches = Literal["exact", "dense"]
UnchangedName = Literal["auto", "describe", "repeat"]
