#!/bin/sh
# Makes the root of the base image in /base out of Debian packages: what Node and ONNX Runtime load, certificates,
# time zones; no shell, no package manager. Every file gets the time SOURCE_DATE_EPOCH.
set -eu
: "${SOURCE_DATE_EPOCH:?}"
packages='base-files ca-certificates gcc-12-base libatomic1 libc6 libgcc-s1 libstdc++6 netbase tzdata'
lists=$(mktemp -d)
cd "$lists"
apt-get update -q
# shellcheck disable=SC2086
apt-get -o APT::Sandbox::User=root download -q $packages

mkdir -p /base/var/lib/dpkg/status.d
for package in *.deb; do
	dpkg-deb -x "$package" /base
	# Scanners of images look here for what an image without a package manager is made of.
	dpkg-deb -f "$package" >"/base/var/lib/dpkg/status.d/$(dpkg-deb -f "$package" Package)"
done

cd /base
# What no program in the images reads. Copyright files stay.
find usr/share/doc -type f ! -name copyright -delete
rm -rf usr/lib/*/gconv usr/share/zoneinfo/posix usr/share/zoneinfo/right usr/share/gcc usr/share/gdb \
	usr/share/lintian usr/share/man usr/share/locale usr/sbin usr/bin sbin bin etc/update-motd.d etc/cron* \
	usr/share/base-files usr/share/common-licenses/GFDL* boot home media mnt opt srv var/cache var/backups

mkdir -p etc/ssl/certs home/nonroot tmp
find usr/share/ca-certificates -name '*.crt' | sort | xargs cat >etc/ssl/certs/ca-certificates.crt
cat >etc/passwd <<'END'
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin
END
cat >etc/group <<'END'
root:x:0:
nobody:x:65534:
nonroot:x:65532:
END
echo 'hosts: files dns' >etc/nsswitch.conf
chmod 0700 home/nonroot && chown 65532:65532 home/nonroot
chmod 1777 tmp
find . -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
