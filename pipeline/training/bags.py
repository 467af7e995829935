"""Training bags: videos of any length as a fixed number of segments, packed in one array per view.

Packs that are larger than MOST_IN_MEMORY are written to a file once and mapped
from there, so that no step reads a full-length feature file. Smaller ones are in
memory, that of a GPU where one trains and has the room, so that no step copies features.

Dimensions: V videos, T snippets or segments, P crops or patches, F feature size.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.disk import NpyWriter, map_npy, read_json, rows_crc32, whole_folder, write_json
from ssrl_pipeline.errors import StoreError, is_out_of_memory
from ssrl_pipeline.features import Features, segment_means
from ssrl_pipeline.scales import scale_of, view_size

MOST_IN_MEMORY = 2 << 30  # bytes
MOST_OF_FREE = 0.5  # of what a GPU has free; the rest is for the model and what a step computes
_CHECKSUMS = "crc32.json"  # of a pack: view -> checksum


@dataclass
class Bags:
    """Videos as bags of segments."""

    videos: list[str]
    abnormal: Tensor  # bool [V]
    views: Mapping[str, Tensor | np.ndarray]  # view name -> float32 [V, T, P, F], in memory or mapped
    branches: dict[str, Tensor] = field(default_factory=dict)  # scale -> [V, T, F], of frozen branches

    def move(self, device: torch.device) -> None:
        """Brings what is in memory to `device`, where that is a GPU with the room for it."""
        held = {name: view for name, view in self.views.items() if isinstance(view, Tensor)}
        self.views = {**self.views, **_moved(held, device)}
        self.branches = _moved(self.branches, device)

    def bag(self, view: str, row: int) -> Tensor:
        """One bag [T, P, F], wherever it lies."""
        return torch.as_tensor(self.views[view][row])

    def batch(self, index: Sequence[int], device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
        """The bags at `index`: views [len(index), T, P, F] and labels bool [len(index)].

        A scale whose branch is known is given as that, under the scale's name [len(index), T, F].
        """
        rows = torch.tensor(list(index))
        there = _sent(rows, device)
        views = {scale: _picked(branch, rows, there) for scale, branch in self.branches.items()}
        for name, view in self.views.items():
            if scale_of(name) not in self.branches:
                views[name] = _picked(view, rows, there)
        return views, _sent(self.abnormal[rows], device)


def load_bags(
    store: Features, labels: dict[str, bool], views: Sequence[str], segments: int, packs: Path
) -> Bags:
    """Reads videos (name -> whether abnormal) from the store.

    Args:
        packs: a folder for packs that are too large for the memory; later calls
            with the same videos find them there.

    Raises:
        StoreError: a video is missing or damaged.
    """
    recipe = store.recipe
    shapes = {name: (len(labels), segments, recipe["views"][name], view_size(recipe, name)) for name in views}
    if sum(4 * math.prod(shape) for shape in shapes.values()) <= MOST_IN_MEMORY:
        arrays = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        for row, video in enumerate(labels):
            for name, means in _segments(store, video, views, segments).items():
                arrays[name][row] = means
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return Bags(list(labels), torch.tensor(list(labels.values())), tensors)
    folder = packs / _key(store, list(labels), list(views), segments)
    if not folder.is_dir():
        with whole_folder(folder) as scratch:
            with ExitStack() as files:  # which closes them where the disk is full, too
                writers = {
                    name: files.enter_context(
                        closing(NpyWriter(scratch / f"{name}.npy", shape[1:], "float32"))
                    )
                    for name, shape in shapes.items()
                }
                for video in labels:
                    for name, means in _segments(store, video, views, segments).items():
                        writers[name].append(means[None])
            write_json(scratch / _CHECKSUMS, {name: writer.crc32 for name, writer in writers.items()})
    mapped = {name: _map(folder / f"{name}.npy", shape) for name, shape in shapes.items()}
    return Bags(list(labels), torch.tensor(list(labels.values())), mapped)


def balanced_batches(abnormal: Tensor, batch_size: int, seed: int, stage: int) -> Iterator[list[int]]:
    """Endless batches of `batch_size` normal bags, then as many abnormal ones.

    Each kind is gone through in a new random order again and again, so that
    classes of different size meet equally often and no bag is left out.
    """
    kinds = [torch.nonzero(~abnormal).flatten(), torch.nonzero(abnormal).flatten()]
    streams = [
        _shuffled(kind.tolist(), np.random.default_rng([seed, stage, i])) for i, kind in enumerate(kinds)
    ]
    while True:
        yield [next(stream) for stream in streams for _ in range(batch_size)]


def share_of_batch(index: Sequence[int], part: int, parts: int) -> list[int]:
    """One of `parts` equal shares of a balanced batch, balanced itself."""
    half = len(index) // 2
    share = half // parts
    normal, abnormal = index[:half], index[half:]
    own = slice(part * share, (part + 1) * share)
    return [*normal[own], *abnormal[own]]


def _moved(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors of the host on `device`, all of them or, where there is not the room, none."""
    if sum(tensor.nbytes for tensor in tensors.values() if tensor.device.type == "cpu") > _room(device):
        return dict(tensors)
    try:
        return {name: tensor.to(device) for name, tensor in tensors.items()}
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return dict(tensors)


def _room(device: torch.device) -> float:
    """Bytes that features may take on a GPU; none elsewhere, for in the host's memory they are already."""
    return MOST_OF_FREE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _picked(view: Tensor | np.ndarray, rows: Tensor, there: Tensor) -> Tensor:
    """Some rows of a view, on the device of `there`, which are the same rows."""
    if isinstance(view, np.ndarray):
        return _sent(torch.from_numpy(view[rows.numpy()]), there.device)
    return view[there] if view.device == there.device else _sent(view[rows], there.device)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on `device`; the copy to a GPU is queued, and the host does not wait for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _segments(store: Features, video: str, views: Sequence[str], segments: int) -> dict[str, np.ndarray]:
    features = store.read(video, views)
    return {name: segment_means(features[name], segments) for name in views}


def _key(store: Features, videos: list[str], views: list[str], segments: int) -> str:
    """Names a pack after all that it is made from."""
    metas = [repr(store.meta(video)) for video in videos]
    content = json.dumps([store.recipe, videos, metas, views, segments], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = map_npy(path)
        if rows_crc32(path) != read_json(path.with_name(_CHECKSUMS))[path.stem]:
            raise ValueError("its checksum is another")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete its folder and train again") from error
    if array.shape != shape or array.dtype != np.float32:
        raise StoreError(f"{path}: {array.dtype} {list(array.shape)}; delete its folder and train again")
    return array


def _shuffled(items: list[int], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (items[i] for i in rng.permutation(len(items)))
