"""PyTorch's side of the benchmark `fc`: one form of one rule in a process of its own.

    python fc_pytorch.py '{"form":"eager","rule":"bp","threads":2,"mnist":"folder with the IDX files"}'

Says {"ready":true,...} when it has compiled, then answers each line on stdin with one line:
    step N     N training steps on batches that lie ready in memory as floats
    epoch N    N passes over 55,000 images that lie in memory as bytes: shuffle, gather, scale, train
    memory     peak resident memory so far
"""

import json
import os
import resource
import sys
import time
import warnings

warnings.filterwarnings("ignore")  # PyTorch without NumPy warns; nothing here needs it

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

BATCH = 100
TRAINING_IMAGES = 55_000
SIZES = [784, 256, 256, 256, 256, 256, 10]
READY_BATCHES = 8  # so that the inputs are not always in the first-level cache


class FeedbackLinear(torch.autograd.Function):
    """y = x Wᵀ + b, whose error goes down through B instead of W. One addmm up, two products down."""

    @staticmethod
    def forward(ctx, x, weight, bias, feedback):
        ctx.save_for_backward(x, feedback)
        return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx, gradient):
        x, feedback = ctx.saved_tensors
        down = gradient.mm(feedback) if ctx.needs_input_grad[0] else None
        return down, gradient.t().mm(x), gradient.sum(0), None


class FeedbackLayer(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.register_buffer("weight_backward", nn.init.xavier_uniform_(torch.empty(outputs, inputs)))

    def forward(self, x):
        return FeedbackLinear.apply(x, self.weight, self.bias, self.weight_backward)


def network(rule):
    layer = {"bp": nn.Linear, "fa": FeedbackLayer}[rule]
    layers = []
    for inputs, outputs in zip(SIZES, SIZES[1:]):
        layers += [layer(inputs, outputs), nn.Tanh()]
        nn.init.xavier_uniform_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def read_idx(path, offset, count, size):
    with open(path, "rb") as file:
        file.seek(offset)
        return torch.frombuffer(bytearray(file.read(count * size)), dtype=torch.uint8)


class Side:
    def __init__(self, form, rule, threads, mnist):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.mnist = mnist
        self.images = None
        self.model = network(rule)
        # Table 5 of Bartunov et al. 2018, bp; the values do not change the time.
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=1.52e-4, betas=(0.9, 0.999), eps=1e-8, fused=True
        )
        # Forward and loss, and behind them the backward pass, are one compiled graph; so is the scaling of the bytes.
        self.loss = self.compiled(form, lambda x, y: F.cross_entropy(self.model(x), y))
        self.loss_of_bytes = self.compiled(form, lambda x, y: F.cross_entropy(self.model(x.float() / 255), y))
        self.batches = [
            (torch.rand(BATCH, SIZES[0]), torch.randint(0, SIZES[-1], (BATCH,))) for _ in range(READY_BATCHES)
        ]
        self.steps(3)

    @staticmethod
    def compiled(form, function):
        if form == "eager":
            return function
        mode = {"compile": "default", "compile-max-autotune": "max-autotune"}[form]
        return torch.compile(function, mode=mode, fullgraph=True, dynamic=False)

    def update(self, loss):
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def steps(self, n):
        for i in range(n):
            self.update(self.loss(*self.batches[i % READY_BATCHES]))

    def epochs(self, n, steps=TRAINING_IMAGES // BATCH):
        if self.images is None:
            prefix = os.path.join(self.mnist, "train-")
            images = read_idx(prefix + "images-idx3-ubyte", 16, TRAINING_IMAGES, SIZES[0])
            self.images = images.view(TRAINING_IMAGES, SIZES[0])
            self.labels = read_idx(prefix + "labels-idx1-ubyte", 8, TRAINING_IMAGES, 1).long()
        for _ in range(n):
            order = torch.randperm(TRAINING_IMAGES)
            for indices in order.split(BATCH)[:steps]:
                x, y = self.images.index_select(0, indices), self.labels.index_select(0, indices)
                self.update(self.loss_of_bytes(x, y))


def main():
    side = Side(**json.loads(sys.argv[1]))
    side.epochs(1, steps=3)
    say({"ready": True, "version": f"torch {torch.__version__}", "threads": torch.get_num_threads()})
    for line in sys.stdin:
        what, *count = line.split()
        if what == "memory":
            say({"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})
            continue
        start = time.perf_counter()
        {"step": side.steps, "epoch": side.epochs}[what](int(count[0]))
        say({"seconds": time.perf_counter() - start})


def say(message):
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
