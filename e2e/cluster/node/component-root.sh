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
# The lower-case libxt_, libipt_ and libip6t_ extensions are loaded by name at run time: ldd does not see them.
extensions=usr/lib/x86_64-linux-gnu/xtables
[ -d "$from/$extensions" ] || extensions=$(cd "$from" && echo usr/lib/*-linux-gnu/xtables)
mkdir -p "$to/$extensions"
cp -a "$from/$extensions/." "$to/$extensions/"
programs=(usr/sbin/xtables-nft-multi usr/sbin/nft usr/sbin/conntrack)
# The extensions want libraries of their own: without libm there is no `statistic`, and no Service of two endpoints.
modules=$(cd "$from" && ls "$extensions"/*.so)
for program in "${programs[@]}" $modules; do
  install -D -m 755 "$from/$program" "$to/$program"
  # "libc.so.6 => /lib/…/libc.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)"
  for library in $(chroot "$from" ldd "/$program" | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
    install -D -m 755 "$from/$(realpath -m --relative-to=/ "$library")" "$to$library"
  done
done
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -s xtables-nft-multi "$to/usr/sbin/$name"
done
