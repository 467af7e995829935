from .calibration import Calibration as Calibration
from .cells import multiplies_tiles as multiplies_tiles
from .cells import over_cells as over_cells
from .graphs import Graphs as Graphs
from .library import abilities as abilities
from .library import import_openvino as import_openvino
from .quantise import why_not_int8 as why_not_int8
