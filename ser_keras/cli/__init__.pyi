from .config import parse as parse
from .config import run as run
from .config import save as save
