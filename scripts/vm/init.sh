#!/bin/busybox sh
# First program of the virtual machine of test:kernels: the host's files, which stay as they are, with room above them for what is written.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod $module; done
mkdir -p /lower /upper /new
options=trans=virtio,version=9p2000.L,msize=1048576
mount -t 9p -o $options,ro,cache=loose root /lower || exec sh
mount -t tmpfs tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new || exec sh
for word in $(cat /proc/cmdline); do
  case $word in
    vm.root=*) root=${word#*=} ;;
    vm.modules=*) modules=${word#*=} ;;
    vm.node=*) node=${word#*=} ;;
    vm.jobs=*) jobs=${word#*=} ;;
  esac
done
release=$(uname -r)
mkdir -p /new/lib/modules/$release
mount --bind /new/$modules /new/lib/modules/$release
for place in /tmp /run /mnt; do mount -t tmpfs -o mode=1777 tmpfs /new$place; done
mount -t 9p -o $options results /new/mnt
# What is opened often, in memory.
mount -t tmpfs tmpfs /new$root
tar -xf /new/mnt/project.tar -C /new$root
for place in proc sys dev; do mount --move /$place /new/$place; done
mkdir -p /new/dev/shm /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t devpts devpts /new/dev/pts
exec switch_root /new /bin/sh $root/scripts/vm/run.sh $root $node $jobs
