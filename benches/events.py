#!/usr/bin/env python3
"""How many events a second are stored, durably, and how long a restart takes with many of them.

    python3 benches/events.py target/release/pointsman --seconds 10 --restart-events 1000000

The gateway runs on one core (taskset), senders on the others: batches over kept connections to the
administrative address, each waiting for its 202. Standard library only.
"""

import argparse
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

CONFIG = """
listen.address = "127.0.0.1:{listen}"
listen.threads = 1
observe.address = "127.0.0.1:{observe}"
admin.address = "127.0.0.1:{admin}"
log.access = false
state.store = "sqlite:pointsman.db"
state.max_size = "100GiB"
[admin.tokens.bench]
role = "events"
token = "bench-token-0123456789"
[backends.old]
respond = {{ body = "old" }}
[routes.all]
path = "/"
control = "old"
candidate = "old"
rollout.percent = 50
fallback.replay = "connect"
"""
HEADERS = {"authorization": "Bearer bench-token-0123456789", "content-type": "application/json"}


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def batch(name, size):
    events = [
        {"id": f"{name}-{i}", "name": "order.placed", "user": f"user-{name}-{i}", "value": 12.5, "data": {"items": 3}}
        for i in range(size)
    ]
    return json.dumps(events)


class Gateway:
    def __init__(self, binary, folder):
        self.ports = {name: free_port() for name in ("listen", "observe", "admin")}
        self.file = os.path.join(folder, "gateway.toml")
        with open(self.file, "w") as file:
            file.write(CONFIG.format(**self.ports))
        self.binary, self.process = binary, None

    def start(self):
        """Seconds from the start of the process to the first event that it has stored."""
        begun = time.perf_counter()
        command = ["taskset", "-c", "0", self.binary, "run", "-c", self.file]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try:
                if self.post(self.connect(), batch(f"start-{begun}", 1)) == 202:
                    return time.perf_counter() - begun
            except OSError:
                pass
            if time.perf_counter() - begun > 60:
                raise SystemExit("the gateway does not start")
            time.sleep(0.005)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=30)

    @staticmethod
    def post(connection, body):
        connection.request("POST", "/v1/events", body, HEADERS)
        response = connection.getresponse()
        response.read()
        return response.status

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        self.process.kill()
        self.process.wait()


def throughput(gateway, senders, size, seconds):
    stored, failed, lock = [0], [0], threading.Lock()
    # Made before, so that the senders' own work does not count.
    bodies = [[batch(f"{seconds}-{sender}-{n}", size) for n in range(int(60 * seconds))] for sender in range(senders)]
    stop = time.perf_counter() + seconds

    def send(bodies):
        connection, mine, bad = gateway.connect(), 0, 0
        for body in bodies:
            if time.perf_counter() >= stop:
                break
            if gateway.post(connection, body) == 202:
                mine += size
            else:
                bad += 1
        with lock:
            stored[0] += mine
            failed[0] += bad

    begun, cpu = time.perf_counter(), gateway.cpu_seconds()
    threads = [threading.Thread(target=send, args=(mine,)) for mine in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, cpu = time.perf_counter() - begun, gateway.cpu_seconds() - cpu
    print(f"{senders} senders, batches of {size}: {stored[0] / took:,.0f} events/s in {took:.1f} s, "
          f"{cpu / stored[0] * 1e6:.1f} us of CPU an event, {cpu / took * 100:.0f} % of the core, {failed[0]} refused")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--seconds", type=float, default=10)
    arguments.add_argument("--senders", type=int, default=8)
    arguments.add_argument("--size", type=int, default=100)
    arguments.add_argument("--restart-events", type=int, default=0)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(os.path.abspath(given.binary), folder)
        gateway.start()
        try:
            throughput(gateway, given.senders, given.size, given.seconds)
            if given.restart_events:
                database = os.path.join(folder, "pointsman.db")
                count = lambda: sqlite3.connect(database).execute("SELECT count(*) FROM events").fetchone()[0]
                round_ = 0
                while (have := count()) < given.restart_events:
                    connection = gateway.connect()
                    for n in range((given.restart_events - have) // 1000 + 1):
                        assert gateway.post(connection, batch(f"fill-{round_}-{n}", 1000)) == 202
                    round_ += 1
                gateway.kill()
                size = sum(os.path.getsize(database + end) for end in ("", "-wal"))
                took = gateway.start()
                print(f"restart after a kill with {count():,} events ({size / 2**20:,.0f} MiB): first event stored after "
                      f"{took * 1e3:.0f} ms")
        finally:
            gateway.kill()


if __name__ == "__main__":
    main()
