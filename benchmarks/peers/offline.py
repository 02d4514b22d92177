"""The model without a service: `python -m peers.offline SIZES FILE < sentences.json` calls it in batches of each size, in the given order.

Prints sentences a second by batch size; the vectors of the last size go to FILE.
"""

import json
import sys
import time

import numpy as np

from peers.encoder import Encoder

if __name__ == "__main__":
    sentences, encoder = json.load(sys.stdin), Encoder()
    encoder.array(sentences[:64])
    rates = {}
    for size in json.loads(sys.argv[1]):
        begun = time.perf_counter()
        found = [encoder.array(sentences[at : at + size]) for at in range(0, len(sentences), size)]
        rates[size] = len(sentences) / (time.perf_counter() - begun)
    np.save(sys.argv[2], np.concatenate(found))
    print(json.dumps(rates))
