from .receivers.base import Receiver as Receiver
from .receivers.limits import Mutes as Mutes
from .receivers.opening import open_receiver as open_receiver
