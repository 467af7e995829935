"""Which clips are described again, and what stands in for those that are not."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.means import Means, describing_means

from ssrl_pipeline.extractors import FeatureExtractor, Repeats, Unchanged, UnchangedRule, tell_repeats
from ssrl_pipeline.extractors.passes import plan_passes
from ssrl_pipeline.extractors.presets import PRESETS

VIEWS = ("clip", "patch2x3", "patch3x5")
FRAMES = 4  # of a snippet, where all of them are alike


def following(preset: str = "fast", **rule: int) -> Unchanged:
    return Unchanged(UnchangedRule(**rule), plan_passes(None, PRESETS[preset].views, "exact"))  # type: ignore


def scene(height: int = 240, width: int = 360, seed: int = 0) -> np.ndarray:
    """float [H, W, 3] with structure of all sizes, between 60 and 190."""
    rng = np.random.default_rng(seed)
    smooth = np.add.outer(np.sin(np.arange(height) / 20), np.cos(np.arange(width) / 15))[..., None]
    return np.clip(120 + 25 * smooth + rng.normal(0, 10, (height, width, 3)), 60, 190)


def shown(picture: np.ndarray, frames: int = FRAMES) -> np.ndarray:
    return np.repeat(picture.round().astype(np.uint8)[None], frames, axis=0)


def described(unchanged: Unchanged, snippets: Iterator[np.ndarray]) -> np.ndarray:
    """bool [T, U]"""
    return np.array([np.concatenate(unchanged.decide(frames).described) for frames in snippets])


def test_the_first_snippet_is_described_and_one_like_it_is_not() -> None:
    found = described(following(), (shown(scene()) for _ in range(3)))
    assert found.shape == (3, 1 + 6 + 15)
    assert found[0].all() and not found[1:].any()


def test_noise_is_no_change() -> None:
    rng, still = np.random.default_rng(1), scene(480, 640)
    noisy = (np.clip(still + rng.normal(0, 5, (16, *still.shape)), 0, 255).astype(np.uint8) for _ in range(6))
    assert described(following(), noisy)[1:].mean() < 0.05


def test_compression_is_no_change_where_nothing_moves(tmp_path: Path) -> None:
    """A key frame every 12 frames, few bits; a square moves below on the right."""
    path, still = tmp_path / "a.mp4", scene(240, 420).round().astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "30", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 420, 240, "yuv420p", 12
        for number in range(96):
            picture = still.copy()
            picture[180:210, 300 + number : 330 + number] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    found = described(following(), (frames[i : i + 16] for i in range(0, 96, 16)))[1:]
    assert found[:, 6].all()  # below on the right
    assert found[:, 1:4].mean() < 0.2


@pytest.mark.parametrize(("swing", "changes"), [(2.5, False), (4.0, True)])
def test_flicker_is_a_change_from_the_level_on_that_the_rule_names(swing: float, changes: bool) -> None:
    """Of 6 levels, over all frames."""
    frames = np.stack([scene() + swing * (-1) ** number for number in range(16)]).round().astype(np.uint8)
    found = described(following(), (frames for _ in range(3)))
    assert found[1:].all() if changes else not found[1:].any()


def test_light_that_changes_slowly_adds_up() -> None:
    """By a level in two snippets: what is taken again was never further off than the rule says."""
    light = [number // 2 for number in range(40)]
    found = described(following(), (shown(scene() + level) for level in light))
    of_one = np.flatnonzero(found[:, 0])
    assert [light[i] for i in of_one] == list(range(0, 20, 6))


@pytest.mark.parametrize(("height", "width"), [(240, 360), (360, 640), (480, 640), (1080, 1920)])
def test_no_object_of_a_fortieth_of_the_height_is_lost_wherever_it_lies(height: int, width: int) -> None:
    """40 levels off its ground, or a colour 80; each clip in which it lies is described."""
    rng, ground = np.random.default_rng(height), np.full((height, width, 3), 90, np.uint8)
    side = height // 40
    unchanged = following("fast")
    unchanged.decide(ground[None])
    grids = [(view.rows, view.columns) for view in PRESETS["fast"].views[1:]]
    for colour in ((40, 40, 40), (-40, -40, -40), (80, 0, 0), (0, 0, -80)):
        for _ in range(6 if height > 500 else 20):
            top, left = rng.integers(height - side), rng.integers(width - side)
            with_it = ground.copy()
            with_it[top : top + side, left : left + side] += np.array(colour, np.int16).astype(np.uint8)
            found = unchanged.decide(with_it[None]).described
            unchanged.decide(ground[None])
            for (rows, columns), changed in zip(grids, found[1:], strict=True):
                middle = (top + side / 2) * rows / height, (left + side / 2) * columns / width
                assert changed[int(middle[0]) * columns + int(middle[1])], (top, left)


def test_a_slow_small_object_is_described_all_along_its_way() -> None:
    """A pixel a snippet: it is never further from where it was described than a third of its own size."""
    height, width, side = 480, 640, 12
    unchanged, ground = following(), np.full((height, width, 3), 90, np.uint8)
    places: list[int] = []
    unchanged.decide(shown(ground))
    for step in range(60):
        frame = ground.copy()
        frame[100 : 100 + side, 150 + step : 150 + step + side] = 130
        if unchanged.decide(shown(frame)).described[1][0]:  # above on the left
            places.append(step)
        if step < 40:
            assert step - places[-1] <= 8
    assert places[0] == 0


def test_what_moved_is_not_taken_for_stillness() -> None:
    still, moving = shown(scene()), shown(scene())
    moving[2, 20:60, 20:60] = 255
    found = described(following(), iter([still, still, moving, still, still]))
    assert found[:, 1].tolist() == [True, False, True, True, False]  # the patch above on the left
    assert not found[1:, 6].any()  # below on the right


def test_a_description_is_for_so_many_snippets_and_cameras_do_not_end_at_once() -> None:
    """The clips of one camera do, so that it seldom waits for others."""
    ages = set()
    for seed in range(20):
        picture = shown(scene(36, 63, seed), 1)
        found = described(following(snippets=30, checked=10**6), (picture for _ in range(200)))
        assert (found.all(axis=1) == found.any(axis=1)).all()
        (age,) = set(np.diff(np.flatnonzero(found[:, 0])).tolist())
        ages.add(age)
    assert max(ages) <= 30 and min(ages) >= 23 and len(ages) > 4


def test_a_description_is_for_three_minutes_however_slowly_frames_are_chosen() -> None:
    """At a frame a second, a snippet begins every 16 s."""
    picture = shown(scene(36, 63), 1)
    unchanged = following(checked=10**6)
    wanted = [unchanged.decide(picture, 16.0 * number) for number in range(60)]
    found = np.array([np.concatenate(one.described) for one in wanted])
    ages = [np.diff(np.flatnonzero(column)) for column in found.T]
    assert max(map(max, ages)) <= 12 and min(map(min, ages)) >= 9
    as_before = following(checked=10**6, seconds=0)
    as_before.decide(picture)
    assert not as_before.decide(picture, 3600.0).anything


def test_a_video_is_read_with_the_times_of_its_snippets(make_video, tmp_path: Path) -> None:
    rule = UnchangedRule(levels=255, checked=10**6, seconds=2)  # nothing ever changes
    extractor = FeatureExtractor("i3d", "live", device="cpu", weights="random", unchanged=rule)
    video = make_video(tmp_path / "a.mp4", frames=80, fps=10.0)
    result = describing_means(extractor).write_video(video, write=lambda views: None)
    assert result.repeats and result.repeats.repeated["clip"] == 2  # described at 0, 3.2 and 6.4 s


def test_one_unchanged_clip_in_so_many_is_checked() -> None:
    turns = set()
    for seed in range(20):
        picture = shown(scene(36, 63, seed), 1)
        unchanged = following(checked=50)
        wanted = [unchanged.decide(picture) for _ in range(101)]
        checked = np.array([np.concatenate(one.checked) for one in wanted])
        assert not checked[0].any()
        assert checked[1:].mean() == pytest.approx(1 / 50)
        assert (checked[1:] == [np.concatenate(one.described) for one in wanted[1:]]).all()
        turns.add(int(np.flatnonzero(checked[:, 0])[0]))
    assert len(turns) > 10


def test_frames_of_another_size_are_described() -> None:
    sizes = [(240, 360), (240, 360), (120, 360), (120, 360)]
    found = described(following(), (shown(scene(*size)) for size in sizes))
    assert found.all(axis=1).tolist() == [True, False, True, False]


@pytest.mark.parametrize("preset", list(PRESETS))
def test_frames_smaller_than_blocks_are_compared_by_pixels(preset: str) -> None:
    found = described(following(preset), (shown(scene(20, 30)) for _ in range(2)))
    assert found[0].all() and not found[1].any()


def test_crops_are_compared_where_they_lie() -> None:
    """Ten of a wide frame: TL TR BL BR centre, then the same mirrored."""
    picture = scene(256, 512)
    changed = picture.copy()
    changed[100:140, 460:500] = 255  # in the middle of the height, far on the right
    found = described(following("paper"), iter([shown(picture), shown(changed)]))[1, :10]
    assert np.flatnonzero(found).tolist() == [1, 3, 6 - 1, 8 - 1]  # whose mirror image shows the right side


@pytest.fixture
def quick() -> FeatureExtractor:
    return describing_means(
        FeatureExtractor("i3d", "live", device="cpu", weights="random", unchanged=UnchangedRule(checked=7))
    )


def camera(snippets: int) -> np.ndarray:
    """Nothing moves but in one snippet of four, in the patch above on the left; every second is lighter."""
    frames = np.repeat(scene(96, 144).round().astype(np.uint8)[None], 16 * snippets, axis=0)
    for number in range(1, snippets, 2):
        frames[16 * number : 16 * number + 16] += 1
    for number in range(0, snippets, 4):
        frames[16 * number : 16 * number + 16, 10:30, 10:30] = np.arange(16)[:, None, None, None] * 16
    return frames


def test_features_are_the_last_described_however_snippets_are_grouped(quick: FeatureExtractor) -> None:
    frames = camera(12)
    everything = describing_means(FeatureExtractor("i3d", "live", device="cpu", weights="random"))(frames)
    masks = [quick.unchanged()]
    wanted = [masks[0].decide(frames[i : i + 16]).described for i in range(0, len(frames), 16)]
    found = quick(frames)
    for number, view in enumerate(("clip", "patch2x3")):
        expected = everything[view].copy()
        for t in range(1, 12):
            keep = ~wanted[t][number]
            expected[t, keep] = expected[t - 1, keep]
        np.testing.assert_array_equal(found[view], expected)
        assert not np.array_equal(found[view], everything[view])
    quick.memory.batch = 5
    assert all(np.array_equal(quick(frames)[view], rows) for view, rows in found.items())


def test_what_comes_in_another_size_takes_nothing_from_those_before_it(quick: FeatureExtractor) -> None:
    quick.memory.batch = 2
    still, smaller = camera(2)[16:], shown(scene(48, 72), 16)
    rows = list(quick.stream([*still, *still, *still, *smaller]))
    assert np.array_equal(rows[2]["patch2x3"], rows[0]["patch2x3"])
    assert all(np.isfinite(one["clip"]).all() for one in rows)


def test_nothing_runs_for_what_does_not_change(quick: FeatureExtractor) -> None:
    clips: list[int] = []

    class Counting(Means):
        def __call__(self, given):  # type: ignore[no-untyped-def]
            clips.append(len(given))
            return super().__call__(given)

    quick.networks.engines = dict.fromkeys(quick.networks.engines, Counting())  # type: ignore[arg-type]
    quick._rule = UnchangedRule()
    unchanged, still = quick.unchanged(), camera(2)[16:]
    wanted = [unchanged.decide(still) for _ in range(3)]
    first, second, _ = quick.describe([still] * 3, wanted)
    assert clips == [1, 6]
    assert np.isnan(second["clip"]).all()
    assert np.array_equal(unchanged.complete(first, wanted[0])["clip"], first["clip"])
    assert np.array_equal(unchanged.complete(second, wanted[1])["clip"], first["clip"])


def test_dense_patches_are_described_together() -> None:
    extractor = FeatureExtractor(
        "i3d", "live", device="cpu", weights="random", patches="dense", unchanged=UnchangedRule()
    )
    frames = camera(4)[: 3 * 16]
    found = extractor(frames)
    assert [len(rows[0]) for rows in found.values()] == [1, 6]
    assert np.array_equal(found["patch2x3"][1], found["patch2x3"][2])
    assert not np.array_equal(found["patch2x3"][0], found["patch2x3"][1])


def test_what_was_saved_and_what_it_cost() -> None:
    unchanged = following("live", checked=10**6, snippets=3)
    still = shown(scene(36, 63), 1)
    for number in range(4):
        wanted = unchanged.decide(still)
        features = {"clip": np.array([[[3.0, 4.0 + number]]]), "patch2x3": np.ones((1, 6, 2))}
        unchanged.complete(features, wanted)
    repeats = unchanged.repeats
    assert repeats.clips == {"clip": 4, "patch2x3": 24}
    assert repeats.repeated["clip"] == 2  # the first and the fourth were described
    assert repeats.worst == pytest.approx(3 / np.hypot(3, 7))
    assert Repeats.from_json(repeats.as_json()).as_json() == repeats.as_json()
    told = tell_repeats([repeats, Repeats()])
    assert "clip 50 %" in told and f"{100 * 3 / np.hypot(3, 7):.1f} % at most" in told
    assert tell_repeats([Repeats()]) == ""


def test_a_recipe_names_the_rule_and_refuses_what_is_none(quick: FeatureExtractor) -> None:
    recipe = quick.recipe
    older = {"levels": 4, "rows": 36, "columns": 63, "snippets": 128, "checked": 7}
    assert recipe["unchanged"] == {**older, "levels": 6, "seconds": 180}
    assert (rule := UnchangedRule.of_recipe({"unchanged": older})) and rule.in_recipe() == older
    assert UnchangedRule.of_recipe(recipe) == UnchangedRule(checked=7)
    assert UnchangedRule.of_recipe({}) is None
    with pytest.raises(ValueError, match="levels"):
        UnchangedRule.of_recipe({"unchanged": {"levels": 0}})
    with pytest.raises(TypeError):
        UnchangedRule.of_recipe({"unchanged": {"colour": 1}})
