#!/usr/bin/env bash
# Deploys a git repository or an image as a service, a new one or one that is there, and waits until it runs.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE="usage: AH_URL=https://HOST AH_KEY=KEY deploy.sh GIT-URL-OR-IMAGE NAME PORT"
usage_or_go 3 3 "$@"
need AH_URL AH_KEY
[[ $3 =~ ^[0-9]{1,5}$ ]] || fail 2 "PORT is a number, not $3"

git="" image=$1 deployment=""
case $1 in http://* | https://*) git=yes image=pending ;; esac
find_id services "$2"
service=$found
if [[ -z $service ]]; then
    api POST /v1/services "{\"name\":$(text "$2"),\"image\":$(text "$image"),\"port\":$3}"
    service=$(field id)
    deployment=$(field deployment_id)
else
    api GET "/v1/services/$service"
    [[ $(field port) == "$3" ]] || api PATCH "/v1/services/$service" "{\"port\":$3}"
    if [[ -z $git ]]; then
        api POST "/v1/services/$service/deploy" "{\"image\":$(text "$image")}"
        deployment=$(field id)
    fi
fi
if [[ -n $git ]]; then
    api POST "/v1/services/$service/builds" "{\"git_url\":$(text "$1")}"
    build=$(field id)
    follow "/v1/services/$service/builds/$build/logs?follow=true"
    until_state "/v1/services/$service/builds/$build" succeeded
    deployment=$(field deployment_id)
fi
if [[ -n $deployment ]]; then until_state "/v1/services/$service/deployments/$deployment" running; fi
until_state "/v1/services/$service" running
printf '%s\n' "$(field url)"
