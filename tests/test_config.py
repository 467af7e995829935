"""Configuration: what wins, what is refused, and what the message says."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssrl_pipeline.config import from_tree, load_config, named_in, ready_configs, to_tree, to_yaml
from ssrl_pipeline.errors import ConfigError
from ssrl_pipeline.settings import Settings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    steps: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is 1 or more, not {self.steps}")


@dataclass(frozen=True)
class Outer:
    name: str = "default"
    loud: bool = False
    weights: str | None = None
    sizes: tuple[int, ...] | None = None
    inner: Inner = field(default_factory=Inner)


def load(text: str | None = None, *assignments: str, folder: Path | None = None, **flags: Any) -> Outer:
    """Flags are named with __ where keys have a point."""
    file = None
    if text is not None:
        assert folder is not None
        file = folder / "my.yaml"
        file.write_text(text, encoding="utf-8")
    return load_config(Outer, file, assignments, {key.replace("__", "."): v for key, v in flags.items()})


@pytest.mark.parametrize(
    ("in_file", "in_set", "in_flag", "expected"),
    [
        (None, None, None, 10),
        (2, None, None, 2),
        (None, 3, None, 3),
        (None, None, 4, 4),
        (2, 3, None, 3),
        (2, None, 4, 4),
        (None, 3, 4, 4),
        (2, 3, 4, 4),
    ],
)
def test_defaults_give_way_to_file_then_set_then_flags(
    tmp_path: Path, in_file: int | None, in_set: int | None, in_flag: int | None, expected: int
) -> None:
    text = None if in_file is None else f"name: mine\ninner: {{steps: {in_file}}}"
    assignments = [] if in_set is None else [f"inner.steps={in_set}"]
    config = load(text, *assignments, folder=tmp_path, inner__steps=in_flag, inner__rate=None)
    assert config.inner == Inner(rate=0.5, steps=expected)
    assert config.name == ("default" if in_file is None else "mine")


def test_of_two_assignments_the_last_wins() -> None:
    assert load(None, "inner.steps=2", "inner.steps=3").inner.steps == 3


def test_what_is_named_is_told_from_what_is_a_default(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("events:\n  gap: 2.0\n")
    assert named_in("events", path, ["events.shortest=0.5", "train.steps=3"]) == {"gap", "shortest"}
    assert named_in("events", None, []) == frozenset()


def test_an_assignment_leaves_its_neighbours_in_the_file(tmp_path: Path) -> None:
    config = load("inner: {steps: 2, rate: 0.1}\nloud: true", "inner.rate=0.2", folder=tmp_path)
    assert config == Outer(loud=True, inner=Inner(rate=0.2, steps=2))


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load(text, folder=tmp_path) == Outer()


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("inner.rate=1e-3", Outer(inner=Inner(rate=0.001))),
        ("inner.rate=1.5E+2", Outer(inner=Inner(rate=150.0))),
        ("inner.rate=2", Outer(inner=Inner(rate=2.0))),
        ("loud=true", Outer(loud=True)),
        ("name=a=b", Outer(name="a=b")),
        ("name='7'", Outer(name="7")),
        ("weights=x.pth", Outer(weights="x.pth")),
        ("weights=null", Outer(weights=None)),
        ("sizes=[1, 2]", Outer(sizes=(1, 2))),
        ("sizes=[]", Outer(sizes=())),
        ("inner={rate: 1e-3}", Outer(inner=Inner(rate=0.001))),
    ],
)
def test_values_are_read_as_people_mean_them(assignment: str, expected: Outer) -> None:
    config = load(None, assignment)
    assert config == expected
    assert type(config.inner.rate) is float


def test_scientific_notation_in_a_file(tmp_path: Path) -> None:
    assert load("inner:\n  rate: 1e-3\n", folder=tmp_path).inner.rate == 0.001


@pytest.mark.parametrize(
    ("assignment", "mentions"),
    [
        ("inner.stesp=3", ["'inner.stesp'", "'steps'"]),
        ("nmae=x", ["'nmae'", "'name'"]),
        ("zzz=1", ["'zzz'", "name, loud, weights, sizes, inner"]),
        ("inner.zzz=1", ["'inner.zzz'", "rate, steps"]),
        ("name.first=x", ["name"]),
        ("inner.steps.more=1", ["inner.steps"]),
        ("inner.steps=ten", ["inner.steps", "'ten'", "int"]),
        ("inner.steps=1.5", ["inner.steps", "1.5", "int"]),
        ("inner.steps=true", ["inner.steps", "True", "int"]),
        ("inner.steps=null", ["inner.steps", "None", "int"]),
        ("inner.rate=fast", ["inner.rate", "'fast'", "float"]),
        ("inner.rate=true", ["inner.rate", "True", "float"]),
        ("loud=1", ["loud", "1", "bool"]),
        ("name=7", ["name", "7", "str"]),
        ("weights=[x]", ["weights", "['x']", "str"]),
        ("sizes=2", ["sizes", "2"]),
        ("sizes=[1, x]", ["sizes", "'x'", "int"]),
        ("inner=5", ["inner", "5"]),
        ("inner.steps=0", ["inner", "steps", "0"]),
        ("steps", ["steps", "key=value"]),
        ("name={", ["name={"]),
        ("name=2024-13-45", ["name=2024-13-45"]),  # a date to YAML, and none that there is
        ("name=2024-01-02", ["name"]),
    ],
)
def test_what_does_not_fit_is_named(assignment: str, mentions: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, assignment)
    message = str(caught.value)
    assert [word for word in mentions if word not in message] == []
    assert "\n" not in message


@pytest.mark.parametrize(
    "text",
    [
        "name: [",
        "- name\n- loud\n",
        "just words",
        "name: x\n\tinner: 1\n",
        "inner: 5",
        "inner:\n",
        "1: x",
        "name: 2024-13-45",
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, folder=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfename: x"])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "my.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(Outer, path, [], {})
    assert str(path) in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not readable"):
        load_config(Outer, tmp_path, [], {})


def test_an_unknown_name_lists_the_ready_ones() -> None:
    with pytest.raises(ConfigError, match="demo, reference"):
        load_config(Outer, "referense", [], {})


@pytest.mark.parametrize(
    "value",
    [
        '!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ["{marker}"]]',
        '!!python/object/new:os.system ["touch {marker}"]',
        "!!python/name:os.system",
        "!!python/module:os",
        "!mine x",
    ],
)
@pytest.mark.parametrize("where", ["file", "set"])
def test_yaml_cannot_run_anything(tmp_path: Path, value: str, where: str) -> None:
    marker = tmp_path / "marker"
    value = value.format(marker=marker)
    with pytest.raises(ConfigError, match="YAML"):
        if where == "file":
            load(f"name: {value}\n", folder=tmp_path)
        else:
            load(None, f"name={value}")
    assert not marker.exists()


def test_trees_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(ConfigError, match="mapping"):
        from_tree(Outer, ["name"])


def test_a_tree_has_lists_and_no_tuples() -> None:
    config = Outer(sizes=(1, 2), inner=Inner(steps=3))
    inner = {"rate": 0.5, "steps": 3}
    assert to_tree(config) == {
        "name": "default",
        "loud": False,
        "weights": None,
        "sizes": [1, 2],
        "inner": inner,
    }


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    config = Outer(name="2024-01-02", weights="null", sizes=(1, 2), inner=Inner(rate=1e-9))
    assert load(to_yaml(to_tree(config)), folder=tmp_path) == config


def leaves(tree: dict[str, Any], *path: str) -> dict[tuple[str, ...], Any]:
    """(section, ..., key) -> value."""
    found = {}
    for key, value in tree.items():
        found |= leaves(value, *path, key) if isinstance(value, dict) else {(*path, key): value}
    return found


def test_ready_configs_are_the_files() -> None:
    assert sorted(ready_configs()) == sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    assert "reference" in ready_configs()


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_ready_config_loads_with_all_that_it_says(name: str) -> None:
    settings = load_config(Settings, name, [], {})
    said = leaves(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8")))
    assert said
    for path, expected in said.items():
        value: Any = settings
        for key in path:
            value = getattr(value, key)
        assert (list(value) if isinstance(value, tuple) else value) == expected, path


def test_reference_is_the_published_recipe() -> None:
    train = load_config(Settings, "reference", [], {}).train
    assert (train.optimiser.lr, train.optimiser.weight_decay) == (1e-3, 5e-3)
    assert (train.segments, train.schedule) == (32, "staged")
    loss = train.loss
    assert (loss.margin, loss.magnitude, loss.smoothness, loss.sparsity) == (100, 1e-4, 8e-4, 8e-3)
    assert (loss.dropout, loss.across_videos) == (0.7, True)
    assert not load_config(Settings, None, [], {}).train.loss.across_videos


@pytest.mark.parametrize(
    ("assignment", "mentions"),
    [
        ("train.optimiser.lr=0", ["train.optimiser", "lr"]),
        ("train.optimiser.lr=.nan", ["train.optimiser", "lr"]),
        ("train.optimiser.weight_decay=-1", ["weight_decay"]),
        ("train.batch_size=0", ["train", "batch_size"]),
        ("train.segments=0", ["segments"]),
        ("train.steps=-3", ["steps", "-3"]),
        ("train.evaluate_every=0", ["evaluate_every"]),
        ("train.val_fraction=1", ["val_fraction"]),
        ("train.average=1", ["average"]),
        ("train.seed=-1", ["seed"]),
        ("train.schedule=random", ["schedule", "random", "staged"]),
        ("model.dropout=1", ["model", "dropout"]),
    ],
)
def test_settings_out_of_range_are_refused(assignment: str, mentions: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(Settings, None, [assignment], {})
    assert [word for word in mentions if word not in str(caught.value)] == []
