"""Recipes: all that decides the features of a store. Those of two recipes must not meet."""

import re
from typing import Any, get_args

from ssrl_pipeline.errors import StoreError
from ssrl_pipeline.extractors import FASTEST_RATE, UnchangedRule
from ssrl_pipeline.features.meta import STARTS, TIMES
from ssrl_pipeline.settings import StoredDtype

Recipe = dict[str, Any]
DTYPES = get_args(StoredDtype)


def check_recipe(recipe: Any) -> None:
    """Raises ValueError, KeyError or the like where views or the feature size are not what they should be."""
    for name, count in recipe["views"].items():
        if not re.fullmatch(r"\w+", name) or name in (TIMES, STARTS) or type(count) is not int or count < 1:
            raise ValueError(f"view {name!r} of {count!r}")
    for name, size in recipe.get("sizes", {}).items():
        if name not in recipe["views"] or type(size) is not int or size < 1:
            raise ValueError(f"size {size!r} of view {name!r}")
    if type(recipe["feature_size"]) is not int or recipe["feature_size"] < 1:
        raise ValueError(f"feature size {recipe['feature_size']!r}")
    if "fps" in recipe and not (type(recipe["fps"]) in (int, float) and 0 < recipe["fps"] <= FASTEST_RATE):
        raise ValueError(f"fps {recipe['fps']!r}")
    UnchangedRule.of_recipe(recipe)


def require_same_recipe(first: Recipe, second: Recipe, first_name: str, second_name: str) -> None:
    """Raises StoreError, with both recipes named, where features of the two must not meet."""
    if first != second:
        keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
        raise StoreError(
            f"recipes differ in {', '.join(keys)}: "
            f"{first_name} is {describe_recipe(first)}, {second_name} is {describe_recipe(second)}"
        )


def describe_recipe(recipe: Recipe) -> str:
    """``[fast, i3d, weights 8544391a, 1024 features, clip 1 + patch2x3 6, bfloat16]``."""
    views = " + ".join(f"{name} {count}" for name, count in recipe.get("views", {}).items())
    weights = str(recipe.get("weights_sha256"))[:8]
    patches = f", {recipe['patches']} patches" if "patches" in recipe else ""
    precision = f", {recipe['precision']}" if "precision" in recipe else ""
    precision += f" by clips {str(recipe['calibration'])[:8]}" if "calibration" in recipe else ""
    precision += " without pools" if recipe.get("precision") == "int8" and "pools" not in recipe else ""
    rate = f", {recipe['fps']:g} frames a second" if "fps" in recipe else ""
    unchanged = ", unchanged patches repeated" if "unchanged" in recipe else ""
    return (
        f"[{recipe.get('preset')}, {recipe.get('backbone')}, weights {weights}, "
        f"{recipe.get('feature_size')} features, {views}{patches}{precision}{rate}{unchanged}]"
    )
