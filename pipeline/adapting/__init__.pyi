from .adapt import adapt_checkpoint as adapt_checkpoint
from .start import adapt_run as adapt_run
