#!/bin/sh
# Install tshark, with which the tests read captures, on Debian or Ubuntu.
#
# Run it as often as you like: where tshark is there, it does nothing and says nothing.
#
#   sh tools/install_tshark.sh
set -eu

fail() {
    echo "install_tshark: $1" >&2
    [ -z "$log" ] || [ ! -s "$log" ] || tail -n 15 "$log" >&2
    exit 1
}

log=
command -v tshark >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || fail "apt-get is not there; install tshark by hand"
[ "$(id -u)" -eq 0 ] || fail "must run as root: sudo sh tools/install_tshark.sh"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Without a terminal: the package asks who may capture, and the tests only read files.
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
$apt update >"$log" 2>&1 || fail "apt-get update failed"
$apt install -y --no-install-recommends tshark >"$log" 2>&1 || fail "apt-get install failed"
command -v tshark >/dev/null 2>&1 || fail "apt-get installed the package, but tshark is not on the PATH"
