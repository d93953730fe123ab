#!/usr/bin/env bash
# Builds pointsman with profile-guided optimisation: an instrumented build goes through the demo's tour and stands under
# load between a client and an origin, both itself, and what it learned goes into a second build,
# target/pgo/release/pointsman. Ports 18080, 19101 and 19901 to 19904 have to be free.
# Needs llvm-profdata: rustup's llvm-tools, or Debian's llvm; LLVM_PROFDATA names another one.
set -euo pipefail
cd "$(dirname "$0")/.."

profdata="${LLVM_PROFDATA:-}"
if [[ -z $profdata ]]; then
  profdata=$(find "$(rustc --print sysroot)" -name llvm-profdata -type f | head -n 1)
fi
if [[ -z $profdata ]]; then
  # The newest by number: an older one may not know the format.
  profdata=$(compgen -c llvm-profdata- | sort -t- -k3 -n -u | tail -n 1 || true)
fi
[[ -n $profdata ]] || { echo "llvm-profdata is missing" >&2; exit 1; }

work=$(mktemp -d)
trap 'kill ${origin:-} ${gateway:-} 2>/dev/null || true; rm -rf "$work"' EXIT
# Both builds alike in everything but the flags: what differs gives functions other names, and they lose their profile.
export CARGO_TARGET_DIR=target/pgo CARGO_PROFILE_RELEASE_DEBUG=0

RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$work" cargo build --release --locked
trained=target/pgo/release/pointsman
export LLVM_PROFILE_FILE="$work/%p.profraw"
echo "training: the demo's tour, 40 seconds"
"$trained" demo --port 18080 --observe-port 19902 --admin-port 19901 --rate 1500 --seconds 40 >/dev/null

echo "training: small, middling and large bodies, 30 seconds"
of() { head -c "$1" /dev/zero | tr '\0' x; }
cat >"$work/origin.toml" <<TOML
listen.address = "127.0.0.1:19101"
observe.address = "127.0.0.1:19904"
admin.address = "127.0.0.1:19903"
backends.small.respond.body = "$(of 100)"
backends.middling.respond.body = "$(of 16384)"
backends.other.respond.status = 204
routes.small = { path = "/", control = "small", candidate = "other" }
routes.middling = { path = "/16k", control = "middling", candidate = "other" }
TOML
sed -e 's/:8080/:18080/; s/:910[12]/:19101/' benches/side_by_side/gateway.toml >"$work/gateway.toml"
printf '[observe]\naddress = "127.0.0.1:19902"\n[admin]\naddress = "127.0.0.1:19901"\n' >>"$work/gateway.toml"
echo "{\"query\": \"$(of 65000)\"}" >"$work/large.jsonl"
"$trained" run -c "$work/origin.toml" >/dev/null & origin=$!
"$trained" run -c "$work/gateway.toml" >/dev/null & gateway=$!
for port in 19904 19902; do
  timeout 20 bash -c "until '$trained' healthcheck --observe http://127.0.0.1:$port >/dev/null 2>&1; do sleep 0.1; done"
done
# The origin answers uploads before it has read them, and may close their connections: not each of them gets through.
ask() { "$trained" traffic "http://127.0.0.1:18080$1" --think 0s --duration "$2" "${@:3}" --fail-if 'error_rate > 5%'; }
ask / 12s
ask /16k 6s
ask / 6s --method post --queries "$work/large.jsonl"
"$trained" traffic http://127.0.0.1:18080/ --rate 1000 --duration 6s >/dev/null
kill "$gateway" "$origin"
wait "$gateway" "$origin"
origin='' gateway=''
"$profdata" merge -o "$CARGO_TARGET_DIR/pointsman.profdata" "$work"/*.profraw
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-use=$PWD/$CARGO_TARGET_DIR/pointsman.profdata" cargo build --release --locked
ls -l target/pgo/release/pointsman
