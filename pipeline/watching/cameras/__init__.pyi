from .camera_file import CameraEntry as CameraEntry
from .hours import Hours as Hours
from .masks import Sight as Sight
