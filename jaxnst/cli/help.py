"""The short help of each command, and what to suggest for words that other programs use."""

from typing import NamedTuple

COMPLETING = "_ARGCOMPLETE"
"""Variable in which a shell that asks for completions says how many words precede arguments."""


class ShortHelp(NamedTuple):
    """What ``-h`` shows beside what a command does.

    Attributes:
      examples: Arguments of the command, each with what they do.
      flags: The flags that most people want, most wanted first.
    """

    examples: tuple[tuple[str, str], ...]
    flags: tuple[str, ...]


SHORT_HELP = {
    "run": ShortHelp(
        (
            ("photo.jpg painting.jpg -o out.png", "paint a photograph like a painting"),
            ("photo.jpg painting.jpg --style-weight 20", "with more of the style"),
            ("photo.jpg painting.jpg --size 1024 --colors linear", "larger, in its own colors"),
        ),
        (
            *("--output", "--size", "--style-weight", "--style-scale", "--colors", "--steps"),
            *("--recipe", "--network", "--init", "--mask", "--from", "--device"),
        ),
    ),
    "instant": ShortHelp(
        (
            ("photo.jpg painting.jpg -o out.png", "paint a photograph in seconds"),
            ("photo.jpg painting.jpg --alpha 0.3,0.6,1", "three strengths, side by side"),
            ("photos painting.jpg -o painted", "paint a folder of photographs"),
        ),
        (
            *("--output", "--size", "--alpha", "--style-size", "--style-mix", "--mask"),
            *("--levels", "--transform", "--ending", "--overwrite", "--device", "--quiet"),
        ),
    ),
    "batch": ShortHelp(
        (
            (
                "--contents photos --styles paintings -o painted",
                "every photograph like every painting",
            ),
            ("--contents 'a*.jpg' --styles b.jpg -o painted --size 256", "a pattern, and smaller"),
            ("--manifest rows.csv -o painted", "the pairs that a table lists"),
        ),
        (
            "--contents",
            "--styles",
            "--manifest",
            "--output",
            "--ending",
            "--overwrite",
            "--at-once",
        ),
    ),
    "apply": ShortHelp(
        (
            ("great-wave photo.jpg -o out.png", "paint a photograph"),
            ("great-wave film.mp4 -o out.mp4", "paint a film"),
            ("mine.safetensors photos -o painted", "paint a folder with a network of your own"),
        ),
        ("--list", "--output", "--size", "--ending", "--overwrite", "--batch", "--device"),
    ),
    "sweep": ShortHelp(
        (
            ("photo.jpg painting.jpg -o sheet.png --style-weight 1,5,25", "three weights"),
            ("photo.jpg painting.jpg -o sheet.png --seed 0..3 --init noise", "four starts"),
            (
                "photo.jpg one.jpg two.jpg -o sheet.png --style-weight 1,5",
                "two paintings, each with two weights",
            ),
        ),
        (
            *("--output", "--size", "--style-weight", "--content-weight", "--tv-weight"),
            *("--seed", "--init", "--steps", "--recipe", "--colors", "--device", "--quiet"),
        ),
    ),
    "train": ShortHelp(
        (
            ("painting.jpg --images photos -o mine.safetensors", "learn the style of a painting"),
            (
                "painting.jpg --images photos -o a.safetensors --begin great-wave",
                "start from a bundled network, which takes fewer steps",
            ),
            (
                "painting.jpg --images photos -o b.safetensors --style-weight 10",
                "learn more of the style",
            ),
        ),
        (
            *("--images", "--output", "--steps", "--style-weight", "--style-size", "--begin"),
            *("--crop", "--checkpoint", "--samples", "--plot", "--device", "--overwrite"),
        ),
    ),
}
"""What ``-h`` shows, by command; a command that is not listed shows all of its flags."""

TIPS = """\
Not what you wanted? --from out.png repeats the run that made out.png. Add one
of these flags and another name for the result:
  jaxnst run --from out.png photo.jpg painting.jpg --style-weight 15 -o new.png

too little of the painting        --style-weight 15
faces or letters get lost         --style-weight 2, or a larger --size
one face should stay as it is     --mask mask.png, black over the face
the photo's colors should stay    --colors content-luminance, or --colors linear
strokes too small or too large    --style-scale 1.5, or --style-scale 0.7
fine grain or speckle             --tv-weight 5, or
                                  --optimizer adam --average 0.99
strokes unlike the painting's     --recipe nnst
blurred or unfinished             --steps 200, or a larger --size
a motif where it makes no sense   --style-weight 3, or
                                  --init style-colors --seed 1
only the sky should be painted    --mask sky.png
sky and ground in two styles      one.jpg two.jpg --mask sky.png
                                  --mask ground.png
it takes too long                 --size 256, or jaxnst instant
not enough memory                 --max-memory 4GB; --dry-run only estimates

To compare several values side by side:
  jaxnst sweep photo.jpg painting.jpg --style-weight 2,5,15
The same with pictures: docs/tips.md in the source code of jaxnst
"""
"""What ``jaxnst run --tips`` prints; ``docs/tips.md`` is longer, with the same rows and flags."""

WORDS = {
    "--steps": "i iter iters iterations max-iter max-iterations n-iter num-iterations num-steps",
    "--size": "s end-scale image-size img-size imsize max-size output-size resolution width height",
    "--output": "out out-path output-dir output-file output-image output-path result",
    "--style-weight": "beta strength style-factor style-strength sw",
    "--alpha": "strength style-factor style-strength style-weight",
    "--content-weight": "content-factor cw",
    "--tv-weight": "total-variation-weight tv-loss-weight tw",
    "--learning-rate": "lr rate",
    "--rate": "learning-rate lr",
    "--style-size": "style-image-size style-img-size",
    "--style-mix": "style-blend-weights style-weights",
    "--colors": "color original-color original-colors preserve-color preserve-colors",
    "--init": "init-image initial initialization start",
    "--seed": "random-seed rng-seed",
    "--device": "cpu cuda devices gpu gpus tpu",
    "--network": "arch backbone cnn model model-file net vgg",
    "--weights": "checkpoint-file pretrained weights-file",
    "--save-every": "checkpoint-iterations save-interval save-iter save-iterations",
    "--checkpoint": "continue resume",
    "--images": "data dataset data-dir train-dir",
    "--batch": "batch-size",
    "--overwrite": "force",
    "--quiet": "silent",
    "--debug": "verbose",
    "--version": "V",
}
"""Names that other programs have for flags."""

MEANT = {
    word: [flag for flag, words in WORDS.items() if word in words.split()]
    for words in WORDS.values()
    for word in words.split()
}
"""The flags that each of these names may stand for, of different commands."""

PICTURES = {
    *("content", "content-image", "content-img", "content-path", "contents", "input"),
    *("input-image", "style", "style-image", "style-images", "style-img", "style-path", "styles"),
}
"""Names that other programs have for flags before a picture."""

COMMAND_WORDS = {
    **dict.fromkeys(("paint", "style", "style-transfer", "stylize", "transfer"), "run"),
    **dict.fromkeys(("film", "video"), "apply"),
    **dict.fromkeys(("gui", "page", "serve", "ui", "web"), "studio"),
    **dict.fromkeys(("download", "fetch", "models", "networks"), "weights"),
    **dict.fromkeys(("doctor", "env", "versions"), "info"),
    "version": "--version",
}
"""Words that users may try, with the command that each means."""
