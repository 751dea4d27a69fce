#!/bin/sh
# In the virtual machine of test:kernels, on the host's files: runs the test files that /mnt/files names, some at a time. What each says
# is in /mnt, by its number; the console has a line for each that has ended.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 CI=true
export TAP_TIMEOUT=1800 # seconds: everything here is ten times slower
cd "$1" || exit 1
# Only in this copy.
find dist/test -name '*.js' -exec sed -i 's/^\( *\)t\.setTimeout(/\1t.setTimeout(10 * /' {} +
sed -i 's/timeout = 20_000/timeout = 200_000/; s/milliseconds = 5000/milliseconds = 50_000/' dist/test/support/inside.js
modprobe tun
ip link set lo up
export node=$2
cat -n /mnt/files | xargs -P "$3" -L 1 sh -c '
  started=$(date +%s)
  # Written here first: the other end of a file on 9p would see each line by itself.
  timeout --signal=KILL 1800 "$node" --conditions=podtap-source --require ./test/support/netns.cjs "$2" > "/tmp/$1.tap" 2> "/tmp/$1.err" < /dev/null
  status=$?
  cp "/tmp/$1.tap" "/tmp/$1.err" /mnt
  echo "<<$1 $status $(($(date +%s) - started))>>"
' file
dmesg | grep -E 'BUG|WARNING|Oops|Call Trace|RIP:' > /mnt/dmesg
sync
echo '<<end>>'
echo o > /proc/sysrq-trigger
sleep 60
