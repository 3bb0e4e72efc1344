"""A secret prints as a mask, whatever prints it; local stores; what is kept and for how long."""

import copy
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from pyspark.logger.logger import JSONFormatter
from rich.console import Console

from matchlake.errors import ParameterError, SecretError, SecretMissingError
from matchlake.io.secrets import (
    CachedSecrets,
    ChainedSecrets,
    EnvironmentSecrets,
    FileSecrets,
    Secret,
    SecretRef,
    SecretsParams,
    masked,
    masking,
    secret_references,
)
from matchlake.io.secrets.masking import MaskingFilter, _masked_traceback, written_forms

VALUE = "s3cret-\"'\n-välue + 100%"
REF = SecretRef(scope="a", key="b")


class Holder(BaseModel):
    secret: Secret


def test_secret_no_form_of_printing_shows_the_value() -> None:
    secret = Secret(VALUE)
    holder = Holder(secret=secret)
    console = Console(width=200)
    with console.capture() as captured:
        console.print(secret, {"a": secret}, holder)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", f"{[secret]}", "%s" % secret]  # noqa: UP031
    shown += [json.dumps({"a": secret}, default=str), str(holder), repr(holder)]
    shown += [str(holder.model_dump(mode="json")), holder.model_dump_json(), str(vars(holder))]
    shown += ["".join(traceback.format_exception(ValueError(secret))), captured.get()]
    assert all("[secret]" in text for text in shown), shown
    assert not [text for text in shown if any(form in text for form in written_forms(VALUE))]
    assert secret.reveal() == VALUE


def test_secret_cannot_be_pickled_or_copied_out() -> None:
    secret = Secret(VALUE)
    with pytest.raises(SecretError):
        pickle.dumps(secret)
    with pytest.raises(SecretError):
        yaml.dump({"a": secret})
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        hash(secret)
    assert not hasattr(secret, "__dict__")
    assert copy.deepcopy([secret])[0] is secret
    assert secret == Secret(VALUE)
    assert secret != Secret("another")
    assert secret != VALUE


def test_secret_field_plain_text_raises_without_repeating_it() -> None:
    with pytest.raises(ValidationError) as caught:
        SecretRef.model_validate({"scope": "a", "key": "b", "value": VALUE})
    assert VALUE[:8] not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "ä", "a" * 129, "a\n"])
def test_secret_ref_other_characters_raise(name: str) -> None:
    with pytest.raises(ParameterError):
        SecretRef(scope=name, key="k")
    with pytest.raises(ParameterError):
        SecretRef(scope="s", key=name)


@pytest.mark.parametrize("formatter", [logging.Formatter(), JSONFormatter()])
def test_log_masks_a_value_in_every_form(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, formatter: logging.Formatter
) -> None:
    Secret(VALUE)
    monkeypatch.setattr(caplog.handler, "formatter", formatter)
    log = logging.getLogger("matchlake.test_masking")
    caplog.handler.addFilter(MaskingFilter())
    for form in written_forms(VALUE):
        log.error("before %s after", form)
    try:
        int(f"bad login: {VALUE}")
    except ValueError:
        log.exception("failed with %r", [VALUE])
    caplog.handler.filters.clear()
    assert caplog.text.count("[secret]") >= len(written_forms(VALUE)) + 2
    assert not [form for form in written_forms(VALUE) if form in caplog.text]


@pytest.mark.parametrize("formatter", [logging.Formatter(), JSONFormatter()])
def test_log_masks_a_value_in_a_chained_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, formatter: logging.Formatter
) -> None:
    Secret(VALUE)
    monkeypatch.setattr(caplog.handler, "formatter", formatter)
    caplog.handler.addFilter(MaskingFilter())
    try:
        try:
            int(f"refused: {VALUE}")
        except ValueError as error:
            raise KeyError(VALUE) from error
    except KeyError:
        logging.getLogger("matchlake.test_masking").exception("no way in")
    caplog.handler.filters.clear()
    assert "refused: [secret]" in caplog.text or isinstance(formatter, JSONFormatter)
    assert "[secret]" in caplog.text
    assert not [form for form in written_forms(VALUE) if form in caplog.text]


class Unprintable:
    """What no log can show."""

    def __repr__(self) -> str:
        raise RuntimeError(VALUE)


@pytest.mark.parametrize("call", [("%d", VALUE), ("%s %s", VALUE), ("%(a)d", {"a": VALUE})])
def test_log_malformed_call_is_reported_and_masked(
    call: tuple[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    Secret(VALUE)
    log = logging.Logger("malformed")  # noqa: LOG001 - one that leaves no handler behind
    log.addHandler(logging.StreamHandler())
    log.handlers[0].addFilter(MaskingFilter())
    log.warning(*call)
    log.warning(Unprintable())
    log.warning("%s", Unprintable())
    told = capsys.readouterr().err
    assert "--- Logging error ---" in told
    assert "[secret]" in told
    assert not [form for form in written_forms(VALUE) if form in told]


def test_masked_known_value_while_another_is_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    class Sorted(str):
        """Has another thread log while the forms are put in order."""

        __slots__ = ()

        def __len__(self) -> int:
            seen.append(masked(VALUE))
            return super().__len__()

    Secret(VALUE)
    monkeypatch.setattr(masking, "_forms", masking._forms)
    monkeypatch.setattr(masking, "written_forms", lambda value: {Sorted(value)})
    Secret("another-value")
    assert set(seen) == {"[secret]"}


def test_excepthook_traceback_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    Secret(VALUE)
    try:
        int(VALUE)
    except ValueError as error:
        _masked_traceback(type(error), error, error.__traceback__)
    printed = capsys.readouterr().err
    assert "[secret]" in printed
    assert VALUE.splitlines()[0] not in printed


def test_masked_base64_at_any_alignment() -> None:
    import base64  # noqa: PLC0415

    Secret("correct-horse-battery")
    for before in range(4):
        text = base64.b64encode(b"x" * before + b"correct-horse-battery" + b"tail").decode()
        assert "[secret]" in masked(text), before


def test_environment_secrets_resolve_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATCHLAKE_SECRET_KAFKA_EU__PASS_WORD", VALUE)
    ref = SecretRef(scope="kafka-eu", key="pass-word")
    assert EnvironmentSecrets().get(ref).reveal() == VALUE


def test_environment_secrets_missing_names_reference_and_variable() -> None:
    with pytest.raises(
        SecretError, match=r"secret a/b is not set: set the variable MATCHLAKE_SECRET_A__B"
    ):
        EnvironmentSecrets().get(REF)


def test_file_secrets_readable_by_others_raises(tmp_path: Path) -> None:
    store = FileSecrets(tmp_path / "lake" / "secrets.json")
    with pytest.raises(SecretMissingError, match=r"matchlake secrets put a b"):
        store.get(REF)
    for value in (VALUE, "x" * 25_600, "", "\N{GRINNING FACE}"):
        store.put(REF, Secret(value))
        assert store.get(REF).reveal() == value
    path = tmp_path / "lake" / "secrets.json"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(SecretError, match=r"open to others \(mode 640, .*chmod 600"):
        store.get(REF)
    path.chmod(0o600)
    for broken in ("{", '["hunter2"]', '{"a": "hunter2"}', '{"a": {"b": 7}}'):
        path.write_text(broken)
        with pytest.raises(SecretError, match="is not JSON of the form") as caught:
            store.get(REF)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


class Counting:
    """A store that counts how often it is asked, and answers with that number."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    def get(self, ref: SecretRef) -> Secret:
        self.asked += 1
        if self.fails:
            raise SecretError(f"{ref} is refused")
        return Secret(f"value-{self.asked}")


def test_cached_secrets_expire_after_their_time() -> None:
    now = [0.0]
    store = Counting()
    cached = CachedSecrets(store, 300, lambda: now[0])
    assert [cached.get(REF).reveal() for _ in range(3)] == ["value-1"] * 3
    now[0] = 299
    assert cached.get(REF).reveal() == "value-1"
    now[0] = 300
    assert cached.get(REF).reveal() == "value-2", "a rotation is seen"
    store.fails = True
    now[0] = 600
    for _ in range(2):
        with pytest.raises(SecretError):
            cached.get(REF)
    assert store.asked == 4, "a failure is not kept"


def test_chained_secrets_missing_goes_on_and_refusal_stops(tmp_path: Path) -> None:
    empty, refusing = FileSecrets(tmp_path / "none"), Counting()
    chain = ChainedSecrets({"file": empty, "other": Counting()})
    assert chain.find(REF)[0] == "other"
    refusing.fails = True
    with pytest.raises(SecretError, match="is refused"):
        ChainedSecrets({"first": refusing, "second": Counting()}).get(REF)
    with pytest.raises(SecretMissingError, match=r"none of the stores .* file: secret a/b is not"):
        ChainedSecrets({"file": empty}).get(REF)


@pytest.mark.parametrize(
    "url", ["http://v.vault.azure.net", "v.vault.azure.net", "https://u:p@v", "https://v?a=b"]
)
def test_secrets_params_vault_address_without_https_raises(url: str) -> None:
    with pytest.raises(ParameterError, match="must be an https address"):
        SecretsParams(vaults={"a": url})


def test_secret_references_are_found_at_any_depth() -> None:
    class Deep(BaseModel):
        refs: dict[str, tuple[SecretRef, ...]]
        none: SecretRef | None = None

    found = secret_references(Deep(refs={"x": (REF, REF)}))
    assert list(found) == ["refs.x.0", "refs.x.1"]
