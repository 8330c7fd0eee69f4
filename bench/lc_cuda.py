"""The locally connected kernels on a GPU, layer by layer: time against the bytes that must move.

Usage: python bench/lc_cuda.py LIBCORTORCH [--batch 128] [--precision tf32] [--net imagenet-lc]

`bytes` is the least: weights (or their gradient) once, images in and out once. `HBM` is that over the time, as a part
of what a plain copy on the same device reaches, measured in the same run; `TFLOP/s` counts 2 per weight and example
(taps in the padding included). Each time is the median of 20 runs between events, after 5 for warming up, with 256 MiB
written before each, so that nothing is left in the second-level cache.
"""

import argparse
import statistics

import torch

# name: (channels, size), then (kernel, out, stride) for each layer; padding (kernel − 1) / 2.
NETS = {
    "imagenet-lc": ((3, 224), [(9, 48, 4), (3, 48, 2), (5, 96, 1), (3, 96, 2), (3, 192, 1), (3, 192, 2), (3, 384, 1)]),
    "cifar10-lc": ((3, 32), [(5, 64, 2), (5, 128, 2), (3, 256, 1)]),
    "mnist-lc": ((1, 28), [(3, 32, 2), (3, 64, 2)]),
}


def layers(net):
    (channels, size), spec = NETS[net]
    for kernel, out, stride in spec:
        result = (size + 2 * ((kernel - 1) // 2) - kernel) // stride + 1
        yield channels, size, kernel, out, stride, result
        channels, size = out, result


def median_seconds(work, flush):
    times = []
    for i in range(25):
        flush.zero_()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        torch.cuda.synchronize()
        if i >= 5:
            times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    parser.add_argument("--net", choices=NETS, default="imagenet-lc")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("lc_cuda.py measures a GPU, and PyTorch sees none")
    torch.ops.load_library(given.library)
    ops = torch.ops.cortorch
    torch.backends.cuda.matmul.allow_tf32 = given.precision == "tf32"
    dtype = torch.bfloat16 if given.precision == "bf16" else torch.float32
    flush = torch.empty(2**28, dtype=torch.uint8, device="cuda")

    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy_rate = 2 * source.numel() / median_seconds(lambda: target.copy_(source), flush)
    del source, target
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {given.net}, {given.precision}, batch {given.batch}")
    print(f"a copy moves {copy_rate / 1e12:.2f} TB/s")
    print(f"{'layer':<32}{'operation':<10}{'weights':>9}{'MB':>9}{'µs':>9}{'HBM':>7}{'TFLOP/s':>9}")

    total = {"apply": 0.0, "adjoint": 0.0, "outer": 0.0}
    for channels, size, kernel, out, stride, result in layers(given.net):
        options = {"stride": [stride] * 2, "padding": [(kernel - 1) // 2] * 2}
        images = lambda c, s: torch.randn(s, s, given.batch, c, device="cuda", dtype=dtype).permute(2, 3, 0, 1)
        x, y = images(channels, size), images(out, result)
        weight = torch.randn(result, result, kernel, kernel, channels, out, device="cuda", dtype=dtype)
        # Without a bias: the operator adds it afterwards, and only a layer fuses it into the kernel.
        work = {
            "apply": lambda: ops.locally_connected2d(x, weight, None, **options),
            "adjoint": lambda: ops.locally_connected2d_adjoint(weight, y, [size] * 2, **options),
            "outer": lambda: ops.locally_connected2d_outer(x, y, [kernel] * 2, **options),
        }
        moved = (weight.numel() + x.numel() + y.numel()) * weight.element_size()
        for name, run in work.items():
            seconds = median_seconds(run, flush)
            total[name] += seconds
            label = f"{channels}×{size}² → {out}×{result}², {kernel}×{kernel}/{stride}"
            print(
                f"{label:<32}{name:<10}{weight.numel() / 1e6:>8.1f}M{moved / 1e6:>9.1f}{seconds * 1e6:>9.1f}"
                f"{moved / seconds / copy_rate:>7.0%}{2 * weight.numel() * given.batch / seconds / 1e12:>9.1f}"
            )
        del x, y, weight
    print("all layers: " + ", ".join(f"{name} {seconds * 1e3:.2f} ms" for name, seconds in total.items()))


main()
