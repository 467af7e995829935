"""Words for what happens: the actions that stand out against what a camera normally shows, and where.

The words are Kinetics-400's, of I3D's own classifier, and often wrong. What stands out is the log
probability of an action in a patch of 2x3, less its mean over what is usual at this place, over its
deviation there and SOFTENING; the greatest over the patches counts, and the mean over an event's snippets.

Dimensions: T snippets, n of them at a time, P patches, A actions, K actions kept, F feature size.
"""

import bisect
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssrl_pipeline.errors import CheckpointError
from ssrl_pipeline.events.find import Event
from ssrl_pipeline.extractors import SNIPPET_FRAMES, snippet_of_frames
from ssrl_pipeline.extractors.backbones import ActionHead, action_names

VIEW = "patch2x3"
PLACES = tuple(f"{row} {column}" for row in ("top", "bottom") for column in ("left", "middle", "right"))
WORDS = 3  # of an event
KEPT = 32  # actions of a snippet; of Ped2's events, two in twelve have other words than with all 400
SOFTENING = 0.3  # added to deviations, so that what hardly ever changes does not stand out at once
MEDIAN_OF = 1024  # snippets of a video that tell what is usual in it
MOST_RECENT = 4096  # snippets of a camera whose words are kept
IN_MEMORY = 64 << 20  # bytes of log probabilities that need no file


class Usual(NamedTuple):
    """What cameras normally show."""

    mean: Tensor  # float32 [P, A], of log probabilities
    deviation: Tensor  # float32 [P, A]

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "Usual | None":
        """What a checkpoint says of it; None where that is nothing.

        Raises:
            CheckpointError: it is damaged.
        """
        if not said:
            return None
        shape = (len(PLACES), len(action_names()))
        for name in cls._fields:
            rows = said.get(name)
            if not isinstance(rows, Tensor) or rows.layout is not torch.strided or rows.shape != shape:
                rows = torch.full((), torch.nan)
            if not rows.isfinite().all():
                raise CheckpointError(
                    f"the checkpoint's words are damaged: no {name} of {list(shape)} numbers"
                )
        return cls(said["mean"].float(), said["deviation"].float())


class SnippetWords(NamedTuple):
    """The actions of each snippet that stand out most, these first."""

    actions: np.ndarray  # uint16 [T, K]
    values: np.ndarray  # float16 [T, K], in deviations
    patches: np.ndarray  # uint8 [T, K], where each stands out most

    @classmethod
    def joined(cls, parts: "list[SnippetWords]") -> "SnippetWords":
        """One after the other."""
        return cls(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))

    def part(self, begin: int, end: int) -> "SnippetWords":
        """Some of the snippets."""
        return SnippetWords(*(rows[begin:end] for rows in self))


def read_words(arrays: Mapping[str, np.ndarray], snippets: int) -> SnippetWords | None:
    """Those of a result's arrays, words_actions and the like; None where it has none.

    Raises:
        ValueError: they are damaged.
    """
    if "words_actions" not in arrays:
        return None
    words = SnippetWords(*(arrays.get(f"words_{name}", np.empty(0)) for name in SnippetWords._fields))
    types = [rows.dtype for rows in words]
    shape = words.actions.shape
    if types != [np.uint16, np.float16, np.uint8] or any(rows.shape != shape for rows in words):
        raise ValueError("the words are of other types or shapes than they should be")
    if len(shape) != 2 or shape[0] != snippets or not shape[1] or not np.isfinite(words.values).all():
        raise ValueError(f"the words are {list(shape)}, not of {snippets} snippets, or not finite")
    if words.actions.max() >= len(action_names()) or words.patches.max() >= len(PLACES):
        raise ValueError("the words name an action or a patch that there is not")
    return words


class Words(NamedTuple):
    """Of an event."""

    words: tuple[str, ...] = ()  # names of actions, that which stands out most first
    patch: str = ""  # where the first of them does, one of PLACES


class WordTeller:
    """Tells what stands out in snippets.

    Args:
        head: the classifier.
        usual: at each place.
    """

    def __init__(self, head: ActionHead, usual: Usual):
        self.head, self.usual = head, usual

    def of(self, patches: Tensor) -> SnippetWords:
        """Features of :data:`VIEW`, [n, P, F] -> [n, K] each."""
        return _stand_out(self.head.log_probabilities(patches), self.usual)


class WordStream:
    """Takes the features of one video as they come, then tells what stands out in it.

    Args:
        head: the classifier.
        usual: at each place; None: the video's own median and spread, for which log probabilities wait in
            a temporary file until the video is over.
    """

    def __init__(self, head: ActionHead, usual: Usual | None):
        self._head, self._usual = head, usual
        self._rows: list[SnippetWords] = []
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (closed by words)
        self._shape, self._snippets = (0, 0), 0  # of a snippet: P, A; float16 in the file

    def add(self, patches: Tensor) -> None:
        """The next snippets: [n, P, F]."""
        found = self._head.log_probabilities(patches)
        if self._usual:
            self._rows.append(_stand_out(found, self._usual))
            return
        self._snippets, self._shape = self._snippets + len(found), (found.shape[1], found.shape[2])
        self._file.write(found.half().numpy().data)

    def words(self) -> SnippetWords:
        """[T, K] each, of all snippets; to be asked last."""
        with self._file:
            if self._snippets:
                usual = self._own()
                self._rows = [_stand_out(rows, usual) for rows in self._chunks()]
        return SnippetWords.joined(self._rows)

    def _own(self) -> Usual:
        """The median, and the deviation that the median distance from it tells of a normal distribution."""
        chosen = np.unique(np.linspace(0, self._snippets - 1, MEDIAN_OF).astype(int)).tolist()
        rows = torch.cat([self._read(place, place + 1) for place in chosen])
        median = rows.quantile(0.5, dim=0)
        return Usual(median, 1.4826 * (rows - median).abs().quantile(0.5, dim=0))

    def _chunks(self, size: int = 256) -> Iterator[Tensor]:
        for begin in range(0, self._snippets, size):
            yield self._read(begin, min(begin + size, self._snippets))

    def _read(self, begin: int, end: int) -> Tensor:
        row = int(np.prod(self._shape)) * torch.float16.itemsize
        self._file.seek(begin * row)
        content = bytearray(self._file.read((end - begin) * row))
        return torch.frombuffer(content, dtype=torch.float16).view(end - begin, *self._shape).float()


def _stand_out(log_probabilities: Tensor, usual: Usual) -> SnippetWords:
    """[n, P, A] -> [n, K] each."""
    beyond = (log_probabilities - usual.mean) / (usual.deviation + SOFTENING)
    values, patches = beyond.max(dim=1)  # [n, A]
    kept = values.topk(min(KEPT, values.shape[1]), dim=1)
    where = patches.gather(1, kept.indices)
    return SnippetWords(
        kept.indices.numpy().astype(np.uint16),
        kept.values.half().numpy(),
        where.numpy().astype(np.uint8),
    )


def words_of(snippets: SnippetWords) -> Words:
    """Of an event's snippets: the actions of the greatest mean, and where the first stands out most.

    An action that was not kept of a snippet counts half of the least that was: it had less than that.
    """
    if not len(snippets.actions):
        return Words()
    values = snippets.values.astype(np.float64)  # [T, K]
    least = np.minimum(values[:, -1], values[:, -1] / 2)
    names = action_names()
    total = np.full(len(names), least.sum())
    np.add.at(total, snippets.actions.ravel(), (values - least[:, None]).ravel())
    first, *others = np.argsort(-total, kind="stable")[:WORDS].tolist()
    of_first = snippets.actions == first
    strength = np.zeros(len(PLACES))
    np.add.at(strength, snippets.patches[of_first], values[of_first])
    return Words(tuple(names[place] for place in (first, *others)), PLACES[int(strength.argmax())])


class RecentWords:
    """The words of a camera's latest snippets, from which those of its events are told.

    Of an event that lasts long every second snippet is kept, then every fourth and so on.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []  # frames, the end exclusive
        self._ends: list[int] = []
        self._rows: list[SnippetWords] = []
        self._step = 1  # every which of the snippets is kept
        self._left_out = 0  # since the last that was

    def add(self, start: int, end: int, row: SnippetWords) -> None:
        """The next snippet, [1, K] each, of the frames from `start` to `end`, exclusive."""
        self._left_out += 1
        if self._left_out < self._step:
            return
        self._left_out = 0
        self._starts.append(start)
        self._ends.append(end)
        self._rows.append(row)
        if len(self._rows) > MOST_RECENT:
            del self._starts[1::2], self._ends[1::2], self._rows[1::2]
            self._step *= 2

    def of(self, event: Event) -> Event:
        """The event with its words, as far as its snippets are known."""
        rows = [
            row
            for start, end, row in zip(self._starts, self._ends, self._rows, strict=True)
            if event.start < end and start < event.end
        ]
        return event._replace(**words_of(SnippetWords.joined(rows))._asdict()) if rows else event

    def forget(self, before: int) -> None:
        """What no later event holds: snippets that end before a frame."""
        first = bisect.bisect_right(self._ends, before)
        if first:
            del self._starts[:first], self._ends[:first], self._rows[:first]
            self._step = 1


def worded(event: Event, snippets: SnippetWords | None, starts: np.ndarray | None = None) -> Event:
    """The event with its words, if there are any of its video.

    Args:
        starts: int [T], the first frame of each snippet; None: every 16th.
    """
    if snippets is None:
        return event
    if starts is None:
        first, end = event.start // SNIPPET_FRAMES, -(-event.end // SNIPPET_FRAMES)
    else:
        first, last = snippet_of_frames(event.end, len(starts), starts)[[event.start, -1]].tolist()
        end = last + 1
    return event._replace(**words_of(snippets.part(first, end))._asdict())
