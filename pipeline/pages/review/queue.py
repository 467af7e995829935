"""The queue: which event comes first, and what has been said of each; feedback.csv alone knows the latter."""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from ssrl_pipeline.pages.review.items import Item, ItemSource, Json
from ssrl_pipeline.teaching import UNDO, Moment, Verdict, adding, read_verdicts


class Queue:
    """Events and the verdicts on them; for any thread.

    Args:
        feedback: the table, which others may write and edit at the same time.
        who: says so where a browser names nobody.
        say: takes a line for people, of each line of the table that is none once.
    """

    def __init__(self, source: ItemSource, feedback: Path, who: str, say: Callable[[str], object]):
        self.source, self.feedback, self._who, self._say = source, feedback, who, say
        self._lock = threading.Lock()
        self.problems: list[str] = []  # lines of the table that are no verdicts
        self._known: dict[str, Item] = {}
        self._marks: list[tuple[Moment, str]] = []  # given here; a table may lack the column for them

    def item(self, of: str) -> Item | None:
        """By its id."""
        if of not in self._known:
            self.items()
        return self._known.get(of)

    def items(self) -> list[Item]:
        """The most useful first."""
        found = by_use(self.source.items())
        self._known = {item.id: item for item in found}
        return found

    def verdicts(self) -> dict[str, Verdict]:
        """Id of an item -> the latest verdict that counts on it.

        Raises:
            LabelError: the table is none.
        """
        return {of: said[-1] for of, said in self._assigned().items()}

    def give(self, item: Item, word: str, time: float, who: str = "") -> Moment:
        """A verdict on a moment; what the page said of the event at other moments is taken back behind it."""
        moment, who = self.source.moment(item, time), who or self._who
        with self._lock:
            with adding(self.feedback, may_lack=("note",)) as add:
                others = (one.moment for one in self._own(item) if not one.moment.is_on(moment))
                add(Verdict(moment, word, item.mark, who), *(Verdict(one, UNDO, who=who) for one in others))
                self._marks.append((moment, item.mark))
            self.source.told(item, word)
        return moment

    def take_back(self, item: Item, who: str = "") -> bool:
        """The latest verdict of the page on an event; False: there is none, as when another was faster."""
        with self._lock:
            with adding(self.feedback) as add:
                own = self._own(item)
                if not own:
                    return False
                add(Verdict(own[-1].moment, UNDO, who=who or self._who))
            left = self._assigned().get(item.id)
            self.source.told(item, left[-1].word if left else None)
        return True

    def _own(self, item: Item) -> list[Verdict]:
        """What pages gave on an event: theirs to take back, unlike what else was said of it or of a patch."""
        said = self._assigned().get(item.id, ())
        return [one for one in said if self._mark(one) == item.mark and not one.moment.patch]

    def _mark(self, verdict: Verdict) -> str:
        given = (mark for moment, mark in reversed(self._marks) if moment.is_on(verdict.moment))
        return verdict.note or next(given, "")

    def _assigned(self) -> dict[str, list[Verdict]]:
        """A verdict of the page is on the event that was shown, any other on what its moment is in."""
        problems: list[str] = []
        said = read_verdicts(self.feedback, problems.append) if self.feedback.exists() else []
        for line in problems:
            if line not in self.problems:
                self._say(line)
        self.problems = problems
        of_video, shown = defaultdict[str, list[Item]](list), defaultdict[tuple[str, str], list[Item]](list)
        for item in self._known.values() or self.items():
            of_video[item.video].append(item)
            shown[item.video, item.mark].append(item)
        found: dict[str, list[Verdict]] = {}
        for verdict in said:
            video = verdict.moment.video
            within = (item for item in of_video.get(video, ()) if item.holds(verdict.moment))
            for item in shown.get((video, self._mark(verdict))) or within:
                found.setdefault(item.id, []).append(verdict)
        return found


def by_use(items: Sequence[Item]) -> list[Item]:
    """By turns the highest score, and the one nearest its threshold: the lowest, where that is not known."""
    highest = sorted(items, key=lambda item: -item.score)
    nearest = sorted(items, key=lambda item: abs(item.score - (item.threshold or 0.0)))
    found = {item.id: item for pair in zip(highest, nearest, strict=True) for item in pair}
    return list(found.values())


def version(items: Sequence[Item]) -> str:
    """Another one wherever one of them is."""
    return str(hash(tuple(items)))


def told(verdict: Verdict) -> Json:
    """Fit for JSON."""
    at = verdict.moment
    return {
        "word": verdict.word,
        "who": verdict.who,
        "when": verdict.when,
        "time": at.time,
        "frame": at.frame,
    }
