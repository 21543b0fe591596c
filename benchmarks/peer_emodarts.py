"""Times emoDARTS' own search code; runs in a Python that has PyTorch.

Nothing of that code is in this repository (it has no licence). Get it with

    git clone https://github.com/jayaneetha/emoDARTS /tmp/peer/emoDARTS
    python -m venv /tmp/peer-venv
    /tmp/peer-venv/bin/pip install torch==2.13.0 numpy

The other benchmarks start this file as a subprocess, through `Peer` in
`recurrent_cell.py`: for each name of a piece of work on standard input it
does that work once and prints one line of JSON with its seconds and the peak
memory so far in bytes. By hand:

    /tmp/peer-venv/bin/python benchmarks/peer_emodarts.py \
        --peer-dir /tmp/peer/emoDARTS --setting cnn --steps 5

prints the medians of every piece of work of that setting.
"""

import argparse
import json
import pathlib
import resource
import statistics
import sys
import time

import torch

INIT_CHANNELS = 8
CHANNELS = 128
XI = 0.025


def recurrent_works(steps=16):
    """One recurrent search cell of all candidates, on one sequence."""
    from models.search_cells import RNNSearchCell

    cell = RNNSearchCell(4, CHANNELS)
    alphas = [
        torch.nn.Parameter(1e-3 * torch.randn(node + 2, 14))
        for node in range(4)
    ]
    inputs = torch.randn(2, steps, CHANNELS)
    parameters = list(cell.parameters())

    def gradients(targets):
        weights = [torch.softmax(alpha, -1) for alpha in alphas]
        output = cell(inputs[0], inputs[1], weights)
        torch.autograd.grad(output.square().sum(), targets, allow_unused=True)

    return {
        "all": lambda: gradients([*parameters, *alphas]),
        "alphas": lambda: gradients(alphas),
    }, sum(p.numel() for p in parameters)


def search_works(size, recurrent_cells):
    """Steps of its search, on random features."""
    from architect import Architect
    from models.search_cnn import SearchCNNController

    model = SearchCNNController(
        1,
        INIT_CHANNELS,
        4,
        4,
        torch.nn.CrossEntropyLoss(),
        device_ids=[0],
        n_layers_rnn=recurrent_cells,
    )
    if not recurrent_cells:
        # Its own code cannot differentiate alphas that nothing uses.
        model._alphas = [a for a in model._alphas if "rnn" not in a[0]]
    weights_optimizer = torch.optim.SGD(
        model.weights(), XI, momentum=0.9, weight_decay=3e-4
    )
    alphas_optimizer = torch.optim.Adam(
        model.alphas(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3
    )
    architect = None
    halves = [
        (torch.randn(16, 1, size, size), torch.randint(4, (16,)))
        for _ in range(2)
    ]

    def weight_step():
        weights_optimizer.zero_grad()
        model.loss(*halves[0]).backward()
        torch.nn.utils.clip_grad_norm_(model.weights(), 5.0)
        weights_optimizer.step()

    def first_order():
        alphas_optimizer.zero_grad()
        alphas = list(model.alphas())
        found = torch.autograd.grad(
            model.loss(*halves[1]), alphas, allow_unused=True
        )
        for alpha, gradient in zip(alphas, found, strict=True):
            alpha.grad = gradient
        alphas_optimizer.step()
        weight_step()

    def second_order():
        nonlocal architect
        if architect is None:
            architect = Architect(model, 0.9, 3e-4)
        alphas_optimizer.zero_grad()
        architect.unrolled_backward(
            *halves[0], *halves[1], XI, weights_optimizer
        )
        alphas_optimizer.step()
        weight_step()

    return {
        "first_order": first_order,
        "second_order": second_order,
    }, sum(p.numel() for p in model.weights())


def main():
    """Serves, or prints medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--peer-dir", type=pathlib.Path, required=True)
    parser.add_argument(
        "--setting", choices=("recurrent", "cnn", "full"), required=True
    )
    parser.add_argument("--size", type=int, help="of the feature map")
    parser.add_argument("--steps", type=int, help="without it: a server")
    parser.add_argument("--only", help="one piece of work")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.peer_dir / "emoDARTS"))
    # Its modules print and its controller asks for the GPUs.
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.manual_seed(0)
    if arguments.setting == "recurrent":
        works, parameters = recurrent_works()
    elif arguments.setting == "cnn":
        works, parameters = search_works(arguments.size or 32, 0)
    else:
        works, parameters = search_works(arguments.size or 16, 4)

    def measure(name):
        start = time.perf_counter()
        works[name]()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"seconds": seconds, "peak_bytes": peak}

    def answer(value):
        print(json.dumps(value), file=answers, flush=True)

    if arguments.steps is None:
        answer({"works": list(works), "parameters": parameters})
        for line in sys.stdin:
            answer(measure(line.strip()))
        return
    for name in works:
        if arguments.only in (None, name):
            measure(name)
            runs = [measure(name) for _ in range(arguments.steps)]
            median = statistics.median(run["seconds"] for run in runs)
            answer({**runs[-1], "work": name, "seconds": median})


if __name__ == "__main__":
    main()
