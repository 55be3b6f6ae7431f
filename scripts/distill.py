"""Train ``vgg19-lite``, the loss network that ships with jaxnst, from two teachers.

The student sees the same picture as its teachers and learns to give, after a 1x1 convolution per
layer that exists only here (a "probe"), the feature maps of

* relu1_1, relu2_1, relu3_1 of the genuine VGG19 (Simonyan and Zisserman; zero padding), and
* relu4_1, relu4_2, relu5_1 of the encoder of Collaborative Distillation (Wang et al. 2020;
  reflection padding), without its auxiliary layers.

No parameter of a teacher enters the result. The student starts from random values, scaled layer
by layer to unit variance on a batch; without that it learns nothing for a long time.

Why PyTorch, in a JAX project: the teachers are PyTorch files, and on a CPU the gradient with
respect to the kernels, which style transfer itself never needs, is many times faster there
(docs/performance.md). ``scripts/explained_variance.py`` measures the result with jaxnst itself.

    python scripts/distill.py --data DIR --steps 24000 --out runs/lite

DIR holds ``weights/`` and ``pictures/`` (default: the environment's JAXNST_SHARED). The run
checkpoints to ``OUT/checkpoint.pt`` and goes on from there when started again with the same
settings; every random choice follows from ``--seed`` and the step. ``OUT/vgg19-lite.safetensors``
and ``OUT/vgg19-lite-probes.safetensors`` are written at the end and, with ``--export``, at once.
"""

import argparse
import dataclasses
import math
import os
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from jaxnst.networks.vgg import EDGE_WHERE_IT_SHOWS, VGG19_LITE
from jaxnst.weights import write_parameters

LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1")
VGG19_TO_RELU3_1 = ((64, 64), (128, 128), (256,))
ENCODER_5SE = ((16, 16), (32, 32), (64,) * 4, (128,) * 4, (128,))
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
HELD_OUT = tuple(f"{i:04d}" for i in range(0, 800, 50))
BORDER = 1  # positions left out on every side of a feature map, where paddings differ


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the result; a checkpoint goes on only under equal settings."""

    steps: int = 24000
    batch: int = 8
    crop: int = 112
    muon_rate: float = 0.003
    learning_rate: float = 0.003
    warmup: int = 100
    reuse: int = 3  # steps per batch of teacher features
    pool: int = 48  # batches of teacher features kept to choose from
    own_variance: float = 0.25  # share of a channel's own variance in its target's scale
    seed: int = 0


# --- networks ------------------------------------------------------------------------------------


class VGG(torch.nn.Module):
    """The plain VGG of all three networks: 3x3 convolutions, ReLU, 2x2 max pooling."""

    def __init__(
        self,
        blocks: tuple[tuple[int, ...], ...],
        padding: str,
        exceptions: tuple[tuple[str, str], ...] = (),
    ):
        super().__init__()
        self.padding, self.exceptions = padding, dict(exceptions)
        self.convs = torch.nn.ModuleDict()
        channels = 3
        for b, widths in enumerate(blocks, 1):
            for i, width in enumerate(widths, 1):
                self.convs[f"conv{b}_{i}"] = torch.nn.Conv2d(channels, width, 3)
                channels = width

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = {}
        for name, conv in self.convs.items():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            mode = self.exceptions.get(name, self.padding)
            if mode == "zero":
                x = F.conv2d(x, conv.weight, conv.bias, padding=1)
            else:
                x = conv(F.pad(x, (1, 1, 1, 1), mode={"edge": "replicate"}.get(mode, mode)))
            x = F.relu(x)
            features["relu" + name.removeprefix("conv")] = x
        return {name: features[name] for name in LAYERS if name in features}


class Teachers:
    """The two teachers, from RGB in [0, 1] to their raw feature maps."""

    def __init__(self, weights: Path, device: torch.device):
        genuine = VGG(VGG19_TO_RELU3_1, "zero")
        arrays = np.load(
            weights / "vgg19-conv1-3/vgg19_caffe_bgr_conv1_1-conv3_4_HWIO.npz", allow_pickle=False
        )
        state = {}
        for name in genuine.convs:
            kernel = arrays[f"{name}/kernel"].transpose(3, 2, 0, 1)
            state[f"convs.{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
            state[f"convs.{name}.bias"] = torch.from_numpy(arrays[f"{name}/bias"])
        genuine.load_state_dict(state)

        encoder = VGG(ENCODER_5SE, "reflect")
        file = torch.load(
            weights / "vgg19-distilled-16x/5SE.pth", map_location="cpu", weights_only=True
        )["model"]
        encoder.load_state_dict(
            {
                f"convs.{name}.{part}": file[f"conv{name[4]}{name[6]}.{part}"]
                for name in encoder.convs
                for part in ("weight", "bias")
            }
        )
        self.mixing = (file["conv0.weight"].to(device), file["conv0.bias"].to(device))
        self.genuine = _channels_last(genuine, device).requires_grad_(False)
        self.encoder = _channels_last(encoder, device).requires_grad_(False)
        self.mean = torch.tensor(CAFFE_MEAN_BGR, device=device).view(1, 3, 1, 1)

    def __call__(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        shallow = self.genuine(image.flip(1) * 255 - self.mean)
        deep = self.encoder(F.conv2d(image, *self.mixing))
        return shallow | {name: deep[name] for name in ("relu4_1", "relu4_2", "relu5_1")}


class Student(torch.nn.Module):
    """The network to be trained, and its probes."""

    def __init__(self, target_widths: dict[str, int]):
        super().__init__()
        self.vgg = VGG(VGG19_LITE, "zero", EDGE_WHERE_IT_SHOWS)
        self.probes = torch.nn.ModuleDict()
        for name, width in target_widths.items():
            conv = self.vgg.convs["conv" + name.removeprefix("relu")]
            self.probes[name] = torch.nn.Conv2d(conv.out_channels, width, 1)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.vgg((image - self.mean) / self.std)
        return {name: self.probes[name](x) for name, x in features.items()}

    @torch.no_grad()
    def scale_to_unit_variance(self, image: torch.Tensor) -> None:
        """Scale every layer so that its values before the ReLU vary by one."""
        x = (image - self.mean) / self.std
        for name, conv in self.vgg.convs.items():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            conv.bias.zero_()
            conv.weight /= F.conv2d(x, conv.weight, padding=1).std()
            x = F.relu(F.conv2d(x, conv.weight, padding=1))


def _channels_last(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    return module.to(device=device, memory_format=torch.channels_last)


# --- pictures ------------------------------------------------------------------------------------


class Pictures:
    """All training pictures in memory, whole and at half size, and random crops of them."""

    def __init__(self, folder: Path, settings: Settings):
        self.crop, self.batch, self.seed = settings.crop, settings.batch, settings.seed
        paths = sorted(p for p in folder.glob("*.jpg") if p.stem not in HELD_OUT)
        if not paths:
            raise SystemExit(f"{folder}: no pictures to train on")
        whole = [Image.open(p).convert("RGB") for p in paths]
        half = [p.resize((p.width // 2, p.height // 2), Image.Resampling.LANCZOS) for p in whole]
        self.sizes = [[np.asarray(p) for p in size] for size in (whole, half)]

    def __call__(self, index: int) -> torch.Tensor:
        """Return batch ``index``: ``(batch, 3, crop, crop)`` RGB in [0, 1]."""
        rng = np.random.default_rng((self.seed, index))
        crops = np.stack([self._one(rng) for _ in range(self.batch)])
        return torch.from_numpy(crops).permute(0, 3, 1, 2)  # channels last in memory

    def _one(self, rng: np.random.Generator) -> np.ndarray:
        pictures = self.sizes[int(rng.random() < 0.4)]
        while True:
            picture = pictures[rng.integers(len(pictures))]
            if min(picture.shape[:2]) >= self.crop:
                break
        y, x = (rng.integers(n - self.crop + 1) for n in picture.shape[:2])
        crop = picture[y : y + self.crop, x : x + self.crop].astype(np.float32) / 255
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.10:  # brightness and contrast
            crop = (crop - 0.5) * rng.uniform(0.6, 1.4) + 0.5 + rng.uniform(-0.2, 0.2)
        if rng.random() < 0.05:
            crop = crop[..., rng.permutation(3)]
        if rng.random() < 0.15:
            crop = crop + rng.normal(0, rng.uniform(0.01, 0.15), crop.shape)
        return np.clip(crop, 0, 1).astype(np.float32)


def held_out(folder: Path) -> torch.Tensor:
    """The sixteen pictures that training never sees, centre crops of 256 px."""
    crops = []
    for stem in HELD_OUT:
        picture = Image.open(folder / f"{stem}.jpg").convert("RGB")
        left, top = (picture.width - 256) // 2, (picture.height - 256) // 2
        crops.append(np.asarray(picture.crop((left, top, left + 256, top + 256))))
    return torch.from_numpy(np.stack(crops).astype(np.float32) / 255).permute(0, 3, 1, 2)


# --- training ------------------------------------------------------------------------------------


class TargetPool:
    """Teacher features, each batch used for ``reuse`` steps spread over ``pool`` batches' time.

    Computing the teachers costs as much as a step of the student, and a student this small gains
    more from another step than from another crop. Which batch a step uses follows from the seed
    and the step alone, so a resumed run sees what an undisturbed one would have.
    """

    def __init__(self, pictures: Pictures, targets, settings: Settings):
        self.pictures, self.targets, self.settings = pictures, targets, settings
        self.kept: OrderedDict[int, tuple] = OrderedDict()

    def __call__(self, step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
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


def target_scales(teachers: Teachers, pictures: Pictures, own: float) -> dict[str, torch.Tensor]:
    """Per channel: the root of a mixture of its own variance and its layer's mean variance."""
    sums: dict[str, list[torch.Tensor]] = {}
    batches = 16
    for index in range(batches):
        for name, x in teachers(pictures(10**9 + index)).items():
            total = sums.setdefault(name, [torch.zeros(x.shape[1]), torch.zeros(x.shape[1])])
            total[0] += x.mean((0, 2, 3)) / batches
            total[1] += x.square().mean((0, 2, 3)) / batches
    scales = {}
    for name, (mean, square) in sums.items():
        variance = square - mean**2
        mixed = own * variance + (1 - own) * variance.mean()
        scales[name] = mixed.sqrt().view(1, -1, 1, 1)
    return scales


def inner(x: torch.Tensor) -> torch.Tensor:
    """Leave out the border positions."""
    return x[..., BORDER:-BORDER, BORDER:-BORDER]


class MeanSquaredError(torch.autograd.Function):
    """Mean squared error inside the border, in few passes over bfloat16 maps; float32 sum.

    Left to autograd, the loss on the two largest feature maps costs twice the network.
    """

    @staticmethod
    def forward(ctx, predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        difference = inner(predicted) - inner(target)
        ctx.save_for_backward(difference)
        norm = torch.linalg.vector_norm(difference, dtype=torch.float32)
        return norm**2 / difference.numel()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (difference,) = ctx.saved_tensors
        scaled = difference * (2 * grad.item() / difference.numel())
        return F.pad(scaled, (BORDER,) * 4), None


@torch.no_grad()
def explained_variance(student: Student, teachers: Teachers, scales, images) -> dict[str, float]:
    """1 - squared error / variation around each channel's mean in each picture, raw targets."""
    error = dict.fromkeys(LAYERS, 0.0)
    variation = dict.fromkeys(LAYERS, 0.0)
    for image in images.split(4):
        predicted = student(image)
        for name, target in teachers(image).items():
            target = inner(target)
            difference = inner(predicted[name]) * scales[name] - target
            centred = target - target.mean((2, 3), keepdim=True)
            error[name] += difference.square().sum().item()
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
        self.rates = (settings.muon_rate, settings.learning_rate)

    def step(self, rate: float) -> None:
        """Follow the gradients at ``rate`` times the full learning rates, and clear them."""
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = kernel.grad.permute(0, 2, 3, 1).flatten(1)
            kernel.grad = None
        for optimizer, full in zip((self.muon, self.adam), self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = full * rate
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


def train_step(student, optimizer, image, targets, rate: float) -> float:
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        predicted = student(image)
    losses = [MeanSquaredError.apply(predicted[name], target) for name, target in targets.items()]
    loss = torch.stack(losses).sum()
    loss.backward()
    optimizer.step(rate)
    return loss.item()


def export(student: Student, scales: dict[str, torch.Tensor], folder: Path) -> None:
    """Write network and probes as float16 safetensors in jaxnst's layout (kernels HWIO)."""
    network, probes = {}, {}
    for name, conv in student.vgg.convs.items():
        kernel = conv.weight.detach().cpu().numpy().transpose(2, 3, 1, 0)
        network[f"{name}/kernel"] = np.ascontiguousarray(kernel, dtype=np.float16)
        network[f"{name}/bias"] = conv.bias.detach().cpu().numpy().astype(np.float16)
    for name, probe in student.probes.items():
        scale = scales[name].view(-1)
        kernel = (probe.weight.detach()[:, :, 0, 0] * scale[:, None]).cpu().numpy().T
        probes[f"{name}/kernel"] = np.ascontiguousarray(kernel, dtype=np.float32)
        probes[f"{name}/bias"] = (probe.bias.detach() * scale).cpu().numpy()
    write_parameters(folder / "vgg19-lite.safetensors", network, metadata={"network": "vgg19-lite"})
    write_parameters(folder / "vgg19-lite-probes.safetensors", probes)


def run(settings: Settings, data: Path, out: Path, export_only: bool, stop_after: int) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings.seed)
    teachers = Teachers(data / "weights", device)
    pictures = Pictures(data / "pictures/train", settings)
    on_device = lambda index: pictures(index).to(device)  # noqa: E731
    with torch.no_grad():
        scales = target_scales(teachers, on_device, settings.own_variance)
    student = Student({name: scale.numel() for name, scale in scales.items()})
    student = _channels_last(student, device)
    student.scale_to_unit_variance(on_device(10**9))
    optimizer = Optimizer(student, settings)

    step, seconds = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["settings"] != dataclasses.asdict(settings):
            raise SystemExit(f"{checkpoint} was made with other settings; choose another --out")
        student.load_state_dict(saved["student"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds = saved["step"], saved["seconds"]
    if export_only:
        export(student, scales, out)
        return

    @torch.no_grad()
    def targets(image: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            features = teachers(image)
        return {
            name: (x * (1 / scales[name]).to(x.dtype)).bfloat16() for name, x in features.items()
        }

    pool = TargetPool(on_device, targets, settings)
    images = held_out(data / "pictures/train").to(device)

    def keep() -> None:
        state = {
            "settings": dataclasses.asdict(settings),
            "student": student.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "seconds": seconds,
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    begin, mean_loss = time.perf_counter() - seconds, None
    with Progress(*columns, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("training", total=settings.steps, completed=step)
        end = min(settings.steps, stop_after or settings.steps)
        while step < end:
            image, target = pool(step)
            loss = train_step(student, optimizer, image, target, schedule(step, settings))
            mean_loss = loss if mean_loss is None else 0.98 * mean_loss + 0.02 * loss
            step += 1
            seconds = time.perf_counter() - begin
            progress.update(task, advance=1, description=f"loss {mean_loss:.4f}")
            if step % 500 == 0 or step == end:
                ev = explained_variance(student, teachers, scales, images)
                row = " ".join(f"{value:.3f}" for value in ev.values())
                progress.console.print(
                    f"step {step} {seconds:.0f}s loss {mean_loss:.4f} EV {row}", highlight=False
                )
                keep()
    export(student, scales, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("JAXNST_SHARED"))
    parser.add_argument("--out", type=Path, default=Path("runs/lite"))
    parser.add_argument("--export", action="store_true", help="write the checkpoint's network only")
    parser.add_argument("--stop-after", type=int, default=0, help="stop at this step (0: never)")
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, type=field.type, default=field.default)
    arguments = vars(parser.parse_args())
    data, out = arguments.pop("data"), arguments.pop("out")
    export_only, stop_after = arguments.pop("export"), arguments.pop("stop_after")
    if data is None:
        parser.error("--data DIR (or JAXNST_SHARED) must name the folder of teachers and pictures")
    out.mkdir(parents=True, exist_ok=True)
    run(Settings(**arguments), Path(data), out, export_only, stop_after)


if __name__ == "__main__":
    main()
