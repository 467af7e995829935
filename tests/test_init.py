"""The face of the package: complete, sorted, and light."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssrl_pipeline
from ssrl_pipeline import errors

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "python.md")


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_all_is_sorted_as_ruff_sorts_it_and_every_name_is_there() -> None:
    names = ssrl_pipeline.__all__
    assert names == sorted(names, key=lambda name: (not name[0].isupper(), name))
    assert [name for name in names if not hasattr(ssrl_pipeline, name)] == []
    assert set(names) <= set(dir(ssrl_pipeline))


def test_every_error_class_is_named() -> None:
    classes = inspect.getmembers(errors, inspect.isclass)
    found = {name for name, kind in classes if issubclass(kind, errors.PipelineError)}
    assert len(found) > 5
    assert found <= set(ssrl_pipeline.__all__)
    assert all(getattr(ssrl_pipeline, name) is getattr(errors, name) for name in found)


def test_all_that_the_pages_for_users_import_is_there() -> None:
    imported = [
        (node.module, name.name)
        for page in PAGES
        for block in python_blocks(page.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("ssrl_pipeline")
        for name in node.names
    ]
    assert ("ssrl_pipeline", "score_video") in imported
    for module, name in imported:
        face = sys.modules.get(str(module)) or __import__(str(module), fromlist=[name])
        assert name in face.__all__, f"{module}.{name}"
        assert hasattr(face, name), f"{module}.{name}"


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="ssrl_pipeline attribute nothing"):
        ssrl_pipeline.nothing  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, ssrl_pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "ssrl_pipeline" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "av", "cv2"})
