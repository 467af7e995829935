"""The kernels of :mod:`ssrl_pipeline.extractors.engines.triton`, in Triton.

Dimensions: N clips, T frames, H x W positions, C channels, O output channels. A clip has
L = T * (H + below) * (W + beside) positions in memory; those behind its rows and frames are zero.
"""

import triton
import triton.language as tl

_SIZES = ["x_frames", "x_rows", "x_pitch", "y_frames", "y_height", "y_rows", "y_width", "y_pitch"]
_SIZES += ["front_t", "front_h", "front_w"]


@triton.jit(do_not_specialize=["clips", "tiles", "blocks", "outputs", "width", "pitch", "height", "rows"])
def convolve(
    x,  # descriptor of [N, L, C]
    weights,  # descriptor of [taps * CHUNKS * BC, O]
    more_weights,  # the same, in blocks of MORE outputs
    bias,  # float32 [O]
    y,  # descriptor of [N, L, O]
    more_y,
    clips,
    tiles,  # of BM positions in a clip
    blocks,  # of BN + MORE channels, of the outputs
    outputs,
    width,
    pitch,  # W + beside
    height,
    rows,  # H + below
    KT: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    STEP: tl.constexpr,  # rows from one tap to the next
    FRONT_T: tl.constexpr,  # how far before its own position a kernel begins
    FRONT_H: tl.constexpr,
    FRONT_W: tl.constexpr,
    CHUNKS: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
    BN: tl.constexpr,
    MORE: tl.constexpr,
    STAGES: tl.constexpr,
    SHARED: tl.constexpr,  # whether a program does more than one tile
):
    """Convolution with stride 1, bias and ReLU: a matrix product for each tap, of shifted positions.

    What lies outside of a clip is read as zero by the copy engine.
    """
    for tile in tl.range(tl.program_id(0), clips * tiles * blocks, tl.num_programs(0), flatten=SHARED):
        channel = tile % blocks * (BN + MORE)  # programs that read the same positions run at the same time
        position = tile // blocks % tiles * BM
        clip = tile // blocks // tiles
        total = tl.zeros((BM, BN), tl.float32)
        if MORE > 0:
            more = tl.zeros((BM, MORE), tl.float32)
        for step in tl.range(KT * KH * KW * CHUNKS, num_stages=STAGES):
            tap = step // CHUNKS
            shift = tap % KW - FRONT_W + (tap // KW % KH * STEP - FRONT_H) * pitch
            if KT > 1:
                shift += (tap // (KW * KH) - FRONT_T) * pitch * rows
            here = x.load([clip, position + shift, step % CHUNKS * BC]).reshape(BM, BC)
            total = tl.dot(here, weights.load([step * BC, channel]), total)
            if MORE > 0:
                more = tl.dot(here, more_weights.load([step * BC, channel + BN]), more)
        positions = position + tl.arange(0, BM)
        inside = (positions % pitch < width) & (positions // pitch % rows < height)
        channels = channel + tl.arange(0, BN)
        total += tl.load(bias + channels, mask=channels < outputs, other=0.0)[None, :]
        total = tl.where(inside[:, None], tl.maximum(total, 0.0), 0.0)
        y.store([clip, position, channel], total.to(y.dtype).reshape(1, BM, BN))
        if MORE > 0:
            channels = channel + BN + tl.arange(0, MORE)
            more += tl.load(bias + channels, mask=channels < outputs, other=0.0)[None, :]
            more = tl.where(inside[:, None], tl.maximum(more, 0.0), 0.0)
            more_y.store([clip, position, channel + BN], more.to(y.dtype).reshape(1, BM, MORE))


@triton.jit(do_not_specialize=["frames", "height", "width", "first_t", "first_h", "first_w", "rows", "pitch"])
def fold_pixels(
    pixels,  # uint8 [N, 3, t, h, w]
    cells,  # [N, before + L + behind, 48]
    frames,
    height,
    width,
    stride_clip,
    stride_colour,
    stride_frame,
    stride_row,
    stride_column,
    first_t,  # the pixel at which the first cell begins
    first_h,
    first_w,
    cells_of_clip,
    rows,
    pitch,
    twice_mean,
    BEFORE: tl.constexpr,  # cells before the first position
    BLOCK: tl.constexpr,
):
    """Pixels as cells of 2x4x2 of them: 48 numbers, 2 * (x - mean), which bfloat16 holds to the last bit."""
    clip = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    cell = at - BEFORE
    number = tl.arange(0, 64)  # place in t, h, w, then colour; 16 of them do not exist
    colour, place = number % 3, number // 3
    x = (cell % pitch * 2 + first_w)[:, None] + (place % 2)[None, :]
    y = (cell // pitch % rows * 2 + first_h)[:, None] + (place // 2 % 4)[None, :]
    t = (cell // pitch // rows * 2 + first_t)[:, None] + (place // 8)[None, :]
    inside = (cell >= 0)[:, None] & (number < 48)[None, :]
    inside &= (x >= 0) & (x < width) & (y >= 0) & (y < height) & (t >= 0) & (t < frames)
    offset = clip * stride_clip + colour[None, :] * stride_colour
    offset += t * stride_frame + y * stride_row + x * stride_column
    value = tl.load(pixels + offset, mask=inside, other=0).to(tl.float32) * 2 - twice_mean
    value = tl.where(inside, value, 0.0)
    to = cells + (clip * cells_of_clip + at)[:, None] * 48 + number[None, :]
    written = (at < cells_of_clip)[:, None] & (number < 48)[None, :]
    tl.store(to, value.to(cells.dtype.element_ty), mask=written)


@triton.jit(do_not_specialize=_SIZES)
def pool(
    x,  # [N, L, C], positions `x_position` apart
    y,  # [N, L', C], positions `y_position` apart
    channels,
    x_clip,
    x_position,
    x_frames,
    x_rows,
    x_pitch,
    y_clip,
    y_position,
    y_frames,
    y_height,
    y_rows,
    y_width,
    y_pitch,
    front_t,
    front_h,
    front_w,
    KT: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    ST: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    BM: tl.constexpr,
    BC: tl.constexpr,
):
    """Max pooling of numbers that are not negative: zeros are its padding.

    A program goes through all frames of some places.
    """
    clip = tl.program_id(2).to(tl.int64)
    place = tl.program_id(0) * BM + tl.arange(0, BM)
    channel = tl.program_id(1) * BC + tl.arange(0, BC)
    column, row = place % y_pitch, place // y_pitch
    inside = (column < y_width) & (row < y_height)
    wanted = (row < y_rows)[:, None] & (channel < channels)[None, :]
    top, left = row * SH - front_h, column * SW - front_w
    x += clip * x_clip
    y += clip * y_clip + (place * y_position)[:, None] + channel[None, :]
    none = tl.zeros((BM, BC), tl.float32)
    sizes = x_position, x_frames, x_rows, x_pitch
    overlap: tl.constexpr = KT == 3 and ST == 1
    before, last = none, none  # of the two frames that the next window sees again
    if overlap:
        last = _greatest(x, 0, top, left, inside, channel, channels, *sizes, none, KH, KW)
    for frame in range(y_frames):
        most = none
        if overlap:
            ahead = _greatest(x, frame + 1, top, left, inside, channel, channels, *sizes, none, KH, KW)
            most = tl.maximum(tl.maximum(before, last), ahead)
            before, last = last, ahead
        else:
            for k in tl.static_range(KT):
                t = frame * ST - front_t + k
                here = _greatest(x, t, top, left, inside, channel, channels, *sizes, none, KH, KW)
                most = tl.maximum(most, here)
        tl.store(y + frame * y_rows * y_pitch * y_position, most.to(y.dtype.element_ty), mask=wanted)


@triton.jit
def _greatest(
    x,
    t,
    top,
    left,
    inside,
    channel,
    channels,
    x_position,
    x_frames,
    x_rows,
    x_pitch,
    none,
    KH: tl.constexpr,
    KW: tl.constexpr,
):
    """Of a window within one frame."""
    most = none
    inside &= (t >= 0) & (t < x_frames)
    for kh in tl.static_range(KH):
        h = top + kh
        for kw in tl.static_range(KW):
            w = left + kw
            there = inside & (h >= 0) & (h < x_rows) & (w >= 0) & (w < x_pitch)
            offset = ((t * x_rows + h) * x_pitch + w) * x_position
            mask = there[:, None] & (channel < channels)[None, :]
            value = tl.load(x + offset[:, None] + channel[None, :], mask=mask, other=0)
            most = tl.maximum(most, value.to(tl.float32))
    return most
