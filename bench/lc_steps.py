"""PyTorch's side of the training steps of the benchmark `lc`: one form of one network and rule in a process of its own.

    python lc_steps.py '{"form":"eager","rule":"bp","threads":2,"batch":100,"local":[{"formulation":"bmm views","layer":{...}}],"dense":[1024,10]}'

Says {"ready":true,...} when it has compiled, then answers each line on stdin with one line:
    step N     N training steps on batches that lie ready in memory as floats
    memory     peak resident memory so far
"""

from lc_formulations import Geometry, LocallyConnected, formulation
from pytorch_side import VERSION, Steps, adam, answer, compiled, dense, say, settings, timed
import torch
from torch import nn
from torch.nn import functional as F

READY_BATCHES = 8


class Local(nn.Module):
    """A locally connected layer by a formulation."""

    def __init__(self, rule, name, g):
        super().__init__()
        self.form = formulation(name, g)
        # Glorot: the fans are a place's.
        bound = (6 / (g.kernel**2 * (g.channels + g.out))) ** 0.5
        self.weight = nn.Parameter(self.form.pack(torch.empty(g.weight).uniform_(-bound, bound)))
        self.bias = nn.Parameter(self.form.bias(torch.zeros(*g.places, g.out)))
        if rule == "fa":
            feedback = torch.empty_like(self.weight).uniform_(-bound, bound)
            self.register_buffer("weight_backward", feedback)
        self.rule = rule

    def forward(self, x):
        if self.rule == "fa":
            return LocallyConnected.apply(x, self.weight, self.bias, self.weight_backward, self.form)
        return self.form(x, self.weight, self.bias)


def network(rule, local, sizes):
    layers = []
    for layer in local:
        g = Geometry(**layer["layer"])
        layers += [Local(rule, layer["formulation"], g), nn.Tanh()]
    layers.append(nn.Flatten())
    inputs = g.out * g.places[0] * g.places[1]
    for outputs in sizes:
        layers += [dense(rule, inputs, outputs), nn.Tanh()]
        inputs = outputs
    return nn.Sequential(*layers[:-1])


def main():
    given = settings()
    torch.set_num_threads(given["threads"])
    torch.manual_seed(1)
    model = network(given["rule"], given["local"], given["dense"])
    first, classes = Geometry(**given["local"][0]["layer"]), given["dense"][-1]
    side = Steps(
        adam(model.parameters()),
        compiled(given["form"], lambda x, y: F.cross_entropy(model(x), y)),
        [
            (
                torch.rand(first.batch, first.channels, first.height, first.width),
                torch.randint(0, classes, (first.batch,)),
            )
            for _ in range(READY_BATCHES)
        ],
    )
    side.steps(2)
    count = sum(parameter.numel() for parameter in model.parameters())
    say({"ready": True, "version": VERSION, "parameters": count})
    answer(step=timed(side.steps))


if __name__ == "__main__":
    main()
