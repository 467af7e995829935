"""Decoding by a graphics card, where libav offers it and the machine has one."""

from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from ssrl_pipeline.errors import VideoError

USUAL = "h264"  # what a device must decode to be taken


def acceleration(wanted: str) -> tuple[str, Any]:
    """The name and the setting of a device that decodes; "" and None where the processor does.

    Streams of a codec that the device does not know are decoded by the processor all the same.

    Args:
        wanted: "none", "auto" (the first that there is, or none), or a device as libav names it.

    Raises:
        VideoError: a device that was named is not there.
    """
    if wanted == "none":
        return "", None
    codec, reason = av.Codec(USUAL, "r"), "libav was built without it"
    offered = {config.device_type.name for config in codec.hardware_configs if config.is_supported}
    for name in hwdevices_available():
        if name not in offered or wanted not in ("auto", name):
            continue
        setting = HWAccel(name, allow_software_fallback=True)
        try:
            setting.create(codec)
        except (av.FFmpegError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        else:
            return name, setting
    if wanted != "auto":
        raise VideoError(f"no decoding by {wanted} ({reason}); auto takes what there is")
    return "", None
