"""How long `score` takes until its first snippet, part by part, each time in a new process.

    python scripts/bench/start_up.py --checkpoint runs/x/best.pt --video VIDEO

The first round makes what is kept beside the weights (OpenVINO's graphs) and is left out of the medians.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ssrl_pipeline.console.terminal import table

PARTS = ("Python, and what it imports", "the checkpoint and the backbone's weights", "the first snippet")
CHILD = """
import json, sys, time
from ssrl_pipeline.scoring.scorer import Scorer
times = [time.time()]
scorer = Scorer(sys.argv[1], "cpu", precision=sys.argv[3])
times.append(time.time())

class Enough(Exception): ...

def first():
    times.append(time.time())
    raise Enough

try:
    scorer.score(sys.argv[2], first)
except Enough:
    print(json.dumps(times), flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    command = [sys.executable, "-c", CHILD, str(a.checkpoint), str(a.video), a.precision]
    rounds = []
    for _ in range(a.rounds + 1):
        begun = time.time()
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        rounds.append(np.diff([begun, *json.loads(told.splitlines()[-1])]))
    seconds = [*np.median(rounds[1:], axis=0), np.median(np.sum(rounds[1:], axis=1))]
    rows = [(part, round(float(took), 2)) for part, took in zip((*PARTS, "all"), seconds, strict=True)]
    print(table(rows, ("part", "seconds")))


if __name__ == "__main__":
    main()
