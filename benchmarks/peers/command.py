"""What the benchmarks ask of a task queue's own client: `python -m peers.command MODULE fill COUNT TEXT` or `… check < {"ids", "text"}`.

`fill` enqueues the no-op so many times and prints the ids and the seconds that took; `check` prints how many of the ids have the
right result. Each module has two functions of these names, and uses the client's API as its documentation does.
"""

import importlib
import json
import sys
import time

if __name__ == "__main__":
    tasks = importlib.import_module(sys.argv[1])
    if sys.argv[2] == "fill":
        begun = time.perf_counter()
        ids = tasks.fill(int(sys.argv[3]), sys.argv[4])
        print(json.dumps({"ids": ids, "seconds": time.perf_counter() - begun}))
    else:
        given = json.load(sys.stdin)
        print(json.dumps({"good": tasks.check(given["ids"], given["text"])}))
