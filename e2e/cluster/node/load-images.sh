#!/bin/bash
# Runs inside a node container: puts image archives into the node's containerd.
#   load-images.sh ARCHIVE...
set -euo pipefail
containerd > /tmp/containerd.log 2>&1 &
engine=$!
for _ in $(seq 300); do ctr version > /dev/null 2>&1 && break; sleep 0.1; done
ctr version > /dev/null || { cat /tmp/containerd.log; exit 1; }
for archive in "$@"; do ctr --namespace k8s.io images import --no-unpack "$archive"; done
ctr --namespace k8s.io images list --quiet
kill "$engine"
# It ends by the signal, which is its exit status.
wait "$engine" || true
rm -rf /tmp/containerd.log /run/containerd
