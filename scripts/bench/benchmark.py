"""How fast each part is against a plain way of doing the same, in the same run; ratios come first.

    python scripts/bench/benchmark.py --preset fast --json benchmark.json
    python scripts/bench/benchmark.py --engines openvino --precisions float32 bfloat16 int8

The ways take turns, round after round. A ratio is the median over the rounds, because rates
vary on a machine that does other things too. The plain way of extraction is scripts/bench/plain.py;
that of training and scoring is what published code does. The features of the plain way, from
lossless images, are compared with ours.
"""

import argparse
import itertools
import os
import platform
import tempfile
from pathlib import Path

import torch
from benchmark_features import backbone, decode, extraction, load_subject
from benchmark_model import scoring, training
from benchmark_rounds import Bench, Row

from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.demo.render import RenderPlan, render_dataset
from ssrl_pipeline.disk.files import write_json
from ssrl_pipeline.extractors import PRESETS
from ssrl_pipeline.extractors.backbones import BACKBONES
from ssrl_pipeline.extractors.engines.engines import ENGINES, PRECISIONS

FEATURES = {"decode": decode, "backbone": backbone, "extraction": extraction}
MODEL = {"training": training, "scoring": scoring}


def _render(folder: Path) -> Path:
    plan = RenderPlan(train=1, val=0, test=0, frames=400, fps=25, width=640, height=360)
    render_dataset(folder / "videos", plan=plan)
    return folder / "videos" / "train_normal_00.mp4"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=[*FEATURES, *MODEL], default=[*FEATURES, *MODEL])
    parser.add_argument("--video", type=Path, help="one of yours; a rendered one of 16 s otherwise")
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--backbone", choices=BACKBONES, default="i3d")
    parser.add_argument("--random-weights", action="store_true", help="nothing is fetched")
    parser.add_argument(
        "--snippets", type=int, default=2, help="of the video that is extracted in each round"
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=["eager", "openvino"])
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=PRECISIONS,
        default=["float32"],
        help="of ours, where an engine can",
    )
    parser.add_argument("--unchanged", action="store_true", help="leave out unchanged clips, too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), arguments.rounds, torch.device(arguments.device))
        parts = []
        if wanted := [FEATURES[name] for name in FEATURES if name in arguments.sections]:
            video = arguments.video or _render(bench.folder)
            weights = "random" if arguments.random_weights else None
            chosen = (arguments.preset, arguments.backbone, weights, arguments.engines)
            how = (arguments.device, arguments.precisions, arguments.unchanged)
            subject = load_subject(video, *chosen, arguments.snippets, *how)
            parts = [part(bench, subject) for part in wanted]
        parts += [MODEL[name](bench) for name in MODEL if name in arguments.sections]
        for row in itertools.chain.from_iterable(parts):
            rows.append(row)
            print(
                f"{row.part}: {row.way}: {row.ratio:.2f} ({row.rate:.4g} {row.unit}) {row.note}", flush=True
            )
    print()
    print(table(rows, Row._fields))
    if arguments.json:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "device": str(bench.device),
            "precisions": arguments.precisions,
        }
        write_json(arguments.json, {"machine": machine, "rows": [row._asdict() for row in rows]})


if __name__ == "__main__":
    main()
