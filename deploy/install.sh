#!/usr/bin/env bash
# Puts ahplat on a server, or a newer release of it: see --help.
#
# Each step is a question, whether its end is reached, and what reaches it. So a second run changes nothing and says so,
# a run that was cut off is run again, and --check asks the questions alone.
# What is the operator's is written once and never again: /etc/ahplat, /etc/docker/daemon.json but for what is missing in
# it, and all data.
#
# shellcheck disable=SC2317,SC2329  # the steps are called by their names
set -euo pipefail

TREE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
readonly TREE
readonly PARTS=(ahplat bin/ah bin/ah-verify bin/ahc deploy events projections pyproject.toml requirements.lock README.md)
readonly HOME_DIR=/opt/ahplat SETTINGS=/etc/ahplat DATA=/var/lib/ah UNITS=/etc/systemd/system PROGRAMS=/usr/local/bin
readonly DAEMON_JSON=/etc/docker/daemon.json
readonly SERVICES=(ahplat-registry ahplat-traefik ahplat)
readonly NEEDED=(runsc traefik) FOR_BUILDS=(buildkitd buildctl nixpacks)
readonly KERNEL=5.3 # pidfd_open, which ends processes without hitting others

check=false restarted=false domain='' acme_email='' given=''
missing=() changed=() notes=()

usage() {
  cat <<'EOF'
Usage: install.sh --domain apps.example.org --acme-email you@example.org --programs DIR
       install.sh --check | --programs DIR

Puts ahplat on Debian 12 or Ubuntu 24.04, or later ones, as root: packages of the distribution, the programs of DIR,
gVisor into Docker's settings, this release under /opt/ahplat with an environment from requirements.lock (hashes checked),
settings in /etc/ahplat, and systemd units for the platform, Traefik and a registry. Run again it changes nothing that is
there; run from a newer release it is the upgrade: backup, new release, restart.

  --domain NAME       services are at <service>.<tenant>.NAME, the API at api.NAME; the first time only
  --acme-email TO     whom Let's Encrypt writes to; the first time only
  --programs DIR      where runsc (with its folder gvisor-bin) and traefik are, and for builds buildkitd, buildctl and
                      nixpacks; they are copied to /usr/local/bin. A SHA256SUMS in DIR is checked. Without it, what is on the PATH is used
  --check             change nothing, say what is missing; exit code 1 when something is
EOF
}

say() { printf 'install: %s\n' "$*"; }
fail() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

# ensure WHAT REACHED REACH: nothing where the function REACHED holds; else REACH, or with --check a line about it
ensure() {
  local what=$1 reached=$2 reach=$3
  shift 3
  if "$reached" "$@"; then return; fi
  if $check; then
    missing+=("$what")
    return
  fi
  say "$what …"
  "$reach" "$@"
  "$reached" "$@" || fail "$what: it was done and is not there; see above"
  changed+=("$what")
}

# must WHAT HOLDS: this script cannot bring it about
must() {
  local what=$1 holds=$2
  if "$holds"; then return; fi
  $check || fail "$what"
  missing+=("$what")
}

# --- the machine

is_known_system() (
  # shellcheck source=/dev/null
  . /etc/os-release
  case $ID in
    debian) [ "${VERSION_ID%%.*}" -ge 12 ] ;;
    ubuntu) [ "${VERSION_ID%%.*}" -ge 24 ] ;;
    *) false ;;
  esac
)
is_known_machine() { [[ $(uname -m) =~ ^(x86_64|aarch64)$ ]]; }
is_new_kernel() { printf '%s\n%s\n' "$KERNEL" "$(uname -r)" | sort --check=quiet --version-sort; }
has_cgroups() {
  local name
  for name in memory cpu pids; do
    grep -qw "$name" /sys/fs/cgroup/cgroup.controllers 2>/dev/null || [ -d "/sys/fs/cgroup/$name" ] || return 1
  done
}
has_systemd() { command -v systemctl >/dev/null; }
systemd_runs() { [ -d /run/systemd/system ]; }

# --- packages of the distribution: what is there, from wherever, is left as it is

lacking() {
  local program package
  while read -r program package; do
    command -v "$program" >/dev/null || [ -e "$program" ] || printf '%s\n' "$package"
  done <<'EOF'
dockerd docker.io
iptables iptables
ip iproute2
sysctl procps
nsenter util-linux
git git
docker-registry docker-registry
/usr/lib/cni/bridge containernetworking-plugins
/etc/ssl/certs/ca-certificates.crt ca-certificates
python3 python3
EOF
  python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'python3-venv\n'
}
has_packages() { [ -z "$(lacking)" ]; }
put_packages() {
  local packages
  mapfile -t packages < <(lacking)
  mask_registry # before its package comes, which would start it on every address
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update
  apt-get -q install -y --no-install-recommends "${packages[@]}"
}
registry_is_masked() { [ "$(readlink "$UNITS/docker-registry.service")" = /dev/null ]; }
mask_registry() {
  mkdir -p "$UNITS"
  ln -sfn /dev/null "$UNITS/docker-registry.service"
  ! systemd_runs || systemctl stop docker-registry 2>/dev/null || true
}

# --- programs that no package brings

check_sums() {
  [ -z "$given" ] || [ ! -e "$given/SHA256SUMS" ] || (cd "$given" && sha256sum --check --strict --ignore-missing --quiet SHA256SUMS) ||
    fail "a program in $given is not what its SHA256SUMS says"
}
has_program() {
  if [ -n "$given" ] && [ -e "$given/$1" ]; then cmp -s "$given/$1" "$PROGRAMS/$1"; else [ -x "$PROGRAMS/$1" ]; fi
}
put_program() {
  local found
  if [ -n "$given" ] && [ -e "$given/$1" ]; then
    install -m 0755 "$given/$1" "$PROGRAMS/$1.half"
    mv -f "$PROGRAMS/$1.half" "$PROGRAMS/$1" # by a rename: what runs goes on
  elif found=$(command -v "$1"); then
    ln -sfn "$found" "$PROGRAMS/$1"
  else
    fail "$1 is not on this machine: name a folder that has it with --programs (README, Installing, has where it is from)"
  fi
}
has_helpers() { [ -z "$given" ] || [ ! -d "$given/gvisor-bin" ] || diff -rq "$given/gvisor-bin" "$PROGRAMS/gvisor-bin" >/dev/null 2>&1; }
put_helpers() { rm -rf "$PROGRAMS/gvisor-bin" && cp -r --preserve=mode "$given/gvisor-bin" "$PROGRAMS/gvisor-bin"; }
programs() {
  local name
  check_sums
  ensure "$PROGRAMS/gvisor-bin" has_helpers put_helpers # what newer releases of runsc look for beside it
  for name in "${NEEDED[@]}"; do ensure "$PROGRAMS/$name" has_program put_program "$name"; done
  for name in "${FOR_BUILDS[@]}"; do
    if [ -n "$given" ] && [ -e "$given/$name" ] || command -v "$name" >/dev/null; then
      ensure "$PROGRAMS/$name" has_program put_program "$name"
    else
      notes+=("builds from git are refused until $name is in $PROGRAMS")
    fi
  done
}

# --- Docker knows gVisor

merge_settings() { python3 -I "$TREE/deploy/docker/merge_settings.py" "$@" "$TREE/deploy/docker/daemon.json" "$DAEMON_JSON"; }
docker_is_set() { merge_settings --check 2>/dev/null; }
set_docker() { merge_settings; }
docker_answers() { docker info >/dev/null 2>&1; }
docker_knows_gvisor() { docker info --format '{{json .Runtimes}}' | grep -q '"runsc"'; }
reload_docker() {
  local tries
  kill -HUP "$(cat /run/docker.pid)" # it reads its runtimes anew, and every container goes on
  for tries in {1..50}; do
    ! docker_knows_gvisor || return 0
    sleep 0.1
  done
  fail "Docker was told of gVisor and does not know it after $tries looks: see its log"
}

# --- the release

release_id() {
  (cd "$TREE" && find "${PARTS[@]}" -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-12
}
version() { sed -n 's/^version = "\(.*\)"/\1/p' "$TREE/pyproject.toml"; }
has_release() { [ -e "$1/.complete" ]; }
put_release() {
  rm -rf "$1"
  install -d -m 0755 "$HOME_DIR" "$HOME_DIR/releases" "$1"
  tar -C "$TREE" --exclude=__pycache__ --mode=u=rwX,go=rX --owner=root --group=root -cf - "${PARTS[@]}" | tar -C "$1" -xf -
  (umask 022 && "$1/bin/ah" --version && cd "$1" && .venv/bin/python -m compileall -q ahplat events projections)
  touch "$1/.complete"
}
is_current() {
  [ "$(readlink "$HOME_DIR/current")" = "$1" ] && [ "$(readlink "$PROGRAMS/ah")" = "$HOME_DIR/current/bin/ah" ] &&
    [ "$(readlink "$PROGRAMS/ahc")" = "$HOME_DIR/current/bin/ahc" ]
}
make_current() {
  if [ -e "$HOME_DIR/current" ] && [ -e "$DATA/events.db" ]; then
    "$HOME_DIR/current/bin/ah" backup # by the release that is there: what a way back begins with
  fi
  [ ! -e "$HOME_DIR/current" ] || ln -sfn "$(readlink "$HOME_DIR/current")" "$HOME_DIR/previous"
  ln -sfn "$1" "$HOME_DIR/current"
  ln -sfn "$HOME_DIR/current/bin/ah" "$PROGRAMS/ah"
  ln -sfn "$HOME_DIR/current/bin/ahc" "$PROGRAMS/ahc"
}

# --- settings and data

has_settings() { [ -e "$SETTINGS/ahplat.env" ] && [ -e "$SETTINGS/traefik.yml" ] && [ -e "$SETTINGS/registry.yml" ]; }
put_settings() {
  local token
  install -d -m 0755 "$SETTINGS"
  [ -e "$SETTINGS/registry.yml" ] || install -m 0644 "$TREE/deploy/registry/registry.yml" "$SETTINGS/registry.yml"
  if [ ! -e "$SETTINGS/traefik.yml" ]; then
    sed "s/ops@example\.org/$acme_email/; s/apps\.example\.org/$domain/" "$TREE/deploy/traefik/traefik.yml" >"$SETTINGS/traefik.yml"
    chmod 0644 "$SETTINGS/traefik.yml"
  fi
  [ ! -e "$SETTINGS/ahplat.env" ] || return 0
  token=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
  (umask 077 && cat >"$SETTINGS/ahplat.env.half") <<EOF
# Settings of ahplat: each option of \`ah --help\` as AH_…; \`systemctl restart ahplat\` applies them.
AH_BOOTSTRAP_TOKEN=$token
AH_DOMAIN=$domain
AH_ACME_EMAIL=$acme_email
AH_TRAEFIK_CONFIG_DIR=$DATA/traefik
AH_REGISTRY_CONFIG=$SETTINGS/registry.yml
EOF
  mv "$SETTINGS/ahplat.env.half" "$SETTINGS/ahplat.env"
  say "the bootstrap token, which registers tenants and is shown this once: $token"
}
need_answers() {
  local name='[a-z0-9.-]+\.[a-z0-9-]+'
  [[ $domain =~ ^$name$ ]] || fail "--domain NAME is needed the first time, such as apps.example.org; got '$domain'"
  [[ $acme_email =~ ^[A-Za-z0-9._+-]+@$name$ ]] || fail "--acme-email is needed the first time, such as you@example.org; got '$acme_email'"
}
has_folders() { [ "$(stat -c %a "$DATA" "$DATA/traefik" 2>/dev/null | tr '\n' ' ')" = '700 755 ' ]; }
put_folders() { install -d -m 0700 "$DATA" && install -d -m 0755 "$DATA/traefik"; } # inside a closed one: Traefik's unit is shown it

# --- units

has_units() {
  local name
  for name in "${SERVICES[@]}"; do
    cmp -s "$TREE/deploy/systemd/$name.service" "$UNITS/$name.service" || return 1
    [ -e "$UNITS/multi-user.target.wants/$name.service" ] || return 1
  done
}
put_units() {
  local name
  for name in "${SERVICES[@]}"; do install -m 0644 "$TREE/deploy/systemd/$name.service" "$UNITS/$name.service"; done
  ! systemd_runs || systemctl daemon-reload
  systemctl enable --quiet "${SERVICES[@]}"
}
all_run() { systemctl is-active --quiet "${SERVICES[@]}" && { $restarted || [ ${#changed[@]} -eq 0 ]; }; }
start_all() { # Traefik goes on as it is: whoever has a connection keeps it
  systemctl start "${SERVICES[@]:0:2}"
  systemctl restart ahplat || fail "it does not start: journalctl -u ahplat -n 20. The way back: README, Rolling back"
  restarted=true
}

# ---

while [ $# -gt 0 ]; do
  case $1 in
    --check) check=true ;;
    --domain | --acme-email | --programs)
      [ $# -gt 1 ] || fail "$1 wants a value"
      case $1 in
        --domain) domain=$2 ;;
        --acme-email) acme_email=$2 ;;
        --programs) given=$(cd "$2" && pwd) || fail "--programs: $2 is no folder" ;;
      esac
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
  shift
done
[ "$(id -u)" -eq 0 ] || fail "run it as root"

release="$HOME_DIR/releases/$(version)-$(release_id)"
must "Debian 12 or Ubuntu 24.04, or later ones, are what this knows" is_known_system
must "x86_64 or aarch64 is what gVisor runs on; this is $(uname -m)" is_known_machine
must "Linux $KERNEL or later is needed; this is $(uname -r)" is_new_kernel
must "cgroups for memory, cpu and pids are needed in /sys/fs/cgroup" has_cgroups
must "systemd is what keeps the services running, and is not here" has_systemd
$check || has_settings || need_answers # before anything is done
ensure "packages: $(lacking | paste -sd ' ')" has_packages put_packages
ensure "the registry's own unit is masked" registry_is_masked mask_registry
programs
ensure "gVisor in $DAEMON_JSON" docker_is_set set_docker
if docker_answers; then
  ensure "gVisor in the Docker that runs" docker_knows_gvisor reload_docker
else
  notes+=("Docker does not answer: whether it knows gVisor was not looked at")
fi
ensure "the release $release" has_release put_release "$release"
ensure "settings in $SETTINGS" has_settings put_settings
ensure "folders in $DATA" has_folders put_folders
ensure "units in $UNITS" has_units put_units
ensure "$HOME_DIR/current is that release" is_current make_current "$release"
if systemd_runs; then
  ensure "services: ${SERVICES[*]}" all_run start_all
else
  notes+=("systemd does not run here: the services start with the machine")
fi

for line in "${notes[@]}"; do say "note: $line"; done
if $check; then
  [ ${#missing[@]} -gt 0 ] || { say "nothing is missing" && exit 0; }
  printf 'install: missing: %s\n' "${missing[@]}"
  exit 1
fi
[[ " ${changed[*]-} " != *" $PROGRAMS/traefik "* ]] || say "note: a Traefik that ran goes on as it was until \`systemctl restart ahplat-traefik\`"
[ ${#changed[@]} -gt 0 ] || say "nothing to change: ahplat $(version) is installed"
