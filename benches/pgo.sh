#!/usr/bin/env bash
# Builds pointsman with profile-guided optimisation: an instrumented build runs the demo under load,
# and what it learned goes into a second build, target/pgo/release/pointsman.
# Needs llvm-profdata: rustup's llvm-tools, or Debian's llvm; LLVM_PROFDATA names another one.
set -euo pipefail
cd "$(dirname "$0")/.."

profdata="${LLVM_PROFDATA:-}"
if [[ -z $profdata ]]; then
  profdata=$(find "$(rustc --print sysroot)" -name llvm-profdata -type f | head -n 1)
fi
if [[ -z $profdata ]]; then
  # The newest by number: an older one may not know the format.
  profdata=$(compgen -c llvm-profdata- | sort -t- -k3 -n -u | tail -n 1)
fi
[[ -n $profdata ]] || { echo "llvm-profdata is missing" >&2; exit 1; }

profiles=$(mktemp -d)
trap 'rm -rf "$profiles"' EXIT
export CARGO_TARGET_DIR=target/pgo CARGO_PROFILE_RELEASE_DEBUG=0

RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$profiles" cargo build --release --locked
echo "training: the demo's tour, 40 seconds"
LLVM_PROFILE_FILE="$profiles/%p.profraw" target/pgo/release/pointsman demo \
  --port 18080 --observe-port 19902 --admin-port 19901 --rate 1500 --seconds 40 >/dev/null
"$profdata" merge -o "$CARGO_TARGET_DIR/pointsman.profdata" "$profiles"/*.profraw
RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-use=$PWD/$CARGO_TARGET_DIR/pointsman.profdata" cargo build --release --locked
ls -l target/pgo/release/pointsman
