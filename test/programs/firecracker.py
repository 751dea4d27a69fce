"""A stand-in for Firecracker, system call by system call where it meets a TAP: it is told by HTTP on a Unix socket, opens /dev/net/tun by the
name of the TAP with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, takes offloads over, and sets headers of 12 bytes (virtio_net_hdr_v1). Its guest
answers ARP and ICMP echo requests.
  python3 firecracker.py --api-sock PATH --id ID
"""
import fcntl
import http.server
import json
import os
import re
import socketserver
import struct
import sys
import threading

# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_UFO = 1, 2, 4, 16
HEADER = 12
NEEDS_CSUM = 1

told = {}


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def answer(frame, mac, address):
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == address:
        return frame[6:12] + mac + kind + frame[14:20] + b"\0\2" + mac + address + frame[22:32]
    if kind == b"\x08\x00" and frame[23] == 1 and frame[34] == 8 and frame[30:34] == address:
        echo = b"\0\0\0\0" + frame[38:]
        echo = echo[:2] + struct.pack(">H", checksum(echo)) + echo[4:]
        return frame[6:12] + mac + frame[12:26] + address + frame[26:30] + echo
    return None


def run(name, mac, address):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_UFO | TUN_F_TSO4 | TUN_F_TSO6)
    fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", HEADER))

    def guest():
        while True:
            frame = os.read(tap, 1 << 17)
            reply = answer(frame[HEADER:], mac, address)
            if reply is not None:
                os.write(tap, bytes(HEADER) + reply)

    threading.Thread(target=guest, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or self.chunks())
        told[self.path] = body
        status = 204
        try:
            if self.path == "/actions":
                card = told["/network-interfaces/eth0"]
                address = re.search(r"\bip=([\d.]+):", told["/boot-source"]["boot_args"])[1]
                run(card["host_dev_name"], bytes.fromhex(card["guest_mac"].replace(":", "")), bytes(map(int, address.split("."))))
        except OSError as error:
            print(error, file=sys.stderr)
            status = 400
        self.send_response(status)
        self.end_headers()

    def chunks(self):
        """Of a body that comes in parts."""
        parts = b""
        while size := int(self.rfile.readline(), 16):
            parts += self.rfile.read(size)
            self.rfile.readline()
        return parts

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(sys.argv[sys.argv.index("--api-sock") + 1], Handler).serve_forever()
