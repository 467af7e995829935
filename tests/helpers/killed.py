"""A training that is killed at its first evaluation after a step, when its state has been saved."""

from ssrl_pipeline.training.run_folder import Evaluation


class Killed(Exception):
    pass


def kill(evaluation: Evaluation) -> None:
    """What such a training reports to."""
    if evaluation.step:
        raise Killed
