"""The locally connected map on the GPU against the CPU in float64, on sizes that reach every kernel.

Usage: python cuda_check.py LIBCORTORCH. Prints one line per precision and exits with 1 at the first difference;
without a GPU it says so and exits with 0.
"""

import itertools
import random
import sys

import torch

torch.ops.load_library(sys.argv[1])
ops = torch.ops.cortorch

# Relative to the sum of magnitudes behind each element, so that cancellation does not count as an error: rounding of
# the sums (to 23 bits), of both factors (tf32: to 10 bits), and of the result (bf16: to 7 bits, twice with a bias).
TOLERANCE = {"fp32": 2e-6, "tf32": 2**-10, "bf16": 2**-7}


def draw(large):
    while True:
        channels = [48, 64, 96, 130, 192] if large else [1, 2, 3, 4, 5, 8, 16, 17, 33]
        pair = lambda *options: [random.choice(options), random.choice(options)]
        case = {
            "in": random.choice(channels),
            "out": random.choice(channels),
            "batch": random.choice([64, 65, 128, 131, 256] if large else [1, 2, 3, 17, 64]),
            "size": pair(*range(1, 12)),
            "kernel": pair(1, 2, 3, 5),
            "options": {"stride": pair(1, 2, 3), "padding": pair(0, 1, 2), "dilation": pair(1, 1, 2)},
        }
        o = case["options"]
        reach = [o["dilation"][i] * (case["kernel"][i] - 1) + 1 for i in (0, 1)]
        room = [case["size"][i] + 2 * o["padding"][i] - reach[i] for i in (0, 1)]
        if min(room) >= 0:
            case["result"] = [room[i] // o["stride"][i] + 1 for i in (0, 1)]
            return case


def tensors(case, dtype):
    make = lambda *shape: torch.randn(*shape, dtype=torch.float32).to(dtype)
    weight = make(*case["result"], *case["kernel"], case["in"], case["out"])
    bias = make(*case["result"], case["out"])
    x, y = make(case["batch"], case["in"], *case["size"]), make(case["batch"], case["out"], *case["result"])
    return weight, bias, x, y


def operations(case, weight, bias, x, y):
    options = case["options"]
    yield "apply", ops.locally_connected2d(x, weight, bias, **options)
    yield "adjoint", ops.locally_connected2d_adjoint(weight, y, case["size"], **options)
    yield "outer", ops.locally_connected2d_outer(x, y, case["kernel"], **options)


def check(case, precision):
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    given = tensors(case, dtype)
    gpu = [t.cuda() for t in given]
    if random.random() < 0.3:  # images in other orders of memory
        gpu[2:] = [t.contiguous(memory_format=torch.channels_last) for t in gpu[2:]]
    got = dict(operations(case, *gpu))
    again = dict(operations(case, *gpu))
    double = [t.double() for t in given]
    wanted = dict(operations(case, *double))
    magnitudes = dict(operations(case, *[t.abs() for t in double]))
    worst = 0.0
    for name in wanted:
        if not torch.equal(got[name], again[name]):
            sys.exit(f"{name} {precision}: two runs differ: {case}")
        error = (got[name].double().cpu() - wanted[name]).abs() / (magnitudes[name] + 1e-30)
        worst = max(worst, error.max().item())
        if not error.max() <= TOLERANCE[precision]:
            sys.exit(f"{name} {precision}: relative error {error.max().item():.3g}: {case}")
    return worst


def check_gradients():
    """Through autograd: the derivatives are made of the same operations."""
    case = draw(False)
    weight, bias, x, y = (t.cuda().requires_grad_() for t in tensors(case, torch.float32))
    ops.locally_connected2d(x, weight, bias, **case["options"]).backward(y.detach())
    gpu = [t.grad.double().cpu() for t in (weight, bias, x)]
    weight, bias, x, y = (t.detach().cpu().double().requires_grad_() for t in (weight, bias, x, y))
    ops.locally_connected2d(x, weight, bias, **case["options"]).backward(y.detach())
    for name, a, b in zip(("weight", "bias", "x"), gpu, (weight, bias, x)):
        if not torch.allclose(a, b.grad, rtol=1e-4, atol=1e-3):
            sys.exit(f"gradient of {name} differs: {case}")


if not torch.cuda.is_available():
    print("no GPU: nothing was checked")
    sys.exit(0)
random.seed(1)
torch.manual_seed(1)
for precision in TOLERANCE:
    errors = [check(draw(large), precision) for large in itertools.chain([False] * 60, [True] * 20)]
    print(f"{precision}: {len(errors)} sizes, largest relative error {max(errors):.3g} on {torch.cuda.get_device_name()}")
torch.backends.cuda.matmul.allow_tf32 = False
for _ in range(20):
    check_gradients()
print("gradients agree")
