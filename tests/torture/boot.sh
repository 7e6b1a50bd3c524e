#!/bin/bash
# Boots a real systemd as PID 1 of fresh namespaces, on an overlay of this machine's root file system.
#
# Runs inside `unshare --pid --fork --mount --uts --ipc --cgroup`: every mount and process ends with PID 1.
# In: STAGE (a directory whose content is laid over the root), BASE (an empty directory), PYTHON (prefix of the
# interpreter), SITE (its packages), SOURCE (what is tested).
set -eu
root=$BASE/root
mount --make-rprivate /
mount -t tmpfs tmpfs "$BASE"
mkdir "$BASE/upper" "$BASE/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$root"

mkdir -p "$root"/opt/{python,site,source}
mount --bind "$PYTHON" "$root/opt/python"
mount --bind "$SITE" "$root/opt/site"
mount --bind "$SOURCE" "$root/opt/source"
rm -rf "$root"/etc/systemd/system/*.wants "$root/etc/fstab"
cp -r --no-preserve=ownership "$STAGE/." "$root/"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
# Device nodes of its own: systemd changes the mode of /dev/console, and the machine's must stay as it is.
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
node() { mknod -m 666 "$root/dev/$1" c "$2" "$3"; }
node null 1 3; node zero 1 5; node full 1 7; node random 1 8; node urandom 1 9; node tty 5 0; node console 1 3
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

chroot "$root" systemd-sysusers ingestd.conf
chroot "$root" systemd-tmpfiles --create ingestd.conf

cd "$root"
mkdir -p oldroot
pivot_root . oldroot
umount -l /oldroot
mount --make-rshared / # credentials are passed on as a mount
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
	/lib/systemd/systemd --system --unit=torture.target --log-target=console --show-status=0
