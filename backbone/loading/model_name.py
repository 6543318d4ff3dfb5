"""What a model's name stands for: the demo model, a folder, or a hub id. Needs no torch; loading is in `models.py`."""

from pathlib import Path

from backbone.loading.demo_model import demo_model
from backbone.loading.model_folder import DEMO_MODEL, check_folder
from foundation.errors import UserError


def resolve_model(model: str) -> str:
    """Turn a model's name into what transformers can load.

    `demo` (or the demo model's own name) is the bundled model, fetched and converted on first use; a
    folder is checked to be whole; anything else is taken for a hub id.
    """
    if model in ("demo", DEMO_MODEL):
        return str(demo_model())
    folder = Path(model)
    if folder.is_dir():
        check_folder(folder)
        return str(folder)
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise UserError(
            f'the model "{model}" is neither a folder nor a hub id. Give a folder with config.json and '
            f'*.safetensors, a hub id such as "HuggingFaceTB/{DEMO_MODEL}", or "demo".'
        )
    return model
