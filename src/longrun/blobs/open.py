"""Which blob store the settings name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from longrun.blobs.contract import Blobs
from longrun.blobs.folder import Folder
from longrun.errors import needs_extra
from longrun.settings import Settings


def folder_of(settings: Settings) -> Path | None:
    """The folder of files; None: they are kept elsewhere."""
    place = urlsplit(settings.blobs)
    if place.scheme == "s3":
        return None
    return Path(unquote(place.path)) if place.scheme == "file" else settings.data / "blobs"


def open_blobs(settings: Settings) -> Blobs:
    """The blob store that `settings.blobs` names. Opens nothing yet, so it may be called before a fork.

    Raises:
        SettingsError: the endpoint of the bucket cannot be used as it is set.
        MissingExtra: what a bucket needs is not installed.
    """
    root = folder_of(settings)
    if root is None:
        place = urlsplit(settings.blobs)
        with needs_extra(f"LONGRUN_BLOBS={settings.blobs}"):
            from longrun.blobs.bucket import Bucket  # 16 MB that a folder does without

        return Bucket(place.netloc, place.path.strip("/"))
    return Folder(root, sync=settings.durability == "strict")
