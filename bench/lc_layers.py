"""One locally connected layer of the benchmark `lc`, of one of PyTorch's sides, in a process of its own: its peak
memory is the layer's. cortorch-layers.mjs is cortorch's side.

    python lc_layers.py '{"form":"bmm views","threads":2,"layer":{"batch":100,"channels":1,...}}'

First it checks small layers against the definition in float64. Then it says {"ready":true,...} with the norms of its
results for the layer, for comparison with the other sides', and how long they took; and answers each line on stdin:
    forward N     N times y = W x + b
    backward N    N times both gradients, dx and dW, of one forward pass
    memory        peak resident memory so far

Every formulation has everything in the memory layout that suits it best: images, weights, errors.
"""

import math

from lc_formulations import Geometry, check, formulation, random_problem
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
    baseline = peak_memory()

    def small(*problem):
        layer = Formulated(form, *problem)
        dx, dw = layer.gradients()()
        return layer.forward().detach(), dx, layer.unpack(dw)

    check(small)
    layer = Formulated(form, g, *random_problem(g))
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
    # Row by row: one sum of so many float32 values would be off.
    norms = [torch.linalg.vector_norm(tensor, dim=-1).double().norm().item() for tensor in (y, dx, dw)]
    del y, dx, dw
    say({"ready": True, "version": VERSION, "baseline": baseline, "norms": norms, "forward": took[0], "backward": took[1]})
    answer(forward=forward, backward=backward)


if __name__ == "__main__":
    main()
