from .recording.opening import kept_packets as kept_packets
from .recording.opening import open_recorder as open_recorder
from .recording.recorder import EventRecorder as EventRecorder
