"""The embedded Valkey: a real server process of our own, on a unix socket in a data folder, with nothing to install.

`valkey` starts and stops it · `program` finds the server program and says which data it may open · `address` says where the socket is and
asks whether it lives · `folder` keeps two from sharing a data folder and says how much room it has.
"""

from longrun.embedded.folder import Disk, is_served_from, read_disk
from longrun.embedded.program import find_server
from longrun.embedded.valkey import EmbeddedValkey, locate

__all__ = ["Disk", "EmbeddedValkey", "find_server", "is_served_from", "locate", "read_disk"]
