"""The configurations that come with the project, found by name from any folder, also after `pip install`."""

from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"


def found(file: Path) -> Path:
    """The file if it exists, or else the shipped one that is meant: `configs/play/x.yaml`, `play/x.yaml` or `x`.

    Any other name is returned as it is; whoever reads it says that there is no such file.
    """
    if file.exists() or file.is_absolute() or ".." in file.parts:
        return file
    name = file if file.suffix else file.with_name(f"{file.name}.yaml")
    parts = name.parts[1:] if name.parts[0] == CONFIGS.name else name.parts
    if len(parts) > 1:
        shipped = CONFIGS.joinpath(*parts)
        return shipped if shipped.is_file() else file
    meant = sorted(CONFIGS.rglob(name.name))
    return meant[0] if len(meant) == 1 else file
