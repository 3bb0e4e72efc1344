"""A secret prints as a mask, whatever prints it."""

import json
import pickle

import pytest

from matchlake.errors import SecretError
from matchlake.io.secrets import EnvironmentSecrets, Secret, SecretRef

VALUE = "s3cret-\"'\n-välue"


def test_no_form_of_printing_shows_the_value() -> None:
    secret = Secret(VALUE)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{[secret]}"]
    assert set(shown) == {"[secret]", "[[secret]]"}
    assert secret.reveal() == VALUE
    with pytest.raises(SecretError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_the_environment_resolves_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATCHLAKE_SECRET_KAFKA_EU__PASS_WORD", VALUE)
    ref = SecretRef(scope="kafka-eu", key="pass-word")
    assert EnvironmentSecrets().get(ref).reveal() == VALUE


def test_a_missing_secret_names_its_reference_and_its_variable() -> None:
    with pytest.raises(SecretError, match=r"secret a/b is not set: export MATCHLAKE_SECRET_A__B"):
        EnvironmentSecrets().get(SecretRef(scope="a", key="b"))
