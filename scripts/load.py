"""Load for a server: many good requests, or good and bad ones; what came back, how long it took, and the server's memory."""
import http.client
import json
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter

TIMEOUT = 60


class Server:
    """A server's process, to be used with `with`, which ends it. With `address` None it prints where it listens, as
    classify serve does."""

    def __init__(self, *arguments, address=None):
        self.arguments, self.address = [str(argument) for argument in arguments], address

    def __enter__(self):
        """Starts the server and waits until it answers."""
        output = subprocess.DEVNULL if self.address else subprocess.PIPE
        self.process = subprocess.Popen(self.arguments, stdout=output, text=True)
        try:
            self.wait_for_answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def wait_for_answer(self):
        """Ends the program if the server does not answer."""
        if not self.address:
            self.address = self.process.stdout.readline().strip().rsplit("http://", 1)[-1].rstrip("/")
        for _ in range(600):
            try:
                if request(self.address, "GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        sys.exit(f"error: {' '.join(self.arguments)}: does not answer")

    def peak_memory(self):
        """In MB."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024

    def stop(self):
        """Its exit code and the seconds that it took to end."""
        start = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=TIMEOUT), time.perf_counter() - start


def request(address, method, path, body=None, headers={}, connection=None):
    """Sends a request, on a connection of its own if none is given; status and body of the response."""
    used = connection or http.client.HTTPConnection(address, timeout=TIMEOUT)
    used.request(method, path, body, headers)
    response = used.getresponse()
    found = response.status, response.read()
    if not connection:
        used.close()
    return found


def percentile(values, percent):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def in_parallel(count, concurrency, work):
    """Calls work(number, thread's own state) for each number; returns the results in no order, and the seconds."""
    numbers, results, lock = iter(range(count)), [], threading.Lock()

    def client():
        state = {}
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            found = work(number, state)
            with lock:
                results.append(found)

    start = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, time.perf_counter() - start


def load(address, photos, count, concurrency, timeout):
    """Sends photos on connections that are kept: requests a second, the latencies, and how many failed or took too long."""

    def send(number, state):
        connection = state.setdefault("connection", http.client.HTTPConnection(address, timeout=timeout))
        start = time.perf_counter()
        try:
            headers = {"content-type": "image/jpeg"}
            status, _ = request(address, "POST", "/predict", photos[number % len(photos)], headers, connection)
        except Exception:
            status = 0
            state.pop("connection").close()
        return status, time.perf_counter() - start

    results, seconds = in_parallel(count, concurrency, send)
    latencies = [latency for status, latency in results if status == 200]
    return count / seconds, latencies, count - len(latencies)


def png(width, height):
    """A PNG whose header has this size, with the data of a single row."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 + 3 * width))) + chunk(b"IEND", b"")


def send_slowly(address, headers, body, pause):
    """Sends the headers and then the body, 20 bytes every `pause` seconds; with None only half of the body. The status."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as stream:
        stream.sendall(headers)
        if pause is None:
            stream.sendall(body[: len(body) // 2])
            stream.shutdown(socket.SHUT_WR)
        else:
            # Never silent for long, and never done in time.
            for k in range(0, 2000, 20):
                try:
                    stream.sendall(body[k : k + 20])
                except OSError:
                    break
                time.sleep(pause)
        answer = b""
        while part := stream.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1])


def bad(kind, address, photo):
    """Sends a bad request of the kind; its status, and the one that it should have."""

    def predict(body, content_type="image/jpeg"):
        return request(address, "POST", "/predict", body, {"content-type": content_type})[0]

    headers = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(photo)}\r\n\r\n".encode()
    match kind:
        case "empty":
            return predict(b""), 422
        case "truncated":
            return predict(photo[: len(photo) // 2]), 422
        case "bomb":
            return predict(png(10_000, 10_000), "image/png"), 413
        case "content type":
            return predict(photo, "text/plain"), 415
        case "half sent":
            return send_slowly(address, headers, photo, None), 400
        case "slow":
            return send_slowly(address, headers, photo, 0.5), 408
        case "a pixel":
            return predict(png(1, 1), "image/png"), 200


KINDS = ["empty", "truncated", "bomb", "content type", "half sent", "slow", "a pixel"]


def soak(server, photos, answers, count, concurrency):
    """One request in ten is bad. Prints what came back and what /health took meanwhile; the problems that were found."""
    # Slow clients take 20 seconds each: a few of them are there all the time, and most bad requests are others.
    draw = random.Random(0)
    kinds = [draw.choices(KINDS, [6, 6, 6, 6, 6, 1, 6])[0] if draw.random() < 0.1 else None for _ in range(count)]
    problems, health, done = Counter(), [], threading.Event()

    def watch():
        while not done.wait(0.02):
            start = time.perf_counter()
            try:
                status = request(server.address, "GET", "/health")[0]
            except Exception:
                status = 0
            health.append(time.perf_counter() - start)
            if status != 200:
                problems[f"/health: {status}"] += 1

    def send(number, state):
        kind, which = kinds[number], number % len(photos)
        try:
            if kind:
                status, expected = bad(kind, server.address, photos[which])
                if status != expected:
                    problems[f"{kind}: {status}, not {expected}"] += 1
            else:
                connection = state.setdefault("connection", http.client.HTTPConnection(server.address, timeout=TIMEOUT))
                headers = {"content-type": "image/jpeg"}
                status, body = request(server.address, "POST", "/predict", photos[which], headers, connection)
                if status != 200 or json.loads(body) != answers[which]:
                    problems[f"photo: {status}, or another answer"] += 1
        except Exception as error:
            # An answer that is missing or cut off is no OSError.
            problems[f"{kind or 'photo'}: {error!r}"] += 1
            state.pop("connection", None)
        return kind

    watcher = threading.Thread(target=watch)
    watcher.start()
    sent, seconds = in_parallel(count, concurrency, send)
    done.set()
    watcher.join()
    bad_count = sum(kind is not None for kind in sent)
    print(f"\n{count} requests, {concurrency} at a time, {bad_count} of them bad: {seconds:.0f} s")
    print(f"/health: p50 {1e3 * percentile(health, 50):.1f} ms, p99 {1e3 * percentile(health, 99):.1f} ms, "
          f"at most {1e3 * max(health):.1f} ms, of {len(health)}")
    return problems, percentile(health, 99), max(health)


def fill(server):
    """Sends more pictures at once than the queue and the budget of bodies hold; counts of the statuses that came back."""
    # A picture of 5 megapixels in 15 MB, and many small ones.
    width, height = 5000, 1000
    large = b"BM" + struct.pack("<IIIIIIHHIIIIII", 54 + 3 * width * height, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    large += bytes(3 * width * height)
    small = png(1, 1)

    def send(number, state):
        body = large if number % 8 == 0 else small
        try:
            return request(server.address, "POST", "/predict", body, {"content-type": "image/bmp"})[0]
        except Exception as error:
            return repr(error)

    return Counter(in_parallel(1000, 200, send)[0])
