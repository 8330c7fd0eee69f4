"""What PyTorch's sides of the benchmarks share: training steps, and ones to compare; feedback alignment; answering lines."""

import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")  # PyTorch without NumPy warns; nothing here needs it

import torch  # noqa: E402
from torch import nn  # noqa: E402

VERSION = f"torch {torch.__version__}"


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


def dense(rule, inputs, outputs):
    layer = {"bp": nn.Linear, "fa": FeedbackLayer}[rule](inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def compiled(form, function):
    if form == "eager":
        return function
    mode = {"compile": "default", "compile-max-autotune": "max-autotune"}[form]
    return torch.compile(function, mode=mode, fullgraph=True, dynamic=False)


def adam(parameters):
    # Table 5 of Bartunov et al. 2018, bp on mnist-fc; the values do not change the time.
    return torch.optim.Adam(parameters, lr=1.52e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)


class Steps:
    """Training steps of `loss(*batch)`, on batches that lie ready."""

    def __init__(self, optimizer, loss, batches):
        self.optimizer = optimizer
        self.loss = loss
        self.batches = batches

    def update(self, loss):
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def steps(self, n):
        for i in range(n):
            self.update(self.loss(*self.batches[i % len(self.batches)]))


class CheckedSteps:
    """The steps that check-steps.mjs made with cortorch, from its folder."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "index.json")) as file:
            index = json.load(file)
        self.steps = index["steps"]
        self.shapes = {entry["name"]: entry["shape"] for entry in index["parameters"]}

    def read(self, name, shape):
        with open(os.path.join(self.folder, name), "rb") as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.float32).view(shape)

    def before(self):
        return {name: self.read(f"before-{name}", shape) for name, shape in self.shapes.items()}

    def apart(self, after):
        """Of each parameter how far its updates here, to after(name), are from those there, relatively."""
        apart = {}
        for name, before in self.before().items():
            moved = self.read(f"after-{name}", before.shape) - before
            apart[name] = ((after(name) - before - moved).norm() / moved.norm()).item()
        return apart


def timed(work):
    """work(n) as a function that gives its seconds"""

    def seconds(n):
        start = time.perf_counter()
        work(n)
        return time.perf_counter() - start

    return seconds


def peak_memory():
    """Resident bytes of this process so far; getrusage's number would begin with what the parent had at the fork."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024


def say(message):
    print(json.dumps(message), flush=True)


def settings():
    return json.loads(sys.argv[1])


def answer(**work):
    """Answers each line `what N` with the seconds that work[what](N) gives, and `memory` with the peak so far."""
    for line in sys.stdin:
        what, *count = line.split()
        if what == "memory":
            say({"bytes": peak_memory()})
        else:
            say({"seconds": work[what](int(count[0]))})
