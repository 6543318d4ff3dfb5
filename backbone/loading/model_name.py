"""What a model's name stands for: the demo model, a folder, or a hub id. Needs no torch; loading is in `models.py`."""

from pathlib import Path

from backbone.loading.demo_model import demo_model
from backbone.loading.model_folder import DEMO_HUB_ID, check_folder, is_demo, is_hub_id
from foundation.errors import UserError


def resolve_model(model: str) -> str:
    """Turn a model's name into what transformers can load.

    `demo` (or the demo model's own name, or its hub id) is the bundled model, fetched and converted on first use; a
    folder is checked to be whole; anything else is taken for a hub id, but for what can only be a folder that is gone.
    """
    if is_demo(model):
        return str(demo_model())
    check_name(model)
    folder = Path(model)
    if folder.is_dir():
        check_folder(folder)
        return str(folder)
    return model


def check_name(model: str) -> None:
    """Refuse a name that is neither a folder nor could be a hub id; nothing is read or fetched."""
    if is_demo(model) or Path(model).is_dir():
        return
    if model.startswith("models/") or not is_hub_id(model):
        raise UserError(
            f'the model "{model}" is neither a folder nor a hub id. Give a folder with config.json and '
            f'*.safetensors, a hub id such as "{DEMO_HUB_ID}", or "demo".'
        )
