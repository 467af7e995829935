"""Whether a camera still sees what it is there to see.

Fed with small grey pictures a few times a second, it tells what is wrong like events: when it has been
so for some seconds, and that it is over when it has not been so for some. No model is involved.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np

from ssrl_pipeline.watching.view import PLAIN, Seen, View, reduced

Ill = Literal["lost", "clock", "frozen", "black", "covered", "out_of_focus", "moved"]
BLIND: tuple[Ill, ...] = ("frozen", "black", "covered")  # while one is told, scores would be nonsense
ANOTHER: tuple[Ill, ...] = ("moved", "covered", "out_of_focus")  # what the usual view is needed for
DARK, NO_LIGHT = 20.0, 40.0  # grey levels: a black picture's mean is below, and nearly all of it
# Grey levels by which a pixel, and all on average, may differ in a picture that is the same. Key frames of
# codecs change a frozen one by 5 and 0.4 at most, and a still scene, even of little noise, by 0.47 at least.
SAME, ALIKE = 5.0, 0.4
STIRRED = 4.0  # seconds after a picture that is another, in which a codec may repeat it
COVERED = 0.7  # the share of cells that are flat
CHANGED, GONE = 0.25, 0.4  # the share that show something else, and of both together, of a camera that moved
UNMOVED = 0.2  # the share that show something else, up to which a picture that is not sharp is out of focus
BLURRED, CLEAR = 0.65, 0.75  # sharpness against the usual, of a start and of an end
ACCEPTED = 3600.0  # seconds after which another view is the usual one
BEGIN: dict[Ill, float] = {  # seconds that it has been so
    "lost": 5,
    "clock": 10,
    "frozen": 15,
    "black": 5,
    "covered": 10,
    "out_of_focus": 30,
    "moved": 20,
}
OVER = 5.0  # seconds that it has not been so
SAID: dict[Ill, str] = {  # to people; that a stream is lost they are told anyway
    "clock": "the stream's clock stands still",
    "frozen": "the picture is frozen",
    "black": "the picture is black",
    "covered": "the lens is covered",
    "out_of_focus": "out of focus",
    "moved": "the camera was moved",
}
SPEED = 1000.0  # frames a second by a stream's own clock, above which that stands still


class News(NamedTuple):
    """What was wrong began or ended."""

    health: Ill
    begins: bool
    since: float  # when it began, in the caller's seconds
    until: float | None  # when it ended


class Health:
    """One camera's. Times are seconds of one clock, of any zero, and never go back."""

    def __init__(self) -> None:
        self._view, self._now = View(), float("-inf")
        self._stirred = float("-inf")  # when a picture was another than that before
        self._told: dict[Ill, float] = {}  # what is wrong, and since when
        self._since: dict[Ill, float] = {}  # what seems to be, or no longer to be

    @property
    def blind(self) -> Ill | None:
        """What makes scores nonsense."""
        return next((ill for ill in BLIND if ill in self._told), None)

    @property
    def well(self) -> bool:
        """Whether nothing was told to be wrong."""
        return not self._told

    def look(self, images: np.ndarray, starts: np.ndarray, now: float) -> list[News]:
        """Frames that follow each other: the first and the middle one are looked at.

        Args:
            images: RGB, uint8 [n, H, W, 3].
            starts: seconds by the stream's own clock, float64 [frames], of these and any between.
            now: when the last came.
        """
        span = float(starts[-1] - starts[0])
        news = self.time(len(starts), span, now)
        for place in sorted({0, len(images) // 2}):
            at = now - min(span, 60.0) * (1 - place / len(images))
            self._now = max(self._now, at)
            news += self.see(reduced(images[place]), self._now)
        return news

    def see(self, picture: np.ndarray, now: float) -> list[News]:
        """A grey picture, uint8 [90, 160]; see :func:`ssrl_pipeline.watching.view.reduced`."""
        seen = self._view.see(picture, now)
        news = [one for ill, wrong in self._found(seen, now).items() for one in self._note(ill, wrong, now)]
        accepted = [ill for ill in ANOTHER if now - self._told.get(ill, now) > ACCEPTED]
        if accepted and seen.edges >= PLAIN:
            self._view.forget()
            news += [News(ill, False, self._told.pop(ill), now) for ill in accepted]
        return news

    def time(self, frames: int, seconds: float, now: float) -> list[News]:
        """Frames in a row that took so many seconds by the stream's own clock."""
        return self._note("clock", seconds * SPEED < frames - 1, now) if frames > 1 else []

    def connection(self, lost: bool, now: float) -> list[News]:
        """Asked again and again, as a camera that is lost sends no pictures."""
        if lost:
            self._view.interrupt()
            for ill in set(self._since) - {"lost"}:
                del self._since[ill]
        return self._note("lost", lost, now)

    def over(self, now: float) -> list[News]:
        """Nobody looks any more: what was told to be wrong is so no longer."""
        news = [News(ill, False, since, now) for ill, since in self._told.items()]
        self._told.clear()
        self._since.clear()
        return news

    def _found(self, seen: Seen, now: float) -> dict[Ill, bool | None]:
        """What is wrong by one picture; None: that cannot be said."""
        same = seen.change <= SAME and seen.changes <= ALIKE
        self._stirred = self._stirred if same else now
        if "frozen" in self._told:
            same = now - self._stirred > STIRRED
        black = seen.mean < DARK and seen.bright < NO_LIGHT
        plain = seen.edges < PLAIN
        covered = plain or (seen.flat is not None and seen.flat >= COVERED)
        moved: bool | None = None
        blurred: bool | None = None
        if seen.changed is not None and seen.flat is not None and seen.sharp is not None and not plain:
            moved = seen.changed >= UNMOVED
            if "moved" not in self._told:
                moved = seen.changed >= CHANGED and seen.changed + seen.flat >= GONE
            if seen.changed < UNMOVED:
                blurred = seen.sharp < (CLEAR if "out_of_focus" in self._told else BLURRED)
        return {
            "frozen": same and not black,
            "black": black,
            "covered": covered and not black,
            "moved": moved,
            "out_of_focus": blurred,
        }

    def _note(self, ill: Ill, wrong: bool | None, now: float) -> list[News]:
        told = ill in self._told
        if wrong is None or wrong == told:
            self._since.pop(ill, None)
            return []
        since = self._since.setdefault(ill, now)
        if now - since < (OVER if told else BEGIN[ill]):
            return []
        del self._since[ill]
        if told:
            return [News(ill, False, self._told.pop(ill), since)]
        self._told[ill] = since
        return [News(ill, True, since, None)]


assert set(BEGIN) == set(get_args(Ill))
