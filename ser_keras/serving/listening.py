"""Listening on a port that is bound before models are loaded."""

import socket

import uvicorn


def bind(host, port):
    """Binds a socket, which does not listen yet.

    Args:
        host: Address.
        port: Port; 0 takes a free one.

    Returns:
        `socket.socket`.

    Raises:
        OSError: The port is in use, or invalid.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    # So that the port can be used again at once after the server has ended.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"Cannot listen on {host}:{port}: {reason}. Choose another --port "
            "(`port`), or --host (`host`)."
        ) from error
    return listening


class ListeningServer(uvicorn.Server):
    """Server that prints its address when it starts to listen."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        if self.started:
            host, port, *_ = sockets[0].getsockname()
            host = f"[{host}]" if ":" in host else host
            print(f"listening on http://{host}:{port}", flush=True)
