"""Every pixel format that libav writes, in every codec and container for it here: our frames are ffmpeg's.

Palettes that lie beside the frames, more than 8 bits, alpha, floating point, fewer lines of colour: what is
shown must be what ffmpeg's own program makes of it, and never black.
"""

import io
import os
import shutil
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from check_corpus import ffmpeg_frames
from PIL import ExifTags, Image

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decoding import open_video
from ssrl_pipeline.extractors.decoding.decoder import open_file

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to compare with")

SIZE, FRAMES = (64, 48), 4
NEAR = 2.5  # grey levels, of a frame's mean; 2.4 apart are two versions' 10 bits of H.264 and H.265, else 2
UNREADABLE = 40.0  # grey levels that ffmpeg's frames are off what was encoded: libav's muxer says so, too
EVERY = int(os.environ.get("CORPUS_EVERY", "10"))  # 1: in all that can hold them
HOLDERS = {  # codec -> files that can hold it
    "rawvideo": ("nut", "avi", "mov", "mkv"),
    "ffv1": ("mkv", "avi"),
    "ffvhuff": ("avi", "mkv"),
    "huffyuv": ("avi",),
    "utvideo": ("avi",),
    "magicyuv": ("avi",),
    "png": ("mov", "mkv", "avi"),
    "tiff": ("mov", "nut"),
    "targa": ("mov",),
    "dpx": ("nut",),
    "jpeg2000": ("mov",),
    "jpegls": ("avi",),
    "mjpeg": ("avi", "mov", "mkv"),
    "qtrle": ("mov",),
    "smc": ("mov",),
    "rpza": ("mov",),
    "msvideo1": ("avi",),
    "cinepak": ("avi", "mov"),
    "zmbv": ("avi",),
    "flashsv": ("flv",),
    "gif": ("gif",),
    "apng": ("apng",),
    "prores_ks": ("mov", "mkv"),
    "cfhd": ("mov",),
    "v210": ("mov", "avi"),
    "v308": ("mov",),
    "v408": ("mov",),
    "v410": ("mov", "avi"),
    "r210": ("mov",),
    "r10k": ("mov",),
    "y41p": ("avi",),
    "libx264": ("mkv", "mp4"),
    "libx264rgb": ("mkv",),
    "libx265": ("mkv",),
    "libvpx-vp9": ("webm",),
}
LOSSLESS = {"libx264": {"qp": "1"}, "libx264rgb": {"qp": "1"}, "libx265": {"x265-params": "log-level=none"}}


def pictures() -> np.ndarray:
    """uint8 [N, H, W, 3]: smooth waves of three colours that move; at edges, versions of libav differ."""
    width, height = SIZE
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    phases = [(x + i / 8, x + y - i / 8, y + 0.3 + i / 16) for i in range(FRAMES)]
    waves = np.cos(2 * np.pi * np.array(phases)) * 120 + 127
    return waves.transpose(0, 2, 3, 1).astype(np.uint8)


def frames(pixels: str) -> Iterable[av.VideoFrame]:
    """Raises ValueError where libav does not convert to that format."""
    for picture in pictures():
        if pixels == "pal8":
            red, green, blue = (picture[..., i] // 52 for i in range(3))  # 5 shades each
            indices = (red * 25 + green * 5 + blue).astype(np.uint8)
            palette = np.full((256, 4), 255, np.uint8)
            shades = np.arange(125)
            palette[:125, 1:] = np.stack([shades // 25, shades // 5 % 5, shades % 5], axis=-1) * 63  # A R G B
            yield av.VideoFrame.from_ndarray((indices, palette), format="pal8")
        else:
            yield av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)


def write(path: Path, codec: str, pixels: str) -> bool:
    """Whether libav can."""
    try:
        with av.open(str(path), "w") as file:
            stream = file.add_stream(codec, rate=10)
            (stream.width, stream.height), stream.pix_fmt = SIZE, pixels
            stream.options = LOSSLESS.get(codec, {}) | {"strict": "-2"}
            stream.bit_rate = 4_000_000
            for i, frame in enumerate(frames(pixels)):
                frame.pts, frame.time_base = i, Fraction(1, 10)
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    except (av.FFmpegError, ValueError, KeyError, TypeError, NotImplementedError):
        return False
    return path.stat().st_size > 0


def formats_of(codec: str) -> list[str]:
    try:
        known = av.codec.Codec(codec, "w").video_formats
    except av.codec.codec.UnknownCodecError:
        return []
    if known:
        return [one.name for one in known]
    names = sorted(set(av.video.format.names)) if codec == "rawvideo" else []
    return [name for name in names if av.VideoFormat(name).components != ()]


def distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Grey levels in the mean, of the frame that differs most."""
    return float(np.abs(found.astype(np.int16) - truth).mean(axis=(1, 2, 3)).max())


def judge(path: Path) -> float | None:
    """How far our frames are from ffmpeg's; None where its program or ours does not know what libav wrote.

    Two versions of libav may differ: no more than NEAR where ours is nearer to what was encoded.
    """
    truth = ffmpeg_frames(path, SIZE)
    if not len(truth):
        return None
    try:
        found = np.stack([frame.copy() for frame, _ in open_file(str(path), 1).frames])
    except VideoError:  # refused is not wrong
        return None
    if len(truth) != len(found):
        return float("inf")
    encoded = pictures()
    grey = np.repeat((encoded @ (0.299, 0.587, 0.114))[..., None], 3, axis=-1).astype(np.uint8)
    ours, ffmpegs = (min(distance(x, encoded), distance(x, grey)) for x in (found, truth))
    off = distance(found, truth)
    if off <= NEAR or ours < ffmpegs:
        return min(off, NEAR)
    return None if ffmpegs > UNREADABLE else off


@pytest.mark.slow
@pytest.mark.parametrize("codec", HOLDERS)
def test_frames_are_ffmpegs_in_every_pixel_format(tmp_path: Path, codec: str) -> None:
    """Each in one of the files that can hold it, these in turn; with CORPUS_EVERY=1 in all of them."""
    found, holders = {}, deque(HOLDERS[codec])
    for pixels in formats_of(codec):
        for holder in holders:
            path = tmp_path / f"{pixels}.{holder}"
            if write(path, codec, pixels) and (off := judge(path)) is not None:
                found[path.name] = off
                if EVERY > 1:
                    break
        holders.rotate()
    print(f"{codec}: {', '.join(found)}")
    assert {name: off for name, off in found.items() if off > NEAR} == {}
    assert found or not formats_of(codec)


@pytest.mark.parametrize(
    ("codec", "pixels", "holder"),
    [
        *(("rawvideo", "pal8", holder) for holder in ("avi", "mov", "nut")),
        *(("rawvideo", pixels, "mov") for pixels in ("rgb555be", "gray", "rgb24", "argb")),
        *(("rawvideo", pixels, "avi") for pixels in ("gray", "rgb555le", "bgr24", "bgr0", "yuyv422", "nv12")),
        *(("rawvideo", pixels, "nut") for pixels in ("rgb565be", "bgr555be", "bgr565be", "gray16be", "ya8")),
        *(("qtrle", pixels, "mov") for pixels in ("gray", "rgb555be", "argb")),
        *(("smc", "pal8", "mov"), ("png", "pal8", "mov"), ("msvideo1", "rgb555le", "avi")),
        *(
            ("ffv1", pixels, "mkv")
            for pixels in ("yuv410p", "yuv420p10le", "yuv444p16le", "yuva420p", "bgr0")
        ),
    ],
)
def test_palettes_and_other_formats_that_are_not_usual(
    tmp_path: Path, codec: str, pixels: str, holder: str
) -> None:
    path = tmp_path / f"a.{holder}"
    assert write(path, codec, pixels)
    off = judge(path)
    assert off is not None and off <= NEAR


def test_frames_of_a_jpeg_with_exif_are_read(tmp_path: Path) -> None:
    """libav says it beside each frame in a way that PyAV does not know."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a camera"
    content = io.BytesIO()
    for picture in pictures():
        Image.fromarray(picture).save(content, "JPEG", exif=exif, quality=95, subsampling=0)
    (tmp_path / "a.mjpeg").write_bytes(content.getvalue())
    with open_video(tmp_path / "a.mjpeg") as video:
        assert distance(np.stack(list(video.frames)), pictures()) < 2


@pytest.mark.parametrize("name", ["matlab_grey.avi", "pal_raw.mov"])
def test_files_that_were_black(shared: Path, name: str) -> None:
    path = shared / "data" / "faults" / "palette" / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with open_video(path) as video:
        found = np.stack(list(video.frames))
        assert video.damage() == ""
    truth = ffmpeg_frames(path, (160, 120))
    assert len(found) == len(truth) and distance(found, truth) < NEAR and found.std() > 30
    if name == "matlab_grey.avi":
        assert distance(found, ffmpeg_frames(path.with_name("same_as_ffv1.mkv"), (160, 120))) < NEAR
