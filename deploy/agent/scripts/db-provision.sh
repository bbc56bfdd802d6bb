#!/usr/bin/env bash
# Makes a database, or takes the one of that name, and sets its address in a service as DATABASE_URL or REDIS_URL.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE="usage: AH_URL=https://HOST AH_KEY=KEY db-provision.sh SERVICE postgres|redis [NAME]"
usage_or_go 2 3 "$@"
need AH_URL AH_KEY
[[ $2 == postgres || $2 == redis ]] || fail 2 "there is postgres and redis, no $2"

name=${3:-$1-$2}
find_id services "$1"
service=$found
[[ -n $service ]] || fail 4 "there is no service $1; status.sh shows which there are"
find_id databases "$name"
database=$found
if [[ -z $database ]]; then
    api POST /v1/databases "{\"name\":$(text "$name"),\"type\":\"$2\"}"
    database=$(field id)
fi
until_state "/v1/databases/$database" running
[[ $(field type) == "$2" ]] || fail 4 "$name is there, and is $(field type)"
api POST "/v1/databases/$database/link" "{\"service_id\":\"$service\"}"
key=$(field key) deployment=$(field deployment_id)
if [[ -n $deployment ]]; then until_state "/v1/services/$service/deployments/$deployment" running; fi
printf '%s of %s is the address of %s\n' "$key" "$1" "$name"
