"""Locally connected layers in PyTorch, which has none: the formulations that people use, as an expert would write them.

A formulation is a way to get at the patches and a way to multiply them. Each has its weights (and its bias, images and
errors) in the memory layout that it likes best, and makes no copy that it can do without. All of them take images
[B, C, H, W], give [B, out, oh, ow] and differ in nothing but speed, memory and rounding.
"""

import math
from typing import NamedTuple

import torch
from torch.nn import functional as F

IN_IMAGE, LAST = (2, 3, 0, 1), (0, 2, 3, 1)


class Geometry(NamedTuple):
    """Of a layer with `same` padding: (k - 1) / 2 on every side."""

    batch: int
    channels: int
    height: int
    width: int
    kernel: int
    out: int
    stride: int

    @property
    def padding(self):
        return (self.kernel - 1) // 2

    @property
    def places(self):
        return tuple((size - 1) // self.stride + 1 for size in (self.height, self.width))

    @property
    def weight(self):
        """cortorch's order."""
        return (*self.places, self.kernel, self.kernel, self.channels, self.out)


class Im2col:
    """F.unfold."""

    order = (4, 2, 3)  # of the taps: which dimensions of cortorch's weight

    def __init__(self, geometry):
        self.g = geometry
        rows, columns = geometry.places
        self.places = (rows * columns,)
        self.taps = (geometry.channels * geometry.kernel**2,)

    def layout(self, x):
        return x.contiguous()

    def gather(self, x):
        """-> [B, *taps, *places]"""
        return F.unfold(x, self.g.kernel, padding=self.g.padding, stride=self.g.stride)

    def scatter(self, patches):
        """The transposed gather."""
        g = self.g
        return F.fold(patches, (g.height, g.width), g.kernel, padding=g.padding, stride=g.stride)


class Views:
    """Tensor.unfold twice: overlapping views of the padded images, copied only by what multiplies them."""

    order = (4, 2, 3)

    def __init__(self, geometry):
        g = self.g = geometry
        self.places = g.places
        self.taps = (g.channels, g.kernel, g.kernel)

    def layout(self, x):
        return x.contiguous()

    def gather(self, x):
        k, s, p = self.g.kernel, self.g.stride, self.g.padding
        return F.pad(x, (p, p, p, p)).unfold(2, k, s).unfold(3, k, s).permute(0, 1, 4, 5, 2, 3)

    def scatter(self, patches):
        g, p = self.g, self.g.padding
        high, wide = g.height + 2 * p, g.width + 2 * p
        backward = torch.ops.aten.unfold_backward
        patches = patches.permute(0, 1, 4, 5, 2, 3)
        rows = backward(patches, (g.batch, g.channels, g.places[0], wide, g.kernel), 3, g.kernel, g.stride)
        x = backward(rows, (g.batch, g.channels, high, wide), 2, g.kernel, g.stride)
        return x[:, :, p : high - p, p : wide - p]


class ChannelsLast:
    """As Views, of images in channels_last: the channels of a tap lie together."""

    order = (2, 3, 4)

    def __init__(self, geometry):
        g = self.g = geometry
        self.places = g.places
        self.taps = (g.kernel, g.kernel, g.channels)

    def layout(self, x):
        return x.contiguous(memory_format=torch.channels_last)

    def gather(self, x):
        k, s, p = self.g.kernel, self.g.stride, self.g.padding
        return F.pad(x.permute(0, 2, 3, 1), (0, 0, p, p, p, p)).unfold(1, k, s).unfold(2, k, s).permute(0, 4, 5, 3, 1, 2)

    def scatter(self, patches):
        g, p = self.g, self.g.padding
        high, wide = g.height + 2 * p, g.width + 2 * p
        backward = torch.ops.aten.unfold_backward
        patches = patches.permute(0, 4, 5, 3, 1, 2)
        rows = backward(patches, (g.batch, g.places[0], wide, g.channels, g.kernel), 2, g.kernel, g.stride)
        x = backward(rows, (g.batch, high, wide, g.channels), 1, g.kernel, g.stride)
        return x[:, p : high - p, p : wide - p].permute(0, 3, 1, 2)


class Formulation:
    """Weights and bias go in and gradients come out in cortorch's order; what lies between is the formulation's."""

    def __init__(self, patches):
        self.patches = patches
        self.g = patches.g
        # [*places, *taps, out], as cortorch's weight with its taps in another order.
        self.split = (*self.g.places, *(self.g.weight[d] for d in patches.order), self.g.out)

    def pack(self, weight):
        return self.arrange(weight.permute(0, 1, *self.patches.order, 5))

    def unpack(self, packed):
        back = [2 + self.patches.order.index(d) for d in (2, 3, 4)]
        return self.restore(packed).permute(0, 1, *back, 5)

    def __call__(self, x, weight, bias):
        return self.multiply(self.gather(x), weight, bias)

    def gather(self, x):
        return self.patches.gather(x)


class Bmm(Formulation):
    """One matrix product per place, by baddbmm: patches [L, B, K], weight [L, K, out]."""

    def arrange(self, weight):
        g, (rows, columns) = self.g, self.g.places
        return weight.reshape(rows * columns, g.kernel**2 * g.channels, g.out).contiguous()

    def restore(self, packed):
        return packed.view(self.split)

    def bias(self, bias):
        return bias.reshape(-1, 1, self.g.out).contiguous()

    def error(self, delta):
        """The layout in which errors, like the results, are a view of [L, B, out]."""
        return delta.permute(IN_IMAGE).contiguous().permute(IN_IMAGE)

    def gather(self, x):
        p = self.patches.gather(x)
        places = range(p.dim() - len(self.patches.places), p.dim())
        taps = range(1, 1 + len(self.patches.taps))
        rows, columns = self.g.places
        return p.permute(*places, 0, *taps).contiguous().view(rows * columns, self.g.batch, -1)

    def multiply(self, patches, weight, bias):
        return self.images(torch.baddbmm(bias, patches, weight))

    def adjoint(self, delta, weight):
        patches = self.patches
        p = torch.bmm(self.errors(delta), weight.transpose(1, 2))
        p = p.view(*patches.places, self.g.batch, *patches.taps)
        n = len(patches.places)
        return patches.scatter(p.permute(*range(n, p.dim()), *range(n)))

    def outer(self, patches, delta):
        return torch.bmm(patches.transpose(1, 2), self.errors(delta))

    def images(self, y):
        """[L, B, out] -> [B, out, oh, ow], a view"""
        return y.view(*self.g.places, self.g.batch, self.g.out).permute(IN_IMAGE)

    def errors(self, delta):
        return delta.permute(IN_IMAGE).reshape(-1, self.g.batch, self.g.out)


class Einsum(Formulation):
    """The same products, left to einsum."""

    def __init__(self, patches):
        super().__init__(patches)
        self.p, self.k = "xy"[: len(patches.places)], "uvc"[: len(patches.taps)]

    def arrange(self, weight):
        return weight.reshape(*self.patches.places, *self.patches.taps, self.g.out).contiguous()

    def restore(self, packed):
        return packed.view(self.split)

    def bias(self, bias):
        return bias.reshape(*self.patches.places, 1, self.g.out).contiguous()

    def error(self, delta):
        return delta.permute(IN_IMAGE).contiguous().permute(IN_IMAGE)

    def multiply(self, patches, weight, bias):
        p, k = self.p, self.k
        y = torch.einsum(f"b{k}{p},{p}{k}o->{p}bo", patches, weight) + bias
        return y.view(*self.g.places, self.g.batch, self.g.out).permute(IN_IMAGE)

    def adjoint(self, delta, weight):
        p, k = self.p, self.k
        return self.patches.scatter(torch.einsum(f"{p}bo,{p}{k}o->b{k}{p}", self.errors(delta), weight))

    def outer(self, patches, delta):
        p, k = self.p, self.k
        return torch.einsum(f"b{k}{p},{p}bo->{p}{k}o", patches, self.errors(delta))

    def errors(self, delta):
        return delta.permute(IN_IMAGE).reshape(*self.patches.places, self.g.batch, self.g.out)


class Multiply(Formulation):
    """Broadcast, multiply, sum: every product of a patch and a weight is in memory at once."""

    def __init__(self, patches):
        super().__init__(patches)
        self.sums = tuple(range(2, 2 + len(patches.taps)))

    def arrange(self, weight):
        weight = weight.reshape(*self.patches.places, *self.patches.taps, self.g.out)
        n, dims = len(self.patches.places), weight.dim()
        return weight.permute(dims - 1, *range(n, dims - 1), *range(n)).contiguous()

    def restore(self, packed):
        n, dims = len(self.patches.places), packed.dim()
        return packed.permute(*range(dims - n, dims), *range(1, dims - n), 0).reshape(self.split)

    def bias(self, bias):
        return bias.permute(2, 0, 1).reshape(self.g.out, *self.patches.places).contiguous()

    def error(self, delta):
        return delta.contiguous()

    def multiply(self, patches, weight, bias):
        y = (patches.unsqueeze(1) * weight).sum(self.sums) + bias
        return y.view(self.g.batch, self.g.out, *self.g.places)

    def adjoint(self, delta, weight):
        return self.patches.scatter((self.errors(delta) * weight).sum(1))

    def outer(self, patches, delta):
        return (patches.unsqueeze(1) * self.errors(delta)).sum(0)

    def errors(self, delta):
        ones = (1,) * len(self.patches.taps)
        return delta.reshape(self.g.batch, self.g.out, *ones, *self.patches.places)


MULTIPLY = {"bmm": Bmm, "einsum": Einsum, "multiply": Multiply}
PATCHES = {"im2col": Im2col, "views": Views, "channels-last": ChannelsLast}


def formulation(name, geometry):
    """name: for instance "bmm views"."""
    multiply, patches = name.split(" ")
    return MULTIPLY[multiply](PATCHES[patches](geometry))


class LocallyConnected(torch.autograd.Function):
    """A layer whose error goes down through `feedback` instead of its weight."""

    @staticmethod
    def forward(ctx, x, weight, bias, feedback, form):
        patches = form.gather(x)
        ctx.form = form
        ctx.save_for_backward(patches, feedback)
        return form.multiply(patches, weight, bias)

    @staticmethod
    def backward(ctx, delta):
        patches, feedback = ctx.saved_tensors
        form = ctx.form
        down = form.adjoint(delta, feedback) if ctx.needs_input_grad[0] else None
        gradient_of_bias = form.bias(delta.sum(0).permute(1, 2, 0))
        return down, form.outer(patches, delta), gradient_of_bias, None, None


CHUNK = 2**20


def random(shape, stream, dtype):
    """Numbers in [0, 1): the same in cortorch-layers.mjs, and whatever the version of torch; exact in float32."""
    values = torch.empty(math.prod(shape), dtype=dtype)
    for begin in range(0, len(values), CHUNK):
        piece = values[begin : begin + CHUNK]
        h = torch.arange(begin, begin + len(piece)) + (stream << 30)
        for _ in range(2):
            h = ((h >> 16) ^ h) * 0x45D9F3B & 0xFFFFFFFF
        piece.copy_(((h >> 16) ^ h) >> 8).mul_(2**-24)
    return values.view(shape)


def random_problem(g, dtype=torch.float32):
    """The same x, weight, bias and error for every side, in cortorch's order: images [H, W, B, C] in memory."""
    x = random((g.height, g.width, g.batch, g.channels), 0, dtype)
    weight = random(g.weight, 1, dtype).sub_(0.5)
    bias = random((*g.places, g.out), 2, dtype)
    delta = random((*g.places, g.batch, g.out), 3, dtype).sub_(0.5)
    return x.permute(IN_IMAGE), weight, bias, delta.permute(IN_IMAGE)


def naive(g, x, weight, bias, delta):
    """-> y, dx, dW by the definition, place by place and tap by tap."""
    p, (rows, columns) = g.padding, g.places
    padded = F.pad(x, (p, p, p, p))
    y = torch.zeros_like(delta)
    dx, dw = torch.zeros_like(padded), torch.zeros_like(weight)
    for r in range(rows):
        for c in range(columns):
            y[:, :, r, c] = bias[r, c]
            for u in range(g.kernel):
                for v in range(g.kernel):
                    at = (slice(None), slice(None), r * g.stride + u, c * g.stride + v)
                    y[:, :, r, c] += padded[at] @ weight[r, c, u, v]
                    dx[at] += delta[:, :, r, c] @ weight[r, c, u, v].t()
                    dw[r, c, u, v] = padded[at].t() @ delta[:, :, r, c]
    return y, dx[:, :, p : p + g.height, p : p + g.width], dw


SMALL = [Geometry(3, 2, 7, 6, 3, 4, 2), Geometry(2, 3, 5, 8, 5, 4, 1), Geometry(2, 1, 9, 9, 9, 5, 4)]


def check(layer_of):
    """layer_of(geometry, x, weight, bias, delta) -> y, dx, dW in cortorch's order; raises if they are not right."""
    for g in SMALL:
        problem = random_problem(g, torch.float64)
        results = layer_of(g, *(tensor.float() for tensor in problem))
        for name, mine, right in zip(("y", "dx", "dW"), results, naive(g, *problem)):
            if mine.shape != right.shape:
                raise AssertionError(f"{name} of {g} is {list(mine.shape)}, not {list(right.shape)}")
            error = ((mine.double() - right).norm() / right.norm()).item()
            if not error < 1e-6:
                raise AssertionError(f"{name} of {g} is wrong: a relative error of {error:.1e}")
