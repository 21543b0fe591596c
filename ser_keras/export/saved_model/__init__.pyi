from .export import export_serving as export_serving
from .model import ServingModel as ServingModel
from .model import load_serving as load_serving
from .two_streams import export_streams as export_streams
