"""What the words of events are worth: UCSD Ped2, whose anomalies are bikes, skaters, carts and a wheelchair.

    python scripts/ped2/ped2_words.py --data ped2 --features features

The data folder has intervals.csv; features are of the preset fast or paper. Each anomalous interval is an
event, and its words are told against the normal videos, as `train` and `score` do it. Chance is told in
two ways: events of the same lengths in normal videos, each against the other normal videos; and three of
the 400 names drawn blindly. With --checkpoint, the events are also those that it finds with its threshold.
"""

import argparse
import math
from pathlib import Path

import torch

from ssrl_pipeline.checkpoint import load_checkpoint
from ssrl_pipeline.console.terminal import table
from ssrl_pipeline.data.labels import read_intervals
from ssrl_pipeline.events.find import Event, find_events
from ssrl_pipeline.events.rule import EventSettings, choose_rule
from ssrl_pipeline.events.words import VIEW, SnippetWords, Usual, WordTeller, worded
from ssrl_pipeline.extractors.backbones.kinetics import action_head, action_names
from ssrl_pipeline.features.opening import open_store
from ssrl_pipeline.features.store import FeatureStore
from ssrl_pipeline.scoring.stored import as_tensors, score_stored
from ssrl_pipeline.training.kinds.actions import measure_usual

CPU = torch.device("cpu")
ON_WHEELS = {
    *("biking through snow", "riding a bike", "riding mountain bike", "riding unicycle", "riding scooter"),
    *(
        "roller skating",
        "skateboarding",
        "hoverboarding",
        "using segway",
        "driving car",
        "driving tractor",
        "motorcycling",
    ),
    *("pushing car", "pushing cart", "pushing wheelchair", "changing wheel"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, default=Path("features"))
    parser.add_argument("--checkpoint", type=Path, help="Whose events are looked at, too.")
    arguments = parser.parse_args()

    store = open_store(arguments.features)
    intervals = {Path(v).stem: rows for v, rows in read_intervals(arguments.data / "intervals.csv").items()}
    abnormal = {
        video: intervals[Path(video).stem] for video in store.videos() if Path(video).stem in intervals
    }
    normal = [video for video in store.videos() if video not in abnormal]

    usual = usual_of(store, normal)
    events = [(video, words_of(store, video, usual, *rows)) for video, (rows, *_) in abnormal.items()]
    shown = [(video, ", ".join(event.words), event.patch, _yes(event)) for video, event in events]
    print(table(shown, ("video", "words", "patch", "on wheels")))
    tell("anomalous intervals", [event for _, event in events])

    by_chance = []
    for video in normal:
        others = usual_of(store, [other for other in normal if other != video])
        frames = store.meta(video).frames
        for (start, end), *_ in abnormal.values():
            length = min(end - start, frames)
            by_chance.append(words_of(store, video, others, (frames - length) // 2, (frames + length) // 2))
    tell("the same lengths in normal videos", by_chance)
    left, total = len(action_names()) - len(ON_WHEELS), len(action_names())
    print(f"three names drawn blindly: {1 - math.comb(left, 3) / math.comb(total, 3):.3f}")
    if arguments.checkpoint:
        of_checkpoint(arguments.checkpoint, store, abnormal)


def usual_of(store: FeatureStore, videos: list[str]) -> Usual:
    """What some normal videos show."""
    recipe = store.recipe
    head = action_head(recipe["backbone"], recipe["weights_sha256"])
    found = Usual.read(measure_usual(head, store, list(videos)))
    assert found
    return found


def words_of(store: FeatureStore, video: str, usual: Usual, start: int, end: int) -> Event:
    """A stretch of frames as an event with its words."""
    stretch = Event(start, end, start, 1.0, 1.0, None, None, None)
    return worded(stretch, snippet_words(store, video, usual))


def snippet_words(store: FeatureStore, video: str, usual: Usual) -> SnippetWords:
    recipe = store.recipe
    teller = WordTeller(action_head(recipe["backbone"], recipe["weights_sha256"]), usual)
    return teller.of(as_tensors([VIEW], store.read(video, [VIEW]))[VIEW])


def of_checkpoint(path: Path, store: FeatureStore, abnormal: dict[str, list[tuple[int, int]]]) -> None:
    """The events that a checkpoint finds in the anomalous videos."""
    checkpoint = load_checkpoint(path)
    usual = Usual.read(checkpoint.words)
    assert usual, f"{path} does not know what its cameras normally show"
    rule = choose_rule(EventSettings(), checkpoint.provenance.get("threshold")).rule
    model, right, false = checkpoint.build(), [], []
    for video, rows in abnormal.items():
        words = snippet_words(store, video, usual)
        for found in find_events(score_stored(video, model, store, CPU), store.times(video), rule):
            event = worded(found, words)
            hit = any(event.start < end and start < event.end for start, end in rows)
            (right if hit else false).append(event)
    tell("events of the checkpoint that touch an anomaly", right)
    tell("events of the checkpoint that touch none", false)


def tell(name: str, events: list[Event]) -> None:
    if events:
        hits, first = sum(map(is_on_wheels, events)), sum(event.words[0] in ON_WHEELS for event in events)
        print(
            f"{name}: {hits} of {len(events)} name something on wheels, {hits / len(events):.3f}; "
            f"{first} with the first word, {first / len(events):.3f}"
        )


def is_on_wheels(event: Event) -> bool:
    return bool(ON_WHEELS & set(event.words))


def _yes(event: Event) -> str:
    return "yes" if is_on_wheels(event) else "no"


if __name__ == "__main__":
    main()
