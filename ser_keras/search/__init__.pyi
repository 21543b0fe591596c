from .callbacks import ArchitectureLogger as ArchitectureLogger
from .callbacks import SkipConnectionStop as SkipConnectionStop
from .inherit import derive_network as derive_network
from .inherit import inherit_weights as inherit_weights
from .schedules import DelayedStart as DelayedStart
from .supernet import SuperNet as SuperNet
