#!/bin/sh
# Install mahimahi 0.98 and its driving traces on Debian 12.
#
# Debian 12 has no package mahimahi; Debian 11 (bullseye) has, and the same mirror serves it. The
# bullseye source is derived from this machine's own Debian source (same address, same keyring) and
# pinned at priority 100, so that nothing else is ever taken from it. Run it as often as you like:
# where everything is there, it does nothing and says nothing.
#
#   sh tools/install_mahimahi.sh
#
# Afterwards `testbed fidelity TRACE` compares the simulated link with real mm-link. Nothing else is
# changed on the machine: as root the testbed runs mm-link in network namespaces of its own, sets
# ip_forward only there, and works around Debian 12's iptables (which refuses to run set-uid) only
# there. What ordinary users need beyond this script, `testbed doctor --fix` brings about.
set -eu

suite=bullseye
list=/etc/apt/sources.list.d/mahimahi-$suite.sources
pin=/etc/apt/preferences.d/mahimahi-$suite
log=

fail() {
    echo "install_mahimahi: $1" >&2
    [ -z "$log" ] || [ ! -s "$log" ] || tail -n 15 "$log" >&2
    exit 1
}

have_everything() {
    command -v mm-link >/dev/null 2>&1 && [ -d /usr/share/mahimahi/traces ] &&
        PATH=$PATH:/usr/sbin:/sbin && command -v iptables >/dev/null 2>&1 &&
        command -v ip >/dev/null 2>&1
}

# Print "URI<TAB>KEYRING" of the machine's own Debian source (deb822 or one-line form).
own_source() {
    codename=$1
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -f "$file" ] || continue
        awk -v want="$codename" '
            function flush(   i, n, parts) {
                n = split(suites, parts, " ")
                for (i = 1; i <= n; i++)
                    if (parts[i] == want && types ~ /(^| )deb( |$)/ && !off && !done) {
                        split(uris, first, " "); print first[1] "\t" key; done = 1
                    }
                types = uris = suites = key = ""; off = 0
            }
            /^[ \t]*$/ { flush(); next }
            /^Types:/ { sub(/^[^:]*:[ \t]*/, ""); types = $0 }
            /^URIs:/ { sub(/^[^:]*:[ \t]*/, ""); uris = $0 }
            /^Suites:/ { sub(/^[^:]*:[ \t]*/, ""); suites = $0 }
            /^Signed-By:/ { sub(/^[^:]*:[ \t]*/, ""); key = $0 }
            /^Enabled:[ \t]*no/ { off = 1 }
            END { flush() }' "$file"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -f "$file" ] || continue
        awk -v want="$codename" '
            $1 == "deb" {
                key = ""; at = 2
                if ($0 ~ /\[/) {
                    if (match($0, /signed-by=[^] \t]+/)) key = substr($0, RSTART + 10, RLENGTH - 10)
                    sub(/\[[^]]*\][ \t]*/, "")
                }
                if ($3 == want) print $2 "\t" key
            }' "$file"
    done
}

have_everything && exit 0
[ -r /etc/os-release ] || fail "this is not Debian (no /etc/os-release); build mahimahi from source"
. /etc/os-release
[ "${ID:-}" = debian ] || fail "this is ${ID:-unknown}, not Debian; build mahimahi from source"
[ "$(id -u)" -eq 0 ] || fail "must run as root: sudo sh tools/install_mahimahi.sh"
command -v apt-get >/dev/null 2>&1 || fail "apt-get is not there"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"

if [ "${VERSION_CODENAME:-}" != "$suite" ]; then
    own_source "${VERSION_CODENAME:-}" >"$log" || fail "cannot read the apt sources"
    uri=$(head -n 1 "$log" | cut -f 1)
    keyring=$(head -n 1 "$log" | cut -f 2)
    : >"$log"
    [ -n "$uri" ] || fail "found no apt source for Debian '${VERSION_CODENAME:-}' to derive $suite from"
    [ -n "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$uri" "$suite" "$keyring" >"$list.new" || fail "cannot write $list"
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$suite" >"$pin.new" ||
        fail "cannot write $pin"
    mv "$pin.new" "$pin"
    mv "$list.new" "$list"
fi
$apt update >"$log" 2>&1 || fail "apt-get update failed"
$apt install -y --no-install-recommends mahimahi mahimahi-traces iptables iproute2 >"$log" 2>&1 ||
    fail "apt-get install failed"
have_everything || fail "apt-get installed the packages, but mm-link is not on the PATH"
