from .capacity import measure_capacity as measure_capacity
from .receivers import Notifier as Notifier
from .receivers import program as program
from .receivers import webhook as webhook
from .sources import parse_sources as parse_sources
from .start import open_watch as open_watch
from .watch import Watch as Watch
