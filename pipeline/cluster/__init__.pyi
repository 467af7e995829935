from .choose import chosen_workers as chosen_workers
from .devices import parse_devices as parse_devices
from .progress import require_visible as require_visible
from .ray import ClusterOptions as ClusterOptions
from .workers import Place as Place
from .workers import Post as Post
from .workers import Workers as Workers
