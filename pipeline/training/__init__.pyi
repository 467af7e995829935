from .group import Group as Group
from .run_folder import Evaluation as Evaluation
from .seeds import SeedRuns as SeedRuns
from .ssrl import train_ssrl as train_ssrl
from .start import Trained as Trained
from .start import launch_command as launch_command
from .start import train_run as train_run
from .start import train_seed_runs as train_seed_runs
