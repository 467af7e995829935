from .choose import FORMATS as FORMATS
from .choose import read_ranges as read_ranges
from .choose import write_ranges as write_ranges
from .ranges import Known as Known
from .ranges import Labelled as Labelled
from .ranges import Span as Span
from .ranges import in_frames as in_frames
