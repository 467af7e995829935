"""Features by their place: a folder or an object store, our own or released ones. Nothing else chooses."""

import re
from pathlib import Path
from typing import Any

from ssrl_pipeline.console import without_secrets
from ssrl_pipeline.errors import StoreError, first_line
from ssrl_pipeline.features.folder_store import FolderFiles
from ssrl_pipeline.features.reading import Features
from ssrl_pipeline.features.recipe import DTYPES, Recipe, check_recipe
from ssrl_pipeline.features.released import ReleasedFeatures
from ssrl_pipeline.features.remote_store import RemoteFiles
from ssrl_pipeline.features.store import FeatureStore, StoreFiles


def location(name: Path | str) -> Path | str:
    """What a user named: the URL of a store as it is, or the path of a folder.

    Raises:
        StoreError: a URL that holds credentials.
    """
    if isinstance(name, Path) or not re.match(r"[a-z][a-z0-9+.-]+://", name):
        return Path(name)
    if "@" in name or "?" in name:  # it is printed, and kept with runs
        raise StoreError(
            f"{without_secrets(name)}: credentials belong in the environment, not in the URL of a store"
        )
    return name


def is_store(root: Path | str) -> bool:
    """Whether a store lies there, damaged or not. Raises StoreError where that cannot be known."""
    return _files(root).exists()


def open_store(root: Path | str) -> FeatureStore:
    """Opens an existing store.

    Args:
        root: a folder, or the URL of one (see :func:`location`).

    Raises:
        StoreError: there is none, it cannot be reached, or its store.json is damaged.
    """
    return _open(_files(root))


def create_store(root: Path | str, recipe: Recipe, dtype: str = "float32") -> FeatureStore:
    """Opens the store, or makes it where there is none.

    What killed extractions left in it is cleared.

    Raises:
        StoreError: the store that is there was made with another recipe or type, or none can be made.
    """
    files = _files(root)
    try:
        files.put_head({"recipe": recipe, "dtype": dtype})
    except OSError as error:
        raise StoreError(f"{root}: cannot make a feature store here ({first_line(error)})") from error
    store = _open(files)
    store.require_same(recipe, dtype)
    files.clear_leftovers()
    return store


def open_features(name: Path | str, layout: str) -> Features:
    """A feature store, or released files, as `layout` says: "store" or "released".

    Args:
        name: a folder or, of a store, its URL.

    Raises:
        StoreError: there are none.
    """
    if layout == "released":
        return ReleasedFeatures(Path(name))
    place = location(name)
    if isinstance(place, Path) and not is_store(place):
        there = next((path for kind in ("*_i3d.npy", "*__0.npy") for path in place.rglob(kind)), None)
        if there is not None:
            raise StoreError(
                f"{place}: no feature store here (no store.json), but {there.name}, named as RTFM's, "
                "XD-Violence's or UR-DMU's features are; read such with -o data.layout=released"
            )
    return open_store(place)


def _files(root: Path | str) -> FolderFiles | RemoteFiles:
    place = location(root)
    return FolderFiles(place) if isinstance(place, Path) else RemoteFiles(place)


def _open(files: StoreFiles) -> FeatureStore:
    try:
        recipe, dtype = _parse_head(files.head())
    except FileNotFoundError:
        raise StoreError(
            f"{files.root}: no feature store here (no store.json); make one with `ssrl-pipeline extract`"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise StoreError(f"{files.root}/store.json: damaged ({error})") from error
    return FeatureStore(files, recipe, dtype)


def _parse_head(content: Any) -> tuple[Recipe, str]:
    """Recipe and type. Raises ValueError, KeyError or the like where it is none."""
    recipe, dtype = content["recipe"], content["dtype"]
    if dtype not in DTYPES:
        raise ValueError("unknown dtype")
    check_recipe(recipe)
    return recipe, dtype
