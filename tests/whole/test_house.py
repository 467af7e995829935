"""The layout of the repository: its rooms and their order, what is packaged, and who imports whom."""

import ast
import configparser
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
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
    checkpoint
    features
    data
    cluster
    extraction
    results
    scoring
    evaluation
    training
    watching
    demo info
    cli
"""  # of the rooms, and of the modules that stand by themselves; a line imports from those above it alone
FLOORS = {room: floor for floor, line in enumerate(ORDER.split("\n")) for room in line.split()}
MOST_MODULES = 12  # in a room, but for cli, which has one for each command
MOST_LINES = 350
LONG = {"extractors.decoding.decoder", "extractors.extractor", "training.ssrl"}  # a little over
MOST_INSIDE = 25  # imports in functions of the whole package


def option(section: str, name: str) -> str:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser[section][name]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, as found on the disk."""
    found = {}
    for folder, package in HOUSE.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """The dotted names of all that a module imports, wherever it does; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            yield str(node.module)
            yield from (f"{node.module}.{name.name}" for name in node.names)


def our_imports(path: Path) -> set[str]:
    """The modules of ours that a module imports, names of functions and classes left out."""
    known = modules()
    return {name for name in imports(path) if name in known and name != "ssrl_pipeline"}


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


def test_no_modules_import_each_other_in_a_circle() -> None:
    arrows = {name: imports_at_the_top(path) for name, path in modules().items()}
    while ends := {name for name, imported in arrows.items() if not imported & arrows.keys()}:
        arrows = {name: imported for name, imported in arrows.items() if name not in ends}
    assert sorted(arrows) == []


def imports_at_the_top(path: Path) -> set[str]:
    """The modules of ours that a module cannot be loaded without."""
    known, found = modules(), set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= (names & known.keys()) or ({str(node.module)} & known.keys())
    return found


def test_rooms_and_modules_are_of_a_size_that_one_sees_at_a_glance() -> None:
    members = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules().values())
    assert {
        folder: n for folder, n in members.items() if n > MOST_MODULES + 1 and folder != "pipeline/cli"
    } == {}
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    longer = {name.removeprefix("ssrl_pipeline.") for name, n in lines.items() if n > MOST_LINES}
    assert longer <= LONG


def test_imports_stand_at_the_top_but_for_a_few() -> None:
    inside = [
        f"{name}, line {node.lineno}"
        for name, path in modules().items()
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
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
        for pattern in ("*.py", "*.yaml", "py.typed", "report.*")
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
