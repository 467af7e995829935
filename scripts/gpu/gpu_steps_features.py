"""gpu_check.py's steps about features: the CPU's values, videos end to end, the plain way, scarce memory.

Dimensions: T snippets, P crops or patches, D feature size.
"""

import copy
import json
import logging
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plain
import torch
from benchmark_rounds import wall
from gpu_common import FACTS, PAYLOAD, REFERENCES, Check, precisions, relative_l2

from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.extraction.stage import extract, extract_here
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.engines.engines import check_engine, make_engine, why_not
from ssrl_pipeline.extractors.snippets import SNIPPET_FRAMES, cut_snippets

RUNS = ((1, 6.0), (4, 6.0), (16, 6.0), (8, 15.0))  # workers, seconds: in the last their start counts little
AHEAD = 1  # groups under way while the next is handed over, as when videos are read


class Reference(NamedTuple):
    """Features to compare with: view name -> float32 [T, P, D]."""

    title: str
    preset: str
    patches: str
    frames: np.ndarray
    rounded: dict[str, np.ndarray]  # of the weights that the payload has
    published: dict[str, np.ndarray]  # of those as published


def references(check: Check) -> Iterator[Reference]:
    """Those of the payload; for a trial on the CPU, features of random weights, computed here."""
    if check.tiny:
        frames = check.frames(160, 120, 1)
        features = check.extractor("live", engine="eager")(frames)
        yield Reference("live, exact, random weights", "live", "exact", frames, features, features)
        return
    if not (PAYLOAD / FACTS).exists():
        check.skip("features", f"{FACTS} is not in .gpu: run scripts/gpu/gpu_payload.sh")
        return
    facts = json.loads((PAYLOAD / FACTS).read_text(encoding="utf-8"))["references"]
    arrays = np.load(PAYLOAD / REFERENCES)
    for number, fact in enumerate(facts):
        title = f"{fact['preset']}, {fact['patches']}, {fact['video']}"
        frames = first_frames(check.videos()[fact["video"]], fact["snippets"])
        if zlib.crc32(frames.tobytes()) != fact["frames_crc32"]:
            check.report(f"{title}: frames", "others than where the references were made")
        of = {
            kind: {
                name.split("/")[2]: arrays[name]
                for name in arrays.files
                if name.startswith(f"{number}/{kind}/")
            }
            for kind in ("rounded", "published")
        }
        yield Reference(title, fact["preset"], fact["patches"], frames, of["rounded"], of["published"])


def first_frames(video: Path, snippets: int) -> np.ndarray:
    """RGB, uint8 [16 * snippets, H, W, 3]."""
    with open_video(video) as opened:
        return np.stack(list(islice(opened.frames, snippets * SNIPPET_FRAMES)))


def features(check: Check, name: str) -> None:
    """How far an engine's features are from the CPU's, by view and precision."""
    if reason := why_not(name, check.device):
        check.skip("features", reason)
        return
    if name == "compile" and check.tiny:
        check.skip("features", "minutes on a CPU; backbone-compile has a part of the network compiled")
        return
    for reference in references(check):
        if name == "compile" and reference.preset == "paper":
            continue  # a minute for each size of clips
        for precision in precisions()[: 1 if name == "compile" else None]:
            title = f"{reference.title}, {precision}"
            try:
                check_engine(name, precision, check.device)
                found = check.extractor(
                    reference.preset, engine=name, precision=precision, patches=reference.patches
                )(reference.frames)
            except ConfigError as error:
                check.skip(title, str(error))
                continue
            except Exception as error:  # one precision that fails leaves the others
                check.fail(title, error)
                continue
            for view, rows in reference.rounded.items():
                off = relative_l2(found[view], reference.published[view])
                check.report(
                    f"{title}, {view}",
                    relative_l2(found[view], rows),
                    "relative L2",
                    f"from the CPU's with these weights; {off:.2g} from those with the published weights",
                )


def end_to_end(check: Check) -> None:
    """Videos into a store, compared with the backbone alone and with snippets that are already in memory."""
    extractor = check.extractor(check.preset)
    how = f"{check.preset}, {check.engine}, {check.precision}"
    alone = backbone_alone(check, extractor)
    check.report(f"backbone alone, {how}", alone, "snippets/s")
    videos = {} if check.tiny else check.videos()
    videos = videos or {"rendered": render(check)}
    for size, video in sorted(videos.items(), key=lambda item: item[1].stat().st_size):
        frames = first_frames(video, 1 if check.tiny else 6)
        read = list(cut_snippets(frames, pending=extractor.pending()))
        rate = described(check, extractor, read)
        check.report(
            f"{size}, frames in memory, {how}", rate, "snippets/s", f"{rate / alone:.1%} of backbone alone"
        )
        start, count = time.perf_counter(), 0
        with open_video(video) as opened:
            count = sum(1 for _ in islice(opened.frames, SNIPPET_FRAMES if check.tiny else None))
        decoded = count / SNIPPET_FRAMES / (time.perf_counter() - start)
        check.report(f"{size}, decoding alone, one process", decoded, "snippets/s", "process start among it")
        for workers, run in RUNS[: 1 if check.tiny else None]:
            each = count / SNIPPET_FRAMES
            copies = 1 if check.tiny else max(workers, int(run * min(rate, workers * decoded) / each))
            try:
                rate_of_all = extracted(check, extractor, video, copies, workers)
            except Exception as error:
                check.fail(f"{size}, end to end, {workers} workers, {how}", error)
                continue
            decoded = rate_of_all / workers
            beside = f"{rate_of_all / alone:.1%} of backbone alone; {copies} videos"
            check.report(f"{size}, end to end, {workers} workers, {how}", rate_of_all, "snippets/s", beside)


def backbone_alone(check: Check, extractor: FeatureExtractor) -> float:
    """Snippets a second of the network on clips that are on the device, in groups and batches as at work."""
    group, seconds = extractor.batch, 0.0
    frames = torch.from_numpy(check.frames(160, 120)[:: extractor.backbone.frame_stride]).permute(0, 3, 1, 2)
    for one in extractor.passes:
        engine = make_engine(
            check.engine, one.network, extractor.normalisation, check.device, check.precision
        )
        clips = one.cut.cut(one.cut.resize(frames)).to(check.device)
        clips = torch.cat([clips] * group)
        step = max(1, extractor.memory.pixels // clips[0, 0].numel())

        def run() -> None:
            for part in clips.split(step):  # noqa: B023
                engine(part)  # noqa: B023

        seconds += check.seconds(run) / group
    return 1 / seconds


def described(check: Check, extractor: FeatureExtractor, read: Sequence[np.ndarray]) -> float:
    """Snippets a second from frames in memory to features, group after group, as where videos are read."""
    group = [read[i % len(read)] for i in range(extractor.batch)]

    def run(groups: int) -> None:
        waiting: deque[Callable[[], object]] = deque()
        for _ in range(groups):
            waiting.append(extractor.start(group))
            while len(waiting) > AHEAD:
                waiting.popleft()()
        for wait in waiting:
            wait()

    groups = 1
    if not check.tiny:
        run(2)  # warms up
        groups = max(4, int(6 / wall(lambda: run(1), check.device)))
    return groups * len(group) / wall(lambda: run(groups), check.device)


def extracted(check: Check, extractor: FeatureExtractor, video: Path, copies: int, workers: int) -> float:
    """Snippets a second of copies of a video into a store, both gone afterwards."""
    with tempfile.TemporaryDirectory(dir=check.folder) as folder:
        root = Path(folder, "videos")
        root.mkdir()
        for number in range(copies):
            (root / f"{number:04d}{video.suffix}").symlink_to(video.resolve())
        start = time.perf_counter()
        _, outcomes = extract(root, Path(folder, "features"), extractor, place=extract_here(workers))
        took = time.perf_counter() - start
    if bad := [outcome.reason for outcome in outcomes if outcome.status != "done"]:
        raise RuntimeError(bad[0])
    return sum(outcome.snippets for outcome in outcomes) / took


def render(check: Check) -> Path:
    """A small video for where there is no payload."""
    import cv2

    path = check.folder / "rendered.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (160, 120))
    for frame in check.frames(160, 120, 1):
        writer.write(frame)
    writer.release()
    return path


def plain_baseline(check: Check) -> None:
    """The plain way on this device: image files, Pillow, one clip at a time, float32 as PyTorch has it."""
    extractor = check.extractor(check.preset, engine="eager", precision="float32")
    network = copy.deepcopy(extractor.backbone).to(memory_format=torch.contiguous_format)
    video = next(iter(check.videos().values()), None)
    frames = check.frames(160, 120) if check.tiny or video is None else first_frames(video, 2)
    network.to(check.device)
    clip = torch.zeros(1, 3, SNIPPET_FRAMES, 224, 224, device=check.device)
    with torch.inference_mode():
        seconds = check.seconds(lambda: network(clip))
    check.report("network alone, one clip of 224x224", 1 / seconds, "clips/s", "float32 as it comes")

    def run() -> None:
        paths = plain.write_frames(frames, check.folder, ".jpg")
        plain.extract(paths, extractor.preset, network, extractor.normalisation)

    if not check.tiny:
        run()
    rate = len(frames) / SNIPPET_FRAMES / wall(run, check.device)
    ours = check.best("end-to-end", "end to end", "snippets/s")
    beside = f"{ours.name} is {float(ours.value or 0) / rate:.1f} times that" if ours else ""
    check.report(f"plain way, {check.preset}, decoding left out", rate, "snippets/s", beside)


def out_of_memory(check: Check) -> None:
    """Features of a process that may use half of the memory it needs, compared with those without a limit."""
    if not check.needs_cuda("features where the memory ends"):
        return
    frames = check.frames(320, 240, 8)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    whole = check.extractor(check.preset)
    expected = whole(frames)
    took, had = torch.cuda.max_memory_reserved(), (whole.batch, whole.memory.pixels)
    check.report("memory of a whole group", took / 2**20, "MiB", f"batch {had[0]}, batch_pixels {had[1]}")
    del whole
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated() - before
    for share in (0.6, 0.35):
        torch.cuda.set_per_process_memory_fraction(1.0)
        extractor = check.extractor(check.preset)
        said = Heard()
        logging.getLogger("ssrl_pipeline").addHandler(said)
        total = torch.cuda.get_device_properties(check.device).total_memory
        torch.cuda.set_per_process_memory_fraction((held + share * took) / total)
        try:
            found = extractor(frames)
        except Exception as error:  # the smaller share may be too little for one clip
            check.fail(f"features with {share:.0%} of it", error)
            continue
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            logging.getLogger("ssrl_pipeline").removeHandler(said)
        worst = max(relative_l2(found[view], rows) for view, rows in expected.items())
        now = f"batch {extractor.batch}, batch_pixels {extractor.memory.pixels}; said: {said.lines[:1]}"
        check.report(f"features with {share:.0%} of it", worst, "relative L2", now)


class Heard(logging.Handler):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
