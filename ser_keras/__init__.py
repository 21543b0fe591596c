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
    from ser_keras.corpora.download import download_corpus
    from ser_keras.corpora.label_maps import combine_corpora
    from ser_keras.corpora.label_maps import map_labels
    from ser_keras.corpora.manifest import Manifest
    from ser_keras.corpora.parsers import load_corpus
    from ser_keras.corpora.synthetic import built_in_corpus
    from ser_keras.determinism import be_deterministic
    from ser_keras.evaluation.comparison import compare_predictions
    from ser_keras.evaluation.cross_validation import cross_validate
    from ser_keras.evaluation.predict import predict
    from ser_keras.evaluation.scores import confidence_interval
    from ser_keras.evaluation.scores import score
    from ser_keras.experiments.compare import CompareConfig
    from ser_keras.experiments.compare import compare_protocol
    from ser_keras.experiments.compare import run_compare
    from ser_keras.experiments.emodarts import EmoDARTSConfig
    from ser_keras.experiments.emodarts import run_emodarts
    from ser_keras.experiments.emotionnas import EmotionNASConfig
    from ser_keras.experiments.emotionnas import run_emotionnas
    from ser_keras.experiments.light_sernet import LightSERNetConfig
    from ser_keras.experiments.light_sernet import run_light_sernet
    from ser_keras.experiments.tune import TuneConfig
    from ser_keras.experiments.tune import run_tune
    from ser_keras.export.card import ModelCard
    from ser_keras.export.litert.export import export_litert
    from ser_keras.export.litert.model import load_litert
    from ser_keras.export.saved_model.export import export_serving
    from ser_keras.export.saved_model.model import load_serving
    from ser_keras.export.saved_model.two_streams import export_streams
    from ser_keras.features.dataset import bilevel
    from ser_keras.features.dataset import make_dataset
    from ser_keras.features.extraction import extract_features
    from ser_keras.features.extraction import read_features
    from ser_keras.features.extractors.base import Extractor
    from ser_keras.features.extractors.keras import KerasExtractor
    from ser_keras.features.extractors.litert import LiteRTExtractor
    from ser_keras.features.extractors.onnx import ONNXExtractor
    from ser_keras.features.extractors.opensmile import OpenSmileExtractor
    from ser_keras.features.extractors.transformers import TransformersExtractor
    from ser_keras.features.feature_set import features_for
    from ser_keras.features.streams import FeatureStreams
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
    from ser_keras.protocols.audit import audit_corpus
    from ser_keras.protocols.leak_guard import SeenAudio
    from ser_keras.protocols.protocol import get_protocol
    from ser_keras.protocols.splits import halves
    from ser_keras.protocols.splits import hold_out_speakers
    from ser_keras.protocols.splits import leave_one_session_out
    from ser_keras.protocols.splits import leave_one_speaker_out
    from ser_keras.protocols.splits import random_folds_shared_speakers
    from ser_keras.protocols.splits import speaker_groups
    from ser_keras.reports.html import write_html
    from ser_keras.reports.html import write_markdown
    from ser_keras.search.inherit import derive_network
    from ser_keras.search.supernet import SuperNet
    from ser_keras.search_space import SearchSpace
    from ser_keras.search_space import TwoStreamSearchSpace
    from ser_keras.serving.streaming import StreamingRecognizer
    from ser_keras.training.distribution import strategy
    from ser_keras.training.fit import search_architecture
    from ser_keras.training.fit import train_network
    from ser_keras.training.run_folder import RunFolder

_MODULE_OF = {
    "CellNetwork": "ser_keras.models.cell_network",
    "CompareConfig": "ser_keras.experiments.compare",
    "EmoDARTSConfig": "ser_keras.experiments.emodarts",
    "EmotionNASConfig": "ser_keras.experiments.emotionnas",
    "Extractor": "ser_keras.features.extractors.base",
    "FeatureStreams": "ser_keras.features.streams",
    "FixedDuration": "ser_keras.audio.fixed_duration",
    "Genotype": "ser_keras.genotype",
    "KerasExtractor": "ser_keras.features.extractors.keras",
    "LightSERNet": "ser_keras.models.light_sernet",
    "LightSERNetConfig": "ser_keras.experiments.light_sernet",
    "LiteRTExtractor": "ser_keras.features.extractors.litert",
    "LogMelSpectrogram": "ser_keras.audio.log_mel",
    "MFCC": "ser_keras.audio.mfcc",
    "Manifest": "ser_keras.corpora.manifest",
    "ModelCard": "ser_keras.export.card",
    "ONNXExtractor": "ser_keras.features.extractors.onnx",
    "OpenSmileExtractor": "ser_keras.features.extractors.opensmile",
    "RunFolder": "ser_keras.training.run_folder",
    "SearchSpace": "ser_keras.search_space",
    "SeenAudio": "ser_keras.protocols.leak_guard",
    "SparseCategoricalFocalCrossentropy": "ser_keras.losses.focal",
    "Spectrogram": "ser_keras.audio.spectrogram",
    "StreamingRecognizer": "ser_keras.serving.streaming",
    "SuperNet": "ser_keras.search.supernet",
    "TransformersExtractor": "ser_keras.features.extractors.transformers",
    "TuneConfig": "ser_keras.experiments.tune",
    "TwoStreamGenotype": "ser_keras.genotype",
    "TwoStreamNet": "ser_keras.models.two_stream",
    "TwoStreamSearchSpace": "ser_keras.search_space",
    "UnweightedAverageRecall": "ser_keras.metrics.recall",
    "UtteranceNormalization": "ser_keras.audio.normalization",
    "audit_corpus": "ser_keras.protocols.audit",
    "be_deterministic": "ser_keras.determinism",
    "bilevel": "ser_keras.features.dataset",
    "built_in_corpus": "ser_keras.corpora.synthetic",
    "combine_corpora": "ser_keras.corpora.label_maps",
    "compare_predictions": "ser_keras.evaluation.comparison",
    "compare_protocol": "ser_keras.experiments.compare",
    "confidence_interval": "ser_keras.evaluation.scores",
    "count_macs": "ser_keras.models.complexity",
    "cross_validate": "ser_keras.evaluation.cross_validation",
    "derive_network": "ser_keras.search.inherit",
    "download_corpus": "ser_keras.corpora.download",
    "export_litert": "ser_keras.export.litert.export",
    "export_serving": "ser_keras.export.saved_model.export",
    "export_streams": "ser_keras.export.saved_model.two_streams",
    "extract_features": "ser_keras.features.extraction",
    "features_for": "ser_keras.features.feature_set",
    "get_protocol": "ser_keras.protocols.protocol",
    "halves": "ser_keras.protocols.splits",
    "hold_out_speakers": "ser_keras.protocols.splits",
    "keep_memory": "ser_keras.memory",
    "leave_one_session_out": "ser_keras.protocols.splits",
    "leave_one_speaker_out": "ser_keras.protocols.splits",
    "load_corpus": "ser_keras.corpora.parsers",
    "load_litert": "ser_keras.export.litert.model",
    "load_model": "ser_keras._registry",
    "load_serving": "ser_keras.export.saved_model.model",
    "make_dataset": "ser_keras.features.dataset",
    "map_labels": "ser_keras.corpora.label_maps",
    "package_versions": "ser_keras._registry",
    "predict": "ser_keras.evaluation.predict",
    "random_folds_shared_speakers": "ser_keras.protocols.splits",
    "read_features": "ser_keras.features.extraction",
    "run_compare": "ser_keras.experiments.compare",
    "run_emodarts": "ser_keras.experiments.emodarts",
    "run_emotionnas": "ser_keras.experiments.emotionnas",
    "run_light_sernet": "ser_keras.experiments.light_sernet",
    "run_tune": "ser_keras.experiments.tune",
    "score": "ser_keras.evaluation.scores",
    "search_architecture": "ser_keras.training.fit",
    "speaker_groups": "ser_keras.protocols.splits",
    "strategy": "ser_keras.training.distribution",
    "train_network": "ser_keras.training.fit",
    "with_frontend": "ser_keras.models.waveform_model",
    "write_html": "ser_keras.reports.html",
    "write_markdown": "ser_keras.reports.html",
}

__all__ = list(_MODULE_OF)

__getattr__, __dir__ = lazy(__name__, _MODULE_OF)
