#!/usr/bin/env python3
"""How much memory an idle event stream costs: opens N of them through the gateway and reads its resident memory.

  idle_streams.py target/release/pointsman [--streams 10000]

The origin, written here, answers every request with the head of an event stream and one event, and then
says nothing more. One gateway worker; everything on loopback; the run ends by itself.
"""
import argparse, asyncio, os, re, resource, socket, subprocess, sys, tempfile, time

ORIGIN, GATEWAY, OBSERVE, ADMIN = 9301, 9310, 9311, 9312
CONFIG = f"""
[listen]
address = "127.0.0.1:{GATEWAY}"
threads = 1
[observe]
address = "127.0.0.1:{OBSERVE}"
[admin]
address = "127.0.0.1:{ADMIN}"
[backends.origin]
url = "http://127.0.0.1:{ORIGIN}"
timeouts = {{ connect = "5s", first_byte = "60s", idle = "10m" }}
[routes.all]
path = "/"
control = "origin"
candidate = "origin"
fallback = {{ replay = "connect" }}
rollout = {{ percent = 50.0 }}
"""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"

async def origin(reader, writer):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await reader.read()
    writer.close()

async def stream(number, gate):
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", GATEWAY)
        writer.write(f"GET /events HTTP/1.1\r\nhost: gateway.local\r\nx-user-id: user-{number}\r\naccept: text/event-stream\r\n\r\n".encode())
        await reader.readuntil(b"data: 1\n\n")
    return writer

def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])

async def clients(streams, pid):
    empty = resident_kib(pid)
    gate = asyncio.Semaphore(200)
    writers = await asyncio.gather(*(stream(n, gate) for n in range(streams)))
    await asyncio.sleep(2)
    full = resident_kib(pid)
    print(f"{streams} idle event streams: {empty / 1024:.1f} MiB -> {full / 1024:.1f} MiB resident, {(full - empty) / streams:.1f} KiB each")
    for writer in writers:
        writer.close()

def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--streams", type=int, default=10_000)
    arguments = arguments.parse_args()
    needed = arguments.streams * 2 + 100
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        sys.exit(f"needs {needed} file descriptors, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    config = os.path.join(tempfile.mkdtemp(prefix="idle-streams-"), "gateway.toml")
    open(config, "w").write(CONFIG)
    origin_pid = os.fork()
    if origin_pid == 0:
        async def serve():
            server = await asyncio.start_server(origin, "127.0.0.1", ORIGIN, backlog=4096)
            await asyncio.wait([asyncio.create_task(server.serve_forever())], timeout=300)
        asyncio.run(serve())
        os._exit(0)
    gateway = subprocess.Popen([arguments.binary, "run", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try: socket.create_connection(("127.0.0.1", GATEWAY), 1).close(); break
            except OSError: time.sleep(0.1)
        asyncio.run(clients(arguments.streams, gateway.pid))
    finally:
        gateway.kill()
        os.kill(origin_pid, 9)

main()
