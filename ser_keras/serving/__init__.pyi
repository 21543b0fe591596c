from .client import Client as Client
from .client import ServerError as ServerError
from .predictor import load_predictor as load_predictor
from .server import Limits as Limits
from .server import serve as serve
from .streaming import StreamingRecognizer as StreamingRecognizer
from .streaming import StreamUpdate as StreamUpdate
