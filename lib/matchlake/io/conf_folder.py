"""Finds the conf folder of a project; importing this loads nothing else."""

from pathlib import Path

from matchlake.errors import ConfigError


def find_conf() -> Path:
    """The nearest `conf` folder with a base.yml, at or above the working folder or this file."""
    for start in (Path.cwd(), Path(__file__).parent):
        for folder in (start, *start.parents):
            if (folder / "conf" / "base.yml").is_file():
                return folder / "conf"
    raise ConfigError(
        f"No conf/base.yml at or above {Path.cwd()}: run from the project's folder, "
        "or name the folder with --conf-dir. `matchlake init` makes a project."
    )
