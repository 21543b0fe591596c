from .export import export_saved_model as export_saved_model
from .model import SavedModel as SavedModel
from .model import load_saved_model as load_saved_model
