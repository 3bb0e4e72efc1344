"""The options of Kafka's Python client on another machine: a token, and the text of a file."""

from pathlib import Path

from matchlake.io.kafka import TABLE_MILLIS
from matchlake.io.kafka_records import local_client, portable_client


class Provider:
    """Gives a token, and cannot be sent anywhere."""

    def token(self) -> str:
        return "t-1"

    def __reduce__(self) -> str:
        raise TypeError("not to be sent")


def test_a_client_can_be_sent_with_its_token_and_its_authorities(tmp_path: Path) -> None:
    import cloudpickle  # noqa: PLC0415 - as Spark sends functions

    file = tmp_path / "ca.pem"
    file.write_text("-----BEGIN-----", encoding="ascii")
    client = {
        "bootstrap_servers": ["b:1"],
        "ssl_cafile": str(file),
        "sasl_oauth_token_provider": Provider(),
    }
    sent = cloudpickle.loads(cloudpickle.dumps(portable_client(client)))
    file.unlink()
    with local_client(sent) as options:
        assert options["bootstrap_servers"] == ["b:1"]
        assert options["sasl_oauth_token_provider"].token() == "t-1"
        assert Path(options["ssl_cafile"]).read_text(encoding="ascii") == "-----BEGIN-----"
        local = Path(options["ssl_cafile"])
    assert not local.exists()
    with local_client(portable_client({"bootstrap_servers": ["b:1"]})) as options:
        assert options == {"bootstrap_servers": ["b:1"]}


def test_the_greatest_time_of_a_table_fits_into_microseconds() -> None:
    assert TABLE_MILLIS * 1000 < 2**63 <= (TABLE_MILLIS + 1) * 1000
