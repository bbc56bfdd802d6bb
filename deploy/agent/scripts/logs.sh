#!/usr/bin/env bash
# Follows a build's log to its end: that of the newest build, or of the one that is named.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE="usage: AH_URL=https://HOST AH_KEY=KEY logs.sh SERVICE [BUILD-ID]"
usage_or_go 1 2 "$@"
need AH_URL AH_KEY

find_id services "$1"
service=$found
[[ -n $service ]] || fail 4 "there is no service $1; status.sh shows which there are"
build=${2:-}
if [[ -z $build ]]; then
    api GET "/v1/services/$service/builds?limit=1"
    build=$(field id)
fi
if [[ -z $build ]]; then # it was deployed as an image: what it prints
    follow "/v1/services/$service/logs?tail=100"
    exit 0
fi
[[ $build =~ ^[0-9a-f]{32}$ ]] || fail 2 "BUILD-ID is 32 hexadecimal digits, not $build"
api GET "/v1/services/$service/builds/$build"
follow "/v1/services/$service/builds/$build/logs?follow=true"
until_state "/v1/services/$service/builds/$build" succeeded
