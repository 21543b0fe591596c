from .engine import Engine as Engine
from .engine import TaskLostError as TaskLostError
from .fan_out import ENGINES as ENGINES
from .fan_out import make_engine as make_engine
from .fan_out import run_tasks as run_tasks
