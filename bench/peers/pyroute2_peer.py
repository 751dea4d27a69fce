"""Python's pyroute2, by the commands that the floor knows: see bench/floor/floor.c."""

import socket
import sys
from statistics import median
from time import perf_counter_ns

from pyroute2 import IPRoute
from pyroute2.netns import setns

CHANGES = 100
ip = IPRoute()


def enter(path):
    global ip
    ip.close()
    setns(path)
    ip = IPRoute()


def timed(run):
    start = perf_counter_ns()
    run()
    return perf_counter_ns() - start


def repeat(ifindex, count, run):
    return [median(timed(lambda: run(int(ifindex), n)) for n in range(int(count)))]


def getlink(index, _):
    ip.get_links(index)


def updown(index, _):
    ip.link("set", index=index, state="up")
    ip.link("set", index=index, state="down")


def address(index, _):
    ip.addr("add", index=index, address="10.99.0.1", prefixlen=24)
    ip.addr("delete", index=index, address="10.99.0.1", prefixlen=24)


def mac(index, n):
    ip.link("set", index=index, address=f"02:00:00:00:01:{n & 1:02x}")


def change(index, _):
    for n in range(CHANGES):
        ip.link("set", index=index, txqlen=1000 + (n & 1))


def devices(count, **kind):
    names = [f"py{n}" for n in range(int(count))]

    def add(name):
        peer = {"peer": name + "p"} if kind["kind"] == "veth" else {}
        ip.link("add", ifname=name, **kind, **peer)

    created = [timed(lambda: add(name)) for name in names]
    indexes = [ip.link_lookup(ifname=name)[0] for name in names]
    deleted = [timed(lambda: ip.link("delete", index=index)) for index in indexes]
    return [median(created), median(deleted)]


def dump(run):
    found = []
    taken = timed(lambda: found.extend(run()))
    return [taken, len(found)]


def plumb():
    """What bench/floor/devices.c does for a pod."""
    eth0 = ip.link_lookup(ifname="eth0")[0]
    addresses = ip.get_addr(index=eth0)
    for family in socket.AF_INET, socket.AF_INET6:
        ip.get_routes(family=family)
        ip.get_rules(family=family)
    ip.get_neighbours(ifindex=eth0)
    ip.link("add", ifname="tap100", kind="tuntap", mode="tap")
    tap = ip.link_lookup(ifname="tap100")[0]
    for each in addresses:
        if each["family"] == socket.AF_INET:
            ip.addr("delete", index=eth0, address=each.get_attr("IFA_LOCAL"), prefixlen=each["prefixlen"])
    ip.link("add", ifname="br0", kind="bridge")
    bridge = ip.link_lookup(ifname="br0")[0]
    for port in eth0, tap:
        ip.link("set", index=port, master=bridge, state="up")
    ip.link("set", index=bridge, state="up")
    ip.link("set", index=eth0, address="02:00:00:00:02:01")


COMMANDS = {
    "enter": lambda path: enter(path) or [],
    "getlink": lambda *words: repeat(*words, getlink),
    "updown": lambda *words: repeat(*words, updown),
    "address": lambda *words: repeat(*words, address),
    "mac": lambda *words: repeat(*words, mac),
    "change": lambda *words: repeat(*words, change),
    "tap": lambda count: devices(count, kind="tuntap", mode="tap"),
    "veth": lambda count: devices(count, kind="veth"),
    "bridge": lambda count: devices(count, kind="bridge"),
    "pod": lambda: [timed(plumb)],
    "routes": lambda: dump(lambda: ip.get_routes(family=socket.AF_INET, table=254)),
    "neighbors": lambda: dump(lambda: ip.get_neighbours(family=socket.AF_INET)),
    "links": lambda: dump(ip.get_links),
}

for line in sys.stdin:
    name, *words = line.split()
    try:
        print(*(int(value) for value in COMMANDS[name](*words)), flush=True)
    except Exception as error:
        print("error", repr(error), flush=True)
