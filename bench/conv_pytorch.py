"""PyTorch's side of the benchmark `conv`: CIFAR-10's ResNet-20 under bp, in one memory format, in a process of its own.

    python conv_pytorch.py '{"format":"channels_last","threads":2,"batch":128,"optimizer":{"lr":0.1,"momentum":0.9,"weightDecay":1e-4}}'

Says {"ready":true,...}, then answers each line on stdin with one line:
    step N     N training steps on batches that lie ready in memory as floats
    memory     peak resident memory so far

With "check" (a folder, see check-steps.mjs) it makes the steps that cortorch made, says how far the parameters have
gone apart, and ends.
"""

from pytorch_side import VERSION, CheckedSteps, Steps, answer, say, settings, timed
import torch
from torch import nn
from torch.nn import functional as F

IMAGE = (3, 32, 32)
CLASSES = 10
READY_BATCHES = 8
FORMATS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


def conv3x3(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut without parameters: every other pixel, and zeros for the new channels (option A)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.zeros = stride, outputs - inputs

    def forward(self, x):
        # In place wherever autograd needs no value from before.
        y = F.relu_(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.zeros:
            below = self.zeros // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, below, self.zeros - below))
        return F.relu_(y.add_(x))


class ResNet20(nn.Module):
    """He et al. 2016, section 4.2; the names are those of preset resnet20."""

    def __init__(self):
        super().__init__()
        self.conv1 = conv3x3(IMAGE[0], 16)
        self.bn1 = nn.BatchNorm2d(16)
        stage = lambda inputs, outputs, stride: nn.Sequential(
            BasicBlock(inputs, outputs, stride), *(BasicBlock(outputs, outputs, 1) for _ in range(2))
        )
        self.layer1 = stage(16, 16, 1)
        self.layer2 = stage(16, 32, 2)
        self.layer3 = stage(32, 64, 2)
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = F.relu_(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def side(given, batches):
    model = ResNet20().to(memory_format=FORMATS[given["format"]])
    lr, momentum, decay = (given["optimizer"][name] for name in ("lr", "momentum", "weightDecay"))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=decay, fused=True)
    return model, Steps(optimizer, lambda x, y: F.cross_entropy(model(x), y), batches)


def check(given):
    checked = CheckedSteps(given["check"])
    x = checked.read("images", [given["batch"], *IMAGE]).contiguous(memory_format=FORMATS[given["format"]])
    y = checked.read("labels", [given["batch"], CLASSES]).argmax(1)
    model, steps = side(given, [(x, y)])
    # Running statistics, which are not trained, begin alike in both.
    model.load_state_dict(model.state_dict() | checked.before())
    steps.steps(checked.steps)
    after = model.state_dict()
    say({"apart": checked.apart(lambda name: after[name])})


def main():
    given = settings()
    torch.set_num_threads(given["threads"])
    torch.manual_seed(1)
    if "check" in given:
        check(given)
        return
    images = lambda: torch.rand(given["batch"], *IMAGE).contiguous(memory_format=FORMATS[given["format"]])
    batches = [(images(), torch.randint(0, CLASSES, (given["batch"],))) for _ in range(READY_BATCHES)]
    _, steps = side(given, batches)
    steps.steps(2)
    say({"ready": True, "version": VERSION})
    answer(step=timed(steps.steps))


if __name__ == "__main__":
    main()
