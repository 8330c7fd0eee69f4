"""mnist-fc by the command line, on a GPU beside the CPU: the addon is built for a libtorch, and a few rules train.

Usage: python command_line.py LIBTORCH FOLDER. Needs Node 20 and node_modules, but no torch. FOLDER is for the runs.
Prints a line a rule, and exits with 1 if the losses are apart.
"""

import json
import os
import shutil
import subprocess
import sys

RULES = ("bp", "fa", "dfa", "dtp")
APART = 0.01
OPTIONS = "--dataset mnist --model mnist-fc --max-steps 200 --seed 1 --json".split()


def run(*command):
    """Its lines, as they come."""
    print("$", *command, flush=True)
    environment = {**os.environ, "LIBTORCH": libtorch}
    child = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in child.stdout:
        lines.append(line.rstrip("\n"))
        print(lines[-1], flush=True)
    if child.wait() != 0:
        sys.exit(f"FAILED {command[0]} {command[1]}: exit code {child.returncode}")
    return lines


def loss_of(rule, device):
    out = os.path.join(folder, f"{rule}-{device}")
    shutil.rmtree(out, ignore_errors=True)
    more = ["--schedule", "parallel"] if rule == "dtp" else []
    command = ["node", "bin/cortorch.cjs", "train", *OPTIONS, "--rule", rule, "--device", device, "--out", out, *more]
    events = [json.loads(line) for line in run(*command) if line.startswith('{"type"')]
    epochs = [event for event in events if event["type"] == "epoch" and event["train"]]
    if not epochs:
        sys.exit(f"FAILED {rule} on {device}: no epoch was reported")
    return epochs[-1]["train"]["loss"]


libtorch, folder = sys.argv[1:]
run("npm", "run", "build")
failed, worst = 0, 0.0
for rule in RULES:
    cpu, gpu = loss_of(rule, "cpu"), loss_of(rule, "cuda")
    apart = abs(gpu / cpu - 1)
    failed += not apart <= APART
    worst = max(worst, apart)
    words = "" if apart <= APART else "FAILED "
    print(f"{words}{rule}: loss {gpu:.6f} on the GPU, {cpu:.6f} on the CPU, {apart:.2%} apart", flush=True)
print(f"{len(RULES)} rules, {failed} failed, losses at most {worst:.2%} apart")
sys.exit(1 if failed else 0)
