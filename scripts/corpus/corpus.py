"""Makes one video of each kind that people may have: unusual, cut, damaged, hostile.

    python scripts/corpus/corpus.py corpus/            # with ffmpeg and byte surgery
    python scripts/corpus/check_corpus.py corpus/      # and decodes each beside ffmpeg: a table

The first word of a file's name says what must happen to it:

- "bad": it has no right frames and must be refused.
- "cut", "hurt": it may be refused, or read as ffmpeg reads it.
- "broken": the same, but if it is read, a note must report the damage.
- "changing": it must be read as ffmpeg reads it, with a note.
- "untimed", "restarted": the same; its times are made up.
- anything else: it must be read without a note, to ffmpeg's frames at ffprobe's times.
"""

import argparse
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from byte_surgery import (
    avi_lies,
    avi_without_index,
    lie,
    lost_packets,
    noise,
    shorter,
    shown_by,
    without_box,
    zeros,
)

FRAMES, RATE, SIZE = 40, 10, (160, 120)


def source(frames: int = FRAMES, size: tuple[int, int] = SIZE, rate: float = RATE) -> list[str]:
    """ffmpeg's moving pattern, in which no two frames are alike."""
    pattern = f"testsrc2=size={size[0]}x{size[1]}:rate={rate}:duration={frames / rate}"
    return ["-f", "lavfi", "-i", pattern]


def ffmpeg(*arguments: object) -> None:
    command = ["ffmpeg", "-hide_banner", "-v", "error", "-y", "-nostdin", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


PALETTE = "split[a][b];[a]palettegen=max_colors=200[p];[b][p]paletteuse"
BY_MS = ["-fps_mode", "passthrough", "-enc_time_base", "1:1000"]
UNEVEN = ["-vf", "settb=1/1000,setpts=PTS+mod(N*N*91\\,28)-mod(N*17\\,13)", *BY_MS]
PHONE = ["-vf", "settb=1/1000,setpts=N*33+gt(N\\,12)*44+gt(N\\,25)*27*(N-25)", *BY_MS]
PAUSE = ["-vf", "setpts=PTS+gte(N\\,20)*600/TB", "-fps_mode", "passthrough"]
GAP = ["-vf", "setpts=PTS+gte(N\\,20)*5/TB", "-fps_mode", "vfr"]
INTERLACED = ["-flags", "+ildct+ilme", "-top", "1"]
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
    "h264.3gp": [],
    "h264 10 bit.mkv": ["-pix_fmt", "yuv420p10le"],
    "h264 422.mkv": ["-pix_fmt", "yuv422p"],
    "h264 444.mkv": ["-pix_fmt", "yuv444p"],
    "h264 full range.mp4": ["-pix_fmt", "yuvj420p"],
    "h264 grey.mp4": ["-pix_fmt", "gray"],
    "h264 rgb.mkv": ["-c:v", "libx264rgb"],
    "h264 interlaced.ts": INTERLACED,
    "h264 interlaced.mp4": INTERLACED,
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
    "mpeg2 interlaced.mts": ["-c:v", "mpeg2video", *INTERLACED, "-f", "mpegts"],
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
    "begins late.ts": ["-output_ts_offset", "3600"],
    "begins late.flv": ["-output_ts_offset", "3600"],
    "palette.avi": ["-pix_fmt", "pal8", "-c:v", "rawvideo", "-vf", PALETTE],
    "palette, raw.mov": ["-pix_fmt", "pal8", "-c:v", "rawvideo", "-vf", PALETTE],
    "palette, png.mov": ["-c:v", "png", "-vf", PALETTE, "-pix_fmt", "pal8"],
    "quicktime rle.mov": ["-c:v", "qtrle", "-pix_fmt", "rgb24"],
    "quicktime rle, grey.mov": ["-c:v", "qtrle", "-pix_fmt", "gray"],
    "quicktime rle, 16 bit.mov": ["-c:v", "qtrle", "-pix_fmt", "rgb555be"],
    "quicktime smc.mov": ["-c:v", "smc", "-vf", PALETTE, "-pix_fmt", "pal8"],
    "msvideo1.avi": ["-c:v", "msvideo1"],
    "cinepak.avi": ["-c:v", "cinepak"],
    "zmbv palette.avi": ["-c:v", "zmbv", "-vf", PALETTE, "-pix_fmt", "pal8"],
    "raw grey.avi": ["-c:v", "rawvideo", "-pix_fmt", "gray"],
    "raw 16 bit.mov": ["-c:v", "rawvideo", "-pix_fmt", "rgb555be"],
    "raw with alpha.avi": ["-c:v", "rawvideo", "-pix_fmt", "bgra"],
    "raw yuyv.avi": ["-c:v", "rawvideo", "-pix_fmt", "yuyv422"],
    "ffv1 grey 16 bit.mkv": ["-c:v", "ffv1", "-pix_fmt", "gray16le"],
    "ffv1 410.mkv": ["-c:v", "ffv1", "-pix_fmt", "yuv410p"],
    "ffv1 16 bit.mkv": ["-c:v", "ffv1", "-pix_fmt", "yuv444p16le"],
    "uneven.ts": ["-c:v", "libx264", *UNEVEN],
    "uneven.mkv": UNEVEN,
    "uneven.webm": ["-c:v", "libvpx", *UNEVEN],
    "uneven.flv": ["-c:v", "flv", *UNEVEN],
    "uneven.mp4": UNEVEN,
    "phone.mp4": ["-c:v", "libx264", *PHONE],
    "phone.mov": ["-c:v", "libx264", *PHONE],
    "phone b-frames.mkv": ["-c:v", "libx264", "-bf", "3", *PHONE],
    "pause of ten minutes.mkv": PAUSE,
    "pause of ten minutes.mp4": PAUSE,
    "pause of ten minutes.ts": PAUSE,
    "pause of ten minutes.flv": PAUSE,
    "gap.avi": ["-c:v", "mjpeg", *GAP],
    "gap b-frames.avi": ["-c:v", "mpeg4", "-bf", "2", *GAP],
    "gap.ogv": ["-c:v", "libtheora", *GAP],
    "gap.wmv": ["-c:v", "wmv2", *GAP],
    "live.mkv": ["-live", "1"],
    "live.webm": ["-c:v", "libvpx", "-live", "1", "-cluster_time_limit", "500"],
    "live.flv": ["-flvflags", "no_duration_filesize"],
    "tape.dv": ["-vf", "scale=720:576", "-r", "25", "-pix_fmt", "yuv420p"],
    "tape.mxf": ["-c:v", "mpeg2video", "-r", "25"],
    "disc.vob": ["-c:v", "mpeg2video", "-r", "25"],
    "untimed h264.264": ["-c:v", "libx264"],
    "untimed h264 b-frames.h264": ["-c:v", "libx264", "-bf", "3"],
    "untimed h265.265": ["-c:v", "libx265", "-x265-params", "log-level=none"],
    "mpeg2.m2v": ["-c:v", "mpeg2video", "-r", "25"],
    "untimed mjpeg.mjpeg": ["-c:v", "mjpeg"],
}
SIZES = {
    "odd size.mkv": (161, 121),
    "tiny.mp4": (16, 16),
    "narrow.mp4": (8, 240),
    "flat.mp4": (640, 8),
    "large.mp4": (3840, 2160),
}
LENGTHS = {"one frame.mp4": 1, "five frames.mp4": 5, "sixteen frames.mp4": 16, "seventeen frames.avi": 17}


def make(folder: Path, only: Collection[str] = ()) -> None:
    """Makes all files, or those of these names; what is there already stays."""
    makers = kinds()
    for name in only or makers:
        path = folder / name
        if not os.path.lexists(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            makers[name](path)


def kinds() -> dict[str, Callable[[Path], object]]:
    """Name of a file -> what makes it at a path."""
    return {**_encoders(), **SPECIAL}


def _encoders() -> dict[str, Callable[[Path], object]]:
    def encoder(
        arguments: Sequence[str], frames: int = FRAMES, size: tuple[int, int] = SIZE
    ) -> Callable[[Path], object]:
        return lambda path: ffmpeg(*source(frames, size), *arguments, path)

    makers = {}
    for name, arguments in ENCODED.items():
        codec = ["-c:v", "libx264"] if name.startswith("h264") and "-c:v" not in arguments else []
        makers[name] = encoder([*codec, *arguments])
    for name, size in SIZES.items():
        pixels = ["-pix_fmt", "yuv444p" if "odd" in name else "yuv420p"]
        makers[name] = encoder(pixels, 4 if "large" in name else FRAMES, size)
    for name, frames in LENGTHS.items():
        makers[name] = encoder([], frames)
    return makers


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


def _edit_list(path: Path) -> None:
    healthy = _plain(path, ".mp4", "-g", "10", "-bf", "2")
    ffmpeg("-ss", "1.5", "-i", healthy, "-c", "copy", path)
    healthy.unlink()


def _changing_size(codec: str) -> Callable[[Path], None]:
    def maker(path: Path) -> None:
        parts = [path.with_name(f".{path.stem} {i}{path.suffix}") for i in (1, 2)]
        headers = ["-bsf:v", "dump_extra"] if codec == "libx264" else []
        for part, size in zip(parts, [(160, 120), (320, 240)], strict=True):
            ffmpeg(*source(20, size), "-c:v", codec, "-g", "10", *headers, part)
        script = path.with_name(f".{path.name}.txt")
        script.write_text("".join(f"file '{part.name}'\n" for part in parts))
        in_band = ["-tag:v", "avc3"] if path.suffix == ".mp4" else []
        ffmpeg("-f", "concat", "-safe", "0", "-i", script, "-c", "copy", *in_band, path)
        for made in (*parts, script):
            made.unlink()

    return maker


def _changing_size_joined(path: Path) -> None:
    first, second = path.with_name(".1.ts"), path.with_name(".2.ts")
    ffmpeg(*source(20, (160, 120)), first)
    ffmpeg(*source(20, (320, 240)), second)
    path.write_bytes(first.read_bytes() + second.read_bytes())
    first.unlink(), second.unlink()


def _joined(path: Path) -> None:
    codec = ["-c:v", "libx264"] if "h264" in path.stem else ["-c:v", "mpeg2video", "-r", "25"]
    first = _plain(path, path.suffix, *codec, frames=20)
    path.write_bytes(2 * first.read_bytes())  # time begins anew in the middle
    first.unlink()


def _long_sound(path: Path) -> None:
    codec = {".wmv": "wmv2", ".ts": "mpeg2video"}.get(path.suffix, "mpeg4")
    ffmpeg(*source(), "-f", "lavfi", "-i", "sine=duration=30", "-c:v", codec, path)


def _early_sound(path: Path) -> None:
    late = ["-itsoffset", "5", *source(), "-f", "lavfi", "-i", "sine=duration=9"]
    ffmpeg(*late, "-c:v", "libx264", "-fps_mode", "passthrough", path)


def _dav(path: Path) -> None:
    """H.264 in frames of a recorder: a head with a time of day, an extension, the data, and a foot."""
    raw = _plain(path, ".264", "-c:v", "libx264", "-bf", "0", "-x264opts", "aud=1")
    content = raw.read_bytes()
    raw.unlink()
    starts = [i for i in range(len(content) - 6) if content[i : i + 5] == b"\0\0\0\1\x09"]
    frames = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    made = bytearray()
    for number, frame in enumerate(frames):
        extension = struct.pack("<BBBB", 0x81, 0, 2, RATE) + struct.pack(
            "<BBBB", 0x80, 0, SIZE[0] // 8, SIZE[1] // 8
        )
        day = (26 << 26) | (1 << 22) | (1 << 17) | (10 << 12) | (0 << 6) | (number // RATE)
        length = 24 + len(extension) + len(frame) + 8
        kind = 0xFD if number % 12 == 0 else 0xFC
        head = b"DHAV" + struct.pack("<BBBBIII", kind, 0, 1, 0, number, length, day)
        head += struct.pack("<HBB", number * 1000 // RATE & 0xFFFF, len(extension), 0)
        made += head + extension + frame + b"dhav" + struct.pack("<I", length)
    path.write_bytes(made)


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


H264 = ("-c:v", "libx264")
LONG_GOP = ("-g", "1000", "-bf", "0")
SPECIAL: dict[str, Callable[[Path], object]] = {
    "rotated by 90.mp4": _surgery(".mp4", shown_by(0, 1, -1, 0, *SIZE)),
    "rotated by 180.mp4": _surgery(".mp4", shown_by(-1, 0, 0, -1, *SIZE)),
    "rotated by 270.mp4": _surgery(".mp4", shown_by(0, -1, 1, 0, *SIZE)),
    "mirrored.mp4": _surgery(".mp4", shown_by(-1, 0, 0, 1, *SIZE)),
    "mirrored upside down.mp4": _surgery(".mp4", shown_by(1, 0, 0, -1, *SIZE)),
    "mirrored and rotated by 90.mp4": _surgery(".mp4", shown_by(0, 1, 1, 0, *SIZE)),
    "mirrored and rotated by 270.mov": _surgery(".mov", shown_by(0, -1, -1, 0, *SIZE)),
    "edit list.mp4": _edit_list,
    "changing size.ts": _changing_size("libx264"),
    "changing size.mkv": _changing_size("libx264"),
    "changing size.mp4": _changing_size("libx264"),
    "changing size.webm": _changing_size("libvpx"),
    "changing size.mpg": _changing_size("mpeg2video"),
    "changing size.avi": _changing_size("mjpeg"),
    "changing size and joined.ts": _changing_size_joined,
    "restarted.ts": _joined,
    "restarted.mpg": _joined,
    "restarted h264.ts": _joined,
    "sound goes on.mkv": _long_sound,
    "sound goes on.ts": _long_sound,
    "sound goes on.wmv": _long_sound,
    "sound goes on.mp4": _long_sound,
    "sound begins first.mkv": _early_sound,
    "sound begins first.ts": _early_sound,
    "sound begins first.mp4": _early_sound,
    "recorder.dav": _dav,
    "two videos.mkv": _two_videos,
    "with sound.mp4": _with_sound,
    "with subtitles.mp4": _subtitled,
    "video with cover.mp4": _video_with_cover,
    "bad only sound.mp4": _only_sound,
    "bad sound with cover.m4v": _sound_with_cover,
    "cut.mp4": _surgery(".mp4", shorter(0.6)),
    "cut index at the front.mp4": _surgery(".mp4", shorter(0.6), "-movflags", "+faststart"),
    "cut.mkv": _surgery(".mkv", shorter(0.6)),
    "cut.avi": _surgery(".avi", shorter(0.6), "-c:v", "mpeg4"),
    "cut.webm": _surgery(".webm", shorter(0.6), "-c:v", "libvpx"),
    "cut.ts": _surgery(".ts", shorter(0.6)),
    "cut.flv": _surgery(".flv", shorter(0.6)),
    "cut.wmv": _surgery(".wmv", shorter(0.6), "-c:v", "wmv2"),
    "cut fragmented.mp4": _surgery(".mp4", shorter(0.6), "-movflags", "frag_keyframe+empty_moov", "-g", "10"),
    "cut mid-frame.mkv": _surgery(".mkv", lambda c: bytes(c[:-300])),
    "bad cut to the header.mp4": _surgery(".mp4", lambda c: bytes(c[:40])),
    "bad cut to the header.mkv": _surgery(".mkv", lambda c: bytes(c[:60])),
    "bad without index.mp4": _surgery(".mp4", without_box(b"moov")),
    "without index.avi": _surgery(".avi", avi_without_index, "-c:v", "mpeg4"),
    "broken noise in the middle.mp4": _surgery(".mp4", noise(0.4, 0.5), *LONG_GOP),
    "broken noise in the middle.mkv": _surgery(".mkv", noise(0.4, 0.5), *LONG_GOP),
    "broken noise in the middle.avi": _surgery(".avi", noise(0.4, 0.5), "-c:v", "mpeg4"),
    "broken noise in the middle.ts": _surgery(".ts", noise(0.4, 0.5), *H264, *LONG_GOP),
    "broken lost packets.ts": _surgery(".ts", lost_packets, *H264, *LONG_GOP),
    "broken lost packets, mpeg2.ts": _surgery(".ts", lost_packets),
    "broken zeros in the middle.mp4": _surgery(".mp4", zeros(0.4, 0.5), *LONG_GOP),
    "broken zeros in the middle.mkv": _surgery(".mkv", zeros(0.4, 0.5), *LONG_GOP),
    "broken sparse bit flips.mp4": _surgery(".mp4", noise(0.1, 0.8, every=997)),
    "hurt noise at the start.mp4": _surgery(".mp4", noise(0.0, 0.02)),
    "hurt index.mp4": _surgery(".mp4", noise(0.96, 0.99)),
    "hurt sample count.mp4": _surgery(".mp4", lie(b"stsz", 8, 400)),
    "hurt huge sample count.mp4": _surgery(".mp4", lie(b"stsz", 8, 0x7FFFFFFF)),
    "hurt huge size.mp4": _surgery(".mp4", lie(b"avc1", 24, 0x7FFF7FFF)),
    "hurt duration.mp4": _surgery(".mp4", lie(b"mdhd", 16, 0xFFFFFFF0)),
    "hurt zero time scale.mp4": _surgery(".mp4", lie(b"mdhd", 12, 0)),
    "hurt more frames promised.avi": _surgery(".avi", avi_lies(400), "-c:v", "mpeg4"),
    "hurt fewer frames promised.avi": _surgery(".avi", avi_lies(10), "-c:v", "mpeg4"),
    "hurt impossible number of frames.avi": _surgery(".avi", avi_lies(0xFFFF8028), "-c:v", "mpeg4"),
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
    "names/http:host.mp4": _named,
    os.fsdecode(b"names/no utf-8 \xff\xfe.mp4"): _named,
    "names/" + "long" * 50 + ".mp4": _named,
}


def files(folder: Path) -> list[Path]:
    """Everything in the corpus; hidden files are the makers' own."""
    found = (Path(top, name) for top, folders, names in os.walk(folder) for name in (*folders, *names))
    return sorted(p for p in found if p.suffix and not p.name.startswith("."))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if shutil.which("ffmpeg") is None:
        raise SystemExit("ffmpeg is not installed; it makes the files")
    make(folder)
    print(f"{len(files(folder))} files in {folder}")


if __name__ == "__main__":
    main()
