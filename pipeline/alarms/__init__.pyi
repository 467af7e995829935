from .receivers.listeners import Listeners as Listeners
from .receivers.opening import open_receiver as open_receiver
from .recording.archive import note_verdict as note_verdict
from .recording.archive import read_events as read_events
from .recording.files import box_of as box_of
from .recording.opening import kept_packets as kept_packets
from .recording.opening import open_recorder as open_recorder
from .recording.recorder import EventRecorder as EventRecorder
