#!/bin/sh
# Lays out the image: the executable, the libraries that it was linked with, certificates, a user. Nothing else is in it.
# root.sh EXECUTABLE FOLDER
set -eu

executable=$1
root=$2

rm -rf "$root"
mkdir -p "$root/etc"
install -D -m 0755 "$executable" "$root/usr/local/bin/tobiko-facade"
strip "$root/usr/local/bin/tobiko-facade"
# At the paths where the loader looks for them. What looks up host names is part of the C library.
ldd "$executable" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 0755 "$(readlink -f "$library")" "$root$library"
done
install -D -m 0644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
echo "nonroot:x:65532:65532::/nonexistent:/nonexistent" >"$root/etc/passwd"
echo "nonroot:x:65532:" >"$root/etc/group"
