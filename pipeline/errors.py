"""What a user can put right: the exceptions that a command shows in one line, without a traceback.

With :mod:`ssrl_pipeline.files` and :mod:`ssrl_pipeline.locks` this is the ground
floor of the house: every other module may import it; it imports nothing of ours.
"""


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
