"""openSMILE in a process of its own: see `opensmile_features`.

Started as `python -m ser_keras.data.opensmile_worker SET LEVEL`. It writes a
line of JSON about itself, then reads pickled waveforms and writes pickled
features until its input ends: with the process that started it.
"""

import json
import pickle
import sys
import warnings

import numpy as np


def main(feature_set, level):
    """Answers until there is nothing to read."""
    # Here, and not where a test that imports all modules would import it.
    import opensmile

    read, write = sys.stdin.buffer, sys.stdout.buffer
    sets = [x.name for x in opensmile.FeatureSet]
    levels = [x.value for x in opensmile.FeatureLevel]
    facts = {"version": opensmile.__version__}
    smile = None
    if feature_set not in sets:
        facts["error"] = f"`feature_set` must be one of {sets}"
    elif level not in levels:
        facts["error"] = f"`level` must be one of {levels}"
    else:
        try:
            smile = opensmile.Smile(
                opensmile.FeatureSet[feature_set],
                opensmile.FeatureLevel(level),
            )
            facts["num_features"] = smile.num_features
        except ValueError as error:  # Some sets have no derivatives.
            facts["error"] = str(error)
    write.write(json.dumps(facts).encode() + b"\n")
    write.flush()
    # It fills a clip that is too short with NaN, which is refused by name.
    warnings.simplefilter("ignore")
    while smile is not None and read.peek(1):
        waveform, sample_rate = pickle.load(read)
        x = smile(waveform, sample_rate)[0].T
        pickle.dump(np.ascontiguousarray(x, np.float32), write)
        write.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
