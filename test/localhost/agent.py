# Sockets inside a namespace, for the tests: a line of JSON with what to do, a line of JSON with what came of it. Ends with its input.
import json, os, socket, struct, sys, threading, time

lock = threading.Lock()


def say(answer):
    with lock:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def make(protocol, bind=None, timeout=None, wide=False):
    s = socket.socket(socket.AF_INET6 if wide else socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if bind:
        s.bind(tuple(bind))
    s.settimeout(timeout)
    return s


def answer(prefix, data, size):
    # What was asked comes back behind the server's name, at a size of its own where one is wanted.
    text = prefix.encode() + data
    return text.ljust(size, b"x") if size else text


class Server:
    """Echoes; keeps who asked."""

    def __init__(self, protocol, address, port, prefix="", size=0):
        self.seen = []
        self.s = make(protocol, (address, port), wide=":" in address)
        self.protocol, self.prefix, self.size = protocol, prefix, size
        if protocol == "tcp":
            self.s.listen(512)
        threading.Thread(target=self.accept if protocol == "tcp" else self.datagrams, daemon=True).start()

    def datagrams(self):
        while True:
            try:
                data, who = self.s.recvfrom(65535)
            except OSError:
                return
            self.seen.append(list(who))
            try:
                self.s.sendto(answer(self.prefix, data, self.size), who)
            except OSError:
                pass

    def accept(self):
        while True:
            try:
                c, who = self.s.accept()
            except OSError:
                return
            self.seen.append(list(who))
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        prefix = self.prefix
        try:
            while True:
                data = c.recv(65536)
                if not data:
                    break
                c.sendall(answer(prefix, data, self.size))
                prefix = ""
        except OSError:
            pass
        c.close()


servers = []
held = {}


def read(s, size):
    data = b""
    while len(data) < size:
        more = s.recv(65536)
        if not more:
            break
        data += more
    return data


def ask(protocol, to, text="hello", source=None, timeout=2, expect=None, size=0, hold=None, again=None, connected=True):
    """One exchange. `size`: so many bytes are sent; `expect`: so many are read. `hold`: stays open under that name; `again`: on one that was."""
    started = time.monotonic()
    s = None
    try:
        s = held[again] if again else make(protocol, source, timeout, ":" in to[0])
        s.settimeout(timeout)
        data = text.encode().ljust(size, b"y")
        if protocol == "tcp":
            if not again:
                s.connect(tuple(to))
            # Beside reading, because both sides' buffers fill.
            sending = threading.Thread(target=s.sendall, args=(data,), daemon=True)
            sending.start()
            got = read(s, expect or 1)
            sending.join()
        elif connected:
            if not again:
                s.connect(tuple(to))
            s.send(data)
            got = s.recv(65535)
        else:
            s.sendto(data, tuple(to))
            got = s.recvfrom(65535)[0]
        local = s.getsockname()
        if hold:
            held[hold] = s
            s = None
        elif again:
            s = None
        return {"text": got[:64].decode("latin1").rstrip("xy"), "length": len(got), "port": local[1], "whole": got.endswith(data)}
    except OSError as error:
        return {"error": type(error).__name__, "took": time.monotonic() - started}
    finally:
        if s is not None:
            s.close()


def many(protocol, to, first, count, name, rounds=1, timeout=3, tries=1):
    """From equal source ports: each answer must be one's own."""
    crossed = lost = exchanged = 0
    for port in range(first, first + count):
        for turn in range(rounds):
            text = "%s %d %d" % (name, port, turn)
            got = {}
            for _ in range(tries):
                got = ask(protocol, to, text, ["0.0.0.0", port], timeout, expect=len(text))
                if "error" not in got:
                    break
            exchanged += 1
            if "error" in got:
                lost += 1
            elif got["text"] != text:
                crossed += 1
    return {"exchanged": exchanged, "crossed": crossed, "lost": lost}


def echo(to, id, count=1, timeout=3):
    """ICMP echo under an id: how many of the answers were one's own."""
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    s.connect((to, 0))
    received = 0
    for sequence in range(count):
        text = os.urandom(16)
        message = struct.pack("!BBHHH", 8, 0, 0, id, sequence) + text
        total = sum(struct.unpack("!12H", message))
        total = (total & 0xFFFF) + (total >> 16)
        s.send(message[:2] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + message[4:])
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            s.settimeout(max(0.001, end - time.monotonic()))
            try:
                got = s.recv(65535)
            except OSError:
                break
            if got[20] == 0 and got[28:] == text and got[24:26] == struct.pack("!H", id):
                received += 1
                break
    s.close()
    return {"received": received}


def run(order):
    what = order.pop("do")
    if what == "serve":
        servers.append(Server(**order))
        return {}
    if what == "seen":
        return {"seen": [who for server in servers for who in server.seen]}
    if what == "close":
        s = held.pop(order["name"], None)
        if s:
            s.close()
        return {}
    if what == "ask":
        return ask(**order)
    if what == "echo":
        return echo(**order)
    if what == "many":
        return many(**order)
    raise ValueError(what)


def work(order):
    number = order.pop("number")
    try:
        say({"number": number, **run(order)})
    except Exception as error:
        say({"number": number, "failed": repr(error)})


for line in sys.stdin:
    threading.Thread(target=work, args=(json.loads(line),), daemon=True).start()
