#!/usr/bin/env python3
"""User instructions for one small GET, by callgrind: (instructions of 12,000 requests - of 2,000) / 10,000.

  instructions.py target/release/pointsman [--config side_by_side/metrics.toml]

Needs valgrind. Origin and clients, written here, are not counted; the gateway runs side_by_side/gateway.toml,
everything on, with other ports. The control thread counts too, about 1,100 a request in valgrind's slow time.
"""
import argparse, asyncio, os, re, selectors, socket, subprocess, tempfile, threading, time

GATEWAY, ORIGINS, OBSERVE, ADMIN = 9410, (9401, 9402), 9411, 9412
BODY = b"A" * 100
ANSWER = (b"HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\n"
          b"Content-Length: 100\r\nConnection: keep-alive\r\n\r\n" + BODY)
CONNECTIONS = 16

class Origin(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER)

async def serve():
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Origin, "127.0.0.1", port) for port in ORIGINS]
    await asyncio.gather(*(server.serve_forever() for server in servers))

def config(name):
    text = open(os.path.join(os.path.dirname(__file__), name)).read()
    for old, new in (("8080", GATEWAY), ("9101", ORIGINS[0]), ("9102", ORIGINS[1])):
        text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    return f'{text}\n[observe]\naddress = "127.0.0.1:{OBSERVE}"\n[admin]\naddress = "127.0.0.1:{ADMIN}"\n'

def load(count):
    requests = [f"GET / HTTP/1.1\r\nHost: gateway.local\r\nx-user-id: user-{100000 + i * 7919}\r\nAccept: */*\r\n"
                f"User-Agent: bench\r\n\r\n".encode() for i in range(256)]
    ready, sent, done = selectors.DefaultSelector(), CONNECTIONS, 0
    for i in range(CONNECTIONS):
        client = socket.create_connection(("127.0.0.1", GATEWAY))
        client.sendall(requests[i])
        ready.register(client, selectors.EVENT_READ)
    while done < count:
        for key, _ in ready.select():
            assert key.fileobj.recv(65536).startswith(b"HTTP/1.1 200"), "not 200"
            done += 1
            if sent < count:
                key.fileobj.sendall(requests[sent % 256])
                sent += 1

def instructions(binary, count, folder, name="side_by_side/gateway.toml"):
    file = os.path.join(folder, "gateway.toml")
    open(file, "w").write(config(name))
    gateway = subprocess.Popen(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/{count}", binary, "run", "-c", file],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", GATEWAY), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    load(count)
    gateway.terminate()
    return int(re.search(r"Collected : (\d+)", gateway.communicate()[1])[1])

def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--config", default="side_by_side/gateway.toml")
    given = arguments.parse_args()
    binary = os.path.abspath(given.binary)
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        few, many = (instructions(binary, count, folder, given.config) for count in (2_000, 12_000))
    print(f"{(many - few) / 10_000:.0f} instructions a request")

if __name__ == "__main__":
    main()
