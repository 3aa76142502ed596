#!/bin/bash
# Makes a kind node out of a Debian root file system: the steps of the Dockerfile of kind's own base image, with
# kind's own files from its Go module, and what machines with fewer rights need on top.
#   prepare-root.sh ROOT KIND_BASE_FILES KUBERNETES_BINARY KUBERNETES_VERSION
set -euo pipefail
root=$1 base=$2 kubernetes=$3 version=$4
here=$(cd "$(dirname "$0")" && pwd)

# kind's files. They come from a read-only module cache, so their modes say nothing.
mkdir -p "$root"/{kind/manifests,LICENSES,usr/local/{bin,sbin},opt/cni/bin,etc/{cni/net.d,kubernetes/manifests,containerd}}
for part in etc kind LICENSES usr; do cp -rT --no-preserve=mode "$base/$part" "$root/$part"; done
chmod 755 "$root"/usr/local/bin/* "$root"/kind "$root"/kind/bin "$root"/kind/bin/*

# Services that make no sense in a container.
units=$root/lib/systemd/system
rm -f "$units"/sysinit.target.wants/systemd-tmpfiles-setup.service "$units"/multi-user.target.wants/* \
  "$root"/etc/systemd/system/*.wants/* "$units"/local-fs.target.wants/* \
  "$units"/sockets.target.wants/*{udev,initctl}* "$units"/basic.target.wants/*
echo ReadKMsg=no >> "$root/etc/systemd/journald.conf"
ln -sf /usr/lib/systemd/systemd "$root/sbin/init"

# kind expects these where its own builds lie.
for program in containerd ctr containerd-shim-runc-v2; do ln -sf /usr/bin/$program "$root/usr/local/bin/$program"; done
ln -sf /usr/sbin/runc "$root/usr/local/sbin/runc"
for plugin in bridge host-local loopback portmap; do ln -f "$root/usr/lib/cni/$plugin" "$root/opt/cni/bin/$plugin"; done

# What root may not do on some machines: protect itself from the out-of-memory killer.
sed -i '/OOMScoreAdjust/d' "$root"/etc/systemd/system/*.service
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
grep -q 'restrict_oom_score_adj = true' "$root/etc/containerd/config.toml"

# One binary, called by the names of its parts.
install -m 755 "$kubernetes" "$root/usr/bin/kubernetes"
for part in kubelet kubeadm kubectl; do ln -sf kubernetes "$root/usr/bin/$part"; done
echo "$version" > "$root/kind/version"
cp "$here/pod-network.yaml" "$root/kind/manifests/default-cni.yaml"

chroot "$root" systemctl enable kubelet.service containerd.service undo-mount-hacks.service
chroot "$root" systemctl mask systemd-binfmt.service
chroot "$root" ctr oci spec |
  jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
    > "$root/etc/containerd/cri-base.json"
