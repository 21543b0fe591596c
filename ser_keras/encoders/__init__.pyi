from .encoder import SpeechEncoder as SpeechEncoder
from .known import KnownEncoder as KnownEncoder
from .known import known_encoder as known_encoder
from .wav2vec2 import Wav2Vec2Encoder as Wav2Vec2Encoder
from .whisper import WhisperEncoder as WhisperEncoder
