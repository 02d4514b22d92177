"""Uploads as one writes them by hand: FastAPI's `UploadFile`, copied into a folder under a random name, with its digest."""

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

from fastapi import FastAPI, UploadFile

FOLDER = Path(os.environ["UPLOADS"])
PIECE = 256 * 1024

app = FastAPI()


@app.post("/files", status_code=201)
def upload(file: UploadFile) -> dict[str, Any]:
    """Copy what FastAPI has written to a temporary file. A plain `def`: it blocks, so FastAPI runs it in its thread pool."""
    name, digest, size = uuid.uuid4().hex, hashlib.sha256(), 0
    with (FOLDER / name).open("xb") as copy:
        while piece := file.file.read(PIECE):
            digest.update(piece)
            size += copy.write(piece)
    return {"id": name, "size": size, "digest": digest.hexdigest()}
