"""Queue many tasks: `python -m handwritten.fill COUNT TEXT` prints their ids as a JSON list."""

import json
import sys

from handwritten.tasks import noop

if __name__ == "__main__":
    print(json.dumps([noop.delay(sys.argv[2]).id for _ in range(int(sys.argv[1]))]))
