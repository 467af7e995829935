"""What a user can put right: the exceptions that a command shows in one line, without a traceback.

With :mod:`ssrl_pipeline.disk.files` and :mod:`ssrl_pipeline.disk.locks` this is the ground
floor of the house: every other module may import it; it imports nothing of ours.
"""

import re
import signal
import sys

# PyTorch has an exception of its own only for its GPU allocator. What else runs out of memory below it
# raises RuntimeErrors, and CUDA's runtime an AcceleratorError, which is one.
_OUT_OF_MEMORY = re.compile(
    "|".join(
        (
            r"\bout of memory\b",  # CUDA's runtime and driver, also of pinned memory on the host; NCCL
            r"can't allocate memory: you tried",  # PyTorch on the host
            r"not enough memory: you tried",  # the same on Windows
            r"STATUS_ALLOC_FAILED",  # cuBLAS, cuSOLVER, cuDNN before its version 9
            r"ALLOCATION_FAILED",  # cuDNN, of the host or the device
            r"unable to find an engine",  # cuDNN, where all have failed: mostly for want of workspace
            r"unable to find a valid cudnn algorithm",  # the same through its older interface
            r"bad_alloc|failed to allocate \d+ bytes",  # C++, as OpenVINO passes it on
        )
    ),
    re.IGNORECASE,
)


class PipelineError(Exception):
    """A problem with an input, a file or an option; the message names it and the way out."""


class VideoError(PipelineError):
    """A video cannot be opened or decoded to its end."""


class WeightsError(PipelineError):
    """Backbone weights cannot be fetched, or are not what they claim to be."""


class StoreError(PipelineError):
    """A feature store is missing, damaged, or made with another recipe."""


class LabelError(PipelineError):
    """Labels or ground truth are missing, malformed, or do not fit the videos."""


class ConfigError(PipelineError):
    """A configuration file or ``--set`` assignment holds an unknown key or an unfit value."""


class CheckpointError(PipelineError):
    """A checkpoint is missing, damaged, or does not fit what it is used with."""


class DiskError(PipelineError):
    """There is no room to write on; it will not be better with the next video."""


class BusyError(PipelineError):
    """Another process is writing in the same place."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory is exhausted: the machine's, or a GPU's.

    PyTorch is asked only where it is loaded. Triton's `OutOfResources` is not one: a kernel
    that needs more shared memory than the GPU has needs it for smaller batches, too.
    """
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def how_it_ended(code: int) -> str:
    """What a process's exit code says: ``ended with exit code 1``, ``was ended by SIGKILL``."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
