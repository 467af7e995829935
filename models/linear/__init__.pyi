from .motion import MotionDetector as MotionDetector
from .probe import LinearDetector as LinearDetector
from .probe import LinearProbe as LinearProbe
