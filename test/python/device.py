"""Where the checks run: on a GPU, on the processor (to see that a check itself works), or on the processor with the
emulated CUDA half of a library that was built with CORTORCH_CUDA_EMULATED (test/cuda-emulation)."""

import argparse
import contextlib
import ctypes
import os
import sys

# Before CUDA starts: what `deterministic` asks of cuBLAS.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch  # noqa: E402


class Place:
    def __init__(self, library, device, emulated):
        torch.ops.load_library(library)
        self.device = device
        self.on_gpu = device.startswith("cuda")
        # A global of C++: which half computes is no question of the device there.
        self._flag = ctypes.c_bool.in_dll(ctypes.CDLL(library), "_ZN8cortorch15gpu_is_emulatedE") if emulated else None
        self.emulated = emulated

    @property
    def name(self):
        if self.on_gpu:
            return torch.cuda.get_device_name(self.device)
        return "the emulated CUDA half" if self.emulated else "the processor"

    @contextlib.contextmanager
    def here(self):
        """Inside, the half of the library that is checked computes."""
        if self._flag is not None:
            self._flag.value = True
        try:
            yield
        finally:
            if self._flag is not None:
                self._flag.value = False


def use_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def listed(*allowed):
    """For argparse: a list with commas, of these words."""

    def read(text):
        words = text.split(",")
        if unknown := [word for word in words if word not in allowed]:
            raise argparse.ArgumentTypeError(f"{', '.join(map(repr, unknown))}: they are {', '.join(allowed)}")
        return words

    return read


def place_from(description, **options):
    """The place and the arguments of the command line; ends the program where there is no GPU and none was named.
    `options`: argparse's, by their names."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", metavar="LIBCORTORCH")
    parser.add_argument("--device", help="cuda:0, or cpu to try the check itself")
    parser.add_argument("--emulated", action="store_true", help="with --device cpu: against the emulated CUDA half")
    for name, option in options.items():
        parser.add_argument(f"--{name}", **option)
    given = parser.parse_args()
    if given.device is None and not torch.cuda.is_available():
        print("no GPU: nothing was checked")
        sys.exit(0)
    return Place(given.library, given.device or "cuda:0", given.emulated), given


class Failures:
    """Counted, and shown as they come: time on a GPU is too dear to end at the first."""

    MOST = 30

    def __init__(self):
        self.checks = self.failed = 0

    def check(self, good, what):
        self.checks += 1
        if good:
            return
        self.failed += 1
        if self.failed <= self.MOST:
            print("FAILED", what() if callable(what) else what, flush=True)

    @contextlib.contextmanager
    def case(self, name):
        try:
            yield
        except RuntimeError as error:
            message = str(error).strip().splitlines()[0]
            self.check(False, f"{name}: {message}")
            if "CUDA error" in message:  # nothing works after it
                self.end()

    def end(self):
        print(f"{self.checks} checks, {self.failed} failed")
        sys.exit(1 if self.failed else 0)
