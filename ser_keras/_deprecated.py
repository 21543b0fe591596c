"""Names and modules of the release before, which still work for this one.

Whoever uses one of them gets a DeprecationWarning that names its new place.
The tables below are emptied with the release after.
"""

import functools
import importlib
import importlib.machinery
import sys
import warnings
from collections.abc import Callable
from typing import Any
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])

#: Public names that were moved or renamed, old to new, within `ser_keras`.
NAMES = {
    "CompareConfig": "experiments.CompareConfig",
    "EmoDARTSConfig": "experiments.EmoDARTSConfig",
    "EmotionNASConfig": "experiments.EmotionNASConfig",
    "Extractor": "features.Extractor",
    "KerasExtractor": "features.KerasExtractor",
    "LightSERNetConfig": "experiments.LightSERNetConfig",
    "LiteRTExtractor": "features.LiteRTExtractor",
    "ModelCard": "export.ModelCard",
    "ONNXExtractor": "features.ONNXExtractor",
    "OpenSmileExtractor": "features.OpenSmileExtractor",
    "RunFolder": "training.RunFolder",
    "SeenAudio": "protocols.ExposedAudio",
    "StreamingRecognizer": "serving.StreamingRecognizer",
    "TransformersExtractor": "features.TransformersExtractor",
    "TuneConfig": "experiments.tune_config_class",
    "audit_corpus": "protocols.audit_corpus",
    "built_in_corpus": "corpora.built_in_corpus",
    "combine_corpora": "corpora.combine_corpora",
    "compare_protocol": "experiments.corpus.protocol_for",
    "confidence_interval": "evaluation.confidence_interval",
    "count_macs": "models.count_macs",
    "derive_network": "search.derive_network",
    "download_corpus": "corpora.download_corpus",
    "export_serving": "export.saved_model.export.export_serving",
    "export_streams": "export.saved_model.export.export_streams",
    "extract_features": "features.extract_features",
    "features_for": "features.features_for",
    "halves": "protocols.halves",
    "hold_out_speakers": "protocols.hold_out_speakers",
    "keep_memory": "memory.keep_memory",
    "leave_one_session_out": "protocols.leave_one_session_out",
    "leave_one_speaker_out": "protocols.leave_one_speaker_out",
    "load_serving": "export.load_saved_model",
    "map_labels": "corpora.map_labels",
    "random_folds_shared_speakers": "protocols.random_folds_shared_speakers",
    "read_features": "features.read_feature_store",
    "run_compare": "experiments.run_compare",
    "run_emodarts": "experiments.run_experiment",
    "run_emotionnas": "experiments.run_experiment",
    "run_light_sernet": "experiments.run_experiment",
    "run_tune": "experiments.run_tune",
    "speaker_groups": "protocols.speaker_groups",
    "strategy": "training.strategy",
    "with_frontend": "models.with_frontend",
    "export.ServingModel": "export.SavedModel",
    "export.export_serving": "export.saved_model.export.export_serving",
    "export.load_serving": "export.load_saved_model",
    "search.DropPathSchedule": "models.DropPathSchedule",
    "training.run_in_processes": "training.run_tasks",
    "write_html": "reports.write_html",
    "write_markdown": "reports.write_markdown",
}

#: Modules that were moved, old to new, within `ser_keras`; None is a package of
#: which nothing is left but modules that were moved.
MODULES = {
    "audio.at_speed": "audio.augmentation.speed",
    "audio.augment": "audio.augmentation.layers",
    "cli.corpus_options": "experiments.corpus",
    "data": None,
    "data.audio_content": "corpora.audio_content",
    "data.audio_content_cache": "corpora.audio_content_cache",
    "data.audit": "protocols.audit",
    "data.corpora": "corpora.parsers",
    "data.corpora.audformat_database": "corpora.parsers.audformat",
    "data.deep_extractors": "features.extractors.base",
    "data.download": "corpora.download",
    "data.extraction": "features.extraction",
    "data.extractor_process": "features.extractors.process",
    "data.feature_store": "features.store",
    "data.features": "features.feature_set",
    "data.gather": "features.gather",
    "data.keras_extractor": "features.extractors.keras",
    "data.label_maps": "corpora.label_maps",
    "data.litert_extractor": "features.extractors.litert",
    "data.litert_graph": "features.extractors.litert_graph",
    "data.manifest": "corpora.manifest",
    "data.manifest_files": "corpora.parsers.manifest",
    "data.onnx_extractor": "features.extractors.onnx",
    "data.opensmile_features": "features.extractors.opensmile",
    "data.pipeline": "features.dataset",
    "data.splits": "protocols.splits",
    "data.streams": "features.streams",
    "data.synthetic": "corpora.synthetic",
    "data.transformers_extractor": "features.extractors.transformers",
    "data.voice": "corpora.voice",
    "distribution": "training.runtime",
    "evaluation.baselines_networks": "models.hand_made",
    "evaluation.cell_drawing": "reports.cell_drawing",
    "evaluation.cell_layout": "reports.cell_layout",
    "evaluation.figures": "reports.figures",
    "evaluation.fold_lists": "protocols.fold_lists",
    "evaluation.fold_parts": "protocols.fold_parts",
    "evaluation.html_report": "reports.html",
    "evaluation.leak_guard": "protocols.leak_guard",
    "evaluation.processes": "training.engines.fan_out",
    "evaluation.progress": "training.progress",
    "evaluation.protocols": "protocols.protocol",
    "evaluation.report": "reports.report",
    "evaluation.report_data": "reports.data",
    "evaluation.report_figures": "reports.report_figures",
    "evaluation.resumable": "training.resumable",
    "evaluation.run_folder": "training.run_folder",
    "evaluation.stream_figure": "reports.stream_figure",
    "evaluation.tracing": "training.tracing",
    "evaluation.training": "training.fit",
    "experiment": "experiments",
    "experiment.deep_stream": "features.deep_features",
    "export.litert_format": "export.litert.file_format",
    "export.litert_model": "export.litert.model",
    "export.model_card": "export.card",
    "export.serving": "export.saved_model.export",
    "export.serving_files": "export.saved_model.serving_files",
    "export.serving_model": "export.saved_model.model",
    "export.serving_signatures": "export.saved_model.signatures",
    "export.two_stream_serving": "export.saved_model.two_streams",
    "export.wav_graph": "export.saved_model.wav_graph",
    "models.traced_once": "models.network",
    "serving.calibration": "serving.confidence",
    "serving.metrics": "serving.prometheus",
    "training.processes": "training.engines.fan_out",
    "tuning": "experiments.tune",
}
_ROOT = "ser_keras."


def find_deprecated(package: str, name: str) -> object:
    """What a former public name of a package stands for now.

    Args:
        package: Such as `"ser_keras"`.
        name: The attribute that was asked for.

    Raises:
        AttributeError: It is no former name of the package.
    """
    old = f"{package}.{name}".removeprefix(_ROOT)
    if old not in NAMES:
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}",
            name=name,
            obj=sys.modules[package],
        )
    # The frames between are this function's and `__getattr__`'s.
    _warn(old, NAMES[old], stacklevel=4)
    module, _, new = (_ROOT + NAMES[old]).rpartition(".")
    return getattr(importlib.import_module(module), new)


def renamed_arguments(**names: str) -> Callable[[_Function], _Function]:
    """Decorator of a function whose keyword arguments were renamed.

    Args:
        **names: Former name to the name of now.

    >>> @renamed_arguments(copies="augmented")
    ... def train(augmented=()):
    ...     return augmented
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     train(copies=(1, 2))
    (1, 2)
    """

    def decorate(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            for old in names.keys() & kwargs.keys():
                warnings.warn(
                    f"`{old}` of `{function.__name__}` is deprecated and will "
                    "be removed in the next release. Use "
                    f"`{names[old]}`.",
                    DeprecationWarning,
                    stacklevel=2,
                )
                kwargs[names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


class _FormerModules:
    """Finder and loader of moved modules: one object under both names.

    Not derived from `importlib.abc`, whose import takes most of the time of
    `import ser_keras`.
    """

    def find_spec(self, fullname, path=None, target=None):
        if not fullname.startswith(_ROOT):
            return None
        new = _new_place(fullname.removeprefix(_ROOT))
        if new is None:
            return None
        # Of a package, so that what is below it is looked for.
        return importlib.machinery.ModuleSpec(
            fullname, self, loader_state=new, is_package=new == ""
        )

    def create_module(self, spec):
        new = spec.loader_state
        if not new:
            return None  # An empty package.
        _warn(spec.name.removeprefix(_ROOT), new, stacklevel=3)
        module = importlib.import_module(_ROOT + new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        # It has been executed; but the import has given it our spec.
        if module.__spec__.loader_state:
            module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Has former modules found. Ahead of all, as old packages are aliases.

    The files of the new package would otherwise be found and executed again
    under the old package's name.
    """
    sys.meta_path.insert(0, _FormerModules())


def _new_place(old):
    """Where a module is now; `""`: an empty package; None: it never moved."""
    if old in MODULES:
        return MODULES[old] or ""
    parent, _, name = old.rpartition(".")
    if parent and (place := _new_place(parent)):
        return f"{place}.{name}"
    return None


def _warn(old, new, stacklevel):
    warnings.warn(
        f"`{_ROOT}{old}` is deprecated and will be removed in the next "
        f"release. Use `{_ROOT}{new}`.",
        DeprecationWarning,
        stacklevel=stacklevel,
    )
