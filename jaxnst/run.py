"""One run: what stays the same over its scales, the loop over them, and what it tells.

The image is made coarse to fine. Each scale has its own targets and one compiled loop; both are
prepared in the background, side by side, while the scale before runs.
"""

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from jaxnst.config import Recipe
from jaxnst.guidance import Guidance
from jaxnst.image import resize
from jaxnst.networks.registry import LossNetwork, Params
from jaxnst.networks.rescale import rescale, unit_means
from jaxnst.objective import (
    TERMS,
    Targets,
    Where,
    make_numbers,
    make_objective,
)
from jaxnst.optimize import CHUNK, State, advance_over, make_method, picture, restart, start
from jaxnst.recipes import STAND_IN, is_approximation
from jaxnst.result import Picture, Progress, ScaleTiming, StylizeResult
from jaxnst.schedule import Scale, make_schedule
from jaxnst.space import decode, encode
from jaxnst.targets import StyleImage, StyleStore, blank_targets, content_of, mixed_styles

CHUNK_SECONDS = 1.0


class Run:
    """A run before it begins: pictures that have been checked, and all that follows from them.

    Args:
      content: ``(H, W, 3)`` RGB in [0, 1].
      styles: Such pictures; as :class:`StyleImage` where several runs share them.
      network: The loss network.
      recipe: The method, as it is meant for that network.
      size: As :func:`jaxnst.stylize`.
      style_size: As there.
      seed: As there.
      callback: As there.
      every: As there.
      store: Of summaries of styles, where several runs share one.
      remat: As there.
      guidance: Which style goes where; None: all everywhere, in equal parts.
    """

    def __init__(
        self,
        content: Picture,
        styles: Sequence[Picture | StyleImage],
        network: LossNetwork,
        recipe: Recipe,
        *,
        size: int | None = None,
        style_size: int | None = None,
        seed: int = 0,
        callback: Callable[[Progress], None] | None = None,
        every: int | None = None,
        store: StyleStore | None = None,
        remat: bool = False,
        guidance: Guidance | None = None,
    ):
        self.guidance = Guidance({}) if guidance is None else guidance
        self.styles = [s if isinstance(s, StyleImage) else StyleImage(s) for s in styles]
        self.content, self.recipe, self.seed = content, recipe, seed
        self.callback, self.every = callback, every
        self.store = StyleStore() if store is None else store
        self.objective = make_objective(recipe, network, remat=remat)
        self.numbers = make_numbers(recipe)
        self.mixture = self.guidance.mixture(self.objective, len(self.styles))
        self.method, self.rates = make_method(recipe)
        self.schedule = make_schedule(
            content.shape[:2],
            [s.image.shape[:2] for s in self.styles],
            recipe.scales,
            size=size,
            style_size=style_size,
        )
        self.params = self.objective.network.params
        self.total = sum(scale.evaluations for scale in self.schedule.scales)
        self.done = self.restarts = 0
        self.records: list[NDArray[np.float32]] = []
        self.timings: list[ScaleTiming] = []
        self.begin = time.perf_counter()

    def through_all_scales(self, started: Picture | None) -> StylizeResult:
        """Run, from the recipe's start or from a picture."""
        self.params = self.tuned_parameters()
        scales = self.schedule.scales
        image = self.start_image() if started is None else self.with_margin(started, scales[0])
        # Two workers: at the start they share the first scale's programs, later they compile the
        # next scale's while one runs. A run that is stopped does not wait for them.
        pool = ThreadPoolExecutor(2, "jaxnst-compile")
        try:
            prepared = [
                (pool.submit(self.compile_loop, scale), pool.submit(self.targets, scale))
                for scale in scales
            ]
            for index, scale in enumerate(scales):
                image = self.one_scale(index, scale, prepared[index], image)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        losses = np.concatenate(self.records)
        return StylizeResult(
            image=self.finish(image),
            losses={name: losses[:, i] for i, name in enumerate(TERMS)},
            evaluations=self.done,
            restarts=self.restarts,
            compile_seconds=sum(timing.compile_seconds for timing in self.timings),
            run_seconds=sum(timing.run_seconds for timing in self.timings),
            timings=tuple(self.timings),
        )

    @cached_property
    def tuning(self) -> Hashable:
        """Say what the network's parameters become: those of runs that agree are the same."""
        if not self.unit_means:
            return self.factors
        digests = [style.digest for style in (StyleImage(self.content), *self.styles)]
        schedule = self.schedule
        return self.factors, *digests, schedule.scales[-1], schedule.size, schedule.margin

    @property
    def factors(self) -> tuple[tuple[str, float], ...]:
        """Factors of layers by which a stand-in is brought to the strength of another network."""
        stand_in = self.recipe.approximation if is_approximation(self.recipe) else None
        of_stand_in = stand_in is not None and self.objective.network.name == STAND_IN
        return stand_in.scales if stand_in is not None and of_stand_in else ()

    @property
    def unit_means(self) -> bool:
        """Whether filters are rescaled to a mean activation of 1 over the run's pictures."""
        return self.recipe.unit_means and not self.objective.network.unit_means

    def tuned_parameters(self) -> Params:
        """Return the network's parameters, rescaled if need be, as its loop reads them fastest."""
        network = self.objective.network
        if self.unit_means:
            last = self.schedule.scales[-1]
            styles = zip(self.styles, last.styles, strict=True)
            pictures = [self.with_margin(self.content, last)]
            pictures += [resize(style.image, size) for style, size in styles]
            params = unit_means(network, [jnp.asarray(p) for p in pictures])
        else:
            params = rescale(network, dict(self.factors)) if self.factors else network.params
        return network.prepare(params)

    def with_margin(self, whole: Picture, scale: Scale) -> Picture:
        """Bring a picture to the size of a scale, mirrored into the margin around it."""
        return resize(whole, scale.inner, box=self.schedule.with_margin(whole.shape[:2]))

    def targets(self, scale: Scale) -> Targets:
        """Compute a scale's targets."""
        content = content_of(
            self.objective, self.params, jnp.asarray(self.with_margin(self.content, scale))
        )
        return Targets(content, self.style_targets(scale), self.where(scale))

    def where(self, scale: Scale) -> Where:
        """Lay out a scale's regions."""
        content = self.with_margin(self.content, scale)
        return self.guidance.where(self.objective, self.schedule, scale, content)

    def style_targets(self, scale: Scale) -> dict[str, tuple[Any, ...]]:
        """Compute what a scale's style is compared with."""
        of_style = partial(self.store.summaries, self.objective, self.params, tuning=self.tuning)
        several = [of_style(*pair) for pair in zip(self.styles, scale.styles, strict=True)]
        return mixed_styles(self.objective, several, self.mixture)

    def compile_loop(self, scale: Scale) -> None:
        """Compile a scale's loop, and what shows its picture, by taking no step with it."""
        where = self.where(scale)
        targets = blank_targets(self.objective, self.params, scale.inner, where=where)
        blank = jnp.zeros((*scale.inner, 3), jnp.float32)
        state, _ = self.advance(targets, start(self.method, blank, len(TERMS)), 0, 0)
        self.shown(state)

    def advance(
        self, targets: Targets, state: State, steps: int, budget: int
    ) -> tuple[State, jax.Array]:
        """Take steps of a scale's loop; the state's solver is gone then, its picture is not."""
        args = (self.params, targets, self.numbers)
        counts = (jnp.asarray(steps), jnp.asarray(budget))
        return advance_over(self.objective, self.method, args, self.rates, state, *counts)

    def one_scale(
        self,
        index: int,
        scale: Scale,
        prepared: "tuple[Future[None], Future[Targets]]",
        image: Picture,
    ) -> Picture:
        """Go through one scale, from a picture to a picture."""
        self.report("compile", index, 0, {}, lambda: image)
        waiting = time.perf_counter()
        compiled, computed = prepared
        compiled.result()
        targets = computed.result()
        variable = encode(jnp.asarray(resize(image, scale.inner)), self.objective.space)
        state = start(self.method, variable, len(TERMS))
        running = time.perf_counter()

        used, steps = 0, 1
        while used < scale.evaluations:
            tick = time.perf_counter()
            steps = min(steps, scale.evaluations - used, self.until_stop(used))
            state, record = self.advance(targets, state, steps, scale.evaluations)
            used, before = int(state.evaluations), used
            self.records.append(written(record))
            terms = dict(zip(TERMS, np.asarray(state.terms).tolist(), strict=True))
            if self.method.round and used % self.method.round == 0:
                state = restart(self.method, self.rates, state)
            self.report("optimize", index, used, terms, partial(self.shown, state))
            per_step = (time.perf_counter() - tick) / max(1, used - before)
            steps = max(1, int(CHUNK_SECONDS / per_step))
        ran = time.perf_counter() - running
        self.timings.append(ScaleTiming(scale.inner, running - waiting, ran, used))
        self.done += used
        self.restarts += int(state.restarts)
        return self.shown(state)

    def until_stop(self, used: int) -> int:
        """Count the evaluations until a round ends or the callback wants to be called."""
        stops = [CHUNK]
        if self.method.round:
            stops.append(self.method.round - used % self.method.round)
        if self.every:
            stops.append(self.every - (self.done + used) % self.every)
        return min(stops)

    def start_image(self) -> Picture:
        """Make the picture that the coarsest scale starts from, as RGB."""
        coarsest = self.schedule.scales[0]
        size = coarsest.inner
        if self.recipe.init == "content":
            return self.with_margin(self.content, coarsest)
        if self.recipe.init == "style":
            return resize(self.styles[0].image, size)
        if self.recipe.init == "noise":
            return self.noise(self.with_margin(self.content, coarsest))
        raise ValueError(
            f"init is {self.recipe.init!r}, expected content, noise or style "
            "(for a picture of your own, pass it as init)"
        )

    def noise(self, content: Picture) -> Picture:
        """Make the recipe's noise, with its share of the content picture."""
        noise, space, key = self.recipe.noise, self.objective.space, jax.random.key(self.seed)
        if noise.centre is None:
            centre = encode(jnp.full(content.shape, 0.5), space)
        else:
            centre = jnp.full(content.shape, noise.centre)
        if noise.distribution == "uniform":
            deviation = jax.random.uniform(key, content.shape, minval=-1.0)
        else:
            deviation = jax.random.normal(key, content.shape)
        of_noise = noise.share * (centre + noise.spread * deviation)
        start = of_noise + (1 - noise.share) * encode(jnp.asarray(content), space)
        return np.asarray(decode(start, space))

    def shown(self, state: State) -> Picture:
        """Return the picture of a state, of its scale's inner size."""
        return np.asarray(decode(picture(self.method, state), self.objective.space))

    def finish(self, image: Picture) -> Picture:
        """Bring a picture to the size asked for, without its margin, and into [0, 1].

        Of a content image with transparency, what is transparent stays, and the opacity with it.
        """
        box = self.schedule.without_margin(image.shape[:2])
        return self.guidance.kept(
            np.clip(resize(image, self.schedule.size, box=box), 0, 1), self.content
        )

    def report(
        self,
        phase: Literal["compile", "optimize"],
        index: int,
        used: int,
        losses: dict[str, float],
        image: Callable[[], Picture],
    ) -> None:
        """Tell the callback how far it is."""
        if self.callback is None:
            return
        scale = self.schedule.scales[index]
        self.callback(
            Progress(
                phase=phase,
                scale=index,
                scales=len(self.schedule.scales),
                size=scale.inner,
                evaluations=used,
                scale_evaluations=scale.evaluations,
                total_done=self.done + used,
                total=self.total,
                losses=losses,
                image=lambda: self.finish(image()),
                seconds=time.perf_counter() - self.begin,
                rounds=used // self.method.round if self.method.round else 0,
            )
        )


def written(record: ArrayLike) -> NDArray[np.float32]:
    """Take the rows that a chunk has written; the others are NaN, which no accepted loss is."""
    rows = np.asarray(record)
    return rows[~np.isnan(rows[:, 0])]
