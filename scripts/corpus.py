"""Videos as strangers have them: unusual, cut, damaged, hostile. Makes one file of each kind.

    python scripts/corpus.py corpus/            # makes them, with ffmpeg and byte surgery
    python scripts/corpus.py corpus/ --check    # and decodes each beside ffmpeg: a table

Kinds whose name begins with "bad" have no right frames and must be refused; "cut" and
"hurt" ones may be refused or read as ffmpeg reads them; all others must be read to the
frames that ffmpeg shows.
"""

import argparse
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssrl_pipeline.errors import VideoError
from ssrl_pipeline.extractors.decode import DECODERS, Limits, open_video
from ssrl_pipeline.terminal import table

FRAMES, RATE, SIZE = 40, 10, (160, 120)
NEAR = 4.0  # mean absolute difference of grey levels that two decoders' conversions may have


def source(frames: int = FRAMES, size: tuple[int, int] = SIZE, rate: float = RATE) -> list[str]:
    """ffmpeg's moving pattern, in which no two frames are alike."""
    pattern = f"testsrc2=size={size[0]}x{size[1]}:rate={rate}:duration={frames / rate}"
    return ["-f", "lavfi", "-i", pattern]


def ffmpeg(*arguments: object) -> None:
    command = ["ffmpeg", "-hide_banner", "-v", "error", "-y", "-nostdin", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# name of the file -> arguments between ffmpeg's source and the file
ENCODED: dict[str, list[str]] = {
    "h264.mp4": [],
    "h264 without b-frames.mp4": ["-bf", "0"],
    "h264 with many b-frames.mp4": ["-bf", "8", "-b_strategy", "0"],
    "h264 open gop.mp4": ["-x264opts", "open-gop=1:keyint=10:bframes=3"],
    "h264 one keyframe.mkv": ["-g", "1000"],
    "h264 all keyframes.mp4": ["-g", "1"],
    "h264 fragmented.mp4": ["-movflags", "frag_keyframe+empty_moov", "-g", "10"],
    "h264 index at the front.mp4": ["-movflags", "+faststart"],
    "h264 lossless.mkv": ["-qp", "0"],
    "h264.mkv": [],
    "h264.mov": [],
    "h264.flv": [],
    "h264.ts": [],
    "h264.m2ts": ["-f", "mpegts", "-mpegts_m2ts_mode", "1"],
    "h264.avi": ["-bf", "0"],
    "h264.3gp": ["-c:v", "libx264"],
    "h264 10 bit.mkv": ["-pix_fmt", "yuv420p10le"],
    "h264 422.mkv": ["-pix_fmt", "yuv422p"],
    "h264 444.mkv": ["-pix_fmt", "yuv444p"],
    "h264 full range.mp4": ["-pix_fmt", "yuvj420p"],
    "h264 grey.mp4": ["-pix_fmt", "gray"],
    "h264 rgb.mkv": ["-c:v", "libx264rgb"],
    "h264 interlaced.ts": ["-flags", "+ildct+ilme", "-top", "1"],
    "h264 bt709.mp4": ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"],
    "h264 wide pixels.mp4": ["-vf", "setsar=2/1"],
    "h265.mp4": ["-c:v", "libx265", "-x265-params", "log-level=none"],
    "h265 10 bit.mkv": ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", "log-level=none"],
    "av1.mp4": ["-c:v", "libaom-av1", "-cpu-used", "8"],
    "vp8.webm": ["-c:v", "libvpx"],
    "vp9.webm": ["-c:v", "libvpx-vp9"],
    "vp9 alpha.webm": ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"],
    "mpeg1.mpg": ["-c:v", "mpeg1video", "-r", "25"],
    "mpeg2.mpg": ["-c:v", "mpeg2video"],
    "mpeg2 interlaced.mts": ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-f", "mpegts"],
    "mpeg4.avi": ["-c:v", "mpeg4"],
    "mpeg4 b-frames.avi": ["-c:v", "mpeg4", "-bf", "2"],
    "mpeg4.m4v": ["-c:v", "mpeg4", "-f", "mp4"],
    "mjpeg.avi": ["-c:v", "mjpeg"],
    "wmv2.wmv": ["-c:v", "wmv2"],
    "wmv2.asf": ["-c:v", "wmv2", "-f", "asf"],
    "msmpeg4.avi": ["-c:v", "msmpeg4"],
    "flv1.flv": ["-c:v", "flv"],
    "theora.ogv": ["-c:v", "libtheora"],
    "prores 422.mov": ["-c:v", "prores_ks"],
    "prores alpha.mov": ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"],
    "png rgba.mov": ["-c:v", "png", "-pix_fmt", "rgba"],
    "ffv1.mkv": ["-c:v", "ffv1"],
    "huffyuv.avi": ["-c:v", "huffyuv"],
    "raw.avi": ["-c:v", "rawvideo", "-pix_fmt", "bgr24"],
    "variable rate.mkv": ["-vf", "select='not(between(mod(n,8),3,5))'", "-fps_mode", "vfr"],
    "variable rate.mp4": ["-vf", "select='not(between(mod(n,8),3,5))'", "-fps_mode", "vfr"],
    "high rate.mp4": ["-r", "240"],
    "slow rate.mp4": ["-r", "1/2"],
    "begins late.mkv": ["-output_ts_offset", "3600"],
}
SIZES = {
    "odd size.mkv": (161, 121),
    "tiny.mp4": (16, 16),
    "narrow.mp4": (8, 240),
    "flat.mp4": (640, 8),
    "large.mp4": (3840, 2160),
}
LENGTHS = {"one frame.mp4": 1, "five frames.mp4": 5, "sixteen frames.mp4": 16, "seventeen frames.avi": 17}


def make(folder: Path) -> None:
    """Makes all files; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in ENCODED.items():
        _once(folder / name, lambda path, a=arguments: ffmpeg(*source(), *a, path))  # type: ignore[misc]
    for name, size in SIZES.items():
        pixels = ["-pix_fmt", "yuv444p" if "odd" in name else "yuv420p"]
        frames = 4 if "large" in name else FRAMES
        _once(folder / name, lambda path, n=frames, s=size, p=pixels: ffmpeg(*source(n, s), *p, path))  # type: ignore[misc]
    for name, frames in LENGTHS.items():
        _once(folder / name, lambda path, n=frames: ffmpeg(*source(n), path))  # type: ignore[misc]
    for name, maker in SPECIAL.items():
        _once(folder / name, maker)


def _once(path: Path, maker: Callable[[Path], object]) -> None:
    if not os.path.lexists(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        maker(path)


def _plain(path: Path, suffix: str = ".mp4", *arguments: str, frames: int = FRAMES) -> Path:
    """A healthy file beside `path`, hidden, to cut or to damage."""
    healthy = path.with_name(f".{path.stem}{suffix}")
    ffmpeg(*source(frames), *arguments, healthy)
    return healthy


def _surgery(
    suffix: str, change: Callable[[bytearray], bytes | bytearray], *arguments: str, frames: int = FRAMES
) -> Callable[[Path], None]:
    """A maker that changes the bytes of a healthy file."""

    def maker(path: Path) -> None:
        healthy = _plain(path, suffix, *arguments, frames=frames)
        path.write_bytes(change(bytearray(healthy.read_bytes())))
        healthy.unlink()

    return maker


def _shorter(share: float) -> Callable[[bytearray], bytes]:
    return lambda content: bytes(content[: int(len(content) * share)])


def _noise(begin: float, end: float, every: int = 1) -> Callable[[bytearray], bytearray]:
    """Overwrites a stretch (as shares of the file) with noise."""

    def change(content: bytearray) -> bytearray:
        rng, n = np.random.default_rng(0), len(content)
        for i in range(int(begin * n), int(end * n), every):
            content[i] = int(rng.integers(256))
        return content

    return change


def _zeros(begin: float, end: float) -> Callable[[bytearray], bytearray]:
    def change(content: bytearray) -> bytearray:
        a, b = int(begin * len(content)), int(end * len(content))
        content[a:b] = bytes(b - a)
        return content

    return change


def _box(content: bytearray, *names: bytes) -> int:
    """Where the innermost of nested MP4 boxes begins."""
    position = 0
    for name in names:
        position = content.index(name, position) - 4
        position += 0 if name == names[-1] else 8
    return position


def _without_box(name: bytes) -> Callable[[bytearray], bytearray]:
    def change(content: bytearray) -> bytearray:
        at = _box(content, name)
        content[at + 4 : at + 8] = b"free"
        return content

    return change


def _lie(name: bytes, offset: int, value: int) -> Callable[[bytearray], bytearray]:
    """Writes a 32-bit number into an MP4 box, `offset` bytes behind its name."""

    def change(content: bytearray) -> bytearray:
        at = content.index(name) + 4 + offset
        content[at : at + 4] = struct.pack(">I", value & 0xFFFFFFFF)
        return content

    return change


def _avi_lies(frames: int) -> Callable[[bytearray], bytearray]:
    """Another number of frames in an AVI's main header and stream header."""

    def change(content: bytearray) -> bytearray:
        at = content.index(b"avih") + 8 + 16
        content[at : at + 4] = struct.pack("<I", frames)
        at = content.index(b"strh") + 8 + 32
        content[at : at + 4] = struct.pack("<I", frames)
        return content

    return change


def _avi_without_index(content: bytearray) -> bytes:
    return bytes(content[: content.index(b"idx1")])


def _rotated(path: Path) -> None:
    healthy = _plain(path)
    ffmpeg("-i", healthy, "-c", "copy", "-metadata:s:v:0", "rotate=90", path)
    healthy.unlink()


def _edit_list(path: Path) -> None:
    healthy = _plain(path, ".mp4", "-g", "10", "-bf", "2")
    ffmpeg("-ss", "1.5", "-i", healthy, "-c", "copy", path)
    healthy.unlink()


def _changing_size(path: Path) -> None:
    first, second = path.with_name(".1.ts"), path.with_name(".2.ts")
    ffmpeg(*source(20, (160, 120)), first)
    ffmpeg(*source(20, (320, 240)), second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    first.unlink(), second.unlink()


def _joined(path: Path) -> None:
    first = _plain(path, ".ts", frames=20)
    path.write_bytes(2 * first.read_bytes())  # time begins anew in the middle
    first.unlink()


def _two_videos(path: Path) -> None:
    inputs = [*source(), "-f", "lavfi", "-i", f"color=red:size=64x48:rate={RATE}:duration=4"]
    ffmpeg(*inputs, "-map", "0", "-map", "1", path)


def _sound(*video: str) -> list[str]:
    return [*video, "-f", "lavfi", "-i", "sine=duration=4"]


def _with_sound(path: Path) -> None:
    ffmpeg(*_sound("-f", "lavfi", "-i", f"testsrc2=size=160x120:rate={RATE}:duration=4"), "-shortest", path)


def _only_sound(path: Path) -> None:
    ffmpeg(*_sound(), path)


def _sound_with_cover(path: Path) -> None:
    cover = path.with_name(".cover.png")
    ffmpeg(*source(1), cover)
    ffmpeg(
        *_sound(),
        "-i",
        cover,
        "-map",
        "0",
        "-map",
        "1",
        "-c:v",
        "copy",
        "-disposition:v",
        "attached_pic",
        path,
    )
    cover.unlink()


def _video_with_cover(path: Path) -> None:
    cover, healthy = path.with_name(".cover.png"), _plain(path)
    ffmpeg(*source(1, (64, 64)), cover)
    ffmpeg(
        *("-i", healthy, "-i", cover, "-map", "0", "-map", "1", "-c", "copy"),
        *("-disposition:v:1", "attached_pic", path),
    )
    cover.unlink(), healthy.unlink()


def _subtitled(path: Path) -> None:
    text = path.with_name(".text.srt")
    text.write_text("1\n00:00:00,000 --> 00:00:02,000\nhello\n")
    ffmpeg(*source(), "-i", text, "-map", "0", "-map", "1", "-c:s", "mov_text", path)
    text.unlink()


def _named(path: Path) -> None:
    ffmpeg(*source(17), "-f", "mp4", f"file:{path}")


def _link(path: Path) -> None:
    path.symlink_to("h264.mp4")


def _text(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


LONG_GOP = ("-g", "1000", "-bf", "0")
SPECIAL: dict[str, Callable[[Path], object]] = {
    "rotated.mp4": _rotated,
    "edit list.mp4": _edit_list,
    "hurt changing size.ts": _changing_size,
    "hurt time begins anew.ts": _joined,
    "two videos.mkv": _two_videos,
    "with sound.mp4": _with_sound,
    "with subtitles.mp4": _subtitled,
    "video with cover.mp4": _video_with_cover,
    "bad only sound.mp4": _only_sound,
    "bad sound with cover.m4v": _sound_with_cover,
    "cut.mp4": _surgery(".mp4", _shorter(0.6)),
    "cut index at the front.mp4": _surgery(".mp4", _shorter(0.6), "-movflags", "+faststart"),
    "cut.mkv": _surgery(".mkv", _shorter(0.6)),
    "cut.avi": _surgery(".avi", _shorter(0.6), "-c:v", "mpeg4"),
    "cut.webm": _surgery(".webm", _shorter(0.6), "-c:v", "libvpx"),
    "cut.ts": _surgery(".ts", _shorter(0.6)),
    "cut.flv": _surgery(".flv", _shorter(0.6)),
    "cut.wmv": _surgery(".wmv", _shorter(0.6), "-c:v", "wmv2"),
    "cut fragmented.mp4": _surgery(
        ".mp4", _shorter(0.6), "-movflags", "frag_keyframe+empty_moov", "-g", "10"
    ),
    "cut mid-frame.mkv": _surgery(".mkv", lambda c: bytes(c[:-300])),
    "bad cut to the header.mp4": _surgery(".mp4", lambda c: bytes(c[:40])),
    "bad cut to the header.mkv": _surgery(".mkv", lambda c: bytes(c[:60])),
    "bad without index.mp4": _surgery(".mp4", _without_box(b"moov")),
    "without index.avi": _surgery(".avi", _avi_without_index, "-c:v", "mpeg4"),
    "hurt noise in the middle.mp4": _surgery(".mp4", _noise(0.4, 0.5), *LONG_GOP),
    "hurt noise in the middle.mkv": _surgery(".mkv", _noise(0.4, 0.5), *LONG_GOP),
    "hurt noise in the middle.avi": _surgery(".avi", _noise(0.4, 0.5), "-c:v", "mpeg4"),
    "hurt noise in the middle.ts": _surgery(".ts", _noise(0.4, 0.5), *LONG_GOP),
    "hurt zeros in the middle.mp4": _surgery(".mp4", _zeros(0.4, 0.5), *LONG_GOP),
    "hurt zeros in the middle.mkv": _surgery(".mkv", _zeros(0.4, 0.5), *LONG_GOP),
    "hurt sparse bit flips.mp4": _surgery(".mp4", _noise(0.1, 0.8, every=997)),
    "hurt noise at the start.mp4": _surgery(".mp4", _noise(0.0, 0.02)),
    "hurt index.mp4": _surgery(".mp4", _noise(0.96, 0.99)),
    "hurt sample count.mp4": _surgery(".mp4", _lie(b"stsz", 8, 400)),
    "hurt huge sample count.mp4": _surgery(".mp4", _lie(b"stsz", 8, 0x7FFFFFFF)),
    "hurt huge size.mp4": _surgery(".mp4", _lie(b"avc1", 24, 0x7FFF7FFF)),
    "hurt duration.mp4": _surgery(".mp4", _lie(b"mdhd", 12, 0xFFFFFFF0)),
    "hurt zero time scale.mp4": _surgery(".mp4", _lie(b"mdhd", 8 + 4, 0)),
    "hurt more frames promised.avi": _surgery(".avi", _avi_lies(400), "-c:v", "mpeg4"),
    "hurt fewer frames promised.avi": _surgery(".avi", _avi_lies(10), "-c:v", "mpeg4"),
    "bad empty.mp4": _text(b""),
    "bad one byte.mp4": _text(b"\0"),
    "bad text.mp4": _text(b"this is no video\n" * 100),
    "bad zeros.avi": _text(bytes(100_000)),
    "bad noise.mkv": _text(np.random.default_rng(0).bytes(100_000)),
    "bad web page.mp4": _text(b"<!DOCTYPE html><html><body>404 Not Found</body></html>"),
    "bad playlist.ts": _text(b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
    "bad concat script.mp4": _text(b"ffconcat version 1.0\nfile '/etc/passwd'\n"),
    "link to another.mp4": _link,
    "bad link to itself.mp4": lambda path: path.symlink_to(path.name),
    "bad link to nothing.mp4": lambda path: path.symlink_to("nowhere.mp4"),
    "bad folder.mp4": lambda path: path.mkdir(),
    'names/it\'s "quoted".mp4': _named,
    "names/two\nlines.mp4": _named,
    "names/видео 监控 كاميرا 🎥.mp4": _named,
    "names/-dash.mp4": _named,
    "names/100%d.mp4": _named,
    "names/semi;colon && rm $HOME.mp4": _named,
    "names/UPPER.MP4": _named,
    "names/" + "long" * 50 + ".mp4": _named,
}


class Checked(NamedTuple):
    """What became of one file with one decoder."""

    kind: str
    decoder: str
    outcome: str
    frames: int
    by_ffmpeg: int
    difference: float  # mean absolute difference of grey levels of the frame that differs most
    seconds: float

    @property
    def right(self) -> bool:
        """Whether it is what its kind asks for."""
        first = Path(self.kind).name.split(" ")[0].split(".")[0]
        refused = self.outcome != "read"
        equal = not refused and self.frames == self.by_ffmpeg and self.difference < NEAR
        return refused if first == "bad" else (refused or equal) if first in ("cut", "hurt") else equal


def check(folder: Path, path: Path, limits: Limits) -> Iterator[Checked]:
    """Decodes one file with each decoder, beside ffmpeg."""
    kind = path.relative_to(folder).as_posix()
    for decoder in DECODERS:
        start, count, frames, outcome = time.perf_counter(), 0, [], "read"
        try:
            with open_video(path, decoder, limits) as video:
                size = (video.info.width, video.info.height)
                for frame in video.frames:
                    frames.append(frame)
                    count += 1
        except VideoError as error:
            outcome = str(error).removeprefix(f"{path}: ")
            yield Checked(kind, decoder, outcome, count, 0, 0.0, time.perf_counter() - start)
            continue
        seconds = time.perf_counter() - start
        truth = ffmpeg_frames(path, size)
        pairs = zip(frames, truth, strict=False)
        worst = max((float(np.abs(a.astype(int) - b).mean()) for a, b in pairs), default=0.0)
        yield Checked(kind, decoder, outcome, count, len(truth), worst, seconds)


def ffmpeg_frames(path: Path, size: tuple[int, int]) -> np.ndarray:
    """uint8 [N, H, W, 3]: each frame of the first video once, as ffmpeg's own program decodes it."""
    width, height = size
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-i", f"file:{path}", "-map", "0:v:0", "-fps_mode"]
    command += ["passthrough", "-s", f"{width}x{height}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    content = subprocess.run(command, capture_output=True, check=False).stdout
    size_bytes = width * height * 3
    whole = content[: len(content) // size_bytes * size_bytes]
    return np.frombuffer(whole, np.uint8).reshape(-1, height, width, 3)


def files(folder: Path) -> list[Path]:
    """Everything in the corpus; hidden files are the makers' own."""
    found = (Path(top, name) for top, folders, names in os.walk(folder) for name in (*folders, *names))
    return sorted(p for p in found if p.suffix and not p.name.startswith("."))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a decoder may take over a frame")
    arguments = parser.parse_args()
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not installed; it makes the files")
    make(arguments.folder)
    paths = files(arguments.folder)
    print(f"{len(paths)} files in {arguments.folder}")
    if arguments.check:
        limits = Limits(seconds=arguments.seconds)
        rows = [row for path in paths for row in check(arguments.folder, path, limits)]
        shown = [("" if row.right else "WRONG", *row) for row in rows]
        print(
            table(
                [[str(c).replace("\n", "\\n")[:70] if isinstance(c, str) else c for c in r] for r in shown],
                ("", *Checked._fields),
            )
        )
        wrong = sum(not row.right for row in rows)
        raise SystemExit(f"{wrong} of {len(rows)} outcomes are wrong" if wrong else 0)


if __name__ == "__main__":
    main()
