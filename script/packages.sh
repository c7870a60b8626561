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
# what script/bench compares with; libpcre2-8-0 is for nginx, which is only unpacked
bench_packages=(libpcre2-8-0 procps python3 python3-psutil python3-venv sysstat util-linux)
# to run the tests of a gcc build
test_packages=(
    "${unit_packages[@]}" "${bench_packages[@]}" ccache clang-format curl mandoc openssl python3 python3-bson
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
# the FastAPI that GET /memory-logs is compared with, of PyPI
reference_wheels=(
    fastapi==0.110.0 starlette==0.36.3 pydantic==2.6.3 uvicorn==0.27.1 gunicorn==21.2.0 httptools
    uvloop
)
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

# unpack_package PACKAGE: its files are in build/bench/debian/PACKAGE; nothing of it is installed, so
# no service of it is started. For servers that script/bench compares with.
unpack_package() {
    local place=build/bench/debian/$1 scratch done=true
    [ ! -d "$place" ] || return 0
    if [ "$(id -u)" = 0 ] && ! apt-cache show "$1" >/dev/null 2>&1; then
        apt-get -q update </dev/null >/dev/null || return 1
    fi
    scratch=$(mktemp -d)
    if (cd "$scratch" && apt-get -q download "$1" >/dev/null 2>errors) &&
        dpkg-deb --extract "$scratch/$1"_*.deb "$scratch/files"; then
        mkdir -p build/bench/debian
        mv "$scratch/files" "$place"
    else
        cat "$scratch/errors" >&2
        done=false
    fi
    rm -rf "$scratch"
    [ "$done" = true ]
}

# make_reference_venv DIRECTORY: a Python in it has the reference
make_reference_venv() {
    if "$1/bin/python" -c 'import fastapi, gunicorn, httptools, uvicorn, uvloop' 2>/dev/null; then
        return 0
    fi
    echo "== installing the reference (FastAPI) into $1"
    rm -rf "$1"
    # not its bin/pip: that script cannot start in a directory with a space in its name
    if ! /usr/bin/python3 -m venv "$1" ||
        ! "$1/bin/python" -m pip install -q "${reference_wheels[@]}"; then
        rm -rf "$1"
        return 1
    fi
}
