from .distribution import strategy as strategy
from .fit import search_architecture as search_architecture
from .fit import train_network as train_network
from .processes import run_in_processes as run_in_processes
from .resumable import BestWeights as BestWeights
from .resumable import EpochCheckpoint as EpochCheckpoint
from .resumable import fit_resumable as fit_resumable
from .run_folder import RunFolder as RunFolder
