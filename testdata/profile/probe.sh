# What a step sees, in a form that is the same on every machine. Runs in a busybox image with perl in it.
section() { echo "== $1"; }
section process
grep -E '^(Cap|NoNewPrivs|Seccomp|Seccomp_filters|Groups)' /proc/self/status | tr -s '\t ' ' '
echo "uid $(id -u) gid $(id -g) groups $(id -G)"
echo "umask $(umask) cwd $(pwd) hostname $(hostname)"
env | grep -v -E '^(_|SHLVL|OLDPWD|PWD)=' | sort
section "user namespace"
tr -s ' ' < /proc/self/uid_map
tr -s ' ' < /proc/self/gid_map
section namespaces
for name in cgroup ipc mnt net pid user uts; do echo "$name $(readlink /proc/self/ns/$name)"; done
section cgroup
# A control group of its own looks like the root; v1 shows names of the machine.
grep '^0::' /proc/self/cgroup
section limits
echo "open files $(ulimit -Sn) core $(ulimit -Sc) $(ulimit -Hc)"
section descriptors
for number in $(seq 0 200); do
  if [ -e /proc/$$/fd/$number ]; then echo "$number $(readlink /proc/$$/fd/$number | sed 's/\[.*//')"; fi
done
section mounts
# Place, options, type, source, options of the file system; what has a number in it differs by machine.
sed -E 's/^[0-9]+ [0-9]+ [0-9]+:[0-9]+ //; s/ - / /; s/,(size|nr_inodes|uid|gid|uuid)=[^, ]*//g; s/,inode64//g; s/,fsync=volatile/,volatile/' /proc/self/mountinfo |
  while read -r root place options type source rest; do
    case $place in
      # Devices are taken from the machine, which may keep them in any file system.
      /dev/full | /dev/null | /dev/random | /dev/tty | /dev/urandom | /dev/zero) echo "$place $options" ;;
      *) echo "$place $root $options $type $source $rest" ;;
    esac
  done | grep -v '^/proc/\|^/sys/' | sort
section "masked"
for path in /proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug \
  /proc/scsi /proc/timer_list /proc/timer_stats /sys/dev/block /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux; do
  if [ -d $path ]; then held=$(ls -A $path | wc -l); else held=$(head -c 1 $path 2>/dev/null | wc -c); fi
  [ "$held" = 0 ] || echo "$path can be read"
done
for path in /sys/devices/system/cpu/*/thermal_throttle; do [ -z "$(ls -A $path 2>/dev/null)" ] || echo "$path can be read"; done
section "written"
for path in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/irq/default_smp_affinity \
  /sys/kernel/mm/transparent_hugepage/enabled /sys/power/state /etc/resolv.conf /etc/hosts /proc/sys/net/ipv4/ip_forward; do
  if [ -e $path ] && (: >> $path) 2>/dev/null; then echo "$path can be opened for writing"; fi
done
find /sys/fs/cgroup -type f 2>/dev/null | while read -r path; do (: >> "$path") 2>/dev/null && echo "$path can be opened for writing"; done
mkdir /sys/fs/cgroup/made 2>/dev/null && echo "a cgroup was made"
section devices
(cd /dev && for name in $(find . | sort); do
  if [ -L $name ]; then echo "$name -> $(readlink $name)"; else echo "$name $(stat -c '%A %t:%T' $name)"; fi
done)
for kind in "c 1 3" "c 1 1" "b 8 0" "c 5 1"; do mknod /node $kind 2>/dev/null && echo "mknod $kind works"; rm -f /node; done
(: < /dev/tty) 2>/dev/null && echo "there is a terminal"
for name in kmsg mem kvm fuse loop-control net/tun; do [ -e /dev/$name ] && echo "/dev/$name is there"; done
cp /bin/busybox /dev/shm/busybox && /dev/shm/busybox true 2>/dev/null && echo "programs run in /dev/shm"
cp /bin/busybox /dev/program 2>/dev/null && /dev/program true 2>/dev/null && echo "programs run in /dev"
rm -f /dev/shm/busybox /dev/program
section "the first process"
for name in exe root cwd environ maps mem; do
  if head -c 1 /proc/1/$name > /dev/null 2>&1 || ls /proc/1/$name/ > /dev/null 2>&1; then echo "/proc/1/$name can be read"; fi
done
section sockets
echo "abstract sockets $(grep -c @ /proc/net/unix)"
section "system calls"
perl /probe.pl
