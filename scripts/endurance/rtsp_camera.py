"""A camera on RTSP, for the trial: PORT PICTURES SCHEDULE WIDTH HEIGHT FPS BEGUN.

To be run by the system's Python, which has GStreamer's bindings. It shows what its schedule says for this
moment, so one that is killed and started again goes on where it would have been.

PICTURES holds RGB pictures, one after the other. SCHEDULE holds two int32 for each frame since BEGUN
(seconds since 1970): which picture is shown, -1 is a black one, and the number to draw into it.
"""

import array
import mmap
import sys
import threading
import time
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 (after the versions)

BITS, SQUARE = 20, 16  # as live_stream.mark draws them
port, pictures, schedule, width, height, fps, begun = sys.argv[1:8]
WIDTH, HEIGHT, FPS, BEGUN = int(width), int(height), int(fps), float(begun)
SIZE = 3 * WIDTH * HEIGHT
LAUNCH = f"""( appsrc name=source is-live=true format=time do-timestamp=true
    caps=video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate={FPS}/1
  ! videoconvert ! video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=veryfast
    pass=qual quantizer=20 key-int-max={2 * FPS} threads=1
  ! rtph264pay name=pay0 pt=96 config-interval=-1 )"""

Gst.init(None)
with Path(pictures).open("rb") as file:
    shown = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
plan = array.array("i", Path(schedule).read_bytes())
sources = []  # of the media that somebody watches


def picture(number):
    which, mark = plan[2 * number], plan[2 * number + 1]
    if which < 0:
        return bytes(SIZE)
    image = bytearray(shown[which * SIZE : (which + 1) * SIZE])
    row = b"".join((b"\xff" if mark >> bit & 1 else b"\0") * 3 * SQUARE for bit in range(BITS))
    for y in range(SQUARE):
        image[y * 3 * WIDTH : y * 3 * WIDTH + len(row)] = row
    return bytes(image)


def show():
    number = max(0, int((time.time() - BEGUN) * FPS) + 1)
    while number < len(plan) // 2:
        time.sleep(max(0.0, BEGUN + number / FPS - time.time()))
        buffer = Gst.Buffer.new_wrapped(picture(number))
        for source in list(sources):
            if source.emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                sources.remove(source)  # nobody watches it any more
        number += 1


server, factory = GstRtspServer.RTSPServer(), GstRtspServer.RTSPMediaFactory()
server.set_service(port)
factory.set_launch(LAUNCH)
factory.set_shared(True)
factory.connect("media-configure", lambda _, media: sources.append(media.get_element().get_by_name("source")))
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
threading.Thread(target=show, daemon=True).start()
GLib.MainLoop().run()
