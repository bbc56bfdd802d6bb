# shellcheck shell=bash
# What the five scripts share: requests with bounded repeats, problems as errors, values out of compact JSON.
# The key and the body reach curl through its standard input: nobody sees them in `ps`.
# Exit codes: 1 it failed or took too long, 2 wrong usage, 4 the server refused, 5 it cannot be reached or is not well.

PROGRAM=$(basename "$0")
FOLDER=$(umask 077 && mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT

# fail CODE MESSAGE: the end.
fail() {
    printf '%s: %s\n' "$PROGRAM" "$2" >&2
    exit "$1"
}

command -v curl > /dev/null || fail 2 "curl is wanted, and is not here"

# usage_or_go MIN MAX "$@": prints $USAGE where that is asked for, or ends where the number of arguments is wrong.
usage_or_go() {
    local least=$1 most=$2
    shift 2
    case ${1:-} in -h | --help) printf '%s\n' "$USAGE"; exit 0 ;; esac
    (($# >= least && $# <= most)) || fail 2 "wrong arguments"$'\n'"$USAGE"
}

# need NAME...: each is an environment variable that is set, and fits on one line.
need() {
    local name
    for name; do
        [[ -n ${!name:-} ]] || fail 2 "set $name"
        [[ ${!name} =~ ^[[:graph:]]+$ ]] || fail 2 "$name has a character that does not belong there"
    done
}

# text VALUE: as a JSON string.
text() {
    [[ $1 != *[[:cntrl:]]* ]] || fail 2 "an argument has a control character"
    local escaped=${1//\\/\\\\}
    printf '"%s"' "${escaped//\"/\\\"}"
}

# field NAME: the first value of that name in $answer, or nothing.
field() {
    printf '%s' "$answer" | grep -oE "\"$1\":(\"([^\"\\\\]|\\\\.)*\"|[^,}\"]+)" | head -n 1 |
        sed -E "s/^\"$1\"://; s/^\"(.*)\"\$/\\1/; s/\\\\(.)/\\1/g" || true
}

# new_key: for one command; its repeats carry the same.
new_key() {
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

# headers: what curl reads as its configuration.
headers() {
    if [[ -n ${AH_KEY:-} ]]; then printf 'header = %s\n' "$(text "Authorization: Bearer $AH_KEY")"; fi
    printf 'header = %s\n' "$(text "X-Agent-Name: $PROGRAM")"
}

# api METHOD PATH [BODY [HEADER]]: the answer in $answer; ends with what the problem says where it is one.
api() {
    local status
    status=$({
        headers
        printf 'header = "Idempotency-Key: %s"\n' "$(new_key)"
        if [[ -n ${4:-} ]]; then printf 'header = %s\n' "$(text "$4")"; fi
        if [[ -n ${3:-} ]]; then printf 'header = "Content-Type: application/json"\ndata-raw = %s\n' "$(text "$3")"; fi
    } | curl --silent --show-error --config - --request "$1" --max-time 90 --retry 4 --retry-all-errors \
        --retry-max-time 180 --output "$FOLDER/answer" --write-out '%{http_code}' "${AH_URL%/}$2") ||
        fail 5 "no answer from $AH_URL"
    answer=$(cat "$FOLDER/answer")
    [[ $status != 2* ]] || return 0
    problem "$status"
}

# problem STATUS: says what was refused and what to do, and ends.
problem() {
    local code why path message
    message=$(field error) code=$(field code) why=$(field why) path=$(field path)
    [[ -z $why ]] || why=$'\n'"  $why${path:+: $(field method) $path}"
    fail "$((${1} >= 500 ? 5 : 4))" "${message:-the answer was $1} (${code:-$1})$why"
}

# find_id LIST NAME: the id of the service or database of that name in $found, "" where there is none.
find_id() {
    local offset=0
    found=""
    while [[ -z $found ]]; do
        api GET "/v1/$1?limit=200&offset=$offset"
        [[ $answer != "[]" ]] || return 0
        found=$(printf '%s' "$answer" | grep -oE '"id":"[0-9a-f]{32}","tenant_id":"[0-9a-f]{32}","name":"[^"]*"' |
            grep -F "\"name\":$(text "$2")" | head -n 1 | sed -E 's/^"id":"([0-9a-f]+)".*/\1/') || true
        offset=$((offset + 200))
    done
}

# until_state PATH STATE: waits on the server's side, ten minutes at most, until it is in that state.
until_state() {
    local state i
    for i in {1..10}; do
        api GET "$1?wait=$2&timeout=60"
        state=$(field status)
        printf '%s\n' "$state" >&2
        case $state in
            "$2") return 0 ;;
            failed | crashed | cancelled | superseded | stopped | deleted | circuit_open)
                fail 1 "it is $state: $(field error_message)$(field error)$(field last_error)" ;;
        esac
    done
    fail 1 "it is still $state after $i minutes, and goes on: GET $1"
}

# follow PATH: prints a log until it ends.
follow() {
    headers | curl --silent --show-error --no-buffer --fail --config - "${AH_URL%/}$1" ||
        fail 5 "the log was cut off; what it tells of goes on"
}
