"""How fast each kind of bad JSON record is read, against good ones: records per second of CPU.

    python tests/benchmarks/json_errors.py --count 20000

Each kind is read in arrays of 10,000 equal records, the median of three rounds. The last column is
how many times slower it is than the good one. The mark: none is more than ten times slower.
"""

import argparse
import json
import statistics
import time

import pyarrow as pa
from tests.support.streams import stream_entry, valid_value

from matchlake.ingest.params import StreamParams
from matchlake.ingest.streams.messages import read_values

AT_ONCE = 10_000
GOOD = valid_value(1)
DEEP = b"[" * 1500 + b"]" * 1500
KINDS = {
    "good": GOOD,
    "truncated": GOOD[:-9],
    "no object": json.dumps([1, 2]).encode(),
    "wrong type": valid_value(1, rating="x"),
    "missing field": b"{}",
    "a field twice": GOOD[:-1] + b',"rating":2}',
    "half a surrogate pair": GOOD[:-1] + b',"note":"\\ud83d"}',
    "NaN": GOOD[:-1] + b',"x":NaN}',
    "good, 3 KB deep": GOOD[:-1] + b',"x":' + DEEP + b"}",
    "a field twice, 3 KB deep": GOOD[:-1] + b',"rating":2,"x":' + DEEP + b"}",
}


def seconds(value: bytes, count: int) -> float:
    """The median time to read the value `count` times."""
    stream = StreamParams.model_validate(stream_entry("t", "s"))
    arrays = [pa.array([value + b"\n"] * AT_ONCE, pa.binary())] * (count // AT_ONCE)
    times = []
    for _ in range(3):
        begin = time.process_time()
        for _ in read_values(arrays, stream):
            pass
        times.append(time.process_time() - begin)
    return statistics.median(times)


def main() -> None:
    """Prints one line per kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    count = parser.parse_args().count
    good = 0.0
    for name, value in KINDS.items():
        took = seconds(value, count)
        good = took if name.startswith("good") else good
        print(f"{name:28}{count / took:12,.0f}/s {took / good:6.1f}x")


if __name__ == "__main__":
    main()
