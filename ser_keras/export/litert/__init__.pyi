from .export import export_litert as export_litert
from .model import LiteRTModel as LiteRTModel
from .model import load_litert as load_litert
