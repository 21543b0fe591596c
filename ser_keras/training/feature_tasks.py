"""Features of a corpus, computed as tasks of an engine."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

from ser_keras._files import write_text
from ser_keras.audio.io import AudioError
from ser_keras.corpora.manifest import Manifest
from ser_keras.features.preprocessor import PREPROCESSOR_FILE
from ser_keras.features.preprocessor import load_preprocessor
from ser_keras.training.engines.fan_out import check_files
from ser_keras.training.engines.fan_out import run_tasks

if TYPE_CHECKING:
    from ser_keras.audio.alterations import Alteration
    from ser_keras.features.feature_set import FeatureSet
    from ser_keras.features.streams import FeatureStreams

#: Utterances of one task: what a lost worker has to do again.
SHARD = 256


def compute_in_tasks(
    preprocessor: Any,
    manifest: Manifest,
    cache_dir: str | os.PathLike[str],
    jobs: int,
    *,
    make: Callable[[], Any] | None = None,
    engine: str = "local",
    skip_bad_audio: bool = False,
    alteration: Alteration | None = None,
) -> FeatureSet | FeatureStreams:
    """Computes features in shards of 256 utterances, tasks of an engine.

    What the cache has is not computed again, and no task is begun for a single
    shard: this process computes that. A worker that is lost costs its shard. A
    run that is killed goes on from what is in the cache.

    It pays with several machines. On one, `Preprocessor.compute` uses all
    cores already.

    Args:
        preprocessor: `Preprocessor`, `DeepFeatures` or `StreamPreprocessors`.
        manifest: `Manifest`.
        cache_dir: Folder of the cache, on a disk that all workers see.
        jobs: Shards at the same time.
        make: Picklable function without arguments that returns an equal
            preprocessor in a worker. By default it is loaded there from its
            configuration, which is possible if it has no class of your own.
        engine: See `run_tasks`.
        skip_bad_audio: See `Preprocessor.compute`.
        alteration: Likewise; of a `Preprocessor` only.

    Returns:
        What `compute` of the preprocessor returns.

    Raises:
        AudioError: There is bad audio and it is not to be skipped.
        RuntimeError: A task failed, see `run_tasks`.

    Example:
        ```python
        features = ser_keras.training.compute_in_tasks(
            preprocessor, manifest, "features", 8, engine="slurm"
        )
        ```
    """
    options = {} if alteration is None else {"alteration": alteration}
    missing = preprocessor.missing(manifest, cache_dir, **options)
    if len(missing) > SHARD:
        folder = pathlib.Path(cache_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        # Of this call alone: what is finished is known from the cache.
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tasks_", dir=folder))
        if make is None:
            file = folder / PREPROCESSOR_FILE
            preprocessor.save(file)
            make = functools.partial(load_preprocessor, file)
        some = Manifest(missing, manifest.labels)
        _run(make, some, folder, jobs, engine, options)
        shutil.rmtree(folder, ignore_errors=True)
    return preprocessor.compute(
        manifest, cache_dir, skip_bad_audio=skip_bad_audio, **options
    )


def _run(make, missing, folder, jobs, engine, options):
    calls, logs, finals = {}, {}, {}
    for first in range(0, len(missing), SHARD):
        name = f"features_{first // SHARD + 1:05d}"
        shard = missing[first : first + SHARD]
        finals[name] = folder / name / "done.txt"
        logs[name] = folder / name / "log.txt"
        sizes = [
            (os.path.abspath(path), os.path.getsize(path))
            for path in dict.fromkeys(u.path for u in shard)
            if os.path.isfile(path)  # Of others `compute` says what is wrong.
        ]
        calls[name] = make, shard, folder.parent, sizes, finals[name], options
    run_tasks(
        _compute_shard,
        calls,
        jobs,
        logs,
        engine=engine,
        folder=folder,
        finals=finals,
    )


def _compute_shard(make, shard, cache_dir, sizes, final, options):
    check_files(sizes)
    # Of bad audio the submitter tells, which looks at it again.
    with contextlib.suppress(AudioError):
        make().compute(shard, cache_dir, skip_bad_audio=True, **options)
    write_text(final, f"{len(shard)} utterances\n")
