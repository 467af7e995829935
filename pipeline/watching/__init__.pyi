from .sources import parse_sources as parse_sources
from .start import open_watch as open_watch
from .watch import Watch as Watch
