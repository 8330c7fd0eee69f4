"""Training on a GPU against the same training on the CPU: every rule on every map, every optimizer, augmentation,
batches that do not divide the epoch, batches of the caller's own, losses that are not finite; in fp32, tf32 and bf16;
launched kernel by kernel and replayed as a graph; twice to the bit.

Usage: python gpu_training.py LIBCORTORCH [--device cuda:0] [--only steps,fp32,coarse,bits] [--small]

Prints a line a network, and exits with 1 if something differs. `steps` is one step of every rule, `fp32` all of it in
fp32, `coarse` in tf32 and bf16, `bits` is what is to be the same to the bit. --small only trains a little, everything
once, and compares nothing: for compute-sanitizer. With --device cpu the CPU is compared with itself, to see that this
program works; with --emulated too, with the emulated CUDA half. The cases are those of
test/cuda-emulation/training_check.cpp, and wider ones.
"""

import math
from dataclasses import dataclass, replace

import torch

from device import Failures, listed, place_from, use_precision

RULES = ("bp", "fa", "dfa", "usf", "brsf", "frsf", "tp", "dtp", "sdtp", "ao-sdtp")
GRADIENT_RULES = RULES[:6]
INPUT = "input 3 6 5; "
HEAD = "flatten; dense units=11 activation=tanh; dense units=4"
NETWORKS = {
    "dense": INPUT + "flatten; dense units=24 activation=tanh; dense units=17 activation=tanh; "
    "dense units=9 activation=tanh; dense units=4",
    "local": INPUT + "locally_connected2d channels=8 kernel=3 padding=1 stride=2 activation=tanh; "
    "locally_connected2d channels=7 kernel=2 activation=tanh; " + HEAD,
    "conv": INPUT + "conv2d channels=8 kernel=3 padding=1 stride=2 activation=tanh; "
    "conv2d channels=6 kernel=2 activation=tanh; " + HEAD,
}
# Under dfa a batch norm is right behind its layer. The windows of the pooling overlap: their gradients are sums.
NORMED = (
    INPUT + "conv2d channels=8 kernel=3 padding=1 bias=0; batch_norm activation=relu; "
    "max_pool2d kernel=3 stride=2 padding=1; "
    "locally_connected2d channels=5 kernel=2 bias=0; batch_norm activation=relu; "
    "flatten; dense units=12 activation=sigmoid; dense units=4"
)
# Sizes that fill the kernels' tiles, and more than one block of an update.
WIDE = {
    "wide dense": "input 3 16 16; flatten; "
    "dense units=256 activation=tanh; dense units=192 activation=tanh; dense units=10",
    "wide local": "input 3 16 16; "
    "locally_connected2d channels=64 kernel=5 stride=2 padding=2 activation=tanh; "
    "locally_connected2d channels=96 kernel=3 padding=1 activation=tanh; flatten; dense units=10",
    "wide conv": "input 3 16 16; conv2d channels=64 kernel=5 stride=2 padding=2 activation=tanh; "
    "conv2d channels=96 kernel=3 padding=1 activation=tanh; flatten; dense units=10",
}
# A large ε: near zero a gradient's rounding would decide where Adam goes.
ADAM = "seed=3 lr=2e-3 eps=1e-3"
SGD = "seed=3 optimizer=sgd lr=0.05"

# Of fp32: how far a parameter may be off after some steps, relative to the largest change that it made. The emulated
# half sums as the processor does; cuDNN's algorithms may transform, and batches whose statistics are of few values
# amplify rounding. After one step the change is small beside what is lost when it is added to the parameter.
FP32 = {"ours": 2e-4, "cudnn": 2e-3, "one step": 2e-3}
# Of the others, after one step: the norm of how far its change is off, relative to the change.
COARSE = {"tf32": 0.01, "bf16": 0.08}


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    settings: str
    shape: tuple = (3, 6, 5)
    bytes: bool = True
    examples: int = 23
    batch: int = 6
    classes: int = 4
    runs: tuple = (3, 7, 5)  # 5 steps of each epoch of 4 are short
    streamed: bool = False

    @property
    def tolerance(self):
        return FP32["cudnn" if "conv2d" in self.model else "ours"]


def of_targets(rule):
    """Settings of target propagation, for the rules that have them."""
    if rule in GRADIENT_RULES:
        return ""
    return " rule.noise=0.2 inverse_lr=1e-3" + (" rule.auxiliary=13" if rule == "ao-sdtp" else "")


def cases():
    for network, model in NETWORKS.items():
        for rule in RULES:
            yield Case(f"{rule} {network}", model, f"rule={rule} {ADAM}{of_targets(rule)}")
    for phase in ("forward", "inverse"):
        yield Case(f"dtp alone {phase}", NETWORKS["local"], f"rule=dtp {ADAM} phase={phase}")
    for optimizer in (
        "optimizer=sgd lr=0.05",
        "optimizer=sgd lr=0.05 momentum=0.9 weight_decay=0.01",
        "optimizer=rmsprop lr=1e-3 eps=1e-2",
        "optimizer=rmsprop lr=1e-3 eps=1e-2 momentum=0.5 weight_decay=0.1",
        "optimizer=adam lr=1e-3 eps=1e-2 weight_decay=0.1",
    ):
        for network in ("dense", "local"):
            yield Case(f"{optimizer} {network}", NETWORKS[network], f"rule=bp seed=3 {optimizer}")
    for rule in GRADIENT_RULES:
        option = {"fa": " rule.feedbackScale=xiao", "usf": " rule.lastLayer=rule"}.get(rule, "")
        settings = f"rule={rule} seed=3 optimizer=sgd lr=0.02 momentum=0.9{option}"
        yield Case(f"batch norm {rule}", NORMED, settings)
    yield Case("many classes", INPUT + "flatten; dense units=150", f"rule=bp {ADAM}", classes=150)
    yield Case("twelve classes", INPUT + "flatten; dense units=12", f"rule=bp {ADAM} loss=squared-error", classes=12)
    yield Case("dfa shared", NETWORKS["local"], f"rule=dfa rule.dfaFeedback=shared {ADAM}")
    yield Case("augmented", NETWORKS["local"], f"rule=bp {ADAM} crop=2 flip=1 mean=0.4,0.5,0.6 std=0.2,0.3,0.25")
    yield Case("floats", NETWORKS["dense"], f"rule=bp {ADAM} mean=0.1,0.2,0.3 std=1,2,1", bytes=False)
    yield Case("squared error", NETWORKS["local"], f"rule=bp loss=squared-error {ADAM}")
    yield Case("squared error sdtp", NETWORKS["dense"], f"rule=sdtp loss=squared-error {ADAM}")
    autoencoder = "input 12; dense units=7 activation=tanh; dense units=5 activation=sigmoid; dense units=12"
    yield Case("autoencoder", autoencoder, f"rule=dtp loss=reconstruction {ADAM}", shape=(12,), bytes=False)
    for rule in ("bp", "sdtp"):
        yield Case(f"streamed {rule}", NETWORKS["local"], f"rule={rule} {ADAM}", streamed=True)


def wide_cases():
    for network, model in WIDE.items():
        for rule in ("bp", "fa", "dtp"):
            settings = f"rule={rule} {SGD}{of_targets(rule)}"
            sizes = {"shape": (3, 16, 16), "examples": 300, "batch": 128, "classes": 10, "runs": (6,)}
            yield Case(f"{rule} {network}", model, settings, **sizes)


def data_of(case):
    torch.manual_seed(7)
    shape = (case.examples, *case.shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8) if case.bytes else torch.randn(shape)
    return images, torch.randint(0, case.classes, (case.examples,))


@dataclass
class Outcome:
    sums: list
    values: dict
    outputs: torch.Tensor
    diagnoses: list  # for each map what Training.diagnose says


def where(precision):
    """The settings of the place that is checked."""
    if place.emulated:
        return "device=cpu precision=bf16" if precision == "bf16" else "device=cpu"
    return f"device={place.device} precision={precision}"


def go(case, training, graphs):
    images, targets = data_of(case)
    training.use_graphs(graphs)
    sums = []
    if case.streamed:
        for steps in case.runs:
            for i in range(steps):
                part = slice(i % 3 * case.batch, (i % 3 + 1) * case.batch)
                training.launch(images[part], targets[part])
            sums.append(training.collect())
    else:
        training.set_data(images, targets, case.classes)
        sums += [training.run(steps, case.batch) for steps in case.runs]
    sums.append(training.evaluate(images, targets, 10))
    diagnoses = training.diagnose(case.batch) if case.runs and not case.streamed else []
    failure = training.graph_failure()
    failures.check(failure == "", f"{case.name}: no graph was recorded: {failure.strip().splitlines()[:1]}")
    values = {name: training.value(name) for name in training.names()}
    return Outcome(sums, values, training.predict(images[:7]), diagnoses)


def on_cpu(case):
    return go(case, torch.classes.cortorch.Training(case.model, case.settings), False)


def here(case, precision, graphs, more=""):
    with place.here():
        # Of the emulated half, which has no device of its own to set it; a GPU's training sets it by itself.
        if place.emulated:
            use_precision(precision)
        training = torch.classes.cortorch.Training(case.model, f"{case.settings} {where(precision)} {more}")
        return go(case, training, graphs)


def largest(t):
    return t.abs().max().item() if t.numel() else 0.0


def same_shape(a, b):
    """Of two lists of lists: what zip pairs is all of them."""
    return [len(x) for x in a] == [len(x) for x in b]


def compare(case, start, cpu, gpu, what, tolerance):
    """In fp32. Returns the largest difference of a parameter, relative to its change; `tolerance` is of that."""
    name = f"{case.name}, {what}"
    moved = max(largest(cpu.values[key] - start.values[key]) for key in start.values)
    failures.check(moved > 0, f"{name}: nothing was trained")
    shapes = lambda outcome: {key: value.shape for key, value in outcome.values.items()}
    failures.check(shapes(cpu) == shapes(gpu), f"{name}: names or shapes differ")
    failures.check(same_shape(cpu.sums, gpu.sums), f"{name}: {len(cpu.sums)} runs, and {len(gpu.sums)}")
    worst = 0.0
    for key, value in cpu.values.items():
        moved, off = largest(value - start.values[key]), largest(value - gpu.values[key])
        share = off / max(moved, 1e-3)  # below, what is lost when it is added to a value of about 1 counts
        failures.check(share <= tolerance, f"{name}: {key} is off by {off:.3g} of {moved:.3g}")
        worst = max(worst, share if math.isfinite(share) else math.inf)
    off = largest(cpu.outputs - gpu.outputs)
    failures.check(off <= case.tolerance * max(1, largest(cpu.outputs)), f"{name}: outputs are off by {off:.3g}")
    failures.check(same_shape(cpu.diagnoses, gpu.diagnoses), f"{name}: other maps were diagnosed")
    for i, (a, b) in enumerate(zip(cpu.diagnoses, gpu.diagnoses)):
        # Degrees, near 0 of the cosine of which nothing is left but rounding, and ratios.
        near = all(math.isnan(x) == math.isnan(y) and not abs(x - y) > 0.2 for x, y in zip(a, b))
        failures.check(near, f"{name}: the diagnosis of map {i} is {b}, not {a}")
    for run, (a, b) in enumerate(zip(cpu.sums, gpu.sums)):
        for k, (x, y) in enumerate(zip(a, b)):
            # Examples and steps are exact, and so are labels but for a tie; squared errors of values are no counts.
            allowed = 0 if k in (4, 5) else 1 if k in (1, 2) and x == int(x) else 50 * case.tolerance * max(1, abs(x))
            failures.check(abs(x - y) <= allowed, f"{name}: sum {k} of run {run}: {x} and {y}")
    return worst


def check_fp32(case):
    start, cpu = on_cpu(replace(case, runs=())), on_cpu(case)
    launched = compare(case, start, cpu, here(case, "fp32", False), "launched", case.tolerance)
    return max(launched, compare(case, start, cpu, here(case, "fp32", True), "as a graph", case.tolerance))


def check_step(case):
    one = replace(case, runs=(1,))
    start, cpu = on_cpu(replace(case, runs=())), on_cpu(one)
    return compare(case, start, cpu, here(one, "fp32", False), "one step", FP32["one step"])


def check_coarse_step(case, precision):
    """One step from the same parameters: in fewer digits later ones are steps of other networks."""
    one = replace(case, runs=(1,))
    start, cpu, gpu = on_cpu(replace(case, runs=())), on_cpu(one), here(one, precision, True)
    worst = 0.0
    for key, value in cpu.values.items():
        wanted, got = value - start.values[key], gpu.values[key] - start.values[key]
        size = wanted.norm().item()
        if size == 0:  # fixed: rounded to bfloat16, or the lowest layers that nothing reaches
            stays = largest(got) <= largest(start.values[key]) / 256
            failures.check(stays, f"{case.name} {precision}: {key} moved by {largest(got):.3g}")
            continue
        off = (wanted - got).norm().item() / size
        failures.check(off <= COARSE[precision], f"{case.name} {precision}: {key} moved by what is off by {off:.3g}")
        worst = max(worst, off if math.isfinite(off) else math.inf)
    return worst


def check_coarse(case, precision):
    """The first step, and on, as a graph: the loss stays near."""
    worst = check_coarse_step(case, precision)
    cpu, gpu = on_cpu(case), here(case, precision, True)
    same = same_shape(cpu.sums, gpu.sums)
    failures.check(same, f"{case.name} {precision}: {len(cpu.sums)} runs, and {len(gpu.sums)}")
    for run, (a, b) in enumerate(zip(cpu.sums, gpu.sums)):
        same = a[4:] == b[4:]
        failures.check(same, f"{case.name} {precision}: run {run} made {b[4:]} examples and steps, not {a[4:]}")
        allowed = COARSE[precision] * max(1, abs(a[0]))
        near = abs(a[0] - b[0]) <= allowed
        failures.check(near, f"{case.name} {precision}: the loss of run {run} is {b[0]}, not {a[0]}")
    return worst


def check_moments(case):
    """Moments in bfloat16, rounded at random: the first step is the same, and later ones are near."""
    name = f"{case.name}, moments in bf16"
    after = lambda steps: replace(case, runs=(steps,) if steps else ())
    of = lambda steps, more: here(after(steps), "bf16", True, f"deterministic=1 {more}")
    start, first, half = of(0, ""), of(1, ""), of(1, "moments=bf16")
    for key, value in first.values.items():
        moved = largest(value - start.values[key])
        off = largest(value - half.values[key])
        near = off <= 0.02 * moved + 1e-6
        failures.check(near, f"{name}: the first step of {key} is off by {off:.3g} of {moved:.3g}")
    full, half = of(15, ""), of(15, "moments=bf16")
    for key, value in full.values.items():
        moved = (value - start.values[key]).norm().item()
        off = (value - half.values[key]).norm().item()
        failures.check(off <= 0.1 * moved + 1e-6, f"{name}: {key} is off by {off:.3g} of {moved:.3g}")


def check_bits(case, precision):
    """Deterministic: twice to the bit, launched or as a graph."""
    runs = {
        "launched": here(case, precision, False, "deterministic=1"),
        "as a graph": here(case, precision, True, "deterministic=1"),
        "again": here(case, precision, True, "deterministic=1"),
    }
    first = runs.pop("launched")
    for what, other in runs.items():
        same = [key for key, value in first.values.items() if torch.equal(value, other.values[key])]
        differ = [key for key in first.values if key not in same]
        failures.check(not differ, f"{case.name} {precision}, deterministic, {what}: {differ} differ")
        failures.check(first.sums == other.sums, f"{case.name} {precision}, deterministic, {what}: the sums differ")


def check_manhattan():
    """Of each gradient only the sign: on two places a tiny one may have two signs, so a step is lr or nothing."""
    case = Case("manhattan", NETWORKS["dense"], "rule=bp seed=3 optimizer=sgd lr=1e-3 manhattan=1")
    one = replace(case, runs=(1,))
    start, cpu, gpu = on_cpu(replace(case, runs=())), on_cpu(one), here(one, "fp32", False)
    for key, value in start.values.items():
        a, b = cpu.values[key] - value, gpu.values[key] - value
        apart = ((a - b).abs() > 1e-6).double().mean().item()
        failures.check(apart <= 0.01, f"manhattan: {apart:.1%} of {key} moved elsewhere")


def check_not_finite():
    """After a loss that is not finite nothing moves, and nothing is counted."""
    case = Case("not finite", NETWORKS["dense"], "rule=bp seed=3 lr=1e-3", bytes=False, examples=24)
    images, targets = data_of(case)
    make = lambda: torch.classes.cortorch.Training(case.model, f"{case.settings} {where('fp32')}")
    nan = torch.full((6, 3, 6, 5), math.nan)
    for steps in (2, 6):  # launched, and replayed
        with place.here():
            training = make()
            for i in range(steps):
                part = slice(i % 4 * 6, i % 4 * 6 + 6)
                training.launch(images[part], targets[part])
            training.settle()
            before = training.value("layers.0.weight")
            training.launch(nan, targets[:6])
            training.launch(images[:6], targets[:6])
            sums = training.collect()
            wanted = [6.0 * steps, steps, 1, 0]
            failures.check(sums[4:] == wanted, f"streamed NaN: {sums[4:]} and not {wanted}")
            after = training.value("layers.0.weight")
            failures.check(torch.equal(after, before), "streamed NaN: something moved after it")
            training.launch(images[:6], targets[:6])
            failures.check(training.collect()[5] == 1, "streamed NaN: it does not go on once it was collected")
    with place.here():
        training = make()
        training.set_data(torch.full_like(images, math.nan), targets, 4)
        sums = training.run(4, 6)
        failures.check(sums[4:] == [0, 0, 1, 0], f"a data set of NaNs: {sums}")
        total = training.value("layers.0.weight").sum().item()
        failures.check(math.isfinite(total), "a data set of NaNs: the weights moved")


def train_a_little():
    """Every kernel once, for a tool that watches memory. Without graphs: it cannot see into them."""
    rules = ("bp", "dfa", "brsf", "sdtp")
    names = {f"{rule} {network}" for rule in rules for network in NETWORKS}
    names |= {"batch norm bp", "augmented", "streamed bp"}
    chosen = [case for case in cases() if case.name in names]
    chosen += [case for case in wide_cases() if case.name == "dtp wide local"]
    for precision in precisions:
        for case in chosen:
            with failures.case(f"{case.name} {precision}"):
                outcome = here(replace(case, runs=(2,)), precision, False)
                finite = all(math.isfinite(largest(value)) for value in outcome.values.values())
                failures.check(finite, f"{case.name} {precision}: not finite")
                print(f"{precision} {case.name}: trained", flush=True)


def check_steps():
    """One step of every rule, the unshared convolution's networks first."""
    for network in ("local", "dense", "conv"):
        for case in (case for case in cases() if case.name in {f"{rule} {network}" for rule in RULES}):
            checked(f"fp32 {case.name}, one step", check_step, case)
    for precision in precisions[1:]:
        for case in (case for case in by_sgd() if case.name in {f"{rule} local" for rule in RULES}):
            checked(f"{precision} {case.name}, one step", check_coarse_step, case, precision)


def check_all_fp32():
    for case in [*cases(), *wide_if_quick()]:
        checked(f"fp32 {case.name}", check_fp32, case)
    for name, check in ("manhattan", check_manhattan), ("not finite", check_not_finite):
        checked(name, check)


def by_sgd():
    """The rules' networks, by SGD, whose steps are as the gradients are."""
    for case in cases():
        if case.name.split()[0] in RULES:
            yield replace(case, settings=case.settings.replace(ADAM, SGD))


def check_all_coarse():
    # `small dtp`: g(h) − g(h − d) of so small a d would be noise, if these were subtracted in bfloat16.
    settings = f"rule=dtp {SGD}{of_targets('dtp')} rule.targetStep=0.003"
    small = [Case(f"small dtp {network}", NETWORKS[network], settings) for network in ("dense", "local")]
    for precision in precisions[1:]:
        for case in [*by_sgd(), *small, *wide_if_quick()]:
            checked(f"{precision} {case.name}", check_coarse, case, precision)
    if "bf16" in precisions:
        names = ("bp dense", "bp local", "dtp local")
        for case in cases():
            if case.name in names or case.name.startswith("optimizer=sgd lr=0.05 m"):
                checked(f"bf16 {case.name}, moments in bf16", check_moments, case)


def check_all_bits():
    words = ("bp", "dfa", "brsf", "dtp", "augmented", "streamed")
    chosen = [case for case in cases() if case.name.split()[0] in words or case.name == "batch norm bp"]
    chosen += [case for case in wide_if_quick() if case.name.startswith("bp")]
    for precision in precisions:
        for case in chosen:
            checked(f"{precision} {case.name}, deterministic", check_bits, case, precision)


def wide_if_quick():
    return [] if place.emulated else wide_cases()


def checked(name, check, *given):
    """One line a check, as it is done: a run that is cut leaves what it knew."""
    before = failures.failed
    off = None
    with failures.case(name):
        off = check(*given)
    if failures.failed == before:
        print(f"{name}: " + ("as it should be" if off is None else f"off by {off:.2g} of the change"), flush=True)


PARTS = {"steps": check_steps, "fp32": check_all_fp32, "coarse": check_all_coarse, "bits": check_all_bits}
place, given = place_from(
    __doc__,
    only={"type": listed(*PARTS), "default": list(PARTS), "help": "of " + ",".join(PARTS)},
    small={"action": "store_true"},
)
failures = Failures()
precisions = ("fp32", "tf32", "bf16") if place.on_gpu or place.emulated else ("fp32",)
print(f"on {place.name}", flush=True)
if given.small:
    train_a_little()
else:
    for part in given.only:
        PARTS[part]()
failures.end()
