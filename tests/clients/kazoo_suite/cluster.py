"""Proxies in place of the servers that kazoo's test harness would start."""

import socket
import threading

SIZE = 3


class Server:
    """A TCP proxy before the server under test; stopped, it refuses connections and has none."""

    def __init__(self, target):
        self.target = target
        self.running = False
        self.listener = None
        self.port = 0
        self.lock = threading.Lock()
        self.sockets = set()
        self.run()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def run(self):
        # The same port each time: clients know it.
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.running = True
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        self.running = False
        # The shutdown wakes the accepting thread, the close alone does not.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            close(*self.sockets)

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(self.target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.sockets |= {client, server}
            if not self.running:
                close(client)
            answers = threading.Thread(target=copy, args=(server, client), daemon=True)
            answers.start()
            copy(client, server)
            answers.join()
            with self.lock:
                self.sockets -= {client, server}


def copy(source, sink):
    """Copies until one end is closed, and then closes the other."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    close(source, sink)


def close(*sockets):
    """Ends connections, also for those who wait on them in other threads."""
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # The other side was first.


class Cluster(list):
    """What kazoo's harness asks of its cluster. The server under test is not ours to start or end."""

    def __init__(self, address):
        host, port = address.split(":")
        super().__init__(Server((host, int(port))) for _ in range(SIZE))

    def start(self):
        for server in self:
            if not server.running:
                server.run()

    def terminate(self):
        """Called at the end of every class of tests; the proxies go on."""

    def get_logs(self):
        return []
