"""The layout of the repository: its rooms and their order, what is packaged, and who imports whom."""

import ast
import configparser
import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from ssrl_pipeline.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
HOUSE = {
    "pipeline": "ssrl_pipeline",
    "extractors": "ssrl_pipeline.extractors",
    "models": "ssrl_pipeline.models",
    "configs": "ssrl_pipeline.configs",
}
NOT_OURS = {"tests", "scripts", "build", "dist", "venv"}
ORDER = """
    errors _version scales tf32 times
    disk
    console
    extractors models
    events
    settings
    config
    marked checkpoint
    features
    data
    cluster
    extraction
    results
    scoring
    evaluation
    training
    adapting
    watching
    alarms
    teaching
    pages
    demo info
    cli
"""  # of the rooms, and of the modules that stand by themselves; a line imports from those above it alone
FLOORS = {room: floor for floor, line in enumerate(ORDER.split("\n")) for room in line.split()}
MOST_MODULES = 12  # in a room, but for cli, which has one for each command
MOST_LINES = 350
MOST_INSIDE = 24  # imports in functions: one in a command, and optional or heavy libraries
PACKAGED = ("*.py", "*.pyi", "*.yaml", "*.html", "*.css", "*.js", "*.svg", "py.typed", "kinetics400.txt")
FOR_USERS = {  # of the faces of extractors and models
    *("PRESETS", "Preset", "FeatureExtractor", "KINDS", "SSRL", "SSRLOutput", "MILLoss", "LossWeights"),
    *("Losses", "PatchMemory", "MemoryOutput", "FusedDetector", "BlendOutput", "ActionOutput"),
}


def option(section: str, name: str) -> str:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser[section][name]


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, as found on the disk."""
    found = {}
    for folder, package in HOUSE.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


@cache
def faces() -> dict[str, dict[str, str]]:
    """What each room shows: name -> the module that it is in, also where that is in a room of the room."""
    stubs = {room: path.with_suffix(".pyi") for room, path in modules().items()}
    trees = {room: ast.parse(stub.read_text("utf-8")) for room, stub in stubs.items() if stub.is_file()}
    shown = {
        room: {
            alias.name: ".".join(filter(None, (room, node.module)))
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for room, tree in trees.items()
    }
    for names in shown.values():
        names.update({name: shown.get(module, {}).get(name, module) for name, module in names.items()})
    return shown


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> frozenset[str]:
    """The dotted names of all that a module imports, wherever it does; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            found |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(found)


@cache
def our_imports(path: Path) -> set[str]:
    """The modules of ours that a module imports, also through the face of a room."""
    known, shown = modules(), faces()
    behind = {f"{room}.{name}": module for room, names in shown.items() for name, module in names.items()}
    found = {behind.get(name, name) for name in imports(path)}
    return {name for name in found if name in known and name != "ssrl_pipeline"}


def in_package(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_setup_cfg_names_every_package_on_the_disk() -> None:
    on_disk = {}
    for init in ROOT.rglob("__init__.py"):
        folder = init.parent.relative_to(ROOT)
        if folder.parts[0] in NOT_OURS or folder.parts[0].startswith("."):
            continue
        assert folder.parts[0] in HOUSE, f"{folder} is a package that setup.cfg cannot know"
        on_disk[".".join([HOUSE[folder.parts[0]], *folder.parts[1:]])] = folder.as_posix()
    lines = option("options", "package_dir").strip().splitlines()
    package_dir = {name.strip(): folder.strip() for name, folder in (line.split("=") for line in lines)}

    assert set(option("options", "packages").split()) == set(on_disk)
    assert HOUSE.keys() <= set(on_disk.values())
    assert {name: package_dir.get(name, folder) for name, folder in on_disk.items()} == on_disk
    assert package_dir.keys() <= on_disk.keys()


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in modules().values()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def room(module: str) -> str:
    """The room that a module is in, or its own name where it stands by itself."""
    return module.split(".")[1]


def test_no_module_imports_from_a_room_above_or_beside_it() -> None:
    upwards = {
        (name, imported)
        for name, path in modules().items()
        if name not in ("ssrl_pipeline", "ssrl_pipeline.__main__", "ssrl_pipeline.configs")
        for imported in our_imports(path)
        if room(imported) != room(name) and FLOORS[room(imported)] >= FLOORS[room(name)]
    }
    assert upwards == set()


def test_rooms_use_of_each_other_what_their_faces_show() -> None:
    """A room is a package; what stands by itself, as ssrl_pipeline.errors, is its own face."""
    shown = faces()
    past = {
        (name, imported)
        for name, path in modules().items()
        if name not in shown and name != "ssrl_pipeline.cli.main"
        for imported in imports(path)
        if imported in modules()
        and imported not in shown
        and imported.count(".") > 1
        and not in_package(name, imported.rpartition(".")[0])  # of its own room, or the room around it
    }
    assert past == {("ssrl_pipeline.__main__", "ssrl_pipeline.cli.main")}


@pytest.mark.parametrize("room", faces())
def test_a_face_shows_what_there_is_and_what_others_use(room: str) -> None:
    shown = faces()[room]
    package = importlib.import_module(room)
    assert package.__all__ == sorted(shown)
    assert [name for name in shown if getattr(package, name, None) is None] == []
    in_the_way = {name for name in shown if f"{room}.{name}" in modules() and shown[name] != room}
    assert in_the_way == set(), "a module has that name, too: which one it is depends on what came first"
    if room != "ssrl_pipeline":  # which is for users
        others = [path for name, path in modules().items() if name.rpartition(".")[0] != room]
        used = set().union(*(names_used(path, room) for path in others)) | faces()["ssrl_pipeline"].keys()
        assert shown.keys() - used - FOR_USERS == set()


def names_used(path: Path, room: str) -> set[str]:
    """What a module takes from a room: by `from room import name`, or as `room.name` from one imported."""
    nodes = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.ImportFrom)]
    parent, _, last = room.rpartition(".")
    calls = {
        alias.asname or last
        for node in nodes
        if node.module == parent
        for alias in node.names
        if alias.name == last
    }
    return {alias.name for node in nodes if node.module == room for alias in node.names} | {
        name for call in calls for name in re.findall(rf"\b{call}\.(\w+)", path.read_text(encoding="utf-8"))
    }


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {name: imports_at_the_top(path) for name, path in modules().items() if name not in faces()}
    while ends := {name for name, imported in arrows.items() if not imported & arrows.keys()}:
        arrows = {name: imported for name, imported in arrows.items() if name not in ends}
    assert sorted(arrows) == []


def imports_at_the_top(path: Path) -> set[str]:
    """The modules of ours that a module cannot be loaded without."""
    shown, found = faces(), set()
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom):
            of = shown.get(str(node.module), {})
            found |= {of.get(name.name, str(node.module)) for name in node.names}
    return found & modules().keys()


def test_rooms_and_modules_are_of_a_size_that_one_sees_at_a_glance() -> None:
    members = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules().values())
    assert {
        folder: n for folder, n in members.items() if n > MOST_MODULES + 1 and folder != "pipeline/cli"
    } == {}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    longer = {name.removeprefix("ssrl_pipeline.") for name, n in lines.items() if n > MOST_LINES}
    assert longer == set()


def test_imports_stand_at_the_top_but_for_a_few() -> None:
    inside = [
        f"{name}, line {node.lineno}"
        for name, path in modules().items()
        for function in ast.walk(parsed(path))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert len(set(inside)) < MOST_INSIDE, inside
    in_commands = Counter(one.partition(",")[0] for one in inside if one.startswith("ssrl_pipeline.cli."))
    assert {name: n for name, n in in_commands.items() if n > 1} == {}


def test_only_main_imports_the_command_line() -> None:
    importers = {name for name, path in modules().items() if "ssrl_pipeline.cli.main" in our_imports(path)}
    assert importers == {"ssrl_pipeline.__main__"}


def test_only_what_talks_to_a_person_knows_click() -> None:
    importers = {name for name, path in modules().items() if "click" in imports(path)}
    assert {name for name in importers if room(name) not in ("cli", "demo")} == set()
    assert "ssrl_pipeline.cli.main" in importers


def test_nobody_uses_names_that_work_in_a_checkout_only() -> None:
    bare = {
        (name, imported)
        for name, path in modules().items()
        for imported in imports(path)
        if imported.split(".")[0] in HOUSE
    }
    assert bare == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a user gets it, unpacked; built from a copy, so that the checkout stays clean."""
    pytest.importorskip("setuptools")
    pytest.importorskip("pip")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in HOUSE:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    built = run("-m", "pip", "wheel", *options, "--wheel-dir", str(target), ".", cwd=source)
    assert built.returncode == 0, built.stderr
    (file,) = target.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(target / "unpacked")
    return target / "unpacked"


def test_wheel_holds_every_module_and_ready_config_and_nothing_generic(wheel: Path) -> None:
    expected = {
        str(Path(*package.split("."), path.relative_to(ROOT / folder)))
        for folder, package in HOUSE.items()
        for pattern in PACKAGED
        for path in (ROOT / folder).rglob(pattern)
    }
    files = {str(path.relative_to(wheel)) for path in wheel.rglob("*") if path.is_file()}
    metadata = {name for name in files if ".dist-info/" in name}
    assert files - metadata == expected
    assert "ssrl_pipeline/configs/reference.yaml" in expected
    assert {f"ssrl_pipeline/results/report.{kind}" for kind in ("html", "css", "js")} <= expected


def test_ready_config_loads_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    code = (
        "import ssrl_pipeline, ssrl_pipeline.configs\n"
        "from ssrl_pipeline.config import load_config\n"
        "from ssrl_pipeline.settings import Settings\n"
        "settings = load_config(Settings, 'reference', [], {})\n"
        "print(ssrl_pipeline.__file__, ssrl_pipeline.configs.__file__, sep='\\n')\n"
        "print(settings.train.optimiser.lr, settings.train.loss.across_videos)\n"
    )
    done = run("-c", code, cwd=tmp_path, PYTHONPATH=str(wheel))
    assert done.returncode == 0, done.stderr
    package, configs, values = done.stdout.splitlines()
    assert Path(package) == wheel / "ssrl_pipeline" / "__init__.py"
    assert Path(configs) == wheel / "ssrl_pipeline" / "configs" / "__init__.py"
    assert values == "0.001 True"


def test_version_from_the_module_is_that_of_the_source(tmp_path: Path) -> None:
    done = run("-m", "ssrl_pipeline", "--version", cwd=tmp_path)
    line = (ROOT / "pipeline" / "_version.py").read_text(encoding="utf-8").splitlines()[-1]
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == ast.literal_eval(line.removeprefix("__version__ = "))


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_does_not_wait_for_torch(command: tuple[str, ...], tmp_path: Path) -> None:
    done = run("-X", "importtime", "-m", "ssrl_pipeline", *command, "--help", cwd=tmp_path)
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert done.stdout.startswith("Usage:")
    assert "ssrl_pipeline.cli.main" in loaded
    assert loaded.isdisjoint({"torch", "torchvision", "cv2", "sklearn", "av"})


def test_the_list_of_commands_loads_neither_them_nor_numpy(tmp_path: Path) -> None:
    """So that it takes a tenth of a second of processor time."""
    for option in ("--help", "--version"):
        done = run("-X", "importtime", "-m", "ssrl_pipeline", option, cwd=tmp_path)
        loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
        assert "ssrl_pipeline.cli.main" in loaded
        assert loaded.isdisjoint({"numpy", "yaml", "tqdm", "ssrl_pipeline.cli.options"})


def test_extraction_does_not_load_torchvision(tmp_path: Path) -> None:
    """Which takes longer than all else; it is for the ResNets alone."""
    code = "import sys, ssrl_pipeline.extractors.extractor, ssrl_pipeline.cluster.device_worker; "
    done = run("-c", code + "print(*sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()).isdisjoint({"torchvision", "pytorchvideo", "torch._dynamo", "sklearn"})
