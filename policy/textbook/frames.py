"""What an environment shows of a text: a line for people, or a picture for what records videos."""

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy.textbook.text_task import Episode, TextTask

WIDTH, HEIGHT = 640, 80
_LETTERS = 78
"""As many as fit into a line of a picture."""


def line(task: TextTask, episode: Episode) -> str:
    """The prompt, the text so far, and how far it is. Control characters are shown as �: what a policy writes must not
    steer a terminal.
    """
    shown = "".join("�" if unicodedata.category(letter)[0] == "C" else letter for letter in _written(task, episode))
    return f"{shown}  [{_progress(task, episode)}]\n"


def picture(task: TextTask, episode: Episode) -> NDArray[np.uint8]:
    """The same as an image, (HEIGHT, WIDTH, 3), with the last tokens as numbers: its font has Latin letters only.

    Of a long text, the end is shown.
    """
    from PIL import Image, ImageDraw, ImageFont  # only those who record wait for it

    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    text = "".join(letter if letter.isprintable() and ord(letter) < 256 else "?" for letter in _written(task, episode))
    numbers = " ".join(map(str, episode.tokens))
    for row, said in enumerate((text, numbers, _progress(task, episode))):
        draw.text((10, 8 + 22 * row), said[-_LETTERS:], fill="black", font=font)
    return np.array(image, dtype=np.uint8)


def _written(task: TextTask, episode: Episode) -> str:
    prompt: Any = episode.prompt
    asked = prompt if isinstance(prompt, str) else " ".join(message["content"] for message in prompt)
    return f"{asked} → {task.text(episode)}" if asked else task.text(episode)


def _progress(task: TextTask, episode: Episode) -> str:
    ending = f", ended by {episode.finish_reason}" if episode.finish_reason else ""
    return f"{len(episode.tokens)} of {task.max_length} tokens{ending}"
