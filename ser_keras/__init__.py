"""Speech emotion recognition in Keras 3, with architecture search.

Public names are imported on first use, so that `import ser_keras` is quick and
quiet, and so that a genotype can be read where there is no TensorFlow.

>>> import ser_keras
>>> ser_keras.UnweightedAverageRecall.__module__
'ser_keras.metrics.recall'
"""

import os
from typing import TYPE_CHECKING

from ser_keras._lazy import lazy

__version__ = "0.1.0"

# TensorFlow's oneDNN kernels, which it switches on by itself only where the
# processor has AVX-512 VNNI. Elsewhere they make our steps faster as well (the
# README has figures). It must be said before TensorFlow is imported; who set
# the variable, to 0 for instance, is left alone.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

if TYPE_CHECKING:
    from ser_keras._registry import load_model
    from ser_keras._registry import package_versions
    from ser_keras.audio.fixed_duration import FixedDuration
    from ser_keras.audio.log_mel import LogMelSpectrogram
    from ser_keras.audio.mfcc import MFCC
    from ser_keras.audio.normalization import UtteranceNormalization
    from ser_keras.audio.spectrogram import Spectrogram
    from ser_keras.data.audit import audit_corpus
    from ser_keras.data.corpora import load_corpus
    from ser_keras.data.deep_extractors import Extractor
    from ser_keras.data.download import download_corpus
    from ser_keras.data.extraction import extract_features
    from ser_keras.data.extraction import read_features
    from ser_keras.data.features import features_for
    from ser_keras.data.keras_extractor import KerasExtractor
    from ser_keras.data.label_maps import combine_corpora
    from ser_keras.data.label_maps import map_labels
    from ser_keras.data.litert_extractor import LiteRTExtractor
    from ser_keras.data.manifest import Manifest
    from ser_keras.data.onnx_extractor import ONNXExtractor
    from ser_keras.data.opensmile_features import OpenSmileExtractor
    from ser_keras.data.pipeline import bilevel
    from ser_keras.data.pipeline import make_dataset
    from ser_keras.data.splits import halves
    from ser_keras.data.splits import hold_out_speakers
    from ser_keras.data.splits import leave_one_session_out
    from ser_keras.data.splits import leave_one_speaker_out
    from ser_keras.data.splits import random_folds_shared_speakers
    from ser_keras.data.splits import speaker_groups
    from ser_keras.data.streams import FeatureStreams
    from ser_keras.data.synthetic import built_in_corpus
    from ser_keras.data.transformers_extractor import TransformersExtractor
    from ser_keras.determinism import be_deterministic
    from ser_keras.distribution import strategy
    from ser_keras.evaluation.comparison import compare_predictions
    from ser_keras.evaluation.cross_validation import cross_validate
    from ser_keras.evaluation.html_report import write_html
    from ser_keras.evaluation.html_report import write_markdown
    from ser_keras.evaluation.leak_guard import SeenAudio
    from ser_keras.evaluation.predict import predict
    from ser_keras.evaluation.protocols import get_protocol
    from ser_keras.evaluation.run_folder import RunFolder
    from ser_keras.evaluation.scores import confidence_interval
    from ser_keras.evaluation.scores import score
    from ser_keras.evaluation.training import search_architecture
    from ser_keras.evaluation.training import train_network
    from ser_keras.experiment.compare import CompareConfig
    from ser_keras.experiment.compare import compare_protocol
    from ser_keras.experiment.compare import run_compare
    from ser_keras.experiment.emodarts import EmoDARTSConfig
    from ser_keras.experiment.emodarts import run_emodarts
    from ser_keras.experiment.emotionnas import EmotionNASConfig
    from ser_keras.experiment.emotionnas import run_emotionnas
    from ser_keras.experiment.light_sernet import LightSERNetConfig
    from ser_keras.experiment.light_sernet import run_light_sernet
    from ser_keras.experiment.tune import TuneConfig
    from ser_keras.experiment.tune import run_tune
    from ser_keras.export.litert import export_litert
    from ser_keras.export.litert_model import load_litert
    from ser_keras.export.model_card import ModelCard
    from ser_keras.export.serving import export_serving
    from ser_keras.export.serving_model import load_serving
    from ser_keras.export.two_stream_serving import export_streams
    from ser_keras.genotype import Genotype
    from ser_keras.genotype import TwoStreamGenotype
    from ser_keras.losses.focal import SparseCategoricalFocalCrossentropy
    from ser_keras.memory import keep_memory
    from ser_keras.metrics.recall import UnweightedAverageRecall
    from ser_keras.models.cell_network import CellNetwork
    from ser_keras.models.complexity import count_macs
    from ser_keras.models.light_sernet import LightSERNet
    from ser_keras.models.two_stream import TwoStreamNet
    from ser_keras.models.waveform_model import with_frontend
    from ser_keras.search.inherit import derive_network
    from ser_keras.search.supernet import SuperNet
    from ser_keras.search_space import SearchSpace
    from ser_keras.search_space import TwoStreamSearchSpace
    from ser_keras.serving.streaming import StreamingRecognizer

_MODULE_OF = {
    "CellNetwork": "ser_keras.models.cell_network",
    "CompareConfig": "ser_keras.experiment.compare",
    "EmoDARTSConfig": "ser_keras.experiment.emodarts",
    "EmotionNASConfig": "ser_keras.experiment.emotionnas",
    "Extractor": "ser_keras.data.deep_extractors",
    "FeatureStreams": "ser_keras.data.streams",
    "FixedDuration": "ser_keras.audio.fixed_duration",
    "Genotype": "ser_keras.genotype",
    "KerasExtractor": "ser_keras.data.keras_extractor",
    "LightSERNet": "ser_keras.models.light_sernet",
    "LightSERNetConfig": "ser_keras.experiment.light_sernet",
    "LiteRTExtractor": "ser_keras.data.litert_extractor",
    "LogMelSpectrogram": "ser_keras.audio.log_mel",
    "MFCC": "ser_keras.audio.mfcc",
    "Manifest": "ser_keras.data.manifest",
    "ModelCard": "ser_keras.export.model_card",
    "ONNXExtractor": "ser_keras.data.onnx_extractor",
    "OpenSmileExtractor": "ser_keras.data.opensmile_features",
    "RunFolder": "ser_keras.evaluation.run_folder",
    "SearchSpace": "ser_keras.search_space",
    "SeenAudio": "ser_keras.evaluation.leak_guard",
    "SparseCategoricalFocalCrossentropy": "ser_keras.losses.focal",
    "Spectrogram": "ser_keras.audio.spectrogram",
    "StreamingRecognizer": "ser_keras.serving.streaming",
    "SuperNet": "ser_keras.search.supernet",
    "TransformersExtractor": "ser_keras.data.transformers_extractor",
    "TuneConfig": "ser_keras.experiment.tune",
    "TwoStreamGenotype": "ser_keras.genotype",
    "TwoStreamNet": "ser_keras.models.two_stream",
    "TwoStreamSearchSpace": "ser_keras.search_space",
    "UnweightedAverageRecall": "ser_keras.metrics.recall",
    "UtteranceNormalization": "ser_keras.audio.normalization",
    "audit_corpus": "ser_keras.data.audit",
    "be_deterministic": "ser_keras.determinism",
    "bilevel": "ser_keras.data.pipeline",
    "built_in_corpus": "ser_keras.data.synthetic",
    "combine_corpora": "ser_keras.data.label_maps",
    "compare_predictions": "ser_keras.evaluation.comparison",
    "compare_protocol": "ser_keras.experiment.compare",
    "confidence_interval": "ser_keras.evaluation.scores",
    "count_macs": "ser_keras.models.complexity",
    "cross_validate": "ser_keras.evaluation.cross_validation",
    "derive_network": "ser_keras.search.inherit",
    "download_corpus": "ser_keras.data.download",
    "export_litert": "ser_keras.export.litert",
    "export_serving": "ser_keras.export.serving",
    "export_streams": "ser_keras.export.two_stream_serving",
    "extract_features": "ser_keras.data.extraction",
    "features_for": "ser_keras.data.features",
    "get_protocol": "ser_keras.evaluation.protocols",
    "halves": "ser_keras.data.splits",
    "hold_out_speakers": "ser_keras.data.splits",
    "keep_memory": "ser_keras.memory",
    "leave_one_session_out": "ser_keras.data.splits",
    "leave_one_speaker_out": "ser_keras.data.splits",
    "load_corpus": "ser_keras.data.corpora",
    "load_litert": "ser_keras.export.litert_model",
    "load_model": "ser_keras._registry",
    "load_serving": "ser_keras.export.serving_model",
    "make_dataset": "ser_keras.data.pipeline",
    "map_labels": "ser_keras.data.label_maps",
    "package_versions": "ser_keras._registry",
    "predict": "ser_keras.evaluation.predict",
    "random_folds_shared_speakers": "ser_keras.data.splits",
    "read_features": "ser_keras.data.extraction",
    "run_compare": "ser_keras.experiment.compare",
    "run_emodarts": "ser_keras.experiment.emodarts",
    "run_emotionnas": "ser_keras.experiment.emotionnas",
    "run_light_sernet": "ser_keras.experiment.light_sernet",
    "run_tune": "ser_keras.experiment.tune",
    "score": "ser_keras.evaluation.scores",
    "search_architecture": "ser_keras.evaluation.training",
    "speaker_groups": "ser_keras.data.splits",
    "strategy": "ser_keras.distribution",
    "train_network": "ser_keras.evaluation.training",
    "with_frontend": "ser_keras.models.waveform_model",
    "write_html": "ser_keras.evaluation.html_report",
    "write_markdown": "ser_keras.evaluation.html_report",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy(__name__, _MODULE_OF)
