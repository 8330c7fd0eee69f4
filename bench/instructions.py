#!/usr/bin/env python3
"""What the CUDA kernels' inner loops consist of: counted in the machine code, so without a GPU.

Usage: bench/instructions.py [--arch sm_90]

Compiles the products of the locally connected map by nvcc and reads what nvdisasm (NVDISASM, or beside nvcc, or on PATH) makes of
them. For each kernel and tile: the instructions that a warp issues between two barriers, along the way that takes its operands in
16-byte pieces and computes every address; what multiplies; what reads panels; what starts copies. A multiprocessor's quarter issues
one instruction a cycle, and FFMA is one; so math / all is the share of the arithmetic that fp32 can reach at best. A tensor core
of sm_90 is busy for about 6.5 cycles with one HMMA: while all is less than 6.5 · math, the tensor cores are the bound.
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
SCALAR_COPY = re.compile(r"\b(LDG|STS)\b|\bLDGSTS\b(?!.*\.128)")


def tool(name, *places):
    found = next((place for place in (*places, shutil.which(name)) if place and os.access(place, os.X_OK)), None)
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

    return [instructions[at] for at in max(way_through(*loop) for loop in inner_loops(instructions, labels))[2]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--arch", default="sm_90")
    arch = parser.parse_args().arch
    sys.setrecursionlimit(100_000)
    home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    nvcc = tool("nvcc", os.environ.get("CUDACXX"), os.path.join(home, "bin/nvcc"))
    nvdisasm = tool("nvdisasm", os.environ.get("NVDISASM"), os.path.join(home, "bin/nvdisasm"))

    print(f"{arch}, {subprocess.run([nvcc, '--version'], capture_output=True, text=True, check=True).stdout.splitlines()[3]}\n")
    print("| kernel  | precision | tile    |  all | math | panel reads | copies | math / all |")
    print("| ------- | --------- | ------- | ---: | ---: | ----------: | -----: | ---------: |")
    with tempfile.TemporaryDirectory() as folder:
        for kernel in KERNELS:
            cubin = os.path.join(folder, f"{kernel}.cubin")
            source = os.path.join(ROOT, f"native/maps/cuda/locally_connected2d_{kernel}.cu")
            include = os.path.join(ROOT, "native")
            subprocess.run([nvcc, "-std=c++20", "-O3", f"-arch={arch}", f"-I{include}", "-cubin", "-o", cubin, source], check=True)
            listing = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True, check=True).stdout
            rows = []
            for name, (instructions, labels) in functions(listing).items():
                tile = "{}×{}".format(*re.search(r"TileILi(\d+)ELi(\d+)", name).groups())
                precision = re.search(r"Multiply(\w{4})", name)[1].lower()
                way = longest_way(instructions, labels)
                math = sum(bool(MATH.search(each)) for each in way)
                reads = sum(bool(re.search(r"\b(LDSM|LDS)\b(?! RZ)", each)) for each in way)
                copies = sum(bool(VECTOR_COPY.search(each)) for each in way)
                share = f"{math / len(way):.2f}"
                rows.append((precision, tile, f"| {kernel:7} | {precision:9} | {tile:7} | {len(way):4} | {math:4} | {reads:11} | {copies:6} | {share:>10} |"))
            print("\n".join(row for *_, row in sorted(rows)), flush=True)


if __name__ == "__main__":
    main()
