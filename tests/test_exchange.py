"""Images of other libraries, and keywords in the place of a recipe's fields."""

import dataclasses

import helpers
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import jaxnst
from jaxnst.image.exchange import as_image, png_bytes
from jaxnst.recipes.schema import override

LEVELS = np.rint(255 * helpers.picture(20, 24)).astype(np.uint8)
IMAGE = LEVELS / np.float32(255)


class Tensor:
    """Stands for PyTorch's tensor, which NumPy cannot read while it has a gradient."""

    ndim = 3

    def __init__(self, values, *, is_free=False):
        self.values, self.is_free = values, is_free

    def __array__(self, dtype=None, copy=None):
        raise TypeError("call detach() and cpu() first")

    def detach(self):
        return Tensor(self.values, is_free=True)

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.values.astype(np.float32), is_free=self.is_free)

    def is_floating_point(self):
        return self.values.dtype.kind == "f"

    def numpy(self):
        assert self.is_free and self.values.dtype != np.float16, "as PyTorch refuses it"
        return self.values


def test_images_of_every_kind_are_the_same(tmp_path):
    jaxnst.save_image(tmp_path / "image.png", IMAGE)
    picture = PIL.Image.fromarray(LEVELS)
    images = [
        *(tmp_path / "image.png", str(tmp_path / "image.png"), picture),
        *(LEVELS, IMAGE, jnp.asarray(IMAGE), jnp.asarray(LEVELS), IMAGE.tolist()),
        *(Tensor(IMAGE), Tensor(LEVELS)),
    ]
    for image in images:
        found = as_image("content", image)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, IMAGE, atol=1e-7)
    half = as_image("content", Tensor(IMAGE.astype(np.float16)))
    np.testing.assert_allclose(half, IMAGE, atol=1e-3)


def test_pillow_s_orientation_transparency_and_gray_are_those_of_the_file(tmp_path):
    opacity = np.linspace(0, 255, 20 * 24).reshape(20, 24, 1).astype(np.uint8)
    for name, mode, levels in (
        ("rgba.png", "RGBA", np.concatenate([LEVELS, opacity], axis=2)),
        ("gray.png", "L", LEVELS[..., 0]),
        ("turned.png", "RGB", LEVELS),
    ):
        exif = PIL.Image.Exif()
        exif[0x0112] = 6 if name == "turned.png" else 1
        PIL.Image.fromarray(levels).save(tmp_path / name, exif=exif)
        for alpha in (False, True):
            with PIL.Image.open(tmp_path / name) as picture:
                assert picture.mode == mode
                found = as_image("content", picture, opacity=alpha)
            expected = jaxnst.load_image(tmp_path / name, alpha=alpha)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (LEVELS.astype(np.int32), TypeError, "content image has dtype int32, expected floating"),
        (
            LEVELS.astype(np.float32),
            ValueError,
            r"outside \[0, 1\], .*: divide 8-bit values by 255",
        ),
        (np.moveaxis(LEVELS, 2, 0), ValueError, r"\(3, 20, 24\), expected .*: move its channels"),
        (Tensor(np.moveaxis(IMAGE, 2, 0)), ValueError, r"expected .*: move its channels"),
        ("nothing.png", FileNotFoundError, "nothing.png does not exist"),
        (PIL.Image.fromarray(LEVELS[:8]), ValueError, "content image is 24x8, expected at least"),
    ],
    ids=["integers", "0 to 255", "channels first", "tensor", "no file", "small"],
)
def test_what_is_no_image_is_refused_in_one_line(image, kind, message):
    with pytest.raises(kind, match=message) as raised:
        as_image("content", image)
    assert "\n" not in str(raised.value)


def test_png_for_notebooks(tmp_path):
    (tmp_path / "shown.png").write_bytes(png_bytes(IMAGE))
    np.testing.assert_array_equal(jaxnst.load_image(tmp_path / "shown.png"), IMAGE)


# Keywords.

DEFAULT = jaxnst.get_recipe("default")


def test_keywords_do_what_the_flags_do():
    adam = jaxnst.get_recipe("tensorflow-vgg19-matconvnet")
    assert adam.solver.learning_rate == 2.0
    assert override(adam, {"optimizer": "lbfgs"}).solver.learning_rate is None
    assert override(adam, {"scales": "auto"}).scales.sides == ()


def test_keywords_are_flags_parts_with_fields_or_whole_parts():
    found = override(
        DEFAULT,
        {
            "style_weight": 15.0,
            "content_layers": {"relu3_1": 0.5, "relu4_1": 1.0},
            "colors": "linear",
            "steps": 100,
            "scales": [64, 128],
            "solver_memory": 5,
            "bounds": [0.0, 1.0],
            "tv": jaxnst.TotalVariation(weight=0.0),
            "solver": jaxnst.Solver(kind="adam"),
        },
    )
    expected = dataclasses.replace(
        DEFAULT,
        style=dataclasses.replace(DEFAULT.style, weight=15.0),
        content=jaxnst.Content(layers=(("relu3_1", 0.5), ("relu4_1", 1.0))),
        colors=jaxnst.Colors(mode="linear"),
        scales=dataclasses.replace(DEFAULT.scales, steps=100, sides=(64, 128)),
        solver=jaxnst.Solver(kind="adam", memory=5),
        tv=jaxnst.TotalVariation(weight=0.0),
        bounds=(0.0, 1.0),
    )
    assert found == expected and hash(found) == hash(expected)
    assert override(DEFAULT, {}) == DEFAULT
    assert override(DEFAULT, {"colors": jaxnst.Colors(mode="histogram")}).colors.mode == "histogram"


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"style_wieght": 3}, TypeError, "unknown option 'style_wieght': did you mean 'style_we"),
        ({"colours": "linear"}, TypeError, "did you mean 'colors'"),
        ({"style_weight": -1.0}, ValueError, "style weight is -1.0, expected a number from 0"),
        ({"style": 3.0}, TypeError, "style is 3.0, expected a jaxnst.Style"),
    ],
)
def test_wrong_keywords_are_refused(keywords, kind, message):
    with pytest.raises(kind, match=message):
        override(DEFAULT, keywords)
