#!/usr/bin/env python3
"""Mixed requests against a server, and whether its memory and its files stay where they were. Needs nothing but Python and /proc.

usage: vendomini serve smollm2-135m-instruct --concurrency 32 --context 1024 --port 8099 &
       soak.py PORT [REQUESTS=10000] [AT_A_TIME=48]

Of twenty requests, one is left by its client in mid-stream, one is bad, and one is held to a JSON schema. Every answer must be the one
that its kind has; of 1000 requests or more, from a tenth of them on, memory may grow by 2% and no more (before, the cache of keys and values
is touched for the first time).
"""
import collections, http.client, json, os, pathlib, queue, sys, threading, time

PORT = int(sys.argv[1])
REQUESTS = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
AT_A_TIME = int(sys.argv[3]) if len(sys.argv) > 3 else 48
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
LEAVES, BAD, HELD = 3, 7, 11


def server():
    """The process that listens on the port: the one that holds the socket, which is the worker."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    inodes = {f"socket:[{f[9]}]" for f in map(str.split, lines) if f[1].endswith(f":{PORT:04X}") and f[3] == "0A"}
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                return process
        except OSError:
            continue
    sys.exit(f"no process that may be looked at listens on port {PORT}: start `vendomini serve --port {PORT}` as this user")


def memory_mib(process):
    status = (process / "status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def files(process):
    return len(list((process / "fd").iterdir()))


def ask(number):
    """One request. Returns what came of it."""
    kind = number % 20
    body = {"messages": [{"role": "user", "content": f"Say {number}."}], "max_tokens": 4, "temperature": 0.8, "seed": number}
    if kind == LEAVES:
        body.update(stream=True, max_tokens=64)
    if kind == BAD:
        body["messages"] = []
    if kind == HELD:
        body.update(max_tokens=24, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}})
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=600)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        if kind == LEAVES and answer.status == 200:
            answer.read(20)
            return "left"
        answer.read()
        return {(BAD, 400): "refused"}.get((kind, answer.status), "answered" if answer.status == 200 else answer.status)
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def main():
    process, begin = server(), time.time()
    numbers, came, lock, memory = queue.Queue(), collections.Counter(), threading.Lock(), []
    files_before = files(process)
    for number in range(REQUESTS):
        numbers.put(number)

    def work():
        while True:
            try:
                number = numbers.get_nowait()
            except queue.Empty:
                return
            what = ask(number)
            with lock:
                came[what] += 1
                done = came.total()
                if done % max(REQUESTS // 10, 1) == 0:
                    memory.append(memory_mib(process))
                    print(f"{done} requests, {time.time() - begin:.0f} s, {memory[-1]:.1f} MiB, {files(process)} files", flush=True)

    threads = [threading.Thread(target=work) for _ in range(AT_A_TIME)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(dict(came))
    odd = set(came) - {"answered", "refused", "left"}
    assert not odd, f"these were not expected: {odd}"
    assert came["left"] == came["refused"] == REQUESTS // 20, "every twentieth request leaves, and one is refused"
    assert REQUESTS < 1000 or memory[-1] <= 1.02 * memory[0], f"memory grew from {memory[0]:.1f} to {memory[-1]:.1f} MiB"
    deadline = time.time() + 30  # connections that were left are closed when the server notices
    while files(process) > files_before and time.time() < deadline:
        time.sleep(0.5)
    assert files(process) <= files_before, f"{files_before} files were open before, {files(process)} are now"


main()
