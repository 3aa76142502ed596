#!/bin/bash
# Collects the files of the image that all of Kubernetes' own pods run: the one binary under the names of its
# parts, and the programs for iptables with the libraries they need, which kube-proxy and pod-network call.
#   component-root.sh NODE_ROOT COMPONENT_ROOT
set -euo pipefail
from=$1 to=$2
mkdir -p "$to"/{usr/local/bin,usr/sbin,usr/bin,etc,run,tmp,lib/modules}
ln "$from/usr/bin/kubernetes" "$to/usr/local/bin/kubernetes" 2>/dev/null || cp "$from/usr/bin/kubernetes" "$to/usr/local/bin/kubernetes"
for part in kube-apiserver kube-controller-manager kube-scheduler kube-proxy pod-network; do
  ln -s kubernetes "$to/usr/local/bin/$part"
done
with_libraries() { # a program or library and what it is linked with, at the same paths
  install -D -m 755 "$from/$1" "$to/$1"
  # "libc.so.6 => /lib/…/libc.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"
  for library in $(chroot "$from" ldd "/$1" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    [ -e "$to$library" ] || install -D -m 755 "$(realpath "$from")$(chroot "$from" realpath "$library")" "$to$library"
  done
}
for program in usr/sbin/xtables-nft-multi usr/sbin/nft; do with_libraries $program; done
# What matches and targets need is loaded by name at run time: ldd does not see it from the programs.
for extension in "$from"/usr/lib/*-linux-gnu/xtables/*.so; do
  name=${extension#"$from/"}
  with_libraries "$name"
done
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -s xtables-nft-multi "$to/usr/sbin/$name"
done
