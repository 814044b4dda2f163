#!/usr/bin/python3
"""The host's side of programs/netcheck: sends every UDP datagram back.  `udp_echo.py [PORT]`, or EchoServer."""
import socket
import sys
import threading


class EchoServer:
    """with EchoServer() as echo: ... -netdev user,bootfile=udp:<echo.port> ..."""

    def __init__(self, port=0):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        self.echoed = 0
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        while True:
            try:
                data, sender = self.socket.recvfrom(65536)
            except OSError:
                return
            if data == b"" and sender == self.socket.getsockname():
                return
            self.socket.sendto(data, sender)
            self.echoed += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.socket.sendto(b"", self.socket.getsockname())  # wakes serve
        self.thread.join(5)
        self.socket.close()


if __name__ == "__main__":
    server = EchoServer(int(sys.argv[1]) if len(sys.argv) > 1 else 7777)
    print("UDP port %d" % server.port, flush=True)
    server.serve()
