"""One locally connected layer of the benchmark `lc`, of one side, in a process of its own: its peak memory is the layer's.

    python lc_layers.py '{"form":"bmm views","threads":2,"layer":{"batch":100,"channels":1,...}}'
    python lc_layers.py '{"form":"cortorch","library":"libcortorch.so","threads":2,"layer":{...}}'

First it checks small layers against the definition in float64. Then it says {"ready":true,...} with the norms of its
results for the layer, for comparison with the other sides', and how long they took; and answers each line on stdin:
    forward N     N times y = W x + b
    backward N    N times both gradients, dx and dW, of one forward pass
    memory        peak resident memory so far

Every side has everything in the memory layout that suits it best: images, weights, errors.
"""

import math

from lc_formulations import IN_IMAGE, Geometry, check, formulation, random_problem
from pytorch_side import VERSION, answer, peak_memory, say, settings, timed
import torch


TRY_SECONDS = 1
TRY_TWICE = 4  # seconds


class Formulated:
    """A formulation in PyTorch, its backward pass by autograd."""

    def __init__(self, form, g, x, weight, bias, delta):
        self.form = formulation(form, g)
        self.x = self.form.patches.layout(x).requires_grad_()
        self.weight = self.form.pack(weight).requires_grad_()
        self.bias = self.form.bias(bias)
        self.delta = self.form.error(delta)

    def forward(self):
        return self.form(self.x, self.weight, self.bias)

    def gradients(self):
        """The work of one backward pass; what comes before it is done here."""
        y = self.forward()
        return lambda: torch.autograd.grad(y, (self.x, self.weight), self.delta, retain_graph=True)

    def unpack(self, weight):
        return self.form.unpack(weight)


class Cortorch:
    """Its operators, with images and errors as they are between its layers: [H, W, B, C] in memory."""

    def __init__(self, form, g, x, weight, bias, delta):
        self.x, self.delta = in_memory(x).requires_grad_(), in_memory(delta)
        self.weight, self.bias = weight.clone().requires_grad_(), bias
        self.rest = [g.stride] * 2, [g.padding] * 2, [1, 1]

    def forward(self):
        return torch.ops.cortorch.locally_connected2d(self.x, self.weight, self.bias, *self.rest)

    def gradients(self):
        y = self.forward()
        return lambda: torch.autograd.grad(y, (self.x, self.weight), self.delta, retain_graph=True)

    def unpack(self, weight):
        return weight


def in_memory(images):
    return images.permute(IN_IMAGE).contiguous().permute(IN_IMAGE)


def repeat(work):
    """work, n times, as a function that gives the seconds"""

    def times(n):
        for _ in range(n):
            result = work()
            del result  # before the next one is made

    return timed(times)


def main():
    given = settings()
    form, g = given["form"], Geometry(**given["layer"])
    torch.set_num_threads(given["threads"])
    if form == "cortorch":
        torch.ops.load_library(given["library"])
    baseline = peak_memory()
    kind = Cortorch if form == "cortorch" else Formulated

    def small(*problem):
        layer = kind(form, *problem)
        dx, dw = layer.gradients()()
        return layer.forward().detach(), dx, layer.unpack(dw)

    check(small)
    layer = kind(form, g, *random_problem(g))
    forward = repeat(layer.forward)

    def backward(n):
        return repeat(layer.gradients())(n)

    first = forward(1), backward(1)
    # The first time there is more to do: page faults, generated code. What takes very long is tried only once.
    more = min(9, math.ceil(TRY_SECONDS / sum(first))) if sum(first) < TRY_TWICE else 0
    tries = [first, *((forward(1), backward(1)) for _ in range(more))]
    took = [min(times) for times in zip(*tries)]
    y = layer.forward().detach()
    dx, dw = layer.gradients()()
    norms = [torch.linalg.vector_norm(tensor).item() for tensor in (y, dx, dw)]
    del y, dx, dw
    say({"ready": True, "version": VERSION, "baseline": baseline, "norms": norms, "forward": took[0], "backward": took[1]})
    answer(forward=forward, backward=backward)


if __name__ == "__main__":
    main()
