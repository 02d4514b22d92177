"""Stored bytes, in a folder or a bucket: written whole or not at all, streamed both ways, under keys that we choose."""
