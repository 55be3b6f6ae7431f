"""One run: everything that follows from its arguments, and what is computed for each scale."""

import dataclasses
import os
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxnst._checks import lookup
from jaxnst.feedforward.instant import start_in_one_pass
from jaxnst.image import resample
from jaxnst.image.exchange import ImageLike, as_image
from jaxnst.losses.neighbors import LIBRARY, ColumnTargets, LayerTargets, make_library
from jaxnst.losses.objective import (
    SpatialGuidance,
    Targets,
    make_loss_weights,
    make_objective,
    match_columns,
    style_columns,
    style_samples,
)
from jaxnst.networks.registry import LossNetwork, Params, load_network
from jaxnst.networks.rescale import unit_means
from jaxnst.optim.solvers import make_solver
from jaxnst.recipes import as_recipe, recipe_on
from jaxnst.recipes.schema import STARTS, Precision, Recipe, override, replace
from jaxnst.transfer.change import refuse_fixed
from jaxnst.transfer.color_transfer import recolor_after, recolor_before
from jaxnst.transfer.fingerprint import fingerprint_of, surroundings
from jaxnst.transfer.guidance import UNGUIDED, Guidance, StyleMix, make_guidance
from jaxnst.transfer.initial import make_noise, scatter_colors
from jaxnst.transfer.memory import tiles_that_fit
from jaxnst.transfer.pyramid import Scale, continued, make_schedule
from jaxnst.transfer.result import Picture
from jaxnst.transfer.style_cache import (
    StyleCache,
    StyleImage,
    mixed_styles,
    style_images,
    targets_of,
)

RUN_OPTIONS = (
    *("size", "style_size", "style_mix", "masks", "style_masks", "seed"),
    *("remat", "tile", "devices"),
)
"""Options of :func:`run_of` that are no fields of the recipe."""


class Run:
    """The pictures of a run, checked, and everything that follows from its arguments.

    Args:
      content: ``(H, W, 3)`` RGB in [0, 1].
      styles: Such pictures, or :class:`StyleImage` where several runs share them.
      network: The loss network.
      recipe: The method, as it is meant for that network.
      size: Longest side of the result, pixels; None: the recipe's size, or the content's.
      style_size: Longest side of the styles at the last scale, pixels; None: that of the result.
      seed: Decides the noise of a start from noise.
      store: Keeps summaries of styles; several runs may share one.
      remat: Whether feature maps are recomputed for the gradient, to save memory.
      tile: Longest side of the tiles in which pictures are looked at, pixels; None: no tiles;
        ``auto``: the largest that fit into memory if whole pictures do not, with fewer of L-BFGS's
        pairs if the recipe leaves their number open and ten do not fit.
      devices: Of one kind, to share the tiles; with fewer than two, JAX's default one.
      guidance: Masks and mixtures.
      init: Picture to start from; None: the recipe's start.

    Attributes:
      arguments: Those of :func:`make_run` that made it.
    """

    arguments: Mapping[str, Any]

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
        store: StyleCache | None = None,
        remat: bool = False,
        tile: int | Literal["auto"] | None = None,
        devices: Sequence[jax.Device] = (),
        guidance: Guidance = UNGUIDED,
        init: Picture | None = None,
    ):
        self.init, self.guidance = init, guidance
        self.styles = [s if isinstance(s, StyleImage) else StyleImage(s) for s in styles]
        self.content, self.seed = content, seed
        self.store = StyleCache() if store is None else store
        self.schedule = make_schedule(
            content.shape[:2],
            [s.image.shape[:2] for s in self.styles],
            recipe.scales,
            size=size,
            style_size=style_size,
        )
        if not (tile in (None, "auto") or isinstance(tile, int)):
            raise ValueError(f"tile is {tile!r}, expected a number of pixels, 'auto' or None")
        if tile == "auto":
            tile, recipe = tiles_that_fit(self.schedule, recipe, network, remat=remat)
        self.recipe = recipe = replace(recipe, ("solver", "memory"), recipe.solver.pairs)
        self.objective = make_objective(recipe, network, remat=remat, tile=tile, devices=devices)
        if self.objective.tiling(self.objective.layers, self.schedule.scales[-1].inner) is None:
            self.objective = dataclasses.replace(self.objective, devices=())
        self.guidance.refuse_for(self.objective, self.styles)
        self.numbers = make_loss_weights(recipe)
        self.mixture = self.guidance.mixture(
            self.objective.network, self.objective.style_layers, len(self.styles)
        )
        self.method, self.rates = make_solver(recipe)
        self.given, self.given_styles = content, self.styles
        if recipe.colors.before:
            self.content, self.styles = self.recolored()

    @property
    def total(self) -> int:
        """Evaluations planned for all scales."""
        return sum(scale.evaluations for scale in self.schedule.scales)

    def changed(self, options: Mapping[str, Any]) -> "Run":
        """Return a new run with some options replaced, which are those of :class:`jaxnst.Change`.

        Raises:
          TypeError: There is no such option.
          ValueError: An option cannot change, has a value that it cannot have, or would change the
            sizes of the scales.
        """
        refuse_fixed(tuple(options))
        arguments, overrides = dict(self.arguments), dict(options)
        for name in ("style_mix", "masks", "style_masks"):
            if name in overrides:
                arguments[name] = overrides.pop(name)
        if "styles" in overrides:
            arguments["styles"] = style_images(overrides.pop("styles"))
        recipe = override(arguments["recipe"], overrides)
        if recipe.solver.memory is None:  # as many as fitted into memory
            recipe = replace(recipe, ("solver", "memory"), self.recipe.solver.memory)
        arguments["recipe"] = recipe
        run = make_run(**{**arguments, "store": self.store, "tile": self.objective.tile})
        if _sizes(run) != _sizes(self):
            raise ValueError(
                f"{', '.join(overrides)} would change the sizes of the scales, which stay as they "
                "are during a run: start another"
            )
        return run

    def continue_from(self, done: Sequence[int]) -> None:
        """Plan the remaining evaluations of a changed run, which has taken some in each scale."""
        self.schedule = continued(self.schedule, done, self.recipe.scales.steps)

    @cached_property
    def colored_like(self) -> Picture:
        """The content as it was given, at the size of the result: where colors are taken from."""
        return np.clip(resample(self.given, self.schedule.size), 0, 1)

    def recolored(self) -> tuple[Picture, list[StyleImage]]:
        """Return content and styles, the latter at the last scale's size, in their new colors."""
        recolor = partial(recolor_before, self.recipe.colors, content=self.colored_like)
        sizes = self.schedule.scales[-1].styles
        styles = [
            resample(style.image, size) for style, size in zip(self.styles, sizes, strict=True)
        ]
        luminance = self.recipe.colors.mode == "content-luminance"
        content = recolor(self.colored_like) if luminance else self.content
        recolored = [StyleImage(recolor(style)) for style in styles]
        pairs = zip(recolored, self.styles, strict=True)
        return content, [new if s.mask is None else new.masked(s.mask) for new, s in pairs]

    @cached_property
    def settings(self) -> dict[str, str]:
        """All that decides the picture, by name."""
        return fingerprint_of(
            self.recipe,
            self.objective.network,
            self.schedule,
            content=StyleImage(self.given),
            styles=self.given_styles,
            init=None if self.init is None else StyleImage(self.init),
            guidance=self.guidance,
            seed=self.seed,
        )

    @cached_property
    def surroundings(self) -> dict[str, str]:
        """All that decides the picture's last bits, by name."""
        objective = self.objective
        words = surroundings() | {"remat": str(objective.remat), "tile": str(objective.tile)}
        if objective.devices:
            words["devices"] = str(len(objective.devices))
        return words

    @cached_property
    def tuning(self) -> Hashable:
        """A key that is equal for runs that rescale the network's parameters identically."""
        if not self.unit_means:
            return None
        digests = [style.digest for style in (StyleImage(self.content), *self.styles)]
        schedule = self.schedule
        return *digests, schedule.scales[-1], schedule.size

    @property
    def unit_means(self) -> bool:
        """Whether filters are rescaled to a mean activation of 1 over the run's pictures."""
        return self.recipe.unit_means and not self.objective.network.unit_means

    def tuned_parameters(self) -> Params:
        """Return the network's parameters, rescaled if need be, as its loop reads them fastest."""
        network = self.objective.network
        if not self.unit_means:
            return network.prepare(network.params)
        last = self.schedule.scales[-1]
        styles = zip(self.styles, last.styles, strict=True)
        pictures = [resample(self.content, last.inner)]
        pictures += [resample(style.image, size) for style, size in styles]
        images = [jnp.asarray(picture) for picture in pictures]
        deepest = max(self.objective.layers, key=network.layers.index, default=None)
        params = unit_means(network, images, deepest=deepest, tile=self.objective.tile)
        return network.prepare(params)

    def targets(self, params: Params, scale: Scale) -> Targets:
        """Compute a scale's targets; ``params`` are from :meth:`tuned_parameters`."""
        image = resample(self.content, scale.inner)
        style, where = self.style_targets(params, scale), self.where(image)
        return targets_of(
            self.objective, params, jnp.asarray(image), style, self.numbers, where=where
        )

    def neighbors(self, params: Params, index: int, start: Picture) -> ColumnTargets | LayerTargets:
        """Compute a scale's targets where they are nearest neighbors.

        All styles are looked at, each as it is and turned by 90, 180 and 270 degrees. ``start`` is
        what the scale begins with, RGB of its size: the result of the scale before.
        """
        scale, coarser = self.schedule.scales[index], self.schedule.scales[max(0, index - 1)]
        pairs = zip(self.styles, scale.styles, strict=True)
        styles = [jnp.asarray(resample(style.image, size)) for style, size in pairs]
        turned = [jnp.rot90(style, quarter) for style in styles for quarter in range(4)]
        if scale.again:
            key, *keys = jax.random.split(jax.random.key(self.seed), 1 + len(turned))
            count = -(-LIBRARY // len(turned))
            samples = [
                style_samples(key, self.objective, params, style, count)
                for style, key in zip(turned, keys, strict=True)
            ]
            library = {
                name: make_library(key, [sample[name] for sample in samples])
                for name in self.objective.style_layers
            }
            return LayerTargets(library, jnp.asarray(self.seed % 2**32, jnp.uint32))
        image = resample(self.content, scale.inner)
        if index > 0:  # the photograph's fine forms, which the scale before has not seen, stay
            blurred = resample(resample(self.content, coarser.inner), scale.inner)
            content, style = self.recipe.content.weight, self.recipe.style.weight
            image = image + style / (content + style) * (start - blurred)
        columns = [style_columns(self.objective, params, style, self.numbers) for style in turned]
        return match_columns(self.objective, params, jnp.asarray(image), columns, self.numbers)

    def where(self, content: Picture) -> SpatialGuidance:
        """Lay out the regions of a scale; ``content`` has its size."""
        return jax.tree.map(jnp.asarray, self.guidance.where(self.objective, content))

    def style_targets(self, params: Params, scale: Scale) -> dict[str, tuple[Any, ...]]:
        """Compute the style targets of a scale, by layer, one for each region."""
        summaries = partial(self.store.summaries, self.objective, params, tuning=self.tuning)
        styles = [summaries(*pair) for pair in zip(self.styles, scale.styles, strict=True)]
        return mixed_styles(self.objective, styles, mixture=self.mixture)

    def start_image(self) -> Picture:
        """Make the picture that the coarsest scale starts from, as RGB of any size."""
        if self.init is not None:
            return self.init
        size = self.schedule.scales[0].inner
        if self.recipe.init == "content":
            return resample(self.content, size)
        if self.recipe.init == "style":
            return resample(self.styles[0].image, size)
        key = jax.random.key(self.seed)
        if self.recipe.init == "noise":
            content = resample(self.content, size)
            return make_noise(key, content, self.recipe.noise, self.objective.space)
        if self.recipe.init == "style-colors":
            shares = self.mixture / self.mixture.sum(axis=-1, keepdims=True)
            pictures = [(style.image, style.mask) for style in self.styles]
            return scatter_colors(key, pictures, size, shares=shares.mean(axis=(0, 1)))
        if self.recipe.init == "instant":
            picture = start_in_one_pass(self.content, self.styles, self.guidance, size=max(size))
            return resample(picture, size)
        raise ValueError(
            f"init is {self.recipe.init!r}, expected one of {', '.join(STARTS)} "
            "(for a picture of your own, pass it as init)"
        )

    def check_losses(self, losses: ArrayLike) -> None:
        """Raise ValueError if no loss is finite: the picture is then still the start.

        There is a loss for every step, infinite until the first that is finite.
        """
        if np.size(losses) and not np.any(np.isfinite(losses)):
            content, style, tv = self.recipe.content, self.recipe.style, self.recipe.tv
            raise ValueError(
                f"no step had a finite loss and gradient with content weight {content.weight:g}, "
                f"style weight {style.weight:g} and tv weight {tv.weight:g}, expected what float32 "
                "holds (below 3e38): give smaller weights, or other parameters of the network or "
                "another statistic if theirs are not finite"
            )

    def finish(self, image: Picture) -> Picture:
        """Bring a picture to the size and the colors asked for, into [0, 1].

        What is transparent in the content stays as it was, and so does the content's opacity; and
        what no mask covers, if the recipe wants it so.
        """
        shown = np.clip(resample(image, self.schedule.size), 0, 1)
        if self.recipe.colors.after:
            styles = [style.image for style in self.styles]
            shown = recolor_after(self.recipe.colors, shown, self.colored_like, styles=styles)
        if self.recipe.outside == "content" and self.guidance.masks:
            covered = self.guidance.covered(self.schedule.size)[..., None]
            mixed = covered * shown + (1 - covered) * self.colored_like
            shown = np.asarray(mixed, np.float32)
        return self.guidance.kept(shown)


def _sizes(run: Run) -> list[Any]:
    return [run.schedule.size, *((scale.inner, scale.again) for scale in run.schedule.scales)]


def loss_network(
    network: str | LossNetwork | None, recipe: Recipe, *, precision: Precision | None = None
) -> LossNetwork:
    """Return the loss network of a call: a network or its name; None: the recipe's."""
    network = recipe.network if network is None else network
    network = load_network(network) if isinstance(network, str) else network
    return network.configure(precision=precision)


def run_of(
    content: "ImageLike",
    styles: "ImageLike | Sequence[ImageLike]",
    *,
    network: str | LossNetwork | None = None,
    recipe: str | Recipe = "default",
    init: "ImageLike | None" = None,
    precision: Precision | None = None,
    **options: Any,
) -> Run:
    """Prepare a run from the arguments of :func:`jaxnst.stylize`, with the same errors."""
    recipe = as_recipe(recipe)
    network = loss_network(network, recipe, precision=precision)
    overrides = {name: value for name, value in options.items() if name not in RUN_OPTIONS}
    recipe = override(recipe_on(recipe, network.name), overrides)
    if isinstance(init, str) and not os.path.splitext(init)[1]:  # the name of a start, not a file
        start = lookup("start", init, {name: name for name in STARTS})
        recipe, init = replace(recipe, ("init",), start), None
    return make_run(
        StyleImage(as_image("content", content, opacity=True)),
        style_images(styles),
        network,
        recipe,
        init=None if init is None else as_image("init", init),
        **{name: value for name, value in options.items() if name in RUN_OPTIONS},
    )


def make_run(
    content: StyleImage,
    styles: Sequence[StyleImage],
    network: LossNetwork,
    recipe: Recipe,
    *,
    style_mix: StyleMix | None = None,
    masks: "Sequence[ImageLike]" = (),
    style_masks: "Sequence[ImageLike]" = (),
    **options: Any,
) -> Run:
    """Prepare a run of a recipe on a network, which may stand in for the recipe's own.

    Masks and mixtures are those of :func:`jaxnst.stylize`, with the same errors; other options are
    passed to :class:`Run`.
    """
    regions = {"masks": masks, "style_masks": style_masks}
    arguments = {
        **{"content": content, "styles": styles, "network": network, "recipe": recipe},
        **{"style_mix": style_mix, **regions, **options},
    }
    styles, guidance = make_guidance(content, styles, style_mix=style_mix, **regions)
    recipe = recipe_on(recipe, network.name)
    run = Run(content.image, styles, network, recipe, guidance=guidance, **options)
    run.arguments = arguments
    return run
