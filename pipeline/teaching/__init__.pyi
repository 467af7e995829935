from .place import feedback_path as feedback_path
from .place import moment_of as moment_of
from .place import name_of as name_of
from .verdicts import Verdict as Verdict
from .verdicts import add_verdict as add_verdict
from .verdicts import parse_patch as parse_patch
from .verdicts import read_verdicts as read_verdicts
from .verdicts import undo as undo
