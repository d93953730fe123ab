#!/usr/bin/env python3
"""How much later the events of a stream arrive when the gateway reads them for tokens, cost and metrics.

  first_event.py target/release/pointsman [--streams 500]

The origin, a process of its own, sends chunks as OpenAI does and writes into each when it sent it. Through one
gateway, by turns, half of the streams pass an arm that is not read (control) and half one that is (candidate, with
prices and metrics). Told is how long an event took from the origin to the client.
"""
import argparse, json, multiprocessing, os, socket, subprocess, sys, tempfile, time

ORIGIN, GATEWAY, OBSERVE, ADMIN = 9321, 9330, 9331, 9332
EVENTS = 20
ROUTE = """
[routes.{name}]
path = "/{name}"
control = "unread"
candidate = "read"
forced = "{arm}"
"""
CONFIG = f"""
[listen]
address = "127.0.0.1:{GATEWAY}"
threads = 1
[observe]
address = "127.0.0.1:{OBSERVE}"
[admin]
address = "127.0.0.1:{ADMIN}"
[log]
access = false
[metrics.tokens]
kind = "count"
better = "lower"
from = {{ control = {{ response_header = "x-none" }}, candidate = {{ usage = "total_tokens" }} }}
[metrics.first_token]
kind = "value"
better = "lower"
from = {{ control = {{ response_header = "x-none" }}, candidate = {{ usage = "first_token" }} }}
[metrics.score]
kind = "value"
better = "higher"
from = {{ control = {{ response_header = "x-none" }}, candidate = {{ response_json = "/score" }} }}
[backends.unread]
url = "http://127.0.0.1:{ORIGIN}"
[backends.read]
url = "http://127.0.0.1:{ORIGIN}"
prices = {{ input = 3.0, output = 15.0 }}
""" + ROUTE.format(name="off", arm="control") + ROUTE.format(name="on", arm="candidate")

def event(fields):
    text = f"data: {json.dumps(fields)}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(text), text)

def chunk(word, **more):
    choices = [{"index": 0, "delta": {"content": word}, "finish_reason": None}]
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": choices, "usage": None,
                  "sent": time.monotonic_ns(), **more})

def origin(ready):
    listener = socket.create_server(("127.0.0.1", ORIGIN), backlog=64)
    ready.set()
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (head := connection.recv(65536)):
            assert head.endswith(b"\r\n\r\n"), head
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(EVENTS):
                connection.sendall(chunk(f"word {number}"))
                time.sleep(0.002)
            connection.sendall(event({"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": EVENTS}}))
            connection.sendall(event("[DONE]") + b"0\r\n\r\n")
            # A stream a connection: nothing of the last one is left over.
            break
        connection.close()

def stream(path):
    """Microseconds that each event took."""
    delays = []
    with socket.create_connection(("127.0.0.1", GATEWAY)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: gateway.local\r\nx-user-id: u\r\nconnection: close\r\n\r\n".encode())
        rest = b""
        while (piece := client.recv(65536)):
            now = time.monotonic_ns()
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"data: {") and (sent := json.loads(line[6:]).get("sent")):
                    delays.append((now - sent) / 1000)
    assert len(delays) == EVENTS, delays
    return delays

def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]

def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--streams", type=int, default=500, help="of each kind")
    options = arguments.parse_args()
    ready = multiprocessing.Event()
    server = multiprocessing.Process(target=origin, args=(ready,), daemon=True)
    server.start()
    ready.wait()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "gateway.toml")
        open(path, "w").write(CONFIG)
        gateway = subprocess.Popen([options.binary, "run", "-c", path], stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", GATEWAY)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            taken = {"/off": [], "/on": []}
            for number in range(options.streams + 10):
                for path in sorted(taken, reverse=number % 2 == 0):
                    delays = stream(path)
                    if number >= 10:
                        taken[path].append(delays)
        finally:
            gateway.terminate()
            gateway.wait()
    server.terminate()
    print("| events | read | p50 us | p90 us | p99 us |\n|---|---|---|---|---|")
    for name, pick in [("the first", lambda delays: delays[:1]), ("the others", lambda delays: delays[1:])]:
        for path, read in [("/off", "no"), ("/on", "yes")]:
            values = [value for delays in taken[path] for value in pick(delays)]
            shares = " | ".join(f"{percentile(values, share):.0f}" for share in (0.5, 0.9, 0.99))
            print(f"| {name} | {read} | {shares} |")

if __name__ == "__main__":
    sys.exit(main())
