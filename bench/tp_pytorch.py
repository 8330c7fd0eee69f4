"""PyTorch's side of the benchmark `tp`: the parallel step of dtp or sdtp, as an expert would write it, in a process of its own.

    python tp_pytorch.py '{"form":"eager","rule":"dtp","threads":2,"batch":100,"input":[1,28,28],"local":[{"formulation":"bmm views","layer":{...}}],"dense":[1024,10]}'

Says {"ready":true,...} when it has compiled, then answers each line on stdin with one line:
    step N     N training steps on batches that lie ready in memory, labels as one-hot rows; the loss is never computed
    memory     peak resident memory so far

With "check" (a folder, see check-steps.mjs) it makes the steps that cortorch made, without noise, says how far the
parameters have gone apart, and ends.

The local gradients are a product or two each, so there is no autograd. What a dense layer gives lies in one buffer with
its noisy input and its target, so that every product of one matrix is one call; nothing is allocated but what locally
connected layers work on; bias and scale go into the products; both sets of parameters are one fused Adam.
"""

from lc_formulations import IN_IMAGE, Geometry, formulation
from pytorch_side import VERSION, CheckedSteps, answer, say, settings, timed
import torch

READY_BATCHES = 8  # so that the inputs are not always in the first-level cache
# Table 5 of Bartunov et al. 2018, DTP parallel on mnist-fc; the values do not change the time.
SIGMA, ALPHA = 0.36133, 0.15008
FORWARD = {"lr": 7.57e-4, "betas": (0.99, 0.95), "eps": 1e-3}
INVERSE = {"lr": 7.68e-4, "betas": (0.99, 0.999), "eps": 1e-4}
CHECKED = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-3}  # as in tp.ts

tanh_backward = torch.ops.aten.tanh_backward.grad_input  # g * (1 - y * y)


class Block:
    """What belongs to one vector of units: h; h~ = h + noise; f, the layer's value for the noisy input; and its target."""

    def __init__(self, batch, units, turned):
        # h~ | h | f | target, and in every other layer the other way round: so the inputs of the layer above, its
        # outputs for them, and what its inverse is asked for are neighbours everywhere.
        self.all = torch.zeros(4, batch, units)
        order = (3, 2, 1, 0) if turned else (0, 1, 2, 3)
        self.noisy, self.h, self.f, self.target = (self.all[i] for i in order)
        ends = (slice(2, 4), slice(0, 3)) if turned else (slice(0, 2), slice(1, 4))
        flat = lambda part: self.all[part].view(-1, units)
        self.up, self.given, self.down = flat(ends[0]), flat(slice(1, 3)), flat(ends[1])


class Dense:
    def __init__(self, side, below, units, turned, inverse):
        batch, inputs = below.h.shape
        bound = (6 / (inputs + units)) ** 0.5
        fresh = lambda *shape: torch.empty(shape).uniform_(-bound, bound)
        self.scale, self.mean = 2 / batch, side.mean
        self.below, self.out = below, Block(batch, units, turned)
        self.weight, self.bias = fresh(units, inputs), torch.zeros(units)
        side.learn(self.weight, self.bias)
        self.has_inverse = inverse
        if inverse:
            self.inverse, self.inverse_bias = fresh(units, inputs), torch.zeros(inputs)
            side.learn_inverse(self.inverse, self.inverse_bias)
            self.back = torch.empty(3, batch, inputs)
            parts = self.back.unbind(0)
            self.back_h, self.back_f, self.back_target = (parts[i] for i in ((2, 1, 0) if turned else (0, 1, 2)))

    def forward(self):
        below, out = self.below, self.out
        x, y = (below.up, out.given) if self.has_inverse else (below.h, out.h)
        return torch.addmm(self.bias, x, self.weight.t(), out=y)

    def learn(self, delta, scale, mean):
        """The layer's gradients, of delta times scale."""
        torch.addmm(self.weight.grad, delta.t(), self.below.h, beta=0, alpha=scale, out=self.weight.grad)
        torch.mv(delta.t(), mean, out=self.bias.grad)

    def learn_target(self, d):
        torch.sub(self.out.h, d, out=self.out.target)
        self.learn(tanh_backward(d, self.out.h, grad_input=d), self.scale, self.mean)

    def send_down(self, keeps_noise):
        """-> d of the layer below; and the gradients of the inverse."""
        below, out, back = self.below, self.out, self.back
        torch.addmm(self.inverse_bias, out.down, self.inverse, out=back.view(-1, back.shape[2])).tanh_()
        d = self.back_h.sub_(self.back_target)
        wanted = below.noisy if keeps_noise else below.h
        error = torch.sub(self.back_f, wanted, out=self.back_target)
        tanh_backward(error, self.back_f, grad_input=error)
        torch.addmm(self.inverse.grad, out.f.t(), error, beta=0, alpha=self.scale, out=self.inverse.grad)
        torch.mv(error.t(), self.mean, out=self.inverse_bias.grad)
        return d


class Images:
    """The same for the images that a locally connected layer gives: [B, C, H, W], in memory [H, W, B, C]."""

    def __init__(self, batch, channels, height, width):
        self.h = torch.zeros(height, width, batch, channels).permute(IN_IMAGE)
        self.noisy = self.f = self.target = self.h


class Local:
    def __init__(self, side, below, name, g, inverse):
        self.form = formulation(name, g)
        bound = (6 / (g.kernel**2 * (g.channels + g.out))) ** 0.5
        fresh = lambda: self.form.pack(torch.empty(g.weight).uniform_(-bound, bound))
        self.scale = 2 / g.batch
        self.below, self.out = below, Images(g.batch, g.out, *g.places)
        self.weight, self.bias = fresh(), self.form.bias(torch.zeros(*g.places, g.out))
        side.learn(self.weight, self.bias)
        self.has_inverse = inverse
        if inverse:
            self.inverse = fresh()
            self.inverse_bias = torch.zeros(g.channels, g.height, g.width)
            side.learn_inverse(self.inverse, self.inverse_bias)

    def forward(self):
        self.patches = self.form.gather(self.below.h)
        self.out.h = self.form.multiply(self.patches, self.weight, self.bias)
        if not self.has_inverse:
            return self.out.h
        self.out.f = self.form.multiply(self.form.gather(self.below.noisy), self.weight, self.bias).tanh_()
        return self.out.h

    def learn_target(self, d):
        # Not into buffers: torch.compile takes none that are not contiguous.
        self.out.target = self.out.h - d
        delta = self.form.errors(torch.ops.aten.tanh_backward(d, self.out.h))
        grad = self.weight.grad
        torch.baddbmm(grad, self.patches.transpose(1, 2), delta, beta=0, alpha=self.scale, out=grad)
        torch.sum(delta, 1, keepdim=True, out=self.bias.grad).mul_(self.scale)

    def send_down(self, keeps_noise):
        below, out, form = self.below, self.out, self.form
        g = lambda y: form.adjoint(y, self.inverse).add_(self.inverse_bias).tanh_()
        d = g(out.h).sub_(g(out.target))
        r = g(out.f)
        error = torch.ops.aten.tanh_backward(r - (below.noisy if keeps_noise else below.h), r)
        patches, grad = form.gather(error), self.inverse.grad
        torch.baddbmm(grad, patches.transpose(1, 2), form.errors(out.f), beta=0, alpha=self.scale, out=grad)
        torch.mul(error.sum(0), self.scale, out=self.inverse_bias.grad)
        return d


class Flatten:
    """Between them: units in the order of the images' memory, (H, W, C), which the weights above have too."""

    has_inverse = False

    def __init__(self, below, batch, channels, height, width):
        self.below, self.out = below, Block(batch, height * width * channels, False)
        split = lambda rows: rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
        self.split = split
        self.h, self.noisy = split(self.out.h), split(self.out.noisy)


class Side:
    def __init__(self, rule, batch, shape, local, sizes, sigma=SIGMA, forward=FORWARD, inverse=INVERSE):
        self.dtp = rule == "dtp"
        self.sigma, self.batch = sigma, batch
        self.mean = torch.full((batch,), 2 / batch)
        self.parameters, self.inverses = [], []
        below = Block(batch, shape[0] * shape[1] * shape[2], False)
        self.input = below.h
        self.layers = []
        if local:
            below = Images(batch, *shape)
        self.images = below if local else None
        for i, layer in enumerate(local):
            g = Geometry(**layer["layer"])
            self.layers.append(Local(self, below, layer["formulation"], g, inverse=i > 0))
            below = self.layers[-1].out
        self.flatten = None
        if local:
            self.flatten = Flatten(below, batch, g.out, *g.places)
            below = self.flatten.out
        for i, units in enumerate(sizes):
            last = i == len(sizes) - 1
            has_inverse = bool(self.layers) and not (last and self.dtp)
            self.layers.append(Dense(self, below, units, i % 2 == 0, has_inverse))
            below = self.layers[-1].out
        # Noise for all layers is drawn in one call.
        inputs = [layer.below for layer in self.layers if layer.has_inverse]
        self.noise = torch.zeros(sum(block.h.numel() for block in inputs))
        parts = self.noise.split([block.h.numel() for block in inputs])
        self.noises = {}
        for block, noise in zip(inputs, parts):
            if isinstance(block, Images):
                b, c, h, w = block.h.shape
                self.noises[block] = noise.view(h, w, b, c).permute(IN_IMAGE)
            else:
                self.noises[block] = noise.view(block.h.shape)
        groups = [{"params": self.parameters, **forward}, {"params": self.inverses, **inverse}]
        self.optimizer = torch.optim.Adam(groups, fused=True)

    def learn(self, *tensors):
        self.parameters += tensors

    def learn_inverse(self, *tensors):
        self.inverses += tensors

    def gradients(self, x, y):
        """x: images of the shape that the first layer takes; y: one-hot rows."""
        self.noise.normal_(0, self.sigma)
        *hidden, last = self.layers
        hidden[0].below.h = x
        for layer in hidden:
            self.enter(layer)
            layer.forward().tanh_()
        self.enter(last)
        last.forward()
        out = last.out
        if self.dtp:
            torch.softmax(out.h, 1, out=out.h)
        else:
            torch.softmax(out.given, 1, out=out.given)
        error = out.h - y
        last.learn(error, 1 / self.batch, self.mean)
        last.bias.grad.mul_(0.5)
        if self.dtp:
            d = torch.addmm(last.below.h, error, last.weight, beta=0, alpha=ALPHA)
        else:
            out.target.copy_(y)
            d = last.send_down(keeps_noise=False)
        for layer in reversed(hidden):
            if isinstance(layer, Local) and d.dim() == 2:
                d = self.flatten.split(d).permute(IN_IMAGE).contiguous().permute(IN_IMAGE)
            layer.learn_target(d)
            if layer.has_inverse:
                d = layer.send_down(keeps_noise=self.dtp)

    def enter(self, layer):
        """What the layer needs of its input beside h."""
        below, flatten = layer.below, self.flatten
        if flatten and below is flatten.out:
            flatten.h.copy_(flatten.below.h)
        if isinstance(layer, Local) and layer.has_inverse:
            below.noisy = below.h + self.noises[below]
        elif layer.has_inverse:
            torch.add(below.h, self.noises[below], out=below.noisy)

    def update(self, x, y):
        self.gradients(x, y)
        self.optimizer.step()

    def steps(self, n):
        for i in range(n):
            self.update(*self.batches[i % len(self.batches)])

    def compile(self):
        # The loops of sdtp's softmax make its fusion of outer loops fail (KeyError in 2.13.0); without it, it compiles.
        from torch._inductor.codegen.cpp import CppScheduling

        CppScheduling._get_outer_loop_fusion_depth = lambda *_: 0
        self.gradients = torch.compile(self.gradients, fullgraph=True, dynamic=False)

    def make_batches(self, shape, classes):
        one_hot = lambda: torch.nn.functional.one_hot(torch.randint(0, classes, (self.batch,)), classes).float()
        self.batches = [(self.entering(torch.rand(self.batch, *shape)), one_hot()) for _ in range(READY_BATCHES)]
        self.zero_gradients()

    def zero_gradients(self):
        for parameter in (*self.parameters, *self.inverses):
            parameter.grad = torch.zeros_like(parameter)

    def entering(self, x):
        """[B, C, H, W] as the first layer takes it."""
        return x.flatten(1) if self.images is None else self.layers[0].form.patches.layout(x)


def check(given):
    """The steps that cortorch made, from the same parameters; says how the updates differ."""
    checked = CheckedSteps(given["check"])
    side = Side(given["rule"], given["batch"], given["input"], given["local"], given["dense"], 0.0, CHECKED, CHECKED)
    side.zero_gradients()

    def mine(name):
        """A parameter of ours in cortorch's order, as a function that reads and one that writes it."""
        kind, i, what = ("layers", *name.split(".")[1:]) if name.startswith("layers") else name.split(".")
        layer = side.layers[int(i)]
        tensor = getattr(layer, what if kind == "layers" else {"weight": "inverse", "bias": "inverse_bias"}[what])
        if isinstance(layer, Local):
            if what == "weight":
                return lambda: layer.form.unpack(tensor), lambda value: tensor.copy_(layer.form.pack(value))
            if kind == "layers":
                return lambda: tensor.view(*layer.form.g.places, -1), lambda value: tensor.copy_(layer.form.bias(value))
            return lambda: tensor, tensor.copy_
        if side.flatten and layer.below is side.flatten.out and (what == "weight" or kind == "inverses"):
            _, c, h, w = side.flatten.h.shape
            apart = lambda value: value.reshape(*value.shape[:-1], c, h, w).movedim(-3, -1).flatten(-3)
            back = lambda: tensor.view(*tensor.shape[:-1], h, w, c).movedim(-1, -3).flatten(-3)
            return back, lambda value: tensor.copy_(apart(value))
        return lambda: tensor, tensor.copy_

    for name, value in checked.before().items():
        mine(name)[1](value)
    x = side.entering(checked.read("images", [given["batch"], *given["input"]]))
    y = checked.read("labels", [given["batch"], given["dense"][-1]])
    if given.get("form") == "compile":
        side.compile()
    for _ in range(checked.steps):
        side.update(x, y)
    say({"apart": checked.apart(lambda name: mine(name)[0]())})


def main():
    given = settings()
    torch.set_num_threads(given["threads"])
    torch.manual_seed(1)
    if "check" in given:
        check(given)
        return
    side = Side(given["rule"], given["batch"], given["input"], given["local"], given["dense"])
    side.make_batches(given["input"], given["dense"][-1])
    if given["form"] == "compile":
        side.compile()
    side.steps(3)
    count = lambda tensors: sum(tensor.numel() for tensor in tensors)
    say({"ready": True, "version": VERSION, "parameters": count(side.parameters), "inverses": count(side.inverses)})
    answer(step=timed(side.steps))


if __name__ == "__main__":
    with torch.no_grad():
        main()
