"""Make ``vgg16-lite``, the loss network that ships with jaxnst, from the genuine VGG16.

First VGG16 (Simonyan and Zisserman) is narrowed layer by layer without training (``narrow.py``).
Then the narrow network, the student, is trained on whole batches to give, after a 1x1 convolution
per layer that exists only here (a "probe"), the feature maps of VGG16 at nine layers, and the
statistics of them that style losses compare (mean and covariance over a crop). Both networks repeat
the edges, so borders count as well.

``--painted DIR`` adds pictures that were painted with an earlier student (``paint_training.py``):
optimization leads pictures to where student and teacher disagree, and these show the student
where that is.

Why PyTorch, in a JAX project: on a CPU the gradient with respect to the kernels, which style
transfer itself never needs, is many times faster there (docs/performance.md).
``scripts/explained_variance.py`` measures the result with jaxnst itself.

    python scripts/distill.py --data DIR --steps 8000 --out runs/lite

DIR holds ``weights/vgg16`` and ``pictures/train`` (default: the environment's JAXNST_SHARED). The
run checkpoints to ``OUT/checkpoint.pt`` and resumes from there when started again with the same
settings; every random choice follows from ``--seed`` and the step. ``--begin NETWORK`` starts from
a trained network in place of narrowing. ``OUT/vgg16-lite.safetensors``
and ``OUT/vgg16-lite-probes.safetensors`` hold the running average of the parameters; they are
written with every checkpoint.
"""

import argparse
import copy
import dataclasses
import math
import os
import sys
import time
from collections import OrderedDict
from pathlib import Path

import narrow
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.numpy import load_file

import jaxnst
from jaxnst.networks.vgg import VGG16, VGG16_LITE
from jaxnst.weights import write_parameters

LAYERS = ("relu1_1", "relu2_1", "relu2_2", "relu3_1", "relu3_3")
LAYERS += ("relu4_1", "relu4_2", "relu4_3", "relu5_1")
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HELD_OUT = tuple(f"{i:04d}" for i in range(0, 800, 50))
# Copies, crops and stylizations of the photographs and paintings by which results are judged.
JUDGED = (634, 645, 664, 732, 737, 742, 746, 751, 760, 774, 778, 779, 783, 784, 786, 788, 789, 790)
JUDGED += (791, 792, 793, 802, 805, 808, 812, 819, 820)
LEFT_OUT = (*HELD_OUT, *(f"{i:04d}" for i in JUDGED))


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the result; a checkpoint only resumes a run with equal settings."""

    steps: int = 8000
    batch: int = 6
    crop: int = 144
    rate: float = 0.001
    warmup: int = 100
    reuse: int = 3  # steps per batch of teacher features
    pool: int = 48  # batches of teacher features kept to choose from
    own_variance: float = 0.25  # share of a channel's own variance in its target's scale
    statistics: float = 0.3  # weight of the loss on means and covariances
    painted_share: float = 0.35  # share of the crops that come from painted pictures, if any
    average: float = 0.998  # decay of the running average of the parameters
    seed: int = 0


# --- networks ------------------------------------------------------------------------------------


class VGG(torch.nn.Module):
    """A plain VGG: 3x3 convolutions that repeat the edges, ReLU, 2x2 max pooling."""

    def __init__(self, blocks: tuple[tuple[int, ...], ...]):
        super().__init__()
        self.convs = torch.nn.ModuleDict()
        channels = 3
        for b, widths in enumerate(blocks, 1):
            for i, width in enumerate(widths, 1):
                self.convs[f"conv{b}_{i}"] = torch.nn.Conv2d(channels, width, 3)
                channels = width

    def pad(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Pad what a convolution reads, after the pooling that comes before it, if any."""
        if name.endswith("_1") and name != "conv1_1":
            x = F.max_pool2d(x, 2)
        return F.pad(x, (1, 1, 1, 1), mode="replicate")

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = {}
        for name, conv in self.convs.items():
            x = F.relu(conv(self.pad(name, x)))
            features["relu" + name.removeprefix("conv")] = x
        return features


class Teacher(torch.nn.Module):
    """The genuine VGG16 to relu5_1, from RGB in [0, 1] to its raw feature maps."""

    def __init__(self, weights: Path):
        super().__init__()
        network = jaxnst.load_network("vgg16", weights=next(weights.glob("*.h5")))
        self.vgg = VGG((*VGG16[:4], VGG16[4][:1]))
        for name, conv in self.vgg.convs.items():
            _set(conv, **{k: np.array(v) for k, v in network.params[name].items()})
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN_BGR).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the first convolution reads."""
        return image.flip(1) * 255 - self.mean

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.vgg(self.encode(image))


class Student(torch.nn.Module):
    """The network to be made, and its probes, which give the teacher's maps over ``scales``."""

    def __init__(self, scales: dict[str, torch.Tensor]):
        super().__init__()
        self.vgg = VGG(VGG16_LITE)
        self.probes = torch.nn.ModuleDict()
        for name, scale in scales.items():
            conv = self.vgg.convs["conv" + name.removeprefix("relu")]
            self.probes[name] = torch.nn.Conv2d(conv.out_channels, scale.numel(), 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Return what the first convolution reads."""
        return (image - self.mean) / self.std

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.vgg(self.encode(image))
        return {name: probe(features[name]) for name, probe in self.probes.items()}


def _set(conv: torch.nn.Conv2d, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Take over a kernel in HWIO and a bias."""
    conv.weight.data.copy_(torch.from_numpy(kernel.astype(np.float32)).permute(3, 2, 0, 1))
    conv.bias.data.copy_(torch.from_numpy(bias.astype(np.float32)))


def _channels_last(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    return module.to(device=device, memory_format=torch.channels_last)


# --- the start -----------------------------------------------------------------------------------


@torch.no_grad()
def narrow_teacher(student: Student, teacher: Teacher, pictures, batches=24, places=2500) -> None:
    """Give the student the teacher's layers, narrowed."""
    images = [pictures(10**6 + i).contiguous() for i in range(batches)]
    narrowed = [student.encode(x) for x in images]
    whole = [teacher.encode(x) for x in images]
    names = list(teacher.vgg.convs)

    def moments(name: str, inputs: list[torch.Tensor], outputs: list[torch.Tensor]):
        result = narrow.Moments(inputs[0].shape[1], outputs[0].shape[1])
        generator = torch.Generator().manual_seed(names.index(name))
        for x, y in zip(inputs, outputs, strict=True):
            chosen = torch.randperm(len(y) * y[0, 0].numel(), generator=generator)[:places]
            result.add(teacher.vgg.pad(name, x), y, chosen)
        return result

    def before_relu(name: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        return [teacher.vgg.convs[name](teacher.vgg.pad(name, x)) for x in inputs]

    outputs = before_relu(names[0], whole)
    for name, following in zip(names, [*names[1:], None], strict=True):
        whole = [F.relu(y) for y in outputs]
        kept = outputs
        if following:
            after = before_relu(following, whole)
            width = student.vgg.convs[name].out_channels
            chosen = narrow.choose(moments(following, whole, after), width)
            kept = [y[:, chosen] for y in outputs]
        conv = student.vgg.convs[name]
        kernel, bias = narrow.fit(moments(name, narrowed, kept))
        conv.weight.copy_(kernel)
        conv.bias.copy_(bias)
        made = [conv(student.vgg.pad(name, x)) for x in narrowed]
        error = sum((a - b).square().sum() for a, b in zip(made, kept, strict=True))
        total = sum((b - b.mean((0, 2, 3), keepdim=True)).square().sum() for b in kept)
        print(f"{name}: explained variance before the ReLU {1 - error / total:.3f}", flush=True)
        narrowed = [F.relu(y) for y in made]
        if following:
            outputs = after


@torch.no_grad()
def solve_probes(student: Student, teacher: Teacher, scales, pictures, batches=24) -> None:
    """Give every probe the least squares solution."""
    products = {}
    for index in range(batches):
        image = pictures(10**6 + index)
        features, targets = student.vgg(student.encode(image)), teacher(image)
        for name in LAYERS:
            x = features[name].movedim(1, -1).flatten(0, 2)
            x = torch.cat([x, torch.ones(len(x), 1, device=x.device)], 1).double()
            y = (targets[name] / scales[name]).movedim(1, -1).flatten(0, 2).double()
            old = products.get(name, (0, 0))
            products[name] = (old[0] + x.T @ x, old[1] + x.T @ y)
    for name, (inputs, outputs) in products.items():
        ridge = 1e-4 * inputs.diagonal().mean()
        inputs.diagonal().add_(ridge)
        solution = torch.linalg.solve(inputs, outputs).float()
        student.probes[name].weight.copy_(solution[:-1].T[:, :, None, None])
        student.probes[name].bias.copy_(solution[-1])


def load_student(student: Student, path: Path) -> None:
    """Read a network that was exported."""
    parameters = load_file(path)
    for name, conv in student.vgg.convs.items():
        _set(conv, parameters[f"{name}/kernel"], parameters[f"{name}/bias"])


@torch.no_grad()
def scale_layers(vgg: VGG, factors: dict[str, float]) -> None:
    """Multiply the feature maps of every layer by a factor, in its kernel and the next one's."""
    before = 1.0
    for name, conv in vgg.convs.items():
        factor = factors["relu" + name.removeprefix("conv")]
        conv.weight *= factor / before
        conv.bias *= factor
        before = factor


@torch.no_grad()
def strengths(network: Student | Teacher, pictures, batches=4) -> dict[str, float]:
    """Return the root mean square of every layer's feature maps."""
    sums: dict[str, float] = {}
    for index in range(batches):
        for name, x in network.vgg(network.encode(pictures(10**9 + index))).items():
            sums[name] = sums.get(name, 0.0) + x.square().mean().item() / batches
    return {name: math.sqrt(value) for name, value in sums.items()}


# --- pictures ------------------------------------------------------------------------------------


class Pictures:
    """All training pictures in memory, at three sizes, and random crops of them."""

    def __init__(self, folder: Path, settings: Settings, painted: Path | None = None):
        self.settings = settings
        paths = sorted(p for p in folder.glob("*.jpg") if p.stem not in LEFT_OUT)
        if not paths:
            raise SystemExit(f"{folder}: no pictures to train on")
        whole = [Image.open(p).convert("RGB") for p in paths]
        self.sizes = [
            [np.asarray(_resized(p, f)) for p in whole if min(p.size) * f >= settings.crop]
            for f in (1, 0.5, 2)
        ]
        found = sorted(painted.glob("*.png")) if painted else []
        self.painted = [np.asarray(Image.open(p).convert("RGB")) for p in found]

    def __call__(self, index: int) -> torch.Tensor:
        """Return batch ``index``: ``(batch, 3, crop, crop)`` RGB in [0, 1]."""
        rng = np.random.default_rng((self.settings.seed, index))
        crops = np.stack([self._one(rng) for _ in range(self.settings.batch)])
        return torch.from_numpy(crops).permute(0, 3, 1, 2)  # channels last in memory

    def _one(self, rng: np.random.Generator) -> np.ndarray:
        side = self.settings.crop
        pictures = self.sizes[rng.choice(3, p=(0.5, 0.3, 0.2))]
        painted = bool(self.painted) and rng.random() < self.settings.painted_share
        if painted:
            pictures = self.painted
        picture = pictures[rng.integers(len(pictures))]
        y, x = (rng.integers(n - side + 1) for n in picture.shape[:2])
        crop = picture[y : y + side, x : x + side].astype(np.float32) / 255
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.10:  # brightness and contrast
            crop = (crop - 0.5) * rng.uniform(0.6, 1.4) + 0.5 + rng.uniform(-0.2, 0.2)
        if rng.random() < 0.05:
            crop = crop[..., rng.permutation(3)]
        if rng.random() < 0.15 and not painted:
            crop = crop + rng.normal(0, rng.uniform(0.01, 0.15), crop.shape)
        return np.clip(crop, 0, 1).astype(np.float32)


def _resized(picture: Image.Image, factor: float) -> Image.Image:
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture if factor == 1 else picture.resize(size, Image.Resampling.LANCZOS)


def held_out(folder: Path) -> torch.Tensor:
    """The sixteen pictures that training never sees, centre crops of 256 px."""
    crops = []
    for stem in HELD_OUT:
        picture = Image.open(folder / f"{stem}.jpg").convert("RGB")
        left, top = (picture.width - 256) // 2, (picture.height - 256) // 2
        crops.append(np.asarray(picture.crop((left, top, left + 256, top + 256))))
    return torch.from_numpy(np.stack(crops).astype(np.float32) / 255).permute(0, 3, 1, 2)


# --- training ------------------------------------------------------------------------------------


Targets = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]
"""Feature maps over their scales, and the statistics of those of style layers, by layer."""


class TargetPool:
    """Teacher features, each batch used for ``reuse`` steps spread over ``pool`` batches' time.

    Computing the teacher costs as much as a step of the student, and a student this small gains
    more from another step than from another crop. Which batch a step uses follows from the seed
    and the step alone, so a resumed run sees what an undisturbed one would have.
    """

    def __init__(self, pictures: Pictures, targets, settings: Settings):
        self.pictures, self.targets, self.settings = pictures, targets, settings
        self.kept: OrderedDict[int, tuple] = OrderedDict()

    def __call__(self, step: int) -> tuple[torch.Tensor, Targets]:
        """Return image and targets of a step."""
        s = self.settings
        newest = step // s.reuse
        index = newest
        if step % s.reuse:
            rng = np.random.default_rng((s.seed, step, 1))
            index = int(rng.integers(max(0, newest - s.pool + 1), newest + 1))
        if index not in self.kept:
            image = self.pictures(index)
            self.kept[index] = (image, self.targets(image))
            while len(self.kept) > s.pool:
                self.kept.popitem(last=False)
        return self.kept[index]


def target_scales(teacher: Teacher, pictures, own: float) -> dict[str, torch.Tensor]:
    """Per channel: the root of a mixture of its own variance and its layer's mean variance."""
    sums = {}
    batches = 16
    for index in range(batches):
        features = teacher(pictures(10**9 + index))
        for name in LAYERS:
            x = features[name]
            moments = torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))]) / batches
            sums[name] = sums.get(name, 0) + moments
    scales = {}
    for name, (mean, square) in sums.items():
        variance = square - mean**2
        mixed = own * variance + (1 - own) * variance.mean()
        scales[name] = mixed.sqrt().view(1, -1, 1, 1)
    return scales


class MeanSquaredError(torch.autograd.Function):
    """Mean squared error in few passes over bfloat16 maps; float32 sum.

    Left to autograd, the loss on the two largest feature maps costs twice the network.
    """

    @staticmethod
    def forward(ctx, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        difference = predicted - target
        ctx.save_for_backward(difference)
        norm = torch.linalg.vector_norm(difference, dtype=torch.float32)
        return norm**2 / difference.numel()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (difference,) = ctx.saved_tensors
        return difference * (2 * grad.item() / difference.numel()), None


def statistic(x: torch.Tensor) -> torch.Tensor:
    """Covariance of the channels over the positions, and the mean as one more row.

    ``(B, C, H, W)`` to ``(B, C + 1, C)`` float32: what the default recipe calls a style.
    """
    x = x.float().flatten(2)
    mean = x.mean(2, keepdim=True)
    x = x - mean
    return torch.cat([x @ x.transpose(1, 2) / x.shape[2], mean.transpose(1, 2)], 1)


def statistics_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared distance from the target's statistic over its square, mean over the batch."""
    error = (statistic(predicted) - target).square().sum((1, 2))
    return (error / (target.square().sum((1, 2)) + 1e-6)).mean()


@torch.no_grad()
def explained_variance(student: Student, teacher: Teacher, scales, images) -> dict[str, float]:
    """1 - squared error / variation around each channel's mean in each picture, raw targets."""
    error = dict.fromkeys(LAYERS, 0.0)
    variation = dict.fromkeys(LAYERS, 0.0)
    for image in images.split(4):
        predicted = student(image)
        targets = teacher(image)
        for name in LAYERS:
            target = targets[name]
            centred = target - target.mean((2, 3), keepdim=True)
            error[name] += (predicted[name] * scales[name] - target).square().sum().item()
            variation[name] += centred.square().sum().item()
    return {name: 1 - error[name] / variation[name] for name in LAYERS}


class Optimizer:
    """Muon for the 3x3 kernels, Adam for the first layer, the biases and the probes.

    After 500 steps of the same run Muon's loss is 1.7 where Adam's alone is 2.8. Muon asks for
    matrices: the kernels are given to it as ``(out, 9 * in)`` over the same memory.
    """

    def __init__(self, student: Student, settings: Settings):
        self.kernels = [c.weight for n, c in student.vgg.convs.items() if n != "conv1_1"]
        views = [k.data.permute(0, 2, 3, 1).flatten(1) for k in self.kernels]
        self.matrices = [torch.nn.Parameter(view) for view in views]
        chosen = {id(k) for k in self.kernels}
        rest = [p for p in student.parameters() if id(p) not in chosen]
        self.muon = torch.optim.Muon(
            self.matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
        )
        self.adam = torch.optim.Adam(rest, betas=(0.9, 0.98))
        self.rate = settings.rate

    def step(self, rate: float) -> None:
        """Follow the gradients at ``rate`` times the full rate, and clear them."""
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = kernel.grad.permute(0, 2, 3, 1).flatten(1)
            kernel.grad = None
        for optimizer in (self.muon, self.adam):
            optimizer.param_groups[0]["lr"] = self.rate * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict:
        """State of both, for the checkpoint."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Take up a checkpoint's state."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def schedule(step: int, settings: Settings) -> float:
    """Linear warm-up to one, then a half cosine to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def train_step(student, optimizer, image, targets, rate: float, statistics: float) -> float:
    maps, summaries = targets
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        predicted = student(image)
    losses = [MeanSquaredError.apply(predicted[name], target) for name, target in maps.items()]
    losses += [
        statistics * statistics_loss(predicted[name], target) for name, target in summaries.items()
    ]
    loss = torch.stack(losses).sum()
    loss.backward()
    optimizer.step(rate)
    return loss.item()


def export(
    student: Student, teacher_strengths: dict[str, float], scales, pictures, folder: Path
) -> None:
    """Write network and probes as float16 safetensors in jaxnst's layout (kernels HWIO).

    Layers are scaled to the strength of the teacher's, so that weights of losses that were chosen
    for VGG16 suit the student too.
    """
    factors = {k: teacher_strengths[k] / v for k, v in strengths(student, pictures).items()}
    scaled = copy.deepcopy(student)
    scale_layers(scaled.vgg, factors)
    network, probes = {}, {}
    for name, conv in scaled.vgg.convs.items():
        kernel = conv.weight.detach().cpu().numpy().transpose(2, 3, 1, 0)
        network[f"{name}/kernel"] = np.ascontiguousarray(kernel, dtype=np.float16)
        network[f"{name}/bias"] = conv.bias.detach().cpu().numpy().astype(np.float16)
    for name, probe in student.probes.items():
        scale = scales[name].view(-1)
        kernel = probe.weight.detach()[:, :, 0, 0] * scale[:, None] / factors[name]
        probes[f"{name}/kernel"] = np.ascontiguousarray(kernel.cpu().numpy().T, dtype=np.float16)
        probes[f"{name}/bias"] = (probe.bias.detach() * scale).cpu().numpy().astype(np.float16)
    write_parameters(folder / "vgg16-lite.safetensors", network, metadata={"network": "vgg16-lite"})
    write_parameters(folder / "vgg16-lite-probes.safetensors", probes)


def run(
    settings: Settings, data: Path, out: Path, painted: Path | None, begin: Path | None
) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    teacher = _channels_last(Teacher(data / "weights/vgg16"), device)
    pictures = Pictures(data / "pictures/train", settings, painted)
    on_device = lambda index: pictures(index).to(device)  # noqa: E731
    with torch.no_grad():
        scales = target_scales(teacher, on_device, settings.own_variance)
    student = _channels_last(Student(scales), device)
    average = _channels_last(Student(scales), device).requires_grad_(False)
    images = held_out(data / "pictures/train").to(device)

    def report(text: str, network: Student) -> str:
        values = explained_variance(network, teacher, scales, images)
        return f"{text} EV " + " ".join(f"{n[4:]} {v:.3f}" for n, v in values.items())

    step, seconds = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    saved = None
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["settings"] != dataclasses.asdict(settings):
            raise SystemExit(f"{checkpoint} was made with other settings; choose another --out")
        student.load_state_dict(saved["student"])
        average.load_state_dict(saved["average"])
        step, seconds = saved["step"], saved["seconds"]
    else:
        if begin:
            load_student(student, begin)
        else:
            cpu = torch.device("cpu")
            narrow_teacher(student.to(cpu), teacher.to(cpu), pictures)
            student, teacher = _channels_last(student, device), _channels_last(teacher, device)
        factors = {name: 1 / value for name, value in strengths(student, on_device).items()}
        scale_layers(student.vgg, factors)
        solve_probes(student, teacher, scales, on_device)
    optimizer = Optimizer(student, settings)
    if saved:
        optimizer.load_state_dict(saved["optimizer"])
    else:
        average.load_state_dict(student.state_dict())
        export(average, strengths(teacher, on_device), scales, on_device, out)
        print(report("start", student), flush=True)

    @torch.no_grad()
    def targets(image: torch.Tensor) -> Targets:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            features = teacher(image)
        maps = {
            name: (features[name] * (1 / scales[name]).to(features[name].dtype)).bfloat16()
            for name in LAYERS
        }
        return maps, {name: statistic(maps[name]) for name in STYLE_LAYERS}

    pool = TargetPool(on_device, targets, settings)

    def keep() -> None:
        state = {
            "settings": dataclasses.asdict(settings),
            "student": student.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "seconds": seconds,
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
        export(average, strengths(teacher, on_device), scales, on_device, out)

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    started, mean_loss = time.perf_counter() - seconds, None
    with Progress(*columns, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("training", total=settings.steps, completed=step)
        while step < settings.steps:
            image, target = pool(step)
            rate = schedule(step, settings)
            loss = train_step(student, optimizer, image, target, rate, settings.statistics)
            step += 1
            decay = min(settings.average, step / (step + 10))  # the start does not linger
            with torch.no_grad():
                for mean, value in zip(average.parameters(), student.parameters(), strict=True):
                    mean.lerp_(value, 1 - decay)
            mean_loss = loss if mean_loss is None else 0.98 * mean_loss + 0.02 * loss
            seconds = time.perf_counter() - started
            progress.update(task, advance=1, description=f"loss {mean_loss:.4f}")
            if step % 250 == 0 or step == settings.steps:
                line = report(f"step {step} {seconds:.0f}s loss {mean_loss:.4f}", average)
                progress.console.print(line, highlight=False, soft_wrap=True)
                keep()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--out", type=Path, default=Path("runs/lite"))
    parser.add_argument("--painted", type=Path, help="folder of pictures painted by a student")
    parser.add_argument("--begin", type=Path, help="exported network to start from")
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    arguments = vars(parser.parse_args())
    data, out, painted, begin = (arguments.pop(key) for key in ("data", "out", "painted", "begin"))
    if data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of teacher and pictures")
    out.mkdir(parents=True, exist_ok=True)
    run(Settings(**arguments), Path(data), out, painted, begin)


if __name__ == "__main__":
    main()
