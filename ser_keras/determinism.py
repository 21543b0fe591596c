"""The same numbers, bit for bit, whenever a run is repeated or resumed."""

import os


def be_deterministic() -> None:
    """Has TensorFlow compute in one order, in this process and those it starts.

    Otherwise the sums of a network with branches are rounded differently from
    run to run: by 1e-7 in a first step, and after some epochs every weight is
    another. Operations that could run beside each other then run one after the
    other, each on all cores: which of them ends first would decide how the
    next shares the cores. It holds on one machine with one number of threads.

    Runs call it where their configuration says `deterministic`. A program of
    your own calls it before TensorFlow's first operation, and sets its seeds
    (`keras.utils.set_random_seed`).

    Raises:
        RuntimeError: TensorFlow has begun to compute with other settings.

    Example, the first lines of a program::

        import ser_keras as ser

        ser.be_deterministic()
    """
    import tensorflow as tf  # Not needed to start the command line.

    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    # The same of folds in processes of their own.
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ["TF_DETERMINISTIC_OPS"] = "1"
