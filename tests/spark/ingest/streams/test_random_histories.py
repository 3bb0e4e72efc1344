"""Random histories of one stream against a list of its offsets: none is lost, none is doubled."""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from tests.support.committed import ingest_in, messages, offsets, plan, prepared, write
from tests.support.streams import valid_value

from matchlake.errors import CheckpointMismatchError
from matchlake.ingest.streams.entries import Counts
from matchlake.ingest.streams.gaps import no_cause
from matchlake.ingest.streams.runner import Ingest, PreparedStream
from matchlake.io.kafka import TopicState
from matchlake.lakehouse.erasure import Erasure

TOPIC = TopicState("t1", {0: 0}, {0: 1_000_000})
# MATCHLAKE_TEST_HISTORIES=20x60 or 1x1000: other numbers of histories and of steps.
SEEDS, STEPS = map(int, os.environ.get("MATCHLAKE_TEST_HISTORIES", "4x40").split("x"))
BAD = b"{"


@dataclass
class History:
    """A stream, and what its table must hold: the status of each offset up to `end`."""

    at: Ingest
    patch: pytest.MonkeyPatch
    random: random.Random
    stream: PreparedStream = field(init=False)
    status: dict[int, str] = field(default_factory=dict)
    end: int = 0
    batches: list[int] = field(default_factory=list)
    """The first offset of each batch of the generation in use."""
    stale: list[tuple[PreparedStream, int]] = field(default_factory=list)
    """Runs of earlier generations that were never stopped, with their next batch."""
    versions: dict[int, dict[int, str]] = field(default_factory=dict)
    steps: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def sql(self) -> Callable[[str], object]:
        """Runs a statement."""
        return self.at.lakehouse.spark.sql

    @property
    def table(self) -> str:
        """The quoted name of the table."""
        return self.at.lakehouse.name(self.at.stream.table)

    def restart(self, **option: object) -> None:
        """A run begins, with a recovery option or without."""
        self.stream = prepared(self.at, self.patch, TOPIC, **option)

    def recover(self, **option: object) -> None:
        """A run begins in a new generation; the one before is not stopped, and wakes later."""
        self.stale.append((self.stream, len(self.batches)))
        self.restart(**option)
        self.batches = []

    def append(self) -> None:
        """Writes one batch with valid and invalid records."""
        stop = self.end + self.random.randint(1, 4)
        bad = {o: BAD for o in range(self.end, stop) if self.random.random() < 0.2}
        write(self.stream, len(self.batches), stop, bad=bad, checkpoint=self.checkpoint)
        self.wrote(stop, bad)

    def killed(self) -> None:
        """Writes one batch and dies before it is marked as done; the next run repeats it."""
        stop, batch = self.end + self.random.randint(1, 4), len(self.batches)
        plan(self.stream, batch, stop, self.checkpoint)
        values = [(o, valid_value(o, rating=1)) for o in range(self.end, stop)]
        self.stream.writer()(messages(self.at, values), batch)
        self.stream = prepared(self.at, self.patch, TOPIC)
        write(self.stream, batch, stop, checkpoint=self.checkpoint)
        self.wrote(stop, {})

    def wrote(self, stop: int, bad: dict[int, bytes]) -> None:
        """Notes a batch."""
        for each in range(self.end, stop):
            self.status[each] = "quarantined" if each in bad else "valid"
        self.batches.append(self.end)
        self.end = stop

    def wake(self) -> None:
        """A stale run wakes and writes its next batch, which is refused."""
        if self.stale:
            stream, batch = self.random.choice(self.stale)
            with pytest.raises(CheckpointMismatchError):
                write(stream, batch, self.end + 3)

    def rewind(self) -> None:
        """Reads again from a batch on."""
        if self.batches:
            batch = self.random.randrange(len(self.batches))
            first = self.batches[batch]
            self.recover(rewind_to={self.at.name: batch})
            self.status = {o: status for o, status in self.status.items() if o < first}
            self.end = first

    def accept(self) -> None:
        """Continues after the last offset read, in a new generation."""
        if self.end:
            self.recover(accept_data_loss=(self.at.name,))

    def restore(self) -> None:
        """Somebody restores an older version: refused, until the loss is accepted."""
        others = [v for v, status in self.versions.items() if status.keys() != self.status.keys()]
        if others and self.batches:
            version = self.random.choice(others[-3:])
            self.sql(f"RESTORE TABLE {self.table} TO VERSION AS OF {version}")
            with pytest.raises(CheckpointMismatchError):
                prepared(self.at, self.patch, TOPIC)
            kept = self.versions[version].items()
            self.status = {offset: status for offset, status in kept if offset < self.end}
            self.accept()

    def erase(self) -> None:
        """Erases one user, each of whom has one record."""
        if self.status:
            chosen = self.random.choice(list(self.status))
            Erasure(f"u{chosen}", [self.at.batch_log], self.at.lakehouse).run(
                [self.at.stream.table]
            )
            if self.status[chosen] == "valid":
                self.status[chosen] = "erased"
            self.versions.clear()  # an erasure removes the files of older versions

    def optimize(self) -> None:
        """Compacts the table and removes old files."""
        self.sql(f"OPTIMIZE {self.table}")
        self.sql(f"VACUUM {self.table}")

    @property
    def checkpoint(self) -> str:
        """The id of the checkpoint of the generation in use."""
        return f"c{self.stream.ingest.checkpoint.generation:04d}"

    def check(self) -> None:
        """The table has each offset once, and the audit agrees with the list."""
        assert offsets(self.at) == sorted(self.status)
        self.versions[self.at.lakehouse.version(self.at.stream.table)] = dict(self.status)
        self.at.batch_log.update(no_cause)
        count = Counter(self.status.values())
        expected = Counts(
            offsets=self.end,
            valid=count["valid"],
            quarantined=count["quarantined"],
            erased=count["erased"],
            gaps=self.end - len(self.status),
        )
        if self.end:
            assert self.at.batch_log.reconcile().total == expected

    def step(self) -> None:
        """One random step, and the check after it."""
        often = [self.append] * 6 + [self.restart, self.killed, self.wake] * 2
        rare = [self.rewind, self.accept, self.erase, self.optimize, self.restore]
        chosen = self.random.choice([*often, *rare])
        self.steps[chosen.__name__] += 1
        chosen()
        self.check()


@pytest.mark.soak
@pytest.mark.local_only
@pytest.mark.timeout(90 * STEPS)
@pytest.mark.parametrize("seed", range(1, 1 + SEEDS))
def test_random_history_has_every_offset_once_or_in_a_named_gap(
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[[str], None],
    seed: int,
) -> None:
    history = History(
        ingest_in(spark, tmp_path, f"random{seed}"),
        monkeypatch,
        random.Random(seed),  # noqa: S311 - reproducible, not secret
    )
    for number in range(STEPS):
        try:
            history.step()
        except BaseException as error:
            error.add_note(f"seed {seed}, step {number}: {dict(history.steps)}")
            raise
    tell(f"seed {seed}: {history.end} offsets, {len(history.status)} rows, {dict(history.steps)}")
