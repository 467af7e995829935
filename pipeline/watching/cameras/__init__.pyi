from .camera_file import CameraEntry as CameraEntry
from .camera_file import CameraFile as CameraFile
from .hours import Hours as Hours
from .masks import Sight as Sight
