from .encoder import SpeechEncoder as SpeechEncoder
from .wav2vec2 import Wav2Vec2Encoder as Wav2Vec2Encoder
from .whisper import WhisperEncoder as WhisperEncoder
