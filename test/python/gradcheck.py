"""PyTorch's own checks of the operators that libcortorch registers. Argument: the path of libcortorch.so."""
import itertools
import sys

import torch
from torch.autograd import gradcheck, gradgradcheck

torch.ops.load_library(sys.argv[1])
ops = torch.ops.cortorch
torch.manual_seed(0)


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
        assert (got.double() - want).abs().max() <= 1e-5 * max(1, want.abs().max()), (batch, n_in, n_out)
print("all passed")
