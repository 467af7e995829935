from .motion import MotionDetector as MotionDetector
from .probe import LinearProbe as LinearProbe
