"""Speech by espeak-ng, started anew for each text with the text on its standard input."""

import io
import re
import shutil
import subprocess
import unicodedata
from functools import lru_cache

from data.records import PartRef, Record
from data.synthetic.config import Speech
from data.synthetic.making import Made, Make, Outcome, label_of, synthetic, text_content
from model.content import Modality, media_digest
from model.errors import DataError, OmnivecError

PROGRAM = "espeak-ng"
INSTALL = "install it: `apt-get install espeak-ng` (Debian, Ubuntu), `dnf install espeak-ng`, `brew install espeak-ng`"
MOST_BYTES = 32 * 2**20
_VOICE = re.compile(r"[a-z]{2,4}(-[A-Za-z0-9]+)*(\+[A-Za-z0-9]+)?")


class SpeechError(OmnivecError):
    """One text could not be spoken."""


def maker(config: Speech) -> Make:
    """What the voices make of a record.

    Raises:
        DataError: the program is not installed, or does not know a voice.
    """
    program = find_program()
    check_voices(program, tuple(config.voices.values()))

    def make(record: Record) -> Outcome:
        label = label_of(record)
        if label is None:
            return Outcome(skipped="query_is_no_single_text")
        language = record.languages[0] if record.languages else "und"
        if language not in config.voices:
            return Outcome(skipped="no_voice_for_language")
        if len(label) > config.longest:
            return Outcome(skipped="text_too_long")
        tasks = [task for task in config.makes if task == "speech_to_text" or _has_pictures(record)]
        if not tasks:
            return Outcome(skipped="no_picture")
        try:
            data = say(program, label, config.voices[language], config.words_per_minute, config.seconds)
        except SpeechError as error:
            return Outcome(refused="speech_failed", message=str(error))
        digest = media_digest(data)
        media = {digest: (Modality.AUDIO, data)}
        return Outcome(tuple(Made(_spoken(record, label, digest, language, task), media) for task in tasks))

    return make


def find_program() -> str:
    """Path of espeak-ng.

    Raises:
        DataError: it is not installed; the message says how to.
    """
    found = shutil.which(PROGRAM)
    if found is None:
        raise DataError(f"speech needs the program {PROGRAM}, which is not installed; {INSTALL}")
    return found


@lru_cache(maxsize=4)
def known_voices(program: str) -> frozenset[str]:
    """Languages that the program has a voice for."""
    done = subprocess.run([program, "--voices"], capture_output=True, text=True, timeout=20, check=True)
    return frozenset(line.split()[1] for line in done.stdout.splitlines()[1:] if len(line.split()) > 1)


def check_voices(program: str, voices: tuple[str, ...]) -> None:
    """Refuse voices that are not there, before anything is made.

    Raises:
        DataError: naming them and where the list is.
    """
    known = known_voices(program)
    wrong = [voice for voice in voices if not _VOICE.fullmatch(voice) or voice.partition("+")[0] not in known]
    if wrong:
        raise DataError(
            f"{PROGRAM} has no voice {', '.join(map(repr, wrong))}; `{PROGRAM} --voices` lists its languages"
        )


def say(program: str, text: str, voice: str, words_per_minute: int, seconds: float) -> bytes:
    """Speak a text.

    Args:
        program: path of espeak-ng.
        text: what to say; markup and phoneme codes in it are read as text.
        voice: name of a voice.
        words_per_minute: speed.
        seconds: that the program may take.

    Returns:
        A FLAC file, the same for the same text.

    Raises:
        SpeechError: the program failed, took too long, or said nothing.
    """
    command = [program, "-v", voice, "-s", str(words_per_minute), "-b", "1", "--stdin", "--stdout"]
    try:
        done = subprocess.run(command, input=plain(text).encode(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise SpeechError(f"{PROGRAM} took longer than {seconds:g} s for {text[:80]!r}") from None
    if done.returncode != 0 or len(done.stdout) > MOST_BYTES:
        said = done.stderr.decode(errors="replace").strip()[:200]
        raise SpeechError(f"{PROGRAM} ended with {done.returncode} and {len(done.stdout):,} bytes: {said}")
    return _flac(done.stdout, text)


def plain(text: str) -> str:
    """The text without what the program would obey: control characters, and [[ ]], which hold phoneme codes."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)
    return re.sub(r"([\[\]])(?=\1)", r"\1 ", kept).strip()


def _flac(wave: bytes, text: str) -> bytes:
    """Its WAV as FLAC: half the size, and a header that tells the length, which a streamed WAV does not."""
    import numpy as np
    import soundfile

    if len(wave) <= 44 or wave[:4] != b"RIFF":
        raise SpeechError(f"{PROGRAM} said nothing for {text[:80]!r}")
    rate = int.from_bytes(wave[24:28], "little")
    samples_N = np.frombuffer(wave[44 : len(wave) - len(wave) % 2], dtype="<i2")
    if not np.any(np.abs(samples_N.astype(np.int32)) > 200):
        raise SpeechError(f"{PROGRAM} was silent for {text[:80]!r}")
    file = io.BytesIO()
    soundfile.write(file, samples_N, rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _spoken(record: Record, label: str, digest: str, language: str, task: str) -> Record:
    fields: dict[str, object] = {
        "query": (PartRef(Modality.AUDIO, media=digest),),
        "task": task,
        "languages": (language,),
    }
    if task == "speech_to_text":
        fields |= {"positives": (text_content(label),), "negatives": ()}
    return synthetic(record, f"{task}/{language}", **fields)


def _has_pictures(record: Record) -> bool:
    return all(part.modality is Modality.IMAGE for content in record.positives for part in content)
