"""Bodies for POST /v1/video/analyze that work when they are pasted."""

from __future__ import annotations

import base64
import zlib

from multimodal.api.openapi import Examples

TINY_CLIP = zlib.decompress(
    base64.b64decode(
        "eNrtUj1PwzAQvXwMlShbBoYMHjIwwMpaBlRlAImpE0NM7ChR7QZskwK/nrNDGtOWCsrKkx2fz/fexXcGgKQyb0/PhhCAEPoV"
        "JuuGcYDgXDJqyKz4HwcGQGRk23ZYNyG7msFXXOMsIAA7RgRbUcEu6QBCzAlG0SXaD2bpckZ71Iod5k/yTnDGbptxZjSuKRfa"
        "eIxi5IYgWUPRIJJ9c/celzUTyhqyFqpz72vEdIGONqcrJjgGBUI2qwr9SSedqP+bF4MQQ6EXJYgvdHJDDd3oQMZ6nZQpXnkX"
        "mH7yXFu0eRRoV9po5sUsFF0Tv0zz+d19v41tkWLI0cyHiNNb2pUEOfZu7Z6mnfVfbVxJB1XbNpslxeyl5x/O7Jrg2bvX0qj3"
        "la0Xn+G8qhTn8FvMjmJt8Po3+nH4AB5bl4E="
    )
)
"""Three frames of 8 x 4 pixels, 1.5 s, raw RGB in a QuickTime file. All its bytes are ASCII, so that it can
stand in the document as a file of a form. It is

    ffmpeg -f lavfi -i color=c=0x204060:s=8x4:r=2:d=1.5 -c:v rawvideo -pix_fmt rgb24 -fflags +bitexact
        -flags:v +bitexact -movie_timescale 64 -video_track_timescale 64 clip.mov

with the boxes `fiel` and `pasp` left out, language and colour table set to 0, and boxes filled up with `free`
until their sizes are ASCII.
"""

_CLIP_URL = f"data:video/quicktime;base64,{base64.b64encode(TINY_CLIP).decode()}"

VIDEO_EXAMPLES: Examples = {
    "scenes": {"video_url": {"url": _CLIP_URL}, "frame_sampling": "scene"},
    "question": {
        "video_url": {"url": _CLIP_URL},
        "frame_sampling": "uniform",
        "max_frames": 4,
        "prompt": "What happens in the video?",
        "max_tokens": 32,
        "stream": True,
        "stream_options": {"include_stages": True},
    },
}

VIDEO_FORM_EXAMPLES: Examples = {
    "question": {
        "file": TINY_CLIP.decode("ascii"),
        "frame_sampling": "keyframes",
        "prompt": "What happens in the video?",
        "max_tokens": 32,
    },
}
