# Debian packages by what they are needed for; the one list that script/run and script/test install
# from. Sourced by bash.
# shellcheck shell=bash disable=SC2034

# to build and run the programs
build_packages=(
    ca-certificates cmake cron gcc libc6-dev libcurl4-openssl-dev libh2o-evloop-dev libjansson-dev
    libmongoc-dev libproc2-dev libsqlite3-dev libssl-dev ninja-build pkgconf procps util-linux
    libzstd-dev zlib1g-dev
)
# what the container images hold besides
image_packages=(tini)
# to run the unit tests
unit_packages=(libcmocka-dev)
# to run the tests of a gcc build
test_packages=(
    "${unit_packages[@]}" ccache clang-format curl mandoc openssl python3 python3-bson
    python3-pymongo python3-pytest shellcheck sqlite3 strace sysstat
)
# for single suites
clang_packages=(clang clang-tidy libclang-rt-14-dev llvm)
valgrind_packages=(valgrind)
coverage_packages=(gcovr)
# engines of the tests' own, their clients, the base image, the networks between them
container_packages=(
    apache2-utils debootstrap docker-compose docker.io iproute2 iptables python3-yaml tini
)
reference_packages=(python3-venv)
testbed_packages=(ca-certificates curl python3)
# where there is no Go at all: too old to build with, it names the place that a newer one comes from
testbed_go_packages=(golang-go)

# missing_packages PACKAGE...: those of them that are not installed
missing_packages() {
    local package
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        "install ok installed") ;;
        *) echo "$package" ;;
        esac
    done
}

# install_packages PACKAGE...: installs what is missing, asking nothing. Without the right to do so
# it says what to type, and fails.
install_packages() {
    local missing as_root=()
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo -n)
        if ! sudo -n true 2>/dev/null; then
            echo "missing packages; as root: apt-get install ${missing[*]}" >&2
            return 1
        fi
    fi
    echo "installing ${missing[*]}"
    "${as_root[@]}" apt-get -q update </dev/null >/dev/null &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get -q -y --no-install-recommends install "${missing[@]}" </dev/null >/dev/null
}
