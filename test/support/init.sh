#!/bin/busybox sh
# The first program of a guest: what dracut does with its parameters (ifup.sh, do_static), in the words of busybox.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
/bin/busybox --install -s /bin
for module in /*.ko; do insmod $module; done
ip link set lo up
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad # a second less
# Fields are separated by ':', but for those in brackets.
next() {
  case $rest in
    \[*) field=${rest#\[}; field=${field%%\]*}; rest=${rest#*\]}; rest=${rest#:} ;;
    *:*) field=${rest%%:*}; rest=${rest#*:} ;;
    *) field=$rest; rest= ;;
  esac
}
configure() {
  rest=$1
  next; client=$field; next; peer=$field; next; gateway=$field; next; length=$field
  next; host=$field; next; device=$field; next; next; mtu=$field
  [ -z "$host" ] || hostname "$host"
  echo 0 > /proc/sys/net/ipv6/conf/$device/accept_dad
  ip link set $device mtu $mtu
  ip link set $device up
  if [ -n "$peer" ]; then ip address add $client peer $peer dev $device; else ip address add $client/$length dev $device; fi
  [ -z "$gateway" ] || ip route add default via $gateway dev $device
}
route() {
  rest=$1
  next; destination=$field; next; via=$field; next
  ip route add $destination ${via:+via} $via dev $field
}
for word in $(cat /proc/cmdline); do
  case $word in
    ip=*) configure "${word#ip=}" ;;
    rd.route=*) route "${word#rd.route=}" ;;
    nameserver=*) echo "nameserver ${word#nameserver=}" >> /resolv.conf ;;
    far=*) far=${word#far=} ;;
  esac
done
[ -z "$gateway" ] || ip route replace default via $gateway dev $device # once more: a route may have been needed to reach it
echo "name $(hostname)"; [ -z "$device" ] || ip address show dev $device; ip route; ip -6 route; cat /resolv.conf
for address in $(echo $far | tr , ' '); do
  ping -c 1 -w 3 $address > /dev/null && echo "reached $address"
done
stty -echo
echo "that is all"
# What comes on the console, if there is somebody: a command a line, and after what it says, how it ended.
while read -r line; do
  eval "$line"
  echo "<<ended $?>>"
done
sleep 60
poweroff -f
