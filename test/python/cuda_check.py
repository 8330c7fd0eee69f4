"""The maps, and their layers under bp and fa, on a GPU against the CPU in float64, on sizes that reach every kernel.

Usage: python cuda_check.py LIBCORTORCH [--maps locally_connected2d,dense]. Prints a line as each group of sizes is
done, and exits with 1 if something differs; without a GPU it says so and exits with 0. With --device cpu it checks the
CPU's half, with --emulated too the emulated one.
"""

import itertools
import math
import random

import torch

from device import Failures, listed, place_from, use_precision

# Relative to the sum of magnitudes behind each element, so that cancellation does not count as an error: rounding of
# the sums (to 23 bits), of both factors (tf32: to 10 bits), and of the result (bf16: to 7 bits, twice with a bias).
TOLERANCE = {"fp32": 2e-6, "tf32": 1.01 * 2**-10, "bf16": 2**-7}
# Of products that are cuBLAS's and cuDNN's, relative to the largest of those sums: their factors are cut to tf32, not
# rounded, and some of cuDNN's algorithms mix neighbours before they multiply.
OF_LIBRARIES = {"fp32": 3e-5, "tf32": 2**-8, "bf16": 2**-7}
OURS = "locally_connected2d"
MAPS = (OURS, "conv2d", "dense")


def draw(name, large):
    channels = [48, 64, 96, 130, 192] if large else [1, 2, 3, 4, 5, 8, 16, 17, 33]
    pair = lambda *options: [random.choice(options), random.choice(options)]
    while True:
        case = {
            "in": random.choice(channels),
            "out": random.choice(channels),
            "batch": random.choice([64, 65, 128, 131, 256] if large else [1, 2, 3, 17, 64]),
            "size": pair(*range(1, 12)),
            "kernel": pair(1, 2, 3, 5),
            "options": {"stride": pair(1, 2, 3), "padding": pair(0, 1, 2), "dilation": pair(1, 1, 2)},
        }
        if name == "dense":
            return {key: case[key] for key in ("in", "out", "batch")} | {"options": {}}
        o = case["options"]
        reach = [o["dilation"][i] * (case["kernel"][i] - 1) + 1 for i in (0, 1)]
        room = [case["size"][i] + 2 * o["padding"][i] - reach[i] for i in (0, 1)]
        if min(room) >= 0:
            case["result"] = [room[i] // o["stride"][i] + 1 for i in (0, 1)]
            return case


def tensors(name, case, dtype):
    """weight, bias, x and y"""
    make = lambda *shape: torch.randn(*shape, dtype=torch.float32).to(dtype)
    batch, n_in, n_out = case["batch"], case["in"], case["out"]
    if name == "dense":
        return [make(n_out, n_in), make(n_out), make(batch, n_in), make(batch, n_out)]
    shapes = {
        OURS: ((*case["result"], *case["kernel"], n_in, n_out), (*case["result"], n_out)),
        "conv2d": ((n_out, n_in, *case["kernel"]), (n_out,)),
    }
    weight, bias = shapes[name]
    return [make(*weight), make(*bias), make(batch, n_in, *case["size"]), make(batch, n_out, *case["result"])]


def operation(name, which, case, *given):
    sizes = {"_adjoint": "size", "_outer": "kernel"}
    size = [case[sizes[which]]] if which in sizes and name != "dense" else []
    return getattr(torch.ops.cortorch, name + which)(*given, *size, **case["options"])


def operations(name, case, weight, bias, x, y):
    yield "apply", operation(name, "", case, x, weight, bias)
    yield "adjoint", operation(name, "_adjoint", case, weight, y)
    yield "outer", operation(name, "_outer", case, x, y)


def error_of(name, got, wanted, magnitudes):
    if got.shape != wanted.shape:  # which might be broadcast
        return math.inf
    error = (got.double().cpu() - wanted).abs()
    if name != OURS:
        return (error.max() / magnitudes.max().clamp(min=1e-30)).item()
    return (error / (magnitudes + 1e-30)).max().item()


def compare(name, precision, what, case, got, wanted, magnitudes):
    error = error_of(name, got, wanted, magnitudes)
    tolerance = (TOLERANCE if name == OURS else OF_LIBRARIES)[precision]
    failures.check(error <= tolerance, lambda: f"{name} {what} {precision}: relative error {error:.3g}: {case}")
    return error


def dtype_of(precision):
    return torch.bfloat16 if precision == "bf16" else torch.float32


def moved(given):
    """To the device, now and then in another order of memory."""
    result = [t.to(place.device) for t in given]
    if given[2].dim() == 4 and random.random() < 0.3:
        result[2:] = [t.contiguous(memory_format=torch.channels_last) for t in result[2:]]
    return result


def check_map(name, precision, is_large):
    case = draw(name, is_large)
    given = tensors(name, case, dtype_of(precision))
    with place.here():
        there = moved(given)
        got, again = dict(operations(name, case, *there)), dict(operations(name, case, *there))
    double = [t.double() for t in given]
    wanted = dict(operations(name, case, *double))
    magnitudes = dict(operations(name, case, *[t.abs() for t in double]))
    for what in wanted if name == OURS else ():  # the libraries do not promise it
        failures.check(torch.equal(got[what], again[what]), lambda: f"{what} {precision}: two runs differ: {case}")
    return max(compare(name, precision, what, case, got[what], wanted[what], magnitudes[what]) for what in wanted)


SLOPES = {
    "identity": lambda y: torch.ones_like(y),
    "tanh": lambda y: 1 - y * y,
    "relu": lambda y: (y > 0).double(),
    "sigmoid": lambda y: y * (1 - y),
}
ACTIVATIONS = {"identity": lambda a: a, "tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


def check_layer(name, precision, rule, activation):
    """Forward, and from the results that came of it back: so each part has its own tolerance."""
    case = draw(name, False)
    weight, bias, x, g = tensors(name, case, dtype_of(precision))
    weight = weight / (weight.numel() / bias.numel()) ** 0.5  # sums of about 1, where activations bend
    feedback = torch.randn(weight.shape).to(weight.dtype)
    with place.here():
        there = [t.requires_grad_() for t in moved([weight, bias, x])]
        back = feedback.to(place.device) if rule == "fa" else None
        layer = getattr(torch.ops.cortorch, name + "_layer")
        y = layer(there[2], there[0], there[1], back, activation, rule, **case["options"])
        y.backward(g.to(place.device))
    weight, bias, x, g, feedback = (t.double() for t in (weight, bias, x, g, feedback))
    absolute = [t.abs() for t in (weight, bias, x, g)]
    a = operation(name, "", case, x, weight, bias)
    delta = g * SLOPES[activation](y.detach().double().cpu())
    sent_by = feedback if rule == "fa" else weight
    to_bias = lambda d: d.sum(0).permute(1, 2, 0) if name == OURS else d.transpose(0, 1).flatten(1).sum(1)
    bound = dict(operations(name, case, *absolute))
    adjoint = lambda *given: operation(name, "_adjoint", case, *given)
    parts = (
        ("y", y.detach(), ACTIVATIONS[activation](a), bound["apply"] + 1),
        ("dW", there[0].grad, operation(name, "_outer", case, x, delta), bound["outer"]),
        ("db", there[1].grad, to_bias(delta), to_bias(absolute[3])),
        ("dx", there[2].grad, adjoint(sent_by, delta), adjoint(sent_by.abs(), absolute[3])),
    )
    return max(compare(name, precision, f"layer {rule} {activation} {what}", case, *rest) for what, *rest in parts)


def check_group(what, name, precision, check, kinds):
    """check(name, precision, *kind) of each kind, then the largest error that they gave."""
    errors = []
    for kind in kinds:
        with failures.case(f"{name} {precision}"):
            errors.append(check(name, precision, *kind))
    if errors:
        largest = f"largest relative error {max(errors):.3g}"
        print(f"{name} {precision}: {len(errors)} {what}, {largest}; on {place.name}", flush=True)


place, given = place_from(__doc__, maps={"type": listed(*MAPS), "default": MAPS, "help": "of " + ",".join(MAPS)})
failures = Failures()
random.seed(1)
torch.manual_seed(1)
# The processor has no tf32; the emulated kernels have it, but take their time over large sizes.
precisions = TOLERANCE if place.on_gpu or place.emulated else ("fp32", "bf16")
large = {OURS: 20, "conv2d": 3, "dense": 10} if place.on_gpu else dict.fromkeys(MAPS, 0 if place.emulated else 2)
small = 60 if place.on_gpu else 12
# The small sizes of all precisions first: they reach most kernels, and take next to no time.
for precision, name in itertools.product(precisions, given.maps):
    use_precision(precision)
    check_group("small sizes", name, precision, check_map, [[False]] * small)
for precision, name in itertools.product(precisions, given.maps):
    use_precision(precision)
    check_group("layers", name, precision, check_layer, [*itertools.product(("bp", "fa"), ACTIVATIONS)] * 3)
for precision, name in itertools.product(precisions, given.maps):
    use_precision(precision)
    check_group("large sizes", name, precision, check_map, [[True]] * large[name])


def check_gradients(name):
    """Of the operators through autograd: the derivatives are made of the same operations."""
    case = draw(name, False)
    given = tensors(name, case, torch.float32)

    def gradients(there, y):
        leaves = [t.requires_grad_() for t in there]
        operation(name, "", case, leaves[2], *leaves[:2]).backward(y)
        return [t.grad.double().cpu() for t in leaves]

    with place.here():
        got = gradients([t.to(place.device) for t in given[:3]], given[3].to(place.device))
    double = [t.detach().double() for t in given]
    wanted = gradients(double[:3], double[3])
    sizes = gradients([t.detach().abs() for t in double[:3]], double[3].abs())
    for what, *rest in zip(("weight", "bias", "x"), got, wanted, sizes):
        compare(name, "fp32", f"gradient of {what}", case, *rest)


use_precision("fp32")
for name in given.maps:
    for _ in range(20):
        with failures.case(f"{name} gradients"):
            check_gradients(name)
if not failures.failed:
    print("gradients agree")
failures.end()
