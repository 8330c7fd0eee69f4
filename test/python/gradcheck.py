"""PyTorch's own checks of the operators that libcortorch registers. Argument: the path of libcortorch.so."""
import itertools
import sys
from functools import partial

import torch
from torch.autograd import gradcheck, gradgradcheck

torch.ops.load_library(sys.argv[1])
ops = torch.ops.cortorch
torch.manual_seed(0)
torch.set_num_threads(1)  # thousands of tiny products: waking a second thread takes longer than they do


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


for batch, n_in, n_out in [(1, 3, 2), (4, 5, 3), (2, 1, 1)]:
    x, w, b, d = double(batch, n_in), double(n_out, n_in), double(n_out), double(batch, n_out)
    for check in (gradcheck, gradgradcheck):
        assert check(ops.dense, (x, w, b)) and check(ops.dense, (x, w))
        assert check(ops.dense_adjoint, (w, d))
        assert check(ops.dense_outer, (x, d))
    print("gradcheck", batch, n_in, n_out)

# One layer under bp, as the rules have it: map, bias and activation in one function.
for activation in ("identity", "tanh", "relu", "sigmoid"):
    x, w, b = double(4, 5), double(3, 5), double(3)
    layer = lambda x, w, b: ops.dense_layer(x, w, b, None, activation, "bp")
    assert gradcheck(layer, (x, w, b)) and gradgradcheck(layer, (x, w, b)), activation
    assert gradcheck(lambda x, w: ops.dense_layer(x, w, None, None, activation, "bp"), (x, w))
    print("layer", activation)

# Under fa the gradient that goes down is B's, and differentiating twice is refused.
x, w, b, feedback = double(4, 5), double(3, 5), double(3), torch.randn(3, 5, dtype=torch.float64)
y = ops.dense_layer(x, w, b, feedback, "tanh", "fa")
g = torch.randn_like(y)
dx, dw, db = torch.autograd.grad(y, (x, w, b), g)
delta = g * (1 - y.detach() ** 2)
assert torch.allclose(dx, delta @ feedback) and torch.allclose(dw, delta.T @ x) and torch.allclose(db, delta.sum(0))
try:
    y = ops.dense_layer(x, w, b, feedback, "tanh", "fa")
    torch.autograd.grad(y.sum(), x, create_graph=True)
    raise SystemExit("differentiating fa twice was not refused")
except RuntimeError as error:
    assert "cannot be differentiated twice" in str(error), error

# The float32 path against PyTorch's own in float64.
for batch, n_in, n_out in itertools.product((1, 17, 100), (16, 100, 784), (10, 64, 250)):
    x, w, b = torch.randn(batch, n_in), torch.randn(n_out, n_in), torch.randn(n_out)
    d = torch.randn(batch, n_out)
    for got, want in (
        (ops.dense(x, w, b), torch.nn.functional.linear(x.double(), w.double(), b.double())),
        (ops.dense_adjoint(w, d), d.double() @ w.double()),
        (ops.dense_outer(x, d), d.double().T @ x.double()),
    ):
        assert got.shape == want.shape, (batch, n_in, n_out)
        assert (got.double() - want).abs().max() <= 1e-5 * want.abs().max(), (batch, n_in, n_out)

# The maps over images. (batch, in, out, size, kernel, stride, padding, dilation)
GEOMETRIES = [
    (2, 2, 3, (4, 4), (3, 3), (1, 1), (0, 0), (1, 1)),
    (1, 1, 1, (3, 5), (2, 3), (1, 1), (1, 1), (1, 1)),
    (2, 3, 2, (6, 5), (2, 2), (3, 2), (0, 0), (1, 1)),  # the last row and column are not reached
    (3, 2, 2, (7, 4), (3, 2), (2, 1), (2, 0), (1, 1)),
    (2, 1, 2, (7, 6), (2, 3), (1, 2), (1, 2), (3, 2)),
    (1, 2, 1, (2, 2), (1, 1), (3, 3), (2, 2), (1, 1)),  # some locations see nothing but padding
    (2, 17, 2, (2, 3), (2, 2), (1, 1), (0, 1), (1, 1)),  # channels of more than a vector
]


def sizes_of(geometry):
    """The shapes of x, y, and of the weights and biases of both maps."""
    batch, n_in, n_out, size, kernel, stride, padding, dilation = geometry
    out = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation)
    )
    maps = {"locally_connected2d": ((*out, *kernel, n_in, n_out), (*out, n_out)), "conv2d": ((n_out, n_in, *kernel), (n_out,))}
    return (batch, n_in, *size), (batch, n_out, *out), maps


for geometry in GEOMETRIES:
    size, kernel, *window = geometry[3:]
    x_shape, y_shape, maps = sizes_of(geometry)
    for name, (w_shape, b_shape) in maps.items():
        apply, adjoint, outer = (getattr(ops, name + suffix) for suffix in ("", "_adjoint", "_outer"))
        layer_of = getattr(ops, name + "_layer")
        x, w, b, d = double(*x_shape), double(*w_shape), double(*b_shape), double(*y_shape)
        # Of the second derivatives random projections: all of them would take a minute.
        for check in (gradcheck, partial(gradgradcheck, fast_mode=True)):
            assert check(lambda x, w, b: apply(x, w, b, *window), (x, w, b))
            assert check(lambda x, w: apply(x, w, None, *window), (x, w))
            assert check(lambda w, d: adjoint(w, d, size, *window), (w, d))
            assert check(lambda x, d: outer(x, d, kernel, *window), (x, d))
        for activation in ("identity", "tanh", "sigmoid"):
            layer = lambda x, w, b: layer_of(x, w, b, None, activation, "bp", *window)
            assert gradcheck(layer, (x, w, b)) and gradgradcheck(layer, (x, w, b), fast_mode=True), (name, activation)

        # fa: the layer's own gradients are bp's, and what goes down goes through B.
        feedback = torch.randn(*w_shape, dtype=torch.float64)
        y = layer_of(x, w, b, feedback, "tanh", "fa", *window)
        dx, dw, db = torch.autograd.grad(y, (x, w, b), d)
        delta = (d * (1 - y**2)).detach()
        assert torch.allclose(dx, adjoint(feedback, delta, size, *window))
        assert torch.allclose(dw, outer(x, delta, kernel, *window))
        assert torch.allclose(db, delta.sum(0).permute(1, 2, 0) if name == "locally_connected2d" else delta.sum((0, 2, 3)))
    print("gradcheck", *geometry)

# Of windows that cannot be, each direction is looked at by itself.
x = torch.randn(1, 1, 4, 4)
for name, w in {"conv2d": torch.randn(1, 1, 2, 2), "locally_connected2d": torch.randn(3, 3, 2, 2, 1, 1)}.items():
    for window, word in (
        (((1, 1), (-1, 0), (1, 1)), "padding must not be negative"),
        (((1, 1), (0, -1), (1, 1)), "padding must not be negative"),
        (((0, 1), (0, 0), (1, 1)), "strides must be positive"),
        (((1, 0), (0, 0), (1, 1)), "strides must be positive"),
        (((1, 1), (0, 0), (0, 1)), "dilations must be positive"),
        (((1, 1), (0, 0), (1, 0)), "dilations must be positive"),
        (((1, 1), (0, 0), (4, 1)), "the largest kernel that fits is 1×4"),
        (((1, 1), (0, 0), (1, 4)), "the largest kernel that fits is 4×1"),
    ):
        try:
            getattr(ops, name)(x, w, None, *window)
        except RuntimeError as error:
            assert word in str(error), (name, window, str(error).splitlines()[0])
        else:
            raise SystemExit(f"{name} took {window}")

# Every dtype against PyTorch's own in float64: conv2d as it is, locally connected as a patch matrix.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 8e-3}


def equal(got, want, context):
    assert got.shape == want.shape, (context, got.shape, want.shape)
    error = (got.double() - want).abs().max() / want.abs().max()
    assert error <= TOLERANCE[got.dtype], (*context, got.dtype, error.item())


functional = torch.nn.functional
CHANNELS = ((1, 3), (3, 16), (15, 17), (16, 33), (31, 48), (64, 65), (17, 130))
for channels, batch in itertools.product(CHANNELS, (1, 7, 17, 100)):
    for size, kernel, *window in ((5, 7), (3, 2), (1, 1), (1, 0), (1, 1)), ((8, 6), (2, 3), (2, 3), (1, 1), (2, 1)):
        x_shape, y_shape, maps = sizes_of((batch, *channels, size, kernel, *window))
        stride, padding, dilation = window
        for dtype in TOLERANCE:
            x, d = torch.randn(x_shape).to(dtype), torch.randn(y_shape).to(dtype)
            x64, d64 = x.double(), d.double()
            w_shape, b_shape = maps["conv2d"]
            w, b = torch.randn(w_shape).to(dtype), torch.randn(b_shape).to(dtype)
            context = ("conv2d", batch, channels, size)
            equal(ops.conv2d(x, w, b, *window), functional.conv2d(x64, w.double(), b.double(), stride, padding, dilation), context)
            equal(
                ops.conv2d_adjoint(w, d, size, *window),
                torch.nn.grad.conv2d_input(x_shape, w.double(), d64, stride, padding, dilation),
                (*context, "adjoint"),
            )
            reached = functional.conv_transpose2d(d64, w.double(), None, stride, padding, 0, 1, dilation)
            rest = [n - m for n, m in zip(size, reached.shape[2:])]
            equal(
                ops.conv2d_adjoint(w, d, size, *window),
                functional.conv_transpose2d(d64, w.double(), None, stride, padding, rest, 1, dilation),
                (*context, "conv_transpose2d"),
            )
            equal(
                ops.conv2d_outer(x, d, kernel, *window),
                torch.nn.grad.conv2d_weight(x64, w_shape, d64, stride, padding, dilation),
                (*context, "outer"),
            )

            w_shape, b_shape = maps["locally_connected2d"]
            w, b = torch.randn(w_shape).to(dtype), torch.randn(b_shape).to(dtype)
            context = ("locally_connected2d", batch, channels, size)
            # [locations, in · k_h · k_w, out], in unfold's order
            matrices = w.double().permute(0, 1, 4, 2, 3, 5).flatten(0, 1).flatten(1, 3)
            unfold = dict(kernel_size=kernel, dilation=dilation, padding=padding, stride=stride)
            patches, deltas = functional.unfold(x64, **unfold), d64.flatten(2)
            y = torch.einsum("bkl,lko->bol", patches, matrices).reshape(y_shape)
            equal(ops.locally_connected2d(x, w, b, *window), y + b.double().permute(2, 0, 1), context)
            down = functional.fold(torch.einsum("bol,lko->bkl", deltas, matrices), size, **unfold)
            equal(ops.locally_connected2d_adjoint(w, d, size, *window), down, (*context, "adjoint"))
            outer = torch.einsum("bkl,bol->lko", patches, deltas)
            outer = outer.reshape(*w_shape[:2], channels[0], *kernel, channels[1]).permute(0, 1, 3, 4, 2, 5)
            equal(ops.locally_connected2d_outer(x, d, kernel, *window), outer, (*context, "outer"))
print("all passed")
