"""The benchmarks of a GPU: locally connected layers, a step of mnist-fc and a step of imagenet-lc, each beside PyTorch
and beside what this GPU could do at best; all of it ratios, taken in this run.

Usage: python bench/gpu.py LIBCORTORCH [--only layers] [--precision tf32] [--batch 128] [--net imagenet-lc]
           [--seconds 120]
       python bench/gpu.py LIBCORTORCH --device cpu --small      tiny sizes, to see that the program works

Prints tables in Markdown, and each ratio as soon as it is known: `ratio` and a line of JSON. With --seconds it leaves
out what would take longer, and says so: `left out for want of time`.

What the GPU could do at best is measured first: `copy`, bytes read and written by a plain copy, and `matmul`,
operations of a square product in each precision. A layer's operation needs at least the larger of two times: its bytes
(weights or their gradient once, images in and out once) at the rate of the copy, and its operations (2 per weight and
example, taps in the padding included) at the rate of the product. Times of layers are medians between events, with
256 MiB written before each, so that nothing is left in the second-level cache; times of steps are of many steps,
between two waits for the GPU.
"""

import argparse
import contextlib
import gc
import json
import math
import statistics
import time
import warnings
from functools import partial

STARTED = time.perf_counter()  # PyTorch takes its time to load

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from lc_formulations import IN_IMAGE, Geometry, formulation  # noqa: E402
from lc_steps import network as pytorch_network  # noqa: E402
from pytorch_side import VERSION, adam, dense  # noqa: E402

# Table 3 of Bartunov et al. 2018. name: (channels, size), then (kernel, out, stride) of each layer; padding
# (kernel − 1) / 2.
NETS = {
    "mnist-lc": ((1, 28), [(3, 32, 2), (3, 64, 2)]),
    "cifar10-lc": ((3, 32), [(5, 64, 2), (5, 128, 2), (3, 256, 1)]),
    "imagenet-lc": (
        (3, 224),
        [(9, 48, 4), (3, 48, 2), (5, 96, 1), (3, 96, 2), (3, 192, 1), (3, 192, 2), (3, 384, 1)],
    ),
}
SMALL = {"mnist-lc": ((1, 8), [(3, 4, 2)]), "imagenet-lc": ((3, 16), [(5, 8, 2), (3, 8, 1)])}
FORMS = ("bmm views", "bmm channels-last", "bmm im2col")
BITS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}

GOALS = {"bmm": 3, "limit": 0.75, "eager": 5, "graphs": 1.2, "floor": 1.3, "pytorch": 3}


def geometries(net, batch):
    (channels, size), rows = net
    result = []
    for kernel, out, stride in rows:
        result.append(Geometry(batch, channels, size, size, kernel, out, stride))
        channels, size = out, result[-1].places[0]
    return result


class Bench:
    def __init__(self, given):
        self.given = given
        self.device = given.device
        self.on_gpu = given.device.startswith("cuda")
        self.nets = SMALL if given.small else NETS
        self.rounds, self.warm = (3, 1) if given.small else (15, 3)
        self.failed = []
        self.flush = torch.empty(2**28 if self.on_gpu else 2**20, dtype=torch.uint8, device=self.device)
        self.best = {}

    # --- time ---

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def has_time(self, seconds, what):
        if self.given.seconds - (time.perf_counter() - STARTED) >= seconds:
            return True
        print(f"left out for want of time: {what}", flush=True)
        return False

    def seconds(self, work, rounds=None, warm=None):
        """Of one piece of work, from a cold cache: the median."""
        rounds, warm = rounds or self.rounds, self.warm if warm is None else warm
        times = []
        for i in range(warm + rounds):
            self.flush.zero_()
            if self.on_gpu:
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                result = work()
                end.record()
                end.synchronize()
                took = start.elapsed_time(end) / 1e3
            else:
                start = time.perf_counter()
                result = work()
                took = time.perf_counter() - start
            del result
            if i >= warm:
                times.append(took)
        return statistics.median(times)

    def seconds_per_step(self, run, steps, rounds=5):
        """run(steps) makes them; it has been warmed up."""
        times = []
        for _ in range(rounds):
            self.wait()
            start = time.perf_counter()
            run(steps)
            self.wait()
            times.append((time.perf_counter() - start) / steps)
        return statistics.median(times)

    # --- what it can do at best ---

    def measure_rates(self):
        n = 2**22 if self.given.small else 2**30
        source, target = (torch.zeros(n, dtype=torch.uint8, device=self.device) for _ in range(2))
        self.copy = 2 * n / self.seconds(lambda: target.copy_(source))
        del source, target
        self.matmul = {}
        n = 256 if self.given.small else 8192
        for precision in self.given.precision:
            use_precision(precision)
            a, b = (torch.randn(n, n, device=self.device, dtype=BITS[precision]) for _ in range(2))
            self.matmul[precision] = 2 * n**3 / self.seconds(lambda: a @ b, rounds=7)
            del a, b
        name = torch.cuda.get_device_name(self.device) if self.on_gpu else "the processor"
        rates = ", ".join(f"{precision} {rate / 1e12:.3g} TFLOP/s" for precision, rate in self.matmul.items())
        print(f"{name}, {VERSION}. A copy moves {self.copy / 1e12:.3g} TB/s; products: {rates}.\n", flush=True)

    # --- results ---

    def ratio(self, what, kind, value, words=""):
        goal, at_most = GOALS[kind], kind == "floor"
        met = value <= goal if at_most else value >= goal
        entry = {"what": what, "ratio": round(value, 3), "goal": goal, "at_most": at_most, "met": met, "words": words}
        print("ratio " + json.dumps(entry), flush=True)

    def several(self, what, kind, values):
        """The least favourable one counts."""
        if values:
            mean = math.exp(statistics.fmean(map(math.log, values)))
            count = sum(value >= GOALS[kind] for value in values)
            self.ratio(what, kind, min(values), f"{count} of {len(values)} met, mean {mean:.2f}")

    def failure(self, what, error):
        """Said; what comes after it is worth its time."""
        self.failed.append(what)
        print(f"FAILED {what}: {type(error).__name__}: {error}", flush=True)

    # --- locally connected layers ---

    def best_form(self, g, precision):
        """The quickest of PyTorch's for this layer; each one is tried once."""
        if (g, precision) not in self.best:
            took = {}
            for name in FORMS:
                with optional(f"{name}, {label(g)}, {precision}"):
                    works = self.pytorch_layer(name, g, *self.problem(g, precision)).values()
                    took[name] = sum(self.seconds(work, rounds=1, warm=1) for work in works)
                    del works
                free()
            if not took:
                raise RuntimeError(f"none of PyTorch's forms of {label(g)} works in {precision}")
            self.best[g, precision] = min(took, key=took.get)
        return self.best[g, precision]

    def problem(self, g, precision):
        """x, weight and error of a layer; images as they are between our layers, [H, W, B, C] in memory."""
        torch.manual_seed(1)
        make = lambda *shape: torch.randn(*shape, device=self.device, dtype=BITS[precision])
        images = lambda channels, height, width: make(height, width, g.batch, channels).permute(IN_IMAGE)
        return images(g.channels, g.height, g.width), make(*g.weight), images(g.out, *g.places)

    def our_layer(self, g, x, weight, delta):
        # Without a bias: the operator adds it afterwards, and only a layer fuses it into the kernel.
        ops, rest = torch.ops.cortorch, {"stride": [g.stride] * 2, "padding": [g.padding] * 2}
        return {
            "apply": lambda: ops.locally_connected2d(x, weight, None, **rest),
            "adjoint": lambda: ops.locally_connected2d_adjoint(weight, delta, [g.height, g.width], **rest),
            "outer": lambda: ops.locally_connected2d_outer(x, delta, [g.kernel] * 2, **rest),
        }

    def pytorch_layer(self, name, g, x, weight, delta):
        """All in the layout that the formulation likes best; the patches stay for the gradient of the weights."""
        form = formulation(name, g)
        x, packed, delta = form.patches.layout(x), form.pack(weight), form.error(delta)
        patches = form.gather(x)
        return {
            "apply": lambda: form.images(torch.bmm(form.gather(x), packed)),
            "adjoint": lambda: form.adjoint(delta, packed),
            "outer": lambda: form.outer(patches, delta),
        }

    def check_same(self, g, precision, ours, theirs, name):
        form = formulation(name, g)
        for what in ours:
            a, b = ours[what](), theirs[what]()
            b = form.unpack(b) if what == "outer" else b
            off = ((a.float() - b.float()).norm() / b.float().norm()).item()
            if not off < {"fp32": 1e-4, "tf32": 5e-3, "bf16": 2e-2}[precision]:
                raise AssertionError(f"{what} is not PyTorch's: a relative difference of {off:.1e}")
            del a, b

    def layers(self):
        for precision in self.given.precision:
            use_precision(precision)
            for batch in self.given.batch:
                self.layers_table(precision, batch)

    def layers_table(self, precision, batch):
        ours = f"{precision}, batch {batch}, µs | forward | dx | dW | TFLOP/s | of the limit | bound by"
        print(f"| {ours} | PyTorch's best | µs | forward | dx | dW | vs PyTorch |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
        against, of_limit = [], []
        nets = [net for name, net in self.nets.items() if self.given.net in (None, name)]
        for g in (g for net in nets for g in geometries(net, batch)):
            what = f"{label(g)}, {precision}, batch {batch}"
            if not self.has_time(4, what):
                continue
            try:
                a, b = self.layer(g, precision)
            except AssertionError as error:
                self.failure(what, error)
                continue
            finally:
                free()
            weights = math.prod(g.weight)
            images = batch * (g.channels * g.height * g.width + g.out * math.prod(g.places))
            moved = (weights + images) * BITS[precision].itemsize / self.copy
            counted = 2 * weights * batch / self.matmul[precision]
            ours, theirs = sum(a.values()), sum(b.values())
            against.append(theirs / ours)
            of_limit.append(3 * max(moved, counted) / ours)
            cells = (
                label(g),
                *(f"{seconds * 1e6:.1f}" for seconds in a.values()),
                f"{6 * weights * batch / ours / 1e12:.3g}",
                f"{of_limit[-1]:.0%}",
                "bytes" if moved > counted else "operations",
                self.best_form(g, precision),
                f"{theirs * 1e6:.1f}",
                *(f"{b[what] / a[what]:.2f} ×" for what in a),
                f"{against[-1]:.2f} ×",
            )
            print(f"| {' | '.join(cells)} |", flush=True)
        print()
        self.several(f"layers {precision}, batch {batch}, vs bmm", "bmm", against)
        self.several(f"layers {precision}, batch {batch}, of the limit", "limit", of_limit)

    def layer(self, g, precision):
        """Seconds of each operation, ours and PyTorch's."""
        name = self.best_form(g, precision)
        problem = self.problem(g, precision)
        ours, theirs = self.our_layer(g, *problem), self.pytorch_layer(name, g, *problem)
        self.check_same(g, precision, ours, theirs, name)
        return (
            {what: self.seconds(work) for what, work in ours.items()},
            {what: self.seconds(work, rounds=max(3, self.rounds // 2)) for what, work in theirs.items()},
        )

    # --- steps ---

    def ours(self, model, settings, images, classes):
        training = torch.classes.cortorch.Training(model, settings)
        training.set_data(images, torch.randint(0, classes, (images.shape[0],)), classes)
        return training

    def run_checked(self, training, batch):
        """Steps, of which all must have been made, and as a graph."""

        def run(steps):
            made = training.run(steps, batch)
            if made[5] != steps or training.graph_failure():
                how = training.graph_failure() or "as a graph"
                raise AssertionError(f"{made[5]} of {steps} steps were made; {how}")

        return run

    def mnist_fc(self, part):
        units, batch, examples = (16, 10, 40) if self.given.small else (256, 100, 60_000)
        sizes = [784, *[units] * 5, 10]
        model = "input 784; " + "".join(f"dense units={n} activation=tanh; " for n in sizes[1:-1]) + "dense units=10"
        steps = examples // batch
        images = torch.randint(0, 256, (examples, 784), dtype=torch.uint8)
        print(f"| mnist-fc, batch {batch}, Adam | precision | µs a step | cortorch is |\n| --- | --- | ---: | ---: |")
        for precision in [p for p in self.given.precision if p != "bf16"]:
            settings = f"rule=bp seed=1 lr=1.52e-4 device={self.device} precision={precision}"
            training = self.ours(model, settings, images, 10)
            run = self.run_checked(training, batch)
            run(steps)
            mine = self.seconds_per_step(run, steps)
            print(f"| cortorch | {precision} | {mine * 1e6:.1f} | |", flush=True)
            del training, run
            free(cycles=True)
            use_precision(precision)
            for form, (kind, needs, make) in self.mnist_forms(part, sizes, batch).items():
                if not self.has_time(needs, f"mnist-fc, {form}, {precision}"):
                    continue
                with optional(f"mnist-fc, {form}, {precision}"):
                    took = self.seconds_per_step(make(), 2 if self.given.small else 200)
                    print(f"| {form} | {precision} | {took * 1e6:.1f} | {took / mine:.2f} × |", flush=True)
                    self.ratio(f"mnist-fc {precision}, vs {form}", kind, took / mine)
                free(cycles=True)
        print()

    def mnist_forms(self, part, sizes, batch):
        """PyTorch's, of one part: the goal's name, the seconds that it may take to compile, and what makes it. Steps on
        batches that lie ready as floats on the GPU, while ours are gathered and scaled from bytes."""
        with torch.device(self.device):
            ready = [(torch.rand(batch, sizes[0]), torch.randint(0, 10, (batch,))) for _ in range(8)]

        def model():
            torch.manual_seed(1)
            layers = []
            for inputs, outputs in zip(sizes, sizes[1:]):
                layers += [dense("bp", inputs, outputs), nn.Tanh()]
            return nn.Sequential(*layers[:-1]).to(self.device)

        def stepping(mode):
            def make():
                net = model()
                loss_of = lambda x, y: F.cross_entropy(net(x), y)
                if mode:
                    loss_of = torch.compile(loss_of, mode=mode, fullgraph=True, dynamic=False)
                return self.pytorch_steps(adam(net.parameters()), loss_of, ready, warm=2 if self.given.small else 12)

            return make

        def captured(compiled):
            """The whole step, optimizer and all, in one graph."""

            def make():
                net = model()
                loss_of = lambda x, y: F.cross_entropy(net(x), y)
                if compiled:
                    loss_of = torch.compile(loss_of, fullgraph=True, dynamic=False)
                optimizer = torch.optim.Adam(net.parameters(), lr=1.52e-4, fused=True, capturable=True)
                x, y = (t.clone() for t in ready[0])

                def step():
                    loss_of(x, y).backward()
                    optimizer.step()

                stream = torch.cuda.Stream()
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    for _ in range(5):
                        step()
                        optimizer.zero_grad(set_to_none=True)
                torch.cuda.current_stream().wait_stream(stream)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    step()

                def run(n):
                    for i in range(n):
                        x.copy_(ready[i % 8][0])
                        y.copy_(ready[i % 8][1])
                        graph.replay()

                run(20)
                return run

            return make

        forms = {
            "mnist-fc": {
                "eager": ("eager", 2, stepping(None)),
                "eager, the whole step one CUDA graph": ("graphs", 2, captured(False)),
            },
            "mnist-fc-compiled": {
                "torch.compile, the whole step one CUDA graph": ("graphs", 25, captured(True)),
                "torch.compile, reduce-overhead": ("graphs", 20, stepping("reduce-overhead")),
            },
            "mnist-fc-autotuned": {"torch.compile, max-autotune": ("graphs", 60, stepping("max-autotune"))},
        }[part]
        return {form: how for form, how in forms.items() if self.on_gpu or "CUDA" not in form}

    def pytorch_steps(self, optimizer, loss_of, batches, warm, autocast=False):
        def run(n):
            for i in range(n):
                with torch.autocast(self.device.split(":")[0], torch.bfloat16, enabled=autocast):
                    loss = loss_of(*batches[i % len(batches)])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

        run(warm)
        return run

    def imagenet(self):
        """The network, its classes, and as many examples as are whole epochs of every batch."""
        examples = (2 if self.given.small else 8) * max(self.given.batch)
        return self.nets["imagenet-lc"], 10 if self.given.small else 1000, examples

    def our_imagenet(self, precision, more=""):
        """Gives the seconds of a step, batch by batch."""
        ((channels, size), rows), classes, examples = self.imagenet()
        images = torch.randint(0, 256, (examples, channels, size, size), dtype=torch.uint8)
        model = f"input {channels} {size} {size}; " + "".join(
            f"locally_connected2d channels={out} kernel={kernel} stride={stride} padding={(kernel - 1) // 2} "
            "activation=tanh; "
            for kernel, out, stride in rows
        )
        model += f"flatten; dense units={classes}"
        settings = f"rule=bp seed=1 lr=1e-4 device={self.device} precision={precision}{more}"
        training = self.ours(model, settings, images, classes)
        for batch in self.given.batch:
            run, steps = self.run_checked(training, batch), examples // batch
            for _ in range(1 + 4 // steps):  # until a graph is recorded
                run(steps)
            yield batch, self.seconds_per_step(run, steps)

    def imagenet_lc(self):
        net, classes, _ = self.imagenet()
        columns = ("batch", "cortorch", "byte floor", "times the floor", "operations at the matmul rate")
        print(f"| imagenet-lc, Adam, ms a step | {' | '.join(columns)} | PyTorch's form | vs PyTorch |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        pytorch = {}
        for precision, bf16_moments in ((p, m) for p in self.given.precision for m in (False, True)):
            if bf16_moments and (precision != "bf16" or not self.on_gpu):
                continue
            name = precision + (", moments in bf16" if bf16_moments else "")
            if not self.has_time(15, f"imagenet-lc {name}"):
                continue
            mine, floors = {}, {}
            for batch, took in self.our_imagenet(precision, " moments=bf16" if bf16_moments else ""):
                floor, flop = floor_of(geometries(net, batch), classes, precision, bf16_moments)
                floor, counted = floor / self.copy, flop / self.matmul[precision]
                mine[batch] = took
                floors[batch] = f"{floor * 1e3:.2f} | {took / floor:.2f} | {counted * 1e3:.2f}"
                self.ratio(f"imagenet-lc {name}, batch {batch}, times its byte floor", "floor", took / floor)
            free(cycles=True)  # of our network, before PyTorch's
            for batch, took in mine.items():
                key = batch, precision
                if key not in pytorch and self.has_time(8, f"imagenet-lc in PyTorch, {precision}, batch {batch}"):
                    pytorch[key] = self.pytorch_step(net, batch, classes, precision)
                theirs = pytorch.get(key)
                shown = f"{theirs * 1e3:.2f} | {theirs / took:.2f} ×" if theirs else " | "
                print(f"| {name} | {batch} | {took * 1e3:.2f} | {floors[batch]} | {shown} |", flush=True)
                if theirs:
                    self.ratio(f"imagenet-lc {name}, batch {batch}, vs PyTorch", "pytorch", theirs / took)
        print()

    def pytorch_step(self, net, batch, classes, precision, compiled=False):
        """Seconds of PyTorch's step, each layer in its best form; bf16 by autocast. None if there is none."""
        took = None
        with optional(f"imagenet-lc in PyTorch, {precision}, batch {batch}"):
            use_precision(precision)
            layers = geometries(net, batch)
            local = [{"formulation": self.best_form(g, precision), "layer": g._asdict()} for g in layers]
            with torch.device(self.device):
                torch.manual_seed(1)
                module = pytorch_network("bp", local, [classes])
                make = lambda: (
                    torch.rand(batch, layers[0].channels, layers[0].height, layers[0].width, dtype=BITS[precision]),
                    torch.randint(0, classes, (batch,)),
                )
                ready = [make() for _ in range(2)]
            loss_of = lambda x, y: F.cross_entropy(module(x), y)
            if compiled:
                loss_of = torch.compile(loss_of, dynamic=False)
            run = self.pytorch_steps(adam(module.parameters()), loss_of, ready, 3, autocast=precision == "bf16")
            took = self.seconds_per_step(run, 1 if self.given.small else 5, rounds=3)
            del module, run, ready, loss_of
        free(cycles=True)
        return took

    def imagenet_lc_compiled(self):
        """torch.compile of PyTorch's form: one precision, one batch."""
        net, classes, _ = self.imagenet()
        precision = self.given.precision[0]
        batch, mine = next(self.our_imagenet(precision))
        free(cycles=True)
        if not self.has_time(50, "imagenet-lc by torch.compile"):
            return
        took = self.pytorch_step(net, batch, classes, precision, compiled=True)
        if took:
            what = f"imagenet-lc {precision}, batch {batch}, vs torch.compile"
            print(f"{what}: {mine * 1e3:.2f} and {took * 1e3:.2f} ms a step\n", flush=True)
            self.ratio(what, "pytorch", took / mine)


def label(g):
    return f"{g.channels}×{g.height}² → {g.out}×{g.places[0]}², {g.kernel}×{g.kernel}/{g.stride}"


def floor_of(layers, classes, precision, bf16_moments):
    """The bytes that a step with Adam has to move, and its operations.

    A parameter: what is computed with is read forward and backward (w each), its gradient written and read (w each),
    value and both moments read and written. In fp32 and tf32 w is 4, and with 4 + 8 in moments that is 16 + 24 = 40; in
    bf16 w is 2 and the update writes the working copy too: 8 + 24 + 2 = 34, with moments in bf16 26. The lowest layer's
    weights are not read backward. An activation is written, read by the layer above and again in the backward pass; its
    error is written and read.
    """
    w = 2 if precision == "bf16" else 4
    per_parameter = 4 * w + 2 * (4 + (4 if bf16_moments else 8)) + (2 if precision == "bf16" else 0)
    weights = [math.prod(g.weight) + math.prod((*g.places, g.out)) for g in layers]
    top = layers[-1].out * math.prod(layers[-1].places)
    weights.append((top + 1) * classes)
    batch = layers[0].batch
    hidden = sum(g.out * math.prod(g.places) for g in layers) + classes
    pixels = layers[0].channels * layers[0].height * layers[0].width
    activations = batch * (5 * w * hidden + (1 + 3 * w) * pixels)  # pixels: bytes read, then written, and read twice
    flop = 2 * batch * (3 * sum(weights) - weights[0])
    return per_parameter * sum(weights) - w * weights[0] + activations, flop


def use_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def free(cycles=False):
    if cycles:  # of modules and compilers; it takes a while
        gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def optional(what):
    """PyTorch's side: what does not work there is said, and left out."""
    try:
        yield
    except Exception as error:  # compilers fail in many ways
        lines = str(error).strip().splitlines() or [""]
        print(f"left out: {what}: {type(error).__name__}: {lines[0][:200]}", flush=True)


def listed(*allowed):
    """For argparse: a list with commas, of these words."""

    def read(text):
        words = text.split(",")
        if unknown := [word for word in words if word not in allowed]:
            raise argparse.ArgumentTypeError(f"{', '.join(map(repr, unknown))}: they are {', '.join(allowed)}")
        return words

    return read


def main():
    work = {
        "layers": Bench.layers,
        "imagenet-lc": Bench.imagenet_lc,
        **{
            part: partial(Bench.mnist_fc, part=part)
            for part in ("mnist-fc", "mnist-fc-compiled", "mnist-fc-autotuned")
        },
        "imagenet-lc-compiled": Bench.imagenet_lc_compiled,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", metavar="LIBCORTORCH")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", type=listed(*work), default=list(work)[:3], help="of " + ",".join(work))
    parser.add_argument("--precision", type=listed(*BITS), help="of fp32,tf32,bf16")
    parser.add_argument("--batch", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--net", choices=NETS, help="of the layers")
    parser.add_argument("--seconds", type=float, default=math.inf, help="leave out what would take longer")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    given = parser.parse_args()
    on_gpu = given.device.startswith("cuda")
    given.precision = given.precision or (list(BITS) if on_gpu else ["fp32"])
    given.batch = given.batch or ([4, 6] if given.small else [128, 256])
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("gpu.py measures a GPU, and PyTorch sees none")
    torch.ops.load_library(given.library)
    bench = Bench(given)
    bench.measure_rates()
    for part in given.only:
        try:
            work[part](bench)
        except Exception as error:
            bench.failure(part, error)
    raise SystemExit(1 if bench.failed else 0)


if __name__ == "__main__":
    main()
