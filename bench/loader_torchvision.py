"""torchvision's side of `npm run bench -- loader`: ImageFolder, RandomResizedCrop, mirror images, a DataLoader.

    python loader_torchvision.py pillow|decode DIR BATCH WORKERS

pillow: torchvision's default loader and transforms on PIL images, uint8 at the end (no float conversion, no normalisation);
decode: torchvision.io.decode_jpeg (libjpeg-turbo) and the same transforms on uint8 tensors.
"""
import json
import sys
import time

import torch
from torch.utils.data import DataLoader
import warnings

from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

side, folder, batch, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)  # as DataLoader's workers have it
warnings.simplefilter('ignore')  # more workers than cores are tried on purpose
crops = [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()]
if side == 'pillow':
    data = ImageFolder(folder, transform=v2.Compose([*crops, v2.PILToTensor()]))
else:
    data = ImageFolder(folder, transform=v2.Compose(crops), loader=lambda path: decode_image(read_file(path), mode=ImageReadMode.RGB))
options = {'prefetch_factor': 4, 'persistent_workers': True} if workers > 0 else {}
loader = DataLoader(data, batch_size=batch, shuffle=True, num_workers=workers, **options)


def epoch():
    return sum(len(labels) for _, labels in loader)


epoch()
start = time.perf_counter()
images = epoch()
print(json.dumps({'rate': images / (time.perf_counter() - start)}))
