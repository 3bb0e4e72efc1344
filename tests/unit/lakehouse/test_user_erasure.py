"""The parameters of an erasure: a user is required, as text, and no error names the user."""

from typing import Any

import pytest
from tests.support.sources import ROOT

from matchlake.config import load_config
from matchlake.errors import ConfigError
from matchlake.ingest.params import EraseParams
from matchlake.io.delta import Lakehouse
from matchlake.lakehouse.user_erasure import erase_user


@pytest.mark.parametrize("user_id", [None, ""])
def test_erase_user_without_a_user_fails_before_it_reads_anything(user_id: str | None) -> None:
    config = load_config("demo", conf_dir=ROOT / "conf")
    nowhere: Any = object()
    with pytest.raises(ConfigError, match="No user to erase: name one with --user-id"):
        erase_user(config, nowhere, nowhere, EraseParams(user_id=user_id))


def test_erase_user_without_a_salt_fails_before_it_reads_anything() -> None:
    config = load_config("demo", ["erase.salt=null"], ROOT / "conf")
    lakehouse = Lakehouse(object())  # type: ignore[arg-type]
    nowhere: Any = object()
    with pytest.raises(ConfigError, match=r"No erase\.salt in conf: set it to a secret"):
        erase_user(config, lakehouse, nowhere, EraseParams(user_id="Zoe"))


def test_user_id_as_a_number_is_refused_without_naming_it() -> None:
    message = r"erase\.user_id: .*the id must be text: pass it as"
    with pytest.raises(ConfigError, match=message) as refused:
        load_config("demo", ["erase.user_id=77"], ROOT / "conf")
    assert "77" not in str(refused.value)
    assert load_config("demo", ["erase.user_id=0077"], ROOT / "conf").erase.user_id == "0077"


def test_user_id_is_in_no_repr() -> None:
    config = load_config("demo", ["erase.user_id=Zoe"], ROOT / "conf")
    assert config.erase.user_id == "Zoe"
    assert "Zoe" not in repr(config)
