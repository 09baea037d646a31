"""Benchmarks declared from the test split of a corpus; ``TASKS`` is the list of all of them."""

from data.benchmarks.base import Benchmark
from data.benchmarks.motion import TEXT_TO_VIDEO_MOTION, TEXT_TO_VIDEO_OBJECT, VIDEO_TO_TEXT
from data.benchmarks.pictures import COMPOSED_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE
from data.benchmarks.speech import SPEECH_TO_IMAGE, SPEECH_TO_TEXT
from data.benchmarks.texts import BITEXT, BITEXT_BACK, DOCSTRING_TO_CODE, HEADING_TO_PASSAGE

TASKS: dict[str, Benchmark] = {
    "text_to_image": TEXT_TO_IMAGE,
    "image_to_text": IMAGE_TO_TEXT,
    "composed_to_image": COMPOSED_TO_IMAGE,
    "speech_to_text": SPEECH_TO_TEXT,
    "speech_to_image": SPEECH_TO_IMAGE,
    "text_to_video_object": TEXT_TO_VIDEO_OBJECT,
    "text_to_video_motion": TEXT_TO_VIDEO_MOTION,
    "video_to_text": VIDEO_TO_TEXT,
    "bitext": BITEXT,
    "bitext_back": BITEXT_BACK,
    "heading_to_passage": HEADING_TO_PASSAGE,
    "docstring_to_code": DOCSTRING_TO_CODE,
}
