"""The other side of `npm run bench -- checkpoint`: writes the files, or opens one and reads one tensor."""
import json
import sys
import time

import torch


def write(folder, tensors, side):
    state = {f'layers.{i}.weight': torch.full((side, side), float(i)) for i in range(tensors)}
    torch.save(state, f'{folder}/large.pt')
    torch.save(state, f'{folder}/large-legacy.pt', _use_new_zipfile_serialization=False)


def peak():
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    with open('/proc/self/status') as status:
        return next(int(line.split()[1]) for line in status if line.startswith('VmHWM:')) * 1024


def read(path, name):
    # What the first call of all costs is no part of it.
    torch.save({'a': torch.zeros(1)}, path + '.small')
    torch.load(path + '.small', mmap=True, weights_only=True)
    before, start = peak(), time.perf_counter()
    tensor = torch.load(path, mmap=True, weights_only=True)[name]
    total = tensor.sum().item()
    print(json.dumps({'ms': (time.perf_counter() - start) * 1e3, 'bytes': peak() - before, 'sum': total}))


if sys.argv[1] == 'write':
    write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    read(sys.argv[2], sys.argv[3])
