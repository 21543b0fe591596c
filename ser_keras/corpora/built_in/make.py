"""Makes the audio of the built-in corpus from a copy of EMO-DB.

    python -m ser_keras.corpora.built_in.make ../shared/corpora/emodb

reads the recordings (16 kHz, 16 bit, mono), keeps those of the four emotions
and writes them as Opus in Ogg to `emodb/` beside this module. The shortest
utterance of each speaker in each emotion is copied to `emodb_smoke/`, and
hashes of the recordings' samples are written to `original_hashes.json`. Ogg
streams have a random serial number, so files made again differ in some bytes;
the samples that are decoded from them are the same.
"""

import argparse
import json
import pathlib
import shutil

import soundfile

from ser_keras.corpora.audio_content import audio_contents
from ser_keras.corpora.built_in import FOLDER
from ser_keras.corpora.built_in import LABELS
from ser_keras.corpora.manifest import Manifest
from ser_keras.corpora.parsers import load_corpus

# Of libsndfile, from 0 (256 kbit/s) to 1 (6 kbit/s). All files together must
# be below 4 MB; benchmarks/built_in_corpus.py has measured what is lost.
COMPRESSION_LEVEL = 0.91


def encode(
    manifest: Manifest,
    folder: str | pathlib.Path,
    subtype: str = "OPUS",
    level: float = COMPRESSION_LEVEL,
) -> None:
    """Writes a manifest's audio to a folder, under the same file stems.

    Args:
        manifest: `Manifest` of whole files.
        folder: Folder to create; it must not exist.
        subtype: Coding, `"OPUS"` or `"VORBIS"`.
        level: Compression level of libsndfile, 0 to 1.

    Raises:
        FileExistsError: The folder exists.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for utterance in manifest:
        samples, rate = soundfile.read(utterance.path, dtype="float32")
        soundfile.write(
            folder / f"{utterance.id}.ogg",
            samples,
            rate,
            format="OGG",
            subtype=subtype,
            compression_level=level,
        )


def smoke_ids(manifest: Manifest) -> list[str]:
    """Ids of the shortest utterance of each speaker with each label, sorted."""
    shortest: dict[tuple[str, str], tuple[int, str]] = {}
    for utterance in manifest:
        key = (utterance.speaker, utterance.label)
        length = (soundfile.info(utterance.path).frames, utterance.id)
        shortest[key] = min(length, shortest.get(key, length))
    return sorted(name for _, name in shortest.values())


def main() -> None:
    """Runs the script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("emodb", help="folder of EMO-DB's recordings")
    manifest = load_corpus("emodb", parser.parse_args().emodb, labels=LABELS)
    for name in ("emodb", "emodb_smoke"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
    encode(manifest, FOLDER / "emodb")
    (FOLDER / "emodb_smoke").mkdir()
    for name in smoke_ids(manifest):
        shutil.copy(FOLDER / "emodb" / f"{name}.ogg", FOLDER / "emodb_smoke")
    hashes = {k: x.hash for k, x in audio_contents(manifest).items()}
    (FOLDER / "original_hashes.json").write_text(
        json.dumps(hashes, indent=0) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
