"""Generated corpus in IEMOCAP's layout, for tests that need known labels."""

import json
import os
import pathlib
import shutil
import tempfile

import numpy as np
import soundfile

from ser_keras._files import written
from ser_keras.corpora import voice

MARKER = "SYNTHETIC_CORPUS.json"
EMOTIONS = ("neutral", "happiness", "sadness", "anger")

_CODES = ("neu", "hap", "sad", "ang")  # The same, as IEMOCAP writes them.
_NOTICE = (
    "Synthetic speech written by ser_keras in the layout of IEMOCAP. These are "
    "not recordings and not IEMOCAP; no score on them says anything about real "
    "speech."
)
_VERSION = 1  # Counts changes of what the same settings generate.


def write_synthetic_corpus(
    root: str | pathlib.Path,
    num_sessions: int = 5,
    utterances_per_emotion: int = 10,
    seed: int = 0,
) -> pathlib.Path:
    """Writes a corpus of synthetic speech in IEMOCAP's original layout.

    A source-filter synthesizer says nonsense sentences. The emotions differ in
    level and range of the pitch, loudness, tempo and spectral tilt, as they do
    in acted speech, and overlap; sentences, which every speaker says in every
    emotion, do not tell them apart. Each session has a female and a male
    speaker with voices of their own. The same settings give the same bytes.

    A folder that already holds this corpus is left as it is.

    Args:
        root: Folder to create.
        num_sessions: Number of sessions, two speakers each.
        utterances_per_emotion: Utterances of each speaker in each emotion.
        seed: Which voices and utterances are generated.

    Returns:
        Path of the folder, for `load_corpus("iemocap", root)`.

    Raises:
        FileExistsError: If `root` holds anything else.

    >>> import tempfile
    >>> from ser_keras.corpora.parsers import load_corpus
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     root = write_synthetic_corpus(folder + "/corpus", 2, 1)
    ...     len(load_corpus("iemocap", root))
    16
    """
    settings = {
        "num_sessions": num_sessions,
        "utterances_per_emotion": utterances_per_emotion,
        "seed": seed,
        "version": _VERSION,
    }
    for name in ("num_sessions", "utterances_per_emotion"):
        if not isinstance(settings[name], int) or settings[name] < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. "
                f"Received: {name}={settings[name]}"
            )
    root = pathlib.Path(root).expanduser()
    if _holds(root, settings):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # Written beside, then renamed: nobody ever sees half a corpus.
    temporary = pathlib.Path(
        tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent)
    )
    try:
        for session in range(1, num_sessions + 1):
            _write_session(temporary, session, utterances_per_emotion, seed)
        marker = {"notice": _NOTICE, "settings": settings}
        (temporary / MARKER).write_text(json.dumps(marker, indent=2) + "\n")
        temporary.chmod(0o755)  # mkdtemp makes it private.
        try:
            os.replace(temporary, root)
            written(root)
        except OSError:
            # Another process may have been faster with the same corpus.
            if not _holds(root, settings):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return root


def is_synthetic(root: str | pathlib.Path) -> bool:
    """Whether a folder was written by `write_synthetic_corpus`."""
    return (pathlib.Path(root) / MARKER).is_file()


def _holds(root, settings):
    """Whether `root` holds this corpus already; another content raises."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / MARKER).read_text())["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        found = "files that are not a synthetic corpus"
    if found != settings:
        raise FileExistsError(
            f"{root} must be a new folder or hold the synthetic corpus with "
            f"settings {settings}. Found: {found}. Nothing was changed; choose "
            "another folder or remove it yourself."
        )
    return True


def _write_session(root, session, utterances_per_emotion, seed):
    folder = root / f"Session{session}"
    speakers = {
        sex: voice.Speaker.draw(
            sex, np.random.default_rng([seed, session, number])
        )
        for number, sex in enumerate("FM")
    }
    # Half of the sentences are improvised dialogues, half scripted ones, so
    # that the parser's options have something to choose from.
    turns = {"impro": [], "script": []}
    for take in range(utterances_per_emotion):
        for emotion in range(len(EMOTIONS)):
            part = "script" if (take + emotion) % 2 else "impro"
            turns[part] += [(take, emotion, sex) for sex in "FM"]
    for part, rows in turns.items():
        name = f"Ses{session:02d}F_{part}01" + (
            "_1" if part == "script" else ""
        )
        wavs = folder / "sentences" / "wav" / name
        wavs.mkdir(parents=True)
        clock, annotations, transcripts = 0.0, [], []
        for number, (take, emotion, sex) in enumerate(rows):
            turn = f"{name}_{sex}{number // 2:03d}"
            words = voice.SENTENCES[take % len(voice.SENTENCES)]
            rng = np.random.default_rng(
                [seed, session, take, emotion, ord(sex)]
            )
            samples = voice.speak(words, speakers[sex], EMOTIONS[emotion], rng)
            soundfile.write(
                wavs / f"{turn}.wav", samples, voice.SAMPLE_RATE, "PCM_16"
            )
            end = clock + len(samples) / voice.SAMPLE_RATE
            code = _CODES[emotion]
            annotations.append(
                f"[{clock:.4f} - {end:.4f}]\t{turn}\t{code}\t"
                "[2.5000, 2.5000, 2.5000]\n"
                f"C-E1:\t{EMOTIONS[emotion].capitalize()};\t(synthetic)\n"
            )
            transcripts.append(
                f"{turn} [{clock:08.4f}-{end:08.4f}]: {' '.join(words)}\n"
            )
            clock = end + 0.3
        _write(
            folder / "dialog" / "EmoEvaluation" / f"{name}.txt",
            "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
            + "\n".join(annotations),
        )
        _write(
            folder / "dialog" / "transcriptions" / f"{name}.txt",
            "".join(transcripts),
        )


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
