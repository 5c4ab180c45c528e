"""An SSH server that serves the files of this machine to one key; runs in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncssh

USER = "photos"


async def serve(home: Path) -> None:
    """Write the home of a user whom the server lets in and who knows it; serve until the process is ended."""
    mine, theirs = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    folder = home / ".ssh"
    folder.mkdir()
    mine.write_private_key(str(folder / "id_ed25519"))
    mine.write_public_key(str(folder / "id_ed25519.pub"))
    (home / "authorized_keys").write_bytes(mine.export_public_key())
    acceptor = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[theirs],
        authorized_client_keys=str(home / "authorized_keys"),
        sftp_factory=True,
    )
    port, shown = acceptor.get_port(), theirs.export_public_key().decode()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {shown}")
    (home / "port.new").write_text(str(port))
    (home / "port.new").rename(home / "port")
    await acceptor.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
