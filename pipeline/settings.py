"""Every setting of every command, with its type, its default and what it is for.

A YAML file for `-c` has these sections and keys; `-o train.optimiser.lr=1e-4`
sets one. :mod:`ssrl_pipeline.config` fills and checks them; a `Literal` is a choice, which the
command line offers too. docs/settings.md is made from this page.
"""

from dataclasses import dataclass, field
from typing import Literal

from ssrl_pipeline.events import EventSettings
from ssrl_pipeline.extractors import (
    FASTEST_RATE,
    BackboneName,
    EngineName,
    Patches,
    PrecisionName,
    PresetName,
    UnchangedName,
)

DatasetName = Literal["ucf_crime", "shanghaitech", "xd_violence"]
Kind = Literal["ssrl", "memory", "fused", "actions", "probe", "motion", "auto"]
Layout = Literal["store", "released"]
SelectOn = Literal["val", "test"]
StoredDtype = Literal["float32", "float16"]

CAMERA_SECTIONS = ("cameras", "receivers", "timezone")  # of a file for `watch`, beside the settings


@dataclass(frozen=True)
class DataSettings:
    videos: str = "videos"  # a folder of videos, or one video
    features: str = "features"  # the feature store: a folder, or its address on an object store
    runs: str = "runs"  # the folder of all training runs
    labels: str | None = None  # a table; None: labels.csv here or beside the videos, or folders' names
    intervals: str | None = None  # ground truth of frames; None: intervals.csv beside the labels
    feedback: str | None = None  # verdicts on moments; None: feedback.csv beside the labels
    dataset: DatasetName | None = None  # labels and intervals come from its own annotation files
    annotations: str = "annotations"  # the folder that holds these files
    group: Literal["folder"] | None = None  # or "folder": it says which camera or source a video is of
    layout: Layout = "store"  # of the features; or "released": X_i3d.npy, X_patch23_i3d.npy, ...


@dataclass(frozen=True)
class ExtractSettings:
    backbone: BackboneName = "i3d"  # the network
    preset: PresetName = "paper"  # the views of a snippet
    weights: str | None = None  # a file of the backbone's weights; None: the published ones
    dtype: StoredDtype = "float32"  # of the stored features
    engine: EngineName = "auto"  # what runs the backbone
    precision: PrecisionName = "auto"  # the store's or checkpoint's, else the best: bfloat16, or a GPU's tf32
    calibration: str | None = None  # a folder of videos by which int8 is quantised; None: clips that we make
    patches: Patches = "exact"  # or "dense": from one pass over the frame, an approximation with less work
    unchanged: UnchangedName = "auto"  # clips that do not change: describe, or repeat their last description
    workers: int | None = None  # videos decoded at the same time; None: 1 on a CPU, 4 on a GPU
    fps: float | None = None  # frames a second that are described, chosen by their times; None: all
    motion: bool | None = None  # of cells, as a view; None: as the store has it, a new one with fast and live
    frames: float | None = None  # pictures a second of folders that are videos; None: no folder is

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "1 or more")
        require(self.fps is None or 0 < self.fps <= FASTEST_RATE, "fps", self.fps, "a number up to 1000")
        require(self.frames is None or 0 < self.frames <= 1000, "frames", self.frames, "a number up to 1000")


@dataclass(frozen=True)
class ModelSettings:
    kind: Kind = "ssrl"  # memory: of normal videos alone; fused: both; auto: the best of several
    scales: tuple[str, ...] | None = None  # of patches, as in [2x3, 3x5]; None: all that the features have
    dropout: float = 0.7  # in the head, and of scales of more than 15 patches
    standardise: bool = True  # features in units of the normal training snippets' mean and deviation
    patches: Literal["max", "relation"] = "max"  # of a scale, for all; or the paper's branch, "relation"
    evidence: bool = True  # a linear probe's evidence is handed past the relation blocks
    share_relation: bool = False  # one relation block for all patch scales

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


@dataclass(frozen=True)
class OptimiserSettings:
    lr: float = 3e-4  # Adam's learning rate
    weight_decay: float = 1e-3  # Adam's
    warmup: int = 20  # steps over which the rate grows from zero, in each stage
    schedule: Literal["constant", "cosine"] = "constant"  # or, after the warmup, down to zero in each stage

    def __post_init__(self) -> None:
        require(self.warmup >= 0, "warmup", self.warmup, "zero or more")
        require(self.lr > 0, "lr", self.lr, "positive")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "zero or more")


@dataclass(frozen=True)
class LossSettings:
    top: float = 0.5  # share of a bag's snippets, those of greatest magnitude, that it is judged by
    margin: float = 100.0  # the length that abnormal features should have, of the magnitude term
    magnitude: float = 0.0  # weight of: abnormal features long, normal ones short; published: 1e-4
    smoothness: float = 8e-4  # weight of the squared steps between neighbouring scores of abnormal bags
    sparsity: float = 8e-3  # weight of the norm of abnormal bags' scores: few snippets are anomalous
    dropout: float = 0.3  # of magnitudes before the greatest are picked; use little with short bags
    correction: float = 0.0  # weight of the squared log odds that SSRL adds to a probe's evidence
    across_videos: bool = False  # smoothness over the flattened batch, as the published code has it

    def __post_init__(self) -> None:
        require(0 < self.top <= 1, "top", self.top, "more than 0 and at most 1")
        require(self.correction >= 0, "correction", self.correction, "zero or more")


@dataclass(frozen=True)
class TrainSettings:
    seed: int = 0  # of initial weights, batches and dropout
    schedule: Literal["joint", "staged"] = "joint"  # all scales at once; or "staged", one after the other
    freeze: Literal["scales", "stage"] = "scales"  # what stays in later stages: older branches, or all else
    last_stage: int | None = None  # of a staged run, after which it stops; a later command may go further
    segments: int | None = None  # per training bag; None: as many as half the videos have, 32 at most
    batch_size: int | None = None  # normal bags, and as many abnormal ones; None: 4 to 16 by the videos
    accumulate: int = 1  # parts that a batch goes through the model in; each part has a loss of its own
    steps: int | None = None  # per stage; None: as many as do best on videos held out, 1000 at most
    evaluate_every: int | None = None  # steps between two evaluations; None: an epoch, 25 to 100
    val_fraction: float = 0.2  # of the training videos, where labels name no val split and these are many
    select_on: SelectOn = "val"  # what chooses the best checkpoint; published code takes "test"
    patience: int | None = None  # evaluations without a better one that end a stage; None: 8 if steps is None
    false_alarms: float = 0.01  # of frames of normal videos, above 0.5; 0: scores as they were trained
    precision: Literal["float32", "bfloat16"] = "float32"  # bfloat16 is mixed with float32
    tensorboard: bool = False  # evaluations also as event files; needs the extra of that name
    average: float = 0.95  # decay of the running mean of the weights, which is what is kept; 0: none
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        require(self.last_stage is None or self.last_stage >= 1, "last_stage", self.last_stage, "1 or more")
        staged = self.schedule == "staged"
        require(self.last_stage is None or staged, "last_stage", self.last_stage, "for schedule=staged alone")
        require(self.seed >= 0, "seed", self.seed, "zero or more")
        require(self.segments is None or self.segments >= 1, "segments", self.segments, "1 or more")
        require(self.steps is None or self.steps >= 0, "steps", self.steps, "zero or more")
        for name in ("batch_size", "accumulate", "evaluate_every", "patience"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "1 or more")
        require(0 <= self.val_fraction < 1, "val_fraction", self.val_fraction, "at least 0 and less than 1")
        require(0 <= self.false_alarms < 1, "false_alarms", self.false_alarms, "at least 0 and less than 1")
        require(0 <= self.average < 1, "average", self.average, "at least 0 and less than 1")


@dataclass(frozen=True)
class MemorySettings:
    views: tuple[str, ...] | None = None  # None: all scales of patches, or the crops where there are none
    neighbours: int = 1  # the nearest remembered patches, whose mean distance counts
    limit: int = 256  # snippets remembered at each position
    sample: int = 4096  # snippets read to choose them from
    alarm: float = 0.99  # share of held-out normal snippets that score below 0.5

    def __post_init__(self) -> None:
        for name in ("neighbours", "limit"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.sample >= self.limit, "sample", self.sample, f"at least limit, {self.limit}")
        require(0.5 < self.alarm < 1, "alarm", self.alarm, "more than 0.5 and less than 1")


@dataclass(frozen=True)
class ActionSettings:
    names: tuple[str, ...] | None = None  # of Kinetics-400's actions, those that alarm
    alarm: float = 0.99  # share of normal training snippets that score below 0.5
    sample: int = 4096  # normal snippets read to tell what is usual

    def __post_init__(self) -> None:
        require(0.5 < self.alarm < 1, "alarm", self.alarm, "more than 0.5 and less than 1")
        require(self.sample >= 1, "sample", self.sample, "1 or more")


@dataclass(frozen=True)
class WatchSettings:
    window: int = 16  # snippets of a camera, the latest, among which each new one is scored
    delay: int = 1  # newer snippets that a score waits for
    timeout: float = 10.0  # seconds without a frame after which a stream is lost
    fps: float | None = None  # frames a second of all sources; None: as each says
    hwaccel: str = "none"  # what decodes streams: none, auto, or a device as FFmpeg names it (cuda, vaapi)
    health: bool = True  # tell where a live camera is frozen, black, covered, out of focus or moved

    def __post_init__(self) -> None:
        require(self.window >= 1, "window", self.window, "1 or more")
        require(0 <= self.delay < self.window, "delay", self.delay, "zero or more and less than window")
        require(0 < self.timeout <= 3600, "timeout", self.timeout, "more than 0 and at most 3600 seconds")
        require(self.fps is None or self.fps > 0, "fps", self.fps, "positive")


@dataclass(frozen=True)
class AlarmSettings:
    folder: str | None = None  # where clips, stills and the index of events go; None: they are not kept
    before: float = 5.0  # seconds of a clip before its event; it begins with the key frame before
    after: float = 5.0  # seconds of a clip after its event
    longest: float = 300.0  # seconds of a clip, at most
    hevc: Literal["copy", "encode"] = "copy"  # of clips of H.265; or as H.264, for browsers
    keep_days: float | None = 30.0  # that an event's files are kept; None: for ever
    keep_confirmed_days: float | None = 365.0  # those of an event that was called abnormal
    keep_gigabytes: float | None = 50.0  # of all; then the oldest go, those that were called abnormal last

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            require(0 <= getattr(self, name) <= 60, name, getattr(self, name), "0 to 60 seconds")
        require(1 <= self.longest <= 3600, "longest", self.longest, "1 to 3600 seconds")
        for name in ("keep_days", "keep_confirmed_days", "keep_gigabytes"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "positive, or none")


@dataclass(frozen=True)
class PageSettings:
    address: str | None = None  # where it is served, as 127.0.0.1:8000; None: nowhere
    token_file: str | None = None  # holds the token that callers need; None: the variable SSRL_PAGE_TOKEN
    hosts: tuple[str, ...] = ()  # names that browsers may call it by, beside this machine's own


@dataclass(frozen=True)
class Settings:
    data: DataSettings = field(default_factory=DataSettings)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    actions: ActionSettings = field(default_factory=ActionSettings)
    events: EventSettings = field(default_factory=EventSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    page: PageSettings = field(default_factory=PageSettings)


def require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {wanted}, not {value}")
