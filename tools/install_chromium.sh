#!/bin/sh
# Install Debian's Chromium, for the tests that look at the live view in a browser.
#
# Run it as often as you like: where a browser is there, it does nothing and says nothing. Nobody
# needs it to use the live view; any browser shows that.
#
#   sh tools/install_chromium.sh
set -eu

log=

fail() {
    echo "install_chromium: $1" >&2
    [ -z "$log" ] || [ ! -s "$log" ] || tail -n 15 "$log" >&2
    exit 1
}

have_browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

have_browser && exit 0
[ -r /etc/os-release ] || fail "this is not Debian (no /etc/os-release); install Chromium yourself"
. /etc/os-release
[ "${ID:-}" = debian ] || fail "this is ${ID:-unknown}, not Debian; install Chromium yourself"
[ "$(id -u)" -eq 0 ] || fail "must run as root: sudo sh tools/install_chromium.sh"
command -v apt-get >/dev/null 2>&1 || fail "apt-get is not there"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
$apt update >"$log" 2>&1 || fail "apt-get update failed"
$apt install -y --no-install-recommends chromium fonts-dejavu-core >"$log" 2>&1 ||
    fail "apt-get install failed"
have_browser || fail "apt-get installed the package, but there is no chromium on the PATH"
