"""Loss and gradient, once: against the same loss in PyTorch, by turns in one process.

PyTorch runs in both of its memory layouts and the faster counts. Before anything is timed, both
libraries' losses and gradients must agree. Of the gradients that is asked of the median element:
a ReLU or a maximum that rounding decides the other way changes the gradient in a whole patch. For
VGG19 at 256 px PyTorch's two layouts were seen to differ by 0.002 in norm, and PyTorch from
itself in float64 by 0.006 (jaxnst: 0.0009), while medians differed by 3e-6.
"""

import importlib.util
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import numpy as np

import jaxnst
from benchmarks.measure import Row, interleaved
from benchmarks.peer import setting_of
from benchmarks.problem import Problem, make_problem, value_and_grad

CASES = (("vgg19", (256, 256)), ("vgg19", (512, 512)), ("vgg16-lite", (384, 512)))
BARS = {"vgg19": 0.9}
# Greatest relative differences.
TOLERANCES = {"loss": 1e-3, "gradient_median": 1e-3, "gradient_norm": 2e-2}
WARM_UP = 3

Evaluate = Callable[[], tuple[float, np.ndarray]]


def run(*, quick: bool) -> list[Row]:
    """Time every case."""
    return [row for name, size in CASES for row in _one_case(name, size, quick)]


def _one_case(name: str, size: tuple[int, int], quick: bool) -> list[Row]:
    problem = make_problem(name, size, quick=quick)
    compiled = value_and_grad.lower(problem.objective, *problem.arguments).compile()

    def ours() -> tuple[float, np.ndarray]:
        (loss, _), grad = jax.block_until_ready(compiled(*problem.arguments))
        return float(loss), np.asarray(grad)

    def row(what: str, **more: Any) -> Row:
        return Row(benchmark="step", case=problem.case, what=what, **more)

    theirs, note = _torch_evaluations(problem)
    found = {what: _difference(what, evaluate, ours()) for what, evaluate in theirs.items()}
    tasks: dict[str, Evaluate] = {"jaxnst": ours, **theirs}
    for task in tasks.values():
        for _ in range(1 if quick else WARM_UP):
            task()
    seconds = interleaved(tasks, rounds=3 if quick else 9)
    verdict: dict[str, float | None] = {}
    if theirs:
        fastest = min(median(seconds[what]) for what in theirs)
        verdict["ratio"] = median(seconds["jaxnst"]) / fastest
        verdict["bar"] = None if quick else BARS.get(name)
    about = {**problem.details, "loss": ours()[0]}
    rows = [row("jaxnst", seconds=tuple(seconds["jaxnst"]), details=about, **verdict)]
    for what in theirs:
        details = {**problem.details, **found[what]}
        rows.append(row(what, seconds=tuple(seconds[what]), details=details))
    return rows if theirs else [*rows, row("torch", note=note)]


def _torch_evaluations(problem: Problem) -> tuple[dict[str, Evaluate], str]:
    """Return PyTorch's evaluations by memory layout, or none and the reason."""
    if importlib.util.find_spec("torch") is None:
        return {}, "skipped: PyTorch is not installed"
    if jax.default_backend() != "cpu":
        return {}, f"skipped: compared on a CPU only, and JAX runs on {jax.default_backend()}"
    import torch

    from benchmarks.torch_loss import TorchLoss, as_array

    recipe, network = jaxnst.get_recipe("default"), problem.objective.network
    setting = setting_of(recipe, network, numbers=problem.numbers)
    parameters = {
        f"{layer}/{part}": array
        for layer, arrays in problem.params.items()
        for part, array in arrays.items()
    }

    def evaluation(layout: torch.memory_format) -> Evaluate:
        loss = TorchLoss(setting, parameters, layout)
        loss.aim_at(
            problem.targets.content, {k: one for k, (one,) in problem.targets.style.items()}
        )
        image = loss.image(problem.image).requires_grad_()

        def evaluate() -> tuple[float, np.ndarray]:
            value, grad = loss.value_and_grad(image)
            return value.item(), as_array(grad)

        return evaluate

    layouts = {"first": torch.contiguous_format, "last": torch.channels_last}
    return {f"torch, channels {name}": evaluation(layout) for name, layout in layouts.items()}, ""


def _difference(
    what: str, evaluate: Evaluate, expected: tuple[float, np.ndarray]
) -> dict[str, Any]:
    """Return an evaluation's loss, and how far it and its gradient are from ours.

    Raises:
      AssertionError: If that is too far.
    """
    (loss, grad), (our_loss, our_grad) = evaluate(), expected
    error = np.abs(grad - our_grad)
    found = {
        "loss": abs(loss - our_loss) / abs(our_loss),
        "gradient_median": float(np.median(error) / np.median(np.abs(our_grad))),
        "gradient_norm": float(np.linalg.norm(error) / np.linalg.norm(our_grad)),
    }
    for name, value in found.items():
        if not value <= TOLERANCES[name]:
            raise AssertionError(
                f"{what}: {name} differs from jaxnst's by {value:.2g}, relative, expected at most "
                f"{TOLERANCES[name]:g}: another function would be timed"
            )
    return {"loss": loss, "differences": found}
