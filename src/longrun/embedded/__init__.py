"""The embedded Valkey: a real server process of our own, on a unix socket in a data folder, with nothing to install.

`valkey` starts and stops it · `program` finds the server program and says which data it may open · `address` says where the socket is ·
`probe` asks whether it lives · `disk` says how much room it has · `folder` keeps two from sharing a data folder.
"""

from longrun.embedded.disk import Disk, read_disk
from longrun.embedded.program import find_server
from longrun.embedded.valkey import EmbeddedValkey, locate

__all__ = ["Disk", "EmbeddedValkey", "find_server", "locate", "read_disk"]
