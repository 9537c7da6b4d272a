"""proxy.py -- a TCP route to a gateway that can be cut, also after so many bytes."""
import socket
import threading

from world import free_port


class Proxy:
    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self.cut_after = None  # Bytes towards the gateway that a new link may carry.
        self.carried = 0       # Towards the gateway, since the start.
        self.links = 0
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), timeout=5)
            except OSError:
                client.close()
                continue
            self.links += 1
            self._open += [client, server]
            threading.Thread(target=self._pump, args=(client, server, self.cut_after), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, None), daemon=True).start()

    def _pump(self, source, target, limit):
        carried = 0
        try:
            while True:
                data = source.recv(16384)
                if not data:
                    break
                if limit is not None and carried + len(data) > limit:
                    target.sendall(data[:limit - carried])
                    break
                target.sendall(data)
                carried += len(data)
                if limit is not None:
                    self.carried += len(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Every link, now."""
        for end in self._open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        self._open = []

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)  # Else an accept() under way would take one more link.
        self._listener.close()
        self.cut()
