#!/usr/bin/env python3
"""What the CUDA kernels' inner loops consist of: counted in the machine code, so without a GPU.

Usage: bench/instructions.py [--arch sm_90]

Compiles the products of the locally connected map by nvcc and reads what nvdisasm (NVDISASM, or beside nvcc, or on PATH) makes of
them. For each kernel and tile, what a warp does between two barriers, along the longest of the ways that take the operands in
16-byte pieces: its instructions that multiply, that read panels, that start copies. And in cycles of a quarter of a multiprocessor
what it keeps busy:

  issue   1 for each of all instructions
  math    FFMA 1 each; HMMA 6.45 on sm_90, where mma.sync is known for 62 % of 4,096 bf16 or 2,048 tf32 multiply-adds a cycle
  shared  shared memory, which the four quarters have together: 4 for each 128 bytes that a warp reads or that its copies write;
          not told for fp32, where lanes read the same words and what that costs is not documented

The largest is the bound, as far as the multiprocessor goes: caches and HBM are another matter (product.cuh). `spills`: bytes that a
thread keeps in local memory for want of registers, of the whole kernel.
"""

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KERNELS = ("apply", "adjoint", "outer")
MATH = re.compile(r"\b(HMMA|FFMA)\b")
BRANCH = re.compile(r"\bBRA\b.*\((\.L_x_\d+)\)")
VECTOR_COPY = re.compile(r"\bLDGSTS\b.*\.128\b")
PANEL_READ = re.compile(r"^(?!@!PT)(@\S+ )?(LDSM|LDS)\b")  # ptxas has fillers: @!PT LDS RZ
SCALAR_COPY = re.compile(r"\b(LDG|STS)\b|\bLDGSTS\b(?!.*\.128)")


def tool(name, *places):
    places = (shutil.which(place) for place in (*places, name) if place)
    found = next((place for place in places if place), None)
    if found is None:
        sys.exit(f"there is no {name}: it comes with the CUDA toolkit; put it on PATH")
    return found


def functions(text):
    """The listing's functions: name -> (instructions, where each label lies)."""
    found, instructions, labels = {}, None, None
    for line in text.splitlines():
        if match := re.match(r"\.text\.(\S+):", line):
            instructions, labels = [], {}
            found[match[1]] = (instructions, labels)
        elif instructions is not None and (match := re.match(r"(\.L_x_\d+):", line)):
            labels[match[1]] = len(instructions)
        elif instructions is not None and (match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line)):
            instructions.append(match[1])
    return found


def inner_loops(instructions, labels):
    """First and last instruction of each loop that multiplies between barriers: there may be one for each kind of copies."""
    for last, text in enumerate(instructions):
        match = BRANCH.search(text)
        if match is not None and labels[match[1]] <= last:
            body = instructions[labels[match[1]] : last + 1]
            if any("BAR.SYNC" in each for each in body) and any(MATH.search(each) for each in body):
                yield labels[match[1]], last


def longest_way(instructions, labels):
    """The instructions of one turn: of all ways those with the most 16-byte copies and no others, of these the longest."""

    def way_through(first, last):
        @functools.cache
        def onward(at):
            text = instructions[at]
            # A predicated copy of an element takes its slot on the way of the pieces too.
            score = 1 if VECTOR_COPY.search(text) else -100 if SCALAR_COPY.search(text) and not text.startswith("@") else 0
            if at == last:
                return score, 1, (at,)
            nexts = [at + 1]
            if match := BRANCH.search(text):
                target = labels[match[1]]
                conditional = text.startswith("@") or re.search(r"\bBRA !?U?P\d", text)
                nexts = ([at + 1] if conditional else []) + ([target] if at < target <= last else [])
            if not nexts:
                return -1000, 0, ()
            copies, length, way = max(onward(each) for each in nexts)
            return copies + score, length + 1, (at, *way)

        return onward(first)

    ways = [way_through(*loop) for loop in inner_loops(instructions, labels)]
    if not ways:
        sys.exit("a kernel has no loop with a barrier and a multiplication: is this another kind of machine code?")
    return [instructions[at] for at in max(ways)[2]]


def passes(text):
    """Of 128 bytes, through shared memory."""
    if VECTOR_COPY.search(text) or "LDSM" in text:
        return 4
    return 0 if not PANEL_READ.search(text) else 4 if ".128" in text else 2 if ".64" in text else 1


def spills(report):
    """Bytes of spill stores, by function, of what ptxas says with -v."""
    return dict(re.findall(r"Compiling entry function '(\S+)'.*\n(?:.*\n)??.*?(\d+) bytes spill stores", report))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", default="sm_90")
    arch = parser.parse_args().arch
    sys.setrecursionlimit(100_000)
    home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    nvcc = tool("nvcc", os.environ.get("CUDACXX"), os.path.join(home, "bin/nvcc"))
    nvdisasm = tool("nvdisasm", os.environ.get("NVDISASM"), os.path.join(os.path.dirname(nvcc), "nvdisasm"), os.path.join(home, "bin/nvdisasm"))

    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    print(f"{arch}, nvcc {re.search(r'release ([0-9.]+)', version)[1]}\n")
    print("| kernel  | precision | tile    | multiply | read | copy | issue | math | shared | spills |")
    print("| ------- | --------- | ------- | -------: | ---: | ---: | ----: | ---: | -----: | -----: |")
    with tempfile.TemporaryDirectory() as folder:
        for kernel in KERNELS:
            cubin = os.path.join(folder, f"{kernel}.cubin")
            source = os.path.join(ROOT, f"native/maps/cuda/locally_connected2d_{kernel}.cu")
            flags = ["-std=c++20", "-O3", f"-arch={arch}", f"-I{os.path.join(ROOT, 'native')}", "-cubin", "-Xptxas", "-v"]
            compiled = subprocess.run([nvcc, *flags, "-o", cubin, source], capture_output=True, text=True)
            if compiled.returncode != 0:
                sys.exit(compiled.stderr)
            listing = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
            spilled = spills(compiled.stderr)
            rows = []
            for name, (instructions, labels) in functions(listing).items():
                tile = "{}×{}".format(*re.search(r"TileILi(\d+)ELi(\d+)", name).groups())
                precision = re.search(r"Multiply(\w{4})", name)[1].lower()
                way = longest_way(instructions, labels)
                math = sum(bool(MATH.search(each)) for each in way)
                reads = sum(bool(PANEL_READ.search(each)) for each in way)
                copies = sum(bool(VECTOR_COPY.search(each)) for each in way)
                busy = math if precision == "fp32" else round(6.45 * math)
                shared = "–" if precision == "fp32" else 4 * sum(passes(each) for each in way)
                row = f"{math:8} | {reads:4} | {copies:4} | {len(way):5} | {busy:4} | {shared:>6} | {spilled[name]:>6}"
                rows.append((precision, tile, f"| {kernel:7} | {precision:9} | {tile:7} | {row} |"))
            print("\n".join(row for *_, row in sorted(rows)), flush=True)


if __name__ == "__main__":
    main()
