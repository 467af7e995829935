"""Every setting of every command, with its default.

A YAML file for `-c` has these sections and keys; `-o train.optimiser.lr=1e-4`
sets one. :mod:`ssrl_pipeline.config` fills and checks them.
"""

from dataclasses import dataclass, field

from ssrl_pipeline.events.rule import EventSettings


@dataclass(frozen=True)
class DataSettings:
    videos: str = "videos"
    features: str = "features"
    runs: str = "runs"
    labels: str | None = (
        None  # None: labels.csv here or beside the videos, else folders normal/ and abnormal/
    )
    intervals: str | None = None  # None: intervals.csv beside the labels
    dataset: str | None = (
        None  # ucf_crime, shanghaitech or xd_violence: labels and intervals from its own files
    )
    annotations: str = "annotations"  # the folder that holds these files
    layout: str = "store"  # of the features; or "released": X_i3d.npy, X_patch23_i3d.npy, ...

    def __post_init__(self) -> None:
        require(self.layout in ("store", "released"), "layout", self.layout, "store or released")


@dataclass(frozen=True)
class ExtractSettings:
    backbone: str = "i3d"
    preset: str = "paper"
    weights: str | None = None  # None: the backbone's published ones
    dtype: str = "float32"
    engine: str = "auto"  # what runs the backbone: openvino, triton, compile or eager
    precision: str = "auto"  # float32; on a GPU also tf32, which auto is where it has it, bfloat16, float16
    patches: str = "exact"  # or "dense": from one pass over the frame, an approximation with less work
    workers: int | None = None  # videos decoded at the same time; None: 1 on a CPU, 4 on a GPU
    frames: float | None = None  # pictures a second of folders that are videos; None: no folder is

    def __post_init__(self) -> None:
        require(self.patches in ("exact", "dense"), "patches", self.patches, "exact or dense")
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "1 or more")
        require(self.frames is None or 0 < self.frames <= 1000, "frames", self.frames, "a number up to 1000")


@dataclass(frozen=True)
class ModelSettings:
    kind: str = "ssrl"  # or "memory", of normal videos alone, or "fused", both
    scales: tuple[str, ...] | None = None  # None: all that the features have
    dropout: float = 0.7
    standardise: bool = True  # features in units of the normal training snippets' mean and deviation
    patches: str = "max"  # what stands for a scale's patches; or "relation", the paper's branch
    share_relation: bool = False  # one relation block for all patch scales

    def __post_init__(self) -> None:
        require(self.kind in ("ssrl", "memory", "fused"), "kind", self.kind, "ssrl, memory or fused")
        require(self.patches in ("max", "relation"), "patches", self.patches, "max or relation")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")


@dataclass(frozen=True)
class OptimiserSettings:
    lr: float = 3e-4
    weight_decay: float = 1e-3
    warmup: int = 20  # steps over which the rate grows from zero, in each stage
    schedule: str = "constant"  # after that; or "cosine", down to zero at the stage's last step

    def __post_init__(self) -> None:
        require(self.schedule in ("constant", "cosine"), "schedule", self.schedule, "constant or cosine")
        require(self.warmup >= 0, "warmup", self.warmup, "zero or more")
        require(self.lr > 0, "lr", self.lr, "positive")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "zero or more")


@dataclass(frozen=True)
class LossSettings:
    top: float = 0.5  # share of a bag's snippets, those of greatest magnitude, that it is judged by
    margin: float = 100.0
    magnitude: float = 0.0  # abnormal features long, normal ones short; published: 1e-4
    smoothness: float = 8e-4
    sparsity: float = 8e-3
    dropout: float = 0.3  # of magnitudes before the greatest are picked; short bags bear little
    across_videos: bool = False  # smoothness over the flattened batch, as the published code has it

    def __post_init__(self) -> None:
        require(0 < self.top <= 1, "top", self.top, "more than 0 and at most 1")


@dataclass(frozen=True)
class TrainSettings:
    seed: int = 0
    schedule: str = "joint"  # all scales at once; or "staged", one after the other
    freeze: str = (
        "scales"  # in later stages the older scales' branches stay; "stage": all that is older stays
    )
    segments: int | None = None  # per training bag; None: as many as half the videos have, 32 at most
    batch_size: int = 4  # normal bags, and as many abnormal ones, over all processes
    accumulate: int = 1  # parts that a batch goes through the model in; each part has a loss of its own
    steps: int = 100  # per stage
    evaluate_every: int = 25  # steps
    val_fraction: float = 0.2  # of the training videos, where labels name no val split
    select_on: str = "val"  # what chooses the best checkpoint; "test" as published code does, for comparison
    patience: int | None = None  # evaluations without a better one after which a stage ends
    precision: str = "float32"  # or "bfloat16": mixed
    tensorboard: bool = False  # evaluations also as event files; needs the extra of that name
    average: float = 0.95  # decay of the running mean of the weights, which is what is kept; 0: none
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    loss: LossSettings = field(default_factory=LossSettings)

    def __post_init__(self) -> None:
        require(self.schedule in ("staged", "joint"), "schedule", self.schedule, "staged or joint")
        require(self.freeze in ("scales", "stage"), "freeze", self.freeze, "scales or stage")
        require(self.seed >= 0, "seed", self.seed, "zero or more")
        require(self.segments is None or self.segments >= 1, "segments", self.segments, "1 or more")
        for name in ("batch_size", "accumulate", "steps", "evaluate_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.select_on in ("val", "test"), "select_on", self.select_on, "val or test")
        require(self.patience is None or self.patience >= 1, "patience", self.patience, "1 or more")
        require(self.precision in ("float32", "bfloat16"), "precision", self.precision, "float32 or bfloat16")
        require(0 <= self.val_fraction < 1, "val_fraction", self.val_fraction, "at least 0 and less than 1")
        require(0 <= self.average < 1, "average", self.average, "at least 0 and less than 1")


@dataclass(frozen=True)
class MemorySettings:
    views: tuple[str, ...] | None = None  # None: all scales of patches; the crops where there are none
    neighbours: int = 1
    limit: int = 256  # snippets remembered at each position
    sample: int = 4096  # snippets read to choose them from
    alarm: float = 0.99  # share of held-out normal snippets that score below 0.5

    def __post_init__(self) -> None:
        for name in ("neighbours", "limit"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.sample >= self.limit, "sample", self.sample, f"at least limit, {self.limit}")
        require(0.5 < self.alarm < 1, "alarm", self.alarm, "more than 0.5 and less than 1")


@dataclass(frozen=True)
class WatchSettings:
    window: int = 16  # snippets of a camera, the latest, among which each new one is scored
    delay: int = 1  # newer snippets that a score waits for
    timeout: float = 10.0  # seconds without a frame after which a stream is lost
    fps: float | None = None  # None: as each source says

    def __post_init__(self) -> None:
        require(self.window >= 1, "window", self.window, "1 or more")
        require(0 <= self.delay < self.window, "delay", self.delay, "zero or more and less than window")
        require(0 < self.timeout <= 3600, "timeout", self.timeout, "more than 0 and at most 3600 seconds")
        require(self.fps is None or self.fps > 0, "fps", self.fps, "positive")


@dataclass(frozen=True)
class Settings:
    data: DataSettings = field(default_factory=DataSettings)
    extract: ExtractSettings = field(default_factory=ExtractSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    events: EventSettings = field(default_factory=EventSettings)
    watch: WatchSettings = field(default_factory=WatchSettings)


def require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {wanted}, not {value}")
