"""What several test files share: tiny real videos, and a feature store of made-up features."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers import pixel_features
from helpers.stores import made_up_meta
from matplotlib.figure import Figure

from ssrl_pipeline.cluster.ray import Cluster, ClusterOptions, connected
from ssrl_pipeline.extractors.backbones.inception import InceptionI3d
from ssrl_pipeline.extractors.engines import precision
from ssrl_pipeline.features.opening import create_store
from ssrl_pipeline.features.store import FeatureStore

FEATURE_SIZE = 16
VIEWS = {"clip": 1, "patch2x3": 6}
PLANTED_STRENGTH = 5.0  # the noise has deviation 1 in each of the 16 directions


LONGEST = (  # files that take about a minute or more, the longest first
    *("demo/test_run.py", "scripts/test_gpu_check.py", "backbones/test_backbones.py"),
    *("training/test_group.py", "scoring/test_elsewhere.py", "cluster/test_ray.py", "scripts/test_corpus.py"),
    *("scripts/test_train_ssrl.py", "whole/test_slurm.py", "engines/test_precision.py"),
    *("decoding/test_pixel_formats.py", "whole/test_full_disk.py", "whole/test_signals.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then those with slow tests: at the end, no process waits for another's."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    rank = {path: (*map(str(path).endswith, LONGEST), True).index(True) for path in {i.path for i in items}}
    items.sort(key=lambda item: (rank[item.path], item.path not in slow))


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Signals as a terminal's commands have them: behind a shell, or nohup, some are ignored by all below."""
    usual = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    numbers = {getattr(signal, name): handler for name, handler in usual.items() if hasattr(signal, name)}
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def quick_engine() -> Iterator[Callable[[], frozenset[str]]]:
    """`auto` is eager in float32 in tests: converting the backbone takes longer than their few snippets.

    Yields what tells the precisions that this processor has indeed.
    """
    abilities = precision.abilities
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "abilities", lambda: frozenset({"INT8"}))
        patch.setattr("ssrl_pipeline.extractors.engines.engines.AUTO", ("eager",))
        yield abilities


@pytest.fixture(scope="module")
def quick_network() -> Iterator[None]:
    """Here and in processes that are started from here, I3D's features are means of pixels.

    They tell one frame and place from another and cost nothing: for tests of what is around the network.
    """
    helpers = Path(pixel_features.__file__).parent
    folders = [str(helpers / "quick"), str(helpers.parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InceptionI3d, "forward", pixel_features.forward)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden values and real data beside the repository."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """make_video(path, frames=40, size=(w, h), fps=10.0) -> path: a small mp4 of moving shapes."""

    def make(path: Path, frames: int = 40, size: tuple[int, int] = (64, 48), fps: float = 10.0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = size
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, size)
        assert writer.isOpened()
        for i in range(frames):
            frame = np.full((height, width, 3), 90, np.uint8)
            cv2.circle(frame, (3 * i % width, height // 3), height // 6, (0, 200, 255), -1)
            left = (width - 2 * i) % width
            cv2.rectangle(frame, (left, height // 2), (left + width // 5, height - 4), (255, 60, 20), -1)
            writer.write(frame)
        writer.release()
        return path

    return make


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FeatureStore]:
    """tiny_store({"normal/a.mp4": 5, "abnormal/b.mp4": 9}, {"abnormal/b.mp4": [3, 4]}) -> FeatureStore.

    The first mapping says how many snippets a video has (of 16 frames each), the
    second in which of them one strong direction, the same in all videos and
    views, is planted. Views are clip (1) and patch2x3 (6), of 16 features.
    """

    def make(
        videos: Mapping[str, int],
        planted: Mapping[str, Sequence[int]] | None = None,
        root: Path | None = None,
        dtype: str = "float32",
        seed: int = 0,
    ) -> FeatureStore:
        recipe = {
            "preset": "live",
            "backbone": "i3d",
            "weights_sha256": "random",
            "feature_size": FEATURE_SIZE,
            "views": VIEWS,
            "geometry": {name: "made up" for name in VIEWS},
        }
        store = create_store(root or tmp_path_factory.mktemp("store"), recipe, dtype)
        rng = np.random.default_rng(seed)
        direction = rng.standard_normal(FEATURE_SIZE)
        direction *= PLANTED_STRENGTH / np.linalg.norm(direction)
        for video, snippets in videos.items():
            strength = np.zeros((snippets, 1, 1))
            strength[list((planted or {}).get(video, ()))] = 1
            with store.writer(video) as writer:
                noise = {name: rng.standard_normal((snippets, n, FEATURE_SIZE)) for name, n in VIEWS.items()}
                writer.append({name: values + strength * direction for name, values in noise.items()})
                writer.meta = made_up_meta(snippets, fps=10.0)
        return store

    return make


@pytest.fixture(scope="session")
def replace_view() -> Callable[[FeatureStore, str, str, np.ndarray], None]:
    """replace_view(store, "a.mp4", "clip", values): as in a store that was written without checksums."""

    def replace(store: FeatureStore, video: str, view: str, values: np.ndarray) -> None:
        folder = Path(store.root, video)
        np.save(folder / f"{view}.npy", values)
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        meta.pop("crc32", None)
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")

    return replace


@pytest.fixture
def project(tiny_store: Callable[..., FeatureStore], tmp_path: Path) -> Path:
    """A folder with features/ and labels.csv."""
    videos = {f"{split}{i}.mp4": i % 2 for split in ("train", "val") for i in range(8)}
    planted = {video: (2, 3) for video, abnormal in videos.items() if abnormal}
    tiny_store(dict.fromkeys(videos, 8), planted, root=tmp_path / "features")
    rows = [f"{v},{'abnormal' if a else 'normal'},{v[:-5]}" for v, a in videos.items()]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label,split", *rows]))
    return tmp_path


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is not there; while it is, a worker stops after six snippets, and can be killed."""
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture(scope="module")
def three_workers(quick_network: None, gate: Path) -> Iterator[Cluster]:
    """A Ray cluster on this machine, whose network is quick."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(pixel_features.GATE, str(gate))
        ray.init(num_cpus=3, log_to_driver=False, include_dashboard=False)
    with connected(ClusterOptions(), "cpu") as cluster:
        yield cluster
    ray.shutdown()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, in order."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
