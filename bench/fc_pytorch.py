"""PyTorch's side of the benchmark `fc`: one form of one rule in a process of its own.

    python fc_pytorch.py '{"form":"eager","rule":"bp","threads":2,"mnist":"folder with the IDX files"}'

Says {"ready":true,...} when it has compiled, then answers each line on stdin with one line:
    step N     N training steps on batches that lie ready in memory as floats
    epoch N    N passes over 55,000 images that lie in memory as bytes: shuffle, gather, scale, train
    memory     peak resident memory so far
"""

import os

from pytorch_side import VERSION, Steps, adam, answer, compiled, dense, say, settings, timed
import torch
from torch import nn
from torch.nn import functional as F

BATCH = 100
TRAINING_IMAGES = 55_000
SIZES = [784, 256, 256, 256, 256, 256, 10]
READY_BATCHES = 8  # so that the inputs are not always in the first-level cache


def network(rule):
    layers = []
    for inputs, outputs in zip(SIZES, SIZES[1:]):
        layers += [dense(rule, inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def read_idx(path, offset, count, size):
    with open(path, "rb") as file:
        file.seek(offset)
        return torch.frombuffer(bytearray(file.read(count * size)), dtype=torch.uint8)


class Side(Steps):
    def __init__(self, form, rule, threads, mnist):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.mnist = mnist
        self.images = None
        model = network(rule)
        # Forward and loss, and behind them the backward pass, are one compiled graph; so is the scaling of the bytes.
        self.loss_of_bytes = compiled(form, lambda x, y: F.cross_entropy(model(x.float() / 255), y))
        super().__init__(
            adam(model.parameters()),
            compiled(form, lambda x, y: F.cross_entropy(model(x), y)),
            [(torch.rand(BATCH, SIZES[0]), torch.randint(0, SIZES[-1], (BATCH,))) for _ in range(READY_BATCHES)],
        )
        self.steps(3)

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


if __name__ == "__main__":
    side = Side(**settings())
    side.epochs(1, steps=3)
    say({"ready": True, "version": VERSION, "threads": torch.get_num_threads()})
    answer(step=timed(side.steps), epoch=timed(side.epochs))
