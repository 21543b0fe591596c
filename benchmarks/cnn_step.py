"""Times a search step of the CNN space at emoDARTS' own work.

Input 32 x 32, batch 16, 8 channels, four cells, four nodes, eight candidates:
the work of the PyTorch code of emoDARTS in `peer_emodarts.py`.

    python benchmarks/cnn_step.py [--order 2] [--steps 7]
"""

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf

import ser_keras as ser


def main():
    """Prints the median step and the time before the first one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--order", type=int, default=2, choices=(1, 2))
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=7)
    arguments = parser.parse_args()
    supernet = ser.SuperNet(
        ser.SearchSpace(recurrent=()),
        input_shape=(arguments.size, arguments.size, 1),
        num_classes=4,
        filters=8,
        num_recurrent_cells=0,
        pooling="mean",
        masking=False,
        seed=0,
    )
    supernet.compile(order=arguments.order)
    shape = (arguments.batch_size, arguments.size, arguments.size, 1)
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    y = np.arange(arguments.batch_size) % 4
    step = tf.function(lambda: supernet.train_step(((x, y), (x[::-1], y))))
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    times = []
    for _ in range(arguments.steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    print(f"first step, with tracing: {first:.1f} s")
    print(
        f"order {arguments.order}: median {statistics.median(times):.3f} s, "
        f"min {min(times):.3f} s, max {max(times):.3f} s"
    )


if __name__ == "__main__":
    main()
