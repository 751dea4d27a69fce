// Go's github.com/vishvananda/netlink, by the commands that the floor knows: see bench/floor/floor.c.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

const changes = 100

var handle *netlink.Handle

func main() {
	runtime.LockOSThread()
	handle = newHandle()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer(strings.Fields(lines.Text()))
	}
}

func newHandle() *netlink.Handle {
	made, err := netlink.NewHandle()
	expect(err)
	return made
}

func expect(err error) {
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func number(word string) int {
	value, err := strconv.Atoi(word)
	expect(err)
	return value
}

func answer(words []string) {
	switch words[0] {
	case "enter":
		enter(words[1])
		fmt.Println()
	case "getlink":
		repeat(words, func(link netlink.Link, _ int) {
			_, err := handle.LinkByIndex(link.Attrs().Index)
			expect(err)
		})
	case "updown":
		repeat(words, func(link netlink.Link, _ int) {
			expect(handle.LinkSetUp(link))
			expect(handle.LinkSetDown(link))
		})
	case "address":
		address, err := netlink.ParseAddr("10.99.0.1/24")
		expect(err)
		repeat(words, func(link netlink.Link, _ int) {
			expect(handle.AddrAdd(link, address))
			expect(handle.AddrDel(link, address))
		})
	case "mac":
		repeat(words, func(link netlink.Link, n int) {
			expect(handle.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0, 0, 0, 1, byte(n & 1)}))
		})
	case "change":
		repeat(words, func(link netlink.Link, _ int) {
			for i := 0; i < changes; i++ {
				expect(handle.LinkSetTxQLen(link, 1000+i&1))
			}
		})
	case "tap":
		devices(words, func(attributes netlink.LinkAttrs) netlink.Link {
			return &netlink.Tuntap{LinkAttrs: attributes, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI}
		})
	case "veth":
		devices(words, func(attributes netlink.LinkAttrs) netlink.Link {
			return &netlink.Veth{LinkAttrs: attributes, PeerName: attributes.Name + "p"}
		})
	case "bridge":
		devices(words, func(attributes netlink.LinkAttrs) netlink.Link { return &netlink.Bridge{LinkAttrs: attributes} })
	case "pod":
		fmt.Println(since(pod).Nanoseconds())
	case "routes":
		dump(func() (int, error) {
			filter := &netlink.Route{Table: 254}
			found, err := handle.RouteListFiltered(netlink.FAMILY_V4, filter, netlink.RT_FILTER_TABLE)
			return len(found), err
		})
	case "neighbors":
		dump(func() (int, error) {
			found, err := handle.NeighList(0, netlink.FAMILY_V4)
			return len(found), err
		})
	case "links":
		dump(func() (int, error) {
			found, err := handle.LinkList()
			return len(found), err
		})
	default:
		fmt.Println("error no such command")
	}
}

func enter(path string) {
	namespace, err := netns.GetFromPath(path)
	expect(err)
	expect(netns.Set(namespace))
	expect(namespace.Close())
	handle.Delete()
	handle = newHandle()
}

func since(run func()) time.Duration {
	start := time.Now()
	run()
	return time.Since(start)
}

func median(samples []time.Duration) int64 {
	sort.Slice(samples, func(i, j int) bool { return samples[i] < samples[j] })
	return samples[len(samples)/2].Nanoseconds()
}

func repeat(words []string, run func(link netlink.Link, n int)) {
	link, err := handle.LinkByIndex(number(words[1]))
	expect(err)
	samples := make([]time.Duration, number(words[2]))
	for i := range samples {
		samples[i] = since(func() { run(link, i) })
	}
	fmt.Println(median(samples))
}

func devices(words []string, device func(attributes netlink.LinkAttrs) netlink.Link) {
	created := make([]time.Duration, number(words[1]))
	deleted := make([]time.Duration, len(created))
	for i := range created {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = fmt.Sprintf("go%d", i)
		created[i] = since(func() { expect(handle.LinkAdd(device(attributes))) })
	}
	for i := range deleted {
		link, err := handle.LinkByName(fmt.Sprintf("go%d", i))
		expect(err)
		deleted[i] = since(func() { expect(handle.LinkDel(link)) })
	}
	fmt.Println(median(created), median(deleted))
}

func dump(list func() (int, error)) {
	count := 0
	taken := since(func() {
		found, err := list()
		expect(err)
		count = found
	})
	fmt.Println(taken.Nanoseconds(), count)
}

// What bench/floor/devices.c does for a pod.
func pod() {
	eth0, err := handle.LinkByName("eth0")
	expect(err)
	addresses, err := handle.AddrList(eth0, netlink.FAMILY_ALL)
	expect(err)
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		_, err = handle.RouteList(nil, family)
		expect(err)
		_, err = handle.RuleList(family)
		expect(err)
	}
	_, err = handle.NeighList(eth0.Attrs().Index, netlink.FAMILY_ALL)
	expect(err)

	attributes := netlink.NewLinkAttrs()
	attributes.Name = "tap100"
	tap := &netlink.Tuntap{LinkAttrs: attributes, Mode: netlink.TUNTAP_MODE_TAP, Flags: netlink.TUNTAP_NO_PI}
	expect(handle.LinkAdd(tap))
	for _, address := range addresses {
		if address.IP.To4() != nil {
			expect(handle.AddrDel(eth0, &address))
		}
	}
	attributes.Name = "br0"
	bridge := &netlink.Bridge{LinkAttrs: attributes}
	expect(handle.LinkAdd(bridge))
	for _, port := range []netlink.Link{eth0, tap} {
		expect(handle.LinkSetMaster(port, bridge))
		expect(handle.LinkSetUp(port))
	}
	expect(handle.LinkSetUp(bridge))
	expect(handle.LinkSetHardwareAddr(eth0, net.HardwareAddr{2, 0, 0, 0, 2, 1}))
}
