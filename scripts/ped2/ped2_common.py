"""What the scripts for UCSD Ped2 share: the options that all have, and the draws."""

import argparse
import json
from collections.abc import Collection
from pathlib import Path

from ssrl_pipeline.console.terminal import SnippetBar
from ssrl_pipeline.data.labels import Label, Labels
from ssrl_pipeline.extraction.stage import extract
from ssrl_pipeline.extractors import FeatureExtractor
from ssrl_pipeline.features.store import FeatureStore


def options(description: str | None) -> argparse.ArgumentParser:
    """With --data, --features and --runs."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, default=Path("features"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    return parser


def read_draws(data: Path, file: str = "draws.json") -> list[frozenset[str]]:
    """The videos that each draw trains on."""
    draws = json.loads((data / file).read_text())
    return [frozenset(draw["train"]) for draw in draws]


def split(labels: Labels, train: Collection[str]) -> Labels:
    """A draw's labels: what it does not train on is tested."""
    return {v: Label(label.abnormal, "train" if v in train else "test") for v, label in labels.items()}


def describe(data: Path, features: Path, extractor: FeatureExtractor) -> FeatureStore:
    """The store of all videos. Ends the script where one cannot be described."""
    store, outcomes = extract(data, features, extractor, begin=SnippetBar)
    if failed := [outcome for outcome in outcomes if outcome.status == "failed"]:
        raise SystemExit(f"{failed[0].video}: {failed[0].reason}")
    return store
